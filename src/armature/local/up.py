"""Starts a graph on this machine, waits until it answers, and stops it.

The processes belong to a supervisor process (`supervisor`), in the foreground and in the background alike. In the
foreground it also hangs on a pipe that this process holds: however this process ends, everything ends with it.
A deployment's name is locked from the moment it starts until its supervisor is gone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from armature.api import v1beta1
from armature.errors import ArmatureError, StartFailed
from armature.local import state
from armature.local.describe import changes, progress
from armature.local.logs import tail
from armature.local.options import UpOptions
from armature.local.plan import process_specs
from armature.local.proc import cannot_listen, port_holder
from armature.local.spec import Launch
from armature.local.state import Deployment, RunDirectory
from armature.search.profile import Profile

__all__ = ["UpOptions", "launch", "running", "up"]

_POLL_S = 0.05
_TAIL_LINES = 15
Report = Callable[[str], None]


def up(
    dgd: v1beta1.DynamoGraphDeployment,
    *,
    profile: Profile | None = None,
    options: UpOptions | None = None,
    report: Report = print,
    extras: Sequence[Mapping[str, Any]] = (),
) -> Deployment:
    """Runs a graph: in the foreground until Ctrl-C or `down`, with `options.detach` returning once it is ready.

    report: gets one line at a time: the launch's notes, progress, and what happens to the processes. extras: the
    ConfigMaps that came with the graph. Raises StartFailed (a port in use, a process that does not start, a name
    that runs already), OutputFailed, PreflightFailed, NothingFits, ModelUnknown or InvalidInput.
    """
    options = options or UpOptions()
    plan = process_specs(dgd, profile=profile, options=options, extras=extras)
    return launch(plan, options=options, report=report)


def launch(plan: Launch, *, options: UpOptions, report: Report = print) -> Deployment:
    """`up` for processes that are already planned."""
    run = _Run.start(plan, options, report)
    if options.detach:
        try:
            deployment = run.wait_ready()
        except BaseException:
            run.stop()
            raise
        run.let_go()
        report(f"{plan.name} runs in the background; `armature down {plan.name}` stops it.")
        return deployment
    with run:
        deployment = run.wait_ready()
        with contextlib.suppress(KeyboardInterrupt):
            report("Ctrl-C stops it.")
            deployment = run.watch(deployment)
        report(f"Stopping {plan.name}.")
    return structs.replace(state.read(run.directory) or deployment, phase="stopped")


@contextlib.contextmanager
def running(
    dgd: v1beta1.DynamoGraphDeployment,
    *,
    profile: Profile | None = None,
    options: UpOptions | None = None,
    report: Report = print,
    extras: Sequence[Mapping[str, Any]] = (),
) -> Iterator[Deployment]:
    """The graph, ready, for the length of a `with` block; see `up` for arguments and errors."""
    options = options or UpOptions()
    plan = process_specs(dgd, profile=profile, options=options, extras=extras)
    with _Run.start(plan, options, report) as run:
        yield run.wait_ready()


class _Run:
    """A supervisor process that this process started."""

    def __init__(
        self, plan: Launch, options: UpOptions, report: Report, process: subprocess.Popen[bytes]
    ) -> None:
        self.plan = plan
        self.options = options
        self.report = report
        self.process = process
        self.directory = RunDirectory(options.home, plan.name)

    @classmethod
    def start(cls, plan: Launch, options: UpOptions, report: Report) -> _Run:
        directory = RunDirectory(options.home, plan.name)
        lock = _locked(directory, options, report)
        try:
            _clean_after_crash(directory, report)
            if (error := cannot_listen(plan.host, plan.port)) is not None:
                raise _cannot_listen(plan.host, plan.port, error)
            for note in plan.notes:
                report(f"note: {note}")
            directory.clean(logs=True)
            directory.make()
            for path, content in plan.files.items():
                state.write(Path(path), content.encode())
            state.write(directory.launch, msgspec.json.encode(plan))
            process = _spawn_supervisor(directory, lock, detached=options.detach)
        finally:
            os.close(lock)
        return cls(plan, options, report, process)

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_ready(self) -> Deployment:
        """Raises StartFailed, with the end of the log that matters, when it takes too long or a process fails."""
        end = time.monotonic() + self.options.ready_timeout_s
        said = ""
        while True:
            deployment = state.read(self.directory)
            if self._ended():
                raise self._start_failed(state.read(self.directory))
            if deployment is not None:
                if (line := progress(deployment)) != said:
                    self.report(line)
                    said = line
                if deployment.phase == "ready" and _answers(deployment):
                    self.report(f"{', '.join(deployment.models)} at {deployment.url}/v1")
                    return deployment
            if time.monotonic() > end:
                raise self._too_slow(deployment)
            time.sleep(_POLL_S)

    def watch(self, deployment: Deployment) -> Deployment:
        """Reports what happens to the processes until the supervisor ends; the last state seen.

        Raises ArmatureError when the supervisor ended without having been told to.
        """
        while not self._ended():
            now = state.read(self.directory)
            if now is not None and now != deployment:
                for line in changes(deployment, now):
                    self.report(line)
                deployment = now
            time.sleep(4 * _POLL_S)
        if (code := self.process.wait()) != 0:
            raise ArmatureError(
                f"The supervisor of {self.plan.name} ended unexpectedly (exit {code}).",
                f"Its log is {self.directory.supervisor_log}; start the graph again with `armature up`.",
            )
        return deployment

    def stop(self) -> None:
        """Everything ends; Ctrl-C while it does ends it at once."""
        if not self._ended():
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait()
        except KeyboardInterrupt:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        left = state.read(self.directory)
        if left is not None:
            state.end_orphans(left)
        self.directory.clean()

    def _ended(self) -> bool:
        """Not by `Popen.poll`: a Ctrl-C just as it has taken its lock leaves that locked, and `wait` waits forever."""
        if self.process.returncode is not None:
            return True
        gone = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, gone) is not None

    def let_go(self) -> None:
        """Leaves it to itself; not waiting for it is the point."""
        self.process.returncode = 0

    def _start_failed(self, deployment: Deployment | None) -> StartFailed:
        failed = (
            [process for process in deployment.processes if process.state == "failed"] if deployment else []
        )
        if not failed:
            return StartFailed(
                f"{self.plan.name} stopped before it was ready." + _tail_of(self.directory.supervisor_log),
                "Start it again with `armature up`.",
            )
        process = failed[0]
        others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return StartFailed(
            f"{process.name}{others} {process.message}." + _tail_of(Path(process.log_path)),
            f"Its whole log: {process.log_path}",
        )

    def _too_slow(self, deployment: Deployment | None) -> StartFailed:
        waiting = [p for p in deployment.processes if p.state != "ready"] if deployment else []
        names = ", ".join(process.name for process in waiting) or "the frontend to find every worker"
        log = Path(waiting[0].log_path) if waiting else self.directory.supervisor_log
        return StartFailed(
            f"{self.plan.name} was not ready after {self.options.ready_timeout_s:g} s: waiting for {names}."
            + _tail_of(log),
            "Allow more time with --timeout, or look into the log.",
        )


def _locked(directory: RunDirectory, options: UpOptions, report: Report) -> int:
    """A file descriptor that holds the name's lock. Raises StartFailed when the name runs and may not be replaced."""
    try:
        directory.lock.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise state.output_failed(directory.lock, error) from None
    replaced = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            other = state.read(directory)
            if options.replace and other is not None and not replaced:
                report(f"Stopping the {directory.name} that runs already.")
                state.down(directory.name, home=options.home)
                replaced = True
                continue
            os.close(lock)
            where = f" at {other.url}" if other is not None else ""
            raise StartFailed(
                f"{directory.name} runs already{where}.",
                f"Stop it with `armature down {directory.name}`, or start over with --replace.",
            ) from None


