"""The process that owns a deployment's processes: `python -m armature.local.supervisor DIRECTORY`.

It reads `launch.json`, runs `supervise.Supervisor` until it is told to stop, and is the only writer of
`state.json`. It imports little and has one thread, so that it starts fast and its children can be tied to its life.
With `--lifeline` it also stops when its standard input ends: whoever holds the other end (a foreground `up`) may
then die in any way and leaves nothing behind. And it stops when its directory is removed: `status` and `down` could
not find it any more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec

from armature.errors import ArmatureError, OutputFailed
from armature.local import state
from armature.local.proc import ProcessId
from armature.local.spec import Launch
from armature.local.supervise import Child, RestartPolicy, Supervisor

__all__ = ["main", "phase_of"]


def phase_of(children: tuple[Child, ...], *, was_ready: bool) -> state.Phase:
    """How the whole is, from how its parts are: before the first readiness one failure fails the start."""
    if any(child.state == "failed" for child in children):
        return "degraded" if was_ready else "failed"
    if all(child.state == "ready" for child in children):
        return "ready"
    return "degraded" if was_ready else "starting"


class Recorder:
    """Writes the deployment's state whenever it has changed."""

    def __init__(self, directory: state.RunDirectory, launch: Launch, *, detached: bool) -> None:
        self.directory = directory
        self.launch = launch
        self.detached = detached
        self.own = ProcessId.of(os.getpid())
        self.started_at = time.time()
        self.ready_at: float | None = None
        self.complaint = ""
        self._written: state.Deployment | None = None
        self._starts: dict[int, str] = {}
        self._ready_at: dict[str, float] = {}

    def record(self, supervisor: Supervisor, phase: state.Phase, message: str = "") -> None:
        if phase == "ready" and self.ready_at is None:
            self.ready_at = time.time()
        now = state.Deployment(
            name=self.launch.name,
            phase=phase,
            host=self.launch.host,
            port=self._port(supervisor),
            models=self.launch.models,
            processes=tuple(self._process(child) for child in supervisor.children),
            notes=self.launch.notes,
            supervisor_pid=self.own.pid,
            supervisor_started=self.own.started,
            started_at=self.started_at,
            ready_at=self.ready_at,
            message=message,
            detached=self.detached,
        )
        if now != self._written:
            state.write(self.directory.state, msgspec.json.encode(now))
            self._written = now

    def _port(self, supervisor: Supervisor) -> int:
        frontends = [child for child in supervisor.children if child.spec.kind == "frontend"]
        return (frontends[0].port or self.launch.port) if frontends else self.launch.port

    def _process(self, child: Child) -> state.Process:
        spec = child.spec
        if child.pid is not None and child.pid not in self._starts:
            self._starts[child.pid] = ProcessId.of(child.pid).started
        if child.state == "ready":
            self._ready_at.setdefault(f"{spec.name}/{child.pid}", time.time())
        return state.Process(
            name=spec.name,
            component=spec.component,
            kind=spec.kind,
            state=child.state,
            log_path=spec.log_path,
            role=spec.role,
            pid=child.pid,
            started=self._starts.get(child.pid or 0, ""),
            port=child.port,
            restarts=child.restarts,
            exit_code=child.exit_code,
            message=child.message,
            ready_at=self._ready_at.get(f"{spec.name}/{child.pid}"),
        )


def run(directory: state.RunDirectory, launch: Launch, *, lifeline: bool) -> int:
    """Supervises until told to stop. Exit status: 0 stopped when told, 1 a process could not be started."""
    wake, waker = socket.socketpair()
    for end in (wake, waker):
        end.setblocking(False)
    told: list[int] = []
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: told.append(got))

    supervisor = Supervisor(launch.processes, policy=RestartPolicy())
    watched = [wake.fileno()]
    if lifeline:
        os.set_blocking(0, False)
        watched.append(0)
    for fd in watched:
        supervisor.watch(fd)
    recorder = Recorder(directory, launch, detached=not lifeline)
    was_ready = False
    phase: state.Phase = "starting"
    recorder.record(supervisor, phase)
    try:
        while not told and not (lifeline and _ended(0)) and directory.launch.exists():
            supervisor.tick()
            phase = phase_of(supervisor.children, was_ready=was_ready)
            was_ready = was_ready or phase == "ready"
            _record(recorder, supervisor, phase)
            if phase == "failed":
                break
    finally:
        if phase != "failed":
            _record(recorder, supervisor, "stopping")
        for fd in watched:
            supervisor.unwatch(fd)
        supervisor.stop()
    if phase == "failed":
        why = "; ".join(f"{child.spec.name} {child.message}" for child in supervisor.failed)
        _record(recorder, supervisor, "failed", why)
        return 1
    directory.clean()
    return 0


def _record(recorder: Recorder, supervisor: Supervisor, phase: state.Phase, message: str = "") -> None:
    """A full disk must not take the deployment down: it is said once in the supervisor's log, and tried again."""
    try:
        recorder.record(supervisor, phase, message)
        recorder.complaint = ""
    except OutputFailed as error:
        if recorder.complaint != error.message:
            recorder.complaint = error.message
            with contextlib.suppress(OSError):  # the log may be on the same full disk
                print(error, file=sys.stderr, flush=True)


def _ended(fd: int) -> bool:
    """Whether the other end of a pipe is closed."""
    try:
        return os.read(fd, 1) == b""
    except BlockingIOError:
        return False


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m armature.local.supervisor")
    parser.add_argument("directory", type=Path, help="the deployment's directory, with its launch.json")
    parser.add_argument("--lifeline", action="store_true", help="stop when standard input ends")
    args = parser.parse_args(argv)
    directory = state.RunDirectory(args.directory.parent.parent, args.directory.name)
    try:
        launch = msgspec.json.decode(directory.launch.read_bytes(), type=Launch)
        return run(directory, launch, lifeline=args.lifeline)
    except (OSError, msgspec.MsgspecError) as error:
        print(f"{directory.launch}: {error}", file=sys.stderr)
    except ArmatureError as error:
        print(error, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
