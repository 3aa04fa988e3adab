"""Where a testbed keeps its files, and what is written in `state.json`.

One directory holds all of it: `~/.armature/testbed/<name>` or the one a user names. Removing it removes the testbed's
every trace on disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from armature.errors import InvalidInput, Problem
from armature.local.proc import ProcessId
from armature.local.state import default_home

__all__ = ["Component", "Layout", "State", "default_directory"]

_TRIES = 100


class Component(msgspec.Struct, frozen=True):
    """One process as the supervisor knows it. started: as the system tells it (`ProcessId`). exit_code: once ended;
    below zero the signal that ended it."""

    name: str
    pid: int
    started: str
    exit_code: int | None = None

    @property
    def running(self) -> bool:
        return self.exit_code is None and ProcessId(self.pid, self.started).alive


class State(msgspec.Struct, frozen=True):
    """What `state.json` holds. namespace: inode of the network namespace. user_namespace: whether it lies in a user
    namespace of its own (started without root). ready_s: seconds from start to ready, None before."""

    supervisor_pid: int
    supervisor_started: str
    namespace: int
    user_namespace: bool
    components: tuple[Component, ...] = ()
    ready_s: float | None = None
    version: int = 1

    @property
    def running(self) -> bool:
        return ProcessId(self.supervisor_pid, self.supervisor_started).alive

    def component(self, name: str) -> Component | None:
        return next((component for component in self.components if component.name == name), None)


class Layout:
    """The files of one testbed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state.json"
        self.launch = directory / "launch.json"
        self.control = directory / "control.sock"
        self.kubeconfig = directory / "kubeconfig"
        self.pki = directory / "pki"
        self.users = directory / "users"
        self.logs = directory / "logs"
        self.etcd = directory / "etcd"
        self.audit = directory / "audit.jsonl"
        self.audit_policy = directory / "audit-policy.yaml"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def read_state(self) -> State | None:
        """None when there is none, or none that can be read."""
        try:
            return msgspec.json.decode(self.state.read_bytes(), type=State)
        except (OSError, msgspec.MsgspecError):
            return None

    def write_state(self, state: State) -> None:
        """The file holds all of the new state or all of the old."""
        draft = self.state.with_name(f".state.json.{os.getpid()}")
        draft.write_bytes(msgspec.json.encode(state))
        draft.replace(self.state)

    @contextlib.contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[None]:
        """One at a time, with the directory made if need be. The lock is on the directory itself, so that it leaves
        nothing behind. Raises BlockingIOError when another holds it and we are not to wait."""
        while True:
            handle = self._opened()
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if self._is(handle):
                    yield
                    return
            finally:
                os.close(handle)

    def _opened(self) -> int:
        """The directory, made if need be. Another may remove it at any moment, between two steps of ours as well."""
        tries = 0
        while True:
            try:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                return os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            except (FileExistsError, FileNotFoundError):
                tries += 1
                if tries == _TRIES:
                    raise

    def _is(self, handle: int) -> bool:
        """Whether the open directory is still the one of this name: it may have been removed while we waited."""
        try:
            return os.path.samestat(self.directory.stat(), os.fstat(handle))
        except OSError:
            return False

    def empty(self) -> None:
        """Removes all files, not the directory, which a lock may be on."""
        for path in self.directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes everything. Only under the lock."""
        shutil.rmtree(self.directory, ignore_errors=True)


def default_directory(name: str, env: Mapping[str, str] | None = None) -> Path:
    """`<home>/testbed/<name>`, home being `$ARMATURE_HOME` or `~/.armature`. Raises InvalidInput for a bad name."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise InvalidInput("--name", [Problem("--name", "cannot be the name of a directory", value=name)])
    return default_home(env) / "testbed" / name