def _clean_after_crash(directory: RunDirectory, report: Report) -> None:
    """We hold the lock, so whatever state there is belongs to a supervisor that died."""
    left = state.read(directory)
    if left is None:
        return
    if left.phase != "failed":
        report(f"Cleaning up after a run of {directory.name} that was killed.")
    state.end_orphans(left)
    directory.clean()


def _spawn_supervisor(directory: RunDirectory, lock: int, *, detached: bool) -> subprocess.Popen[bytes]:
    """The supervisor, in a session of its own so that Ctrl-C reaches only us; it inherits the lock."""
    argv = [sys.executable, "-m", "armature.local.supervisor", str(directory.path)]
    try:
        with directory.supervisor_log.open("ab") as log:
            return subprocess.Popen(
                argv if detached else [*argv, "--lifeline"],
                stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock,),
            )
    except OSError as error:
        raise StartFailed(f"The supervisor could not be started: {error}.") from None


def _cannot_listen(host: str, port: int, error: OSError) -> StartFailed:
    if error.errno == errno.EACCES:
        return StartFailed(
            f"Port {port} on {host} may not be used: {error.strerror}.",
            "Choose one above 1023 with --port N.",
        )
    if error.errno != errno.EADDRINUSE:
        return StartFailed(
            f"Cannot listen on {host}: {error.strerror or error}.",
            "Give an address of this machine with --host: 127.0.0.1, or 0.0.0.0 for all of them.",
        )
    holder = port_holder(port)
    by = f" by {holder}" if holder else ""
    return StartFailed(
        f"Port {port} on {host} is in use{by}.",
        "Choose another with --port N, or a free one with --port 0.",
    )


def _answers(deployment: Deployment) -> bool:
    """Whether the frontend serves every model with every worker: it is ready before it has discovered them."""
    workers = sum(process.kind == "worker" for process in deployment.processes)
    if deployment.port == 0 or not workers:
        return True
    try:
        with urllib.request.urlopen(f"{deployment.url}/health", timeout=2) as response:
            health = json.load(response)
    except (OSError, ValueError, urllib.error.URLError):
        return False
    found = sum(bool(instance.get("ready")) for instance in health.get("instances", ()))
    return found >= workers and set(deployment.models) <= set(health.get("models", ()))


def _tail_of(log: Path) -> str:
    lines = tail(log, _TAIL_LINES)
    return "".join(f"\n    {line}" for line in lines)
