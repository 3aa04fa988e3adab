"""The process that owns a testbed's processes: `python -m armature_testbed.supervisor DIRECTORY PARENT [--stay]`.

It is started in a new network namespace, makes the addresses, starts the control plane part by part and says so, a JSON
object a line on standard output; then it serves `control.sock`. It has one thread and children that the kernel kills
with it, so that no way of dying leaves an orphan; unless told to stay it ends with the process that started it. Its
last act is to remove the testbed's directory.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from armature.errors import ArmatureError, StartFailed
from armature.local.proc import ProcessId
from armature_testbed import namespace
from armature_testbed.children import Children
from armature_testbed.layout import Layout, State
from armature_testbed.start import Launch, start_control_plane

__all__ = ["main"]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_EXTRA_GRACE_S = 3.0


class Supervisor:
    """Runs until it is told to stop."""

    def __init__(self, layout: Layout, launch: Launch) -> None:
        self.layout = layout
        self.launch = launch
        self.children = Children(layout, launch.environment)
        own = ProcessId.of(os.getpid())
        self.state = State(own.pid, own.started, namespace.namespace_of(own.pid) or 0, launch.user_namespace)
        self.stopping = False

    def record(self, ready_s: float | None = None) -> None:
        ready_s = self.state.ready_s if ready_s is None else ready_s
        self.state = msgspec.structs.replace(
            self.state, components=self.children.components(), ready_s=ready_s
        )
        self.layout.write_state(self.state)

    def start(self, say: Callable[[str, float], None]) -> None:
        """Raises StartFailed when a part does not become ready."""
        began = time.monotonic()
        namespace.make_addresses()
        self.record()
        for stage in start_control_plane(self.layout, self.launch, self.children):
            self.record()
            say(stage, time.monotonic() - began)
        self.record(ready_s=time.monotonic() - began)

    def serve(self) -> None:
        """Answers requests, one line each way, and notes which children have ended, until told to stop."""
        wake, waker = socket.socketpair()
        for end in (wake, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with _listening(self.layout) as server, selectors.DefaultSelector() as selector:
            selector.register(server, selectors.EVENT_READ)
            selector.register(wake, selectors.EVENT_READ)
            while not self.stopping and self.layout.launch.exists():
                ready = {key.fileobj for key, _ in selector.select(timeout=5.0)}
                if wake in ready:
                    with contextlib.suppress(BlockingIOError):
                        wake.recv(4096)
                if self.children.reap():
                    self.record()
                if server in ready:
                    self._answer(server.accept()[0])

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5.0)
            with connection.makefile("rwb") as stream:
                line = stream.readline()
                try:
                    answer: dict[str, object] = {"ok": True, **self._do(json.loads(line))}
                except (ArmatureError, OSError, KeyError, ValueError) as error:
                    answer = {"ok": False, "error": str(error)}
                stream.write(json.dumps(answer).encode() + b"\n")

    def _do(self, request: dict[str, object]) -> dict[str, object]:
        name = str(request["name"])
        match request["do"]:
            case "start":
                argv, env = request.get("argv"), request.get("env")
                assert argv is None or isinstance(argv, list)
                assert env is None or isinstance(env, dict)
                self.children.start(name, argv, env)
            case "stop":
                self.children.stop(name, grace_s=float(str(request.get("grace_s", 0.0))))
            case other:
                raise StartFailed(f"the supervisor cannot {other}")
        self.record()
        component = self.state.component(name)
        assert component is not None
        return {"pid": component.pid}

    def stop(self) -> None:
        """Ends everything in the namespace: what was added first, in order; the rest at once, for its data goes too."""
        self.children.stop_extras(grace_s=_EXTRA_GRACE_S)
        namespace.kill_all(self.state.namespace)


@contextlib.contextmanager
def _listening(layout: Layout) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        os.chdir(layout.directory)  # a socket's path may hold 107 bytes, a directory's any number
        server.bind(layout.control.name)
        server.listen()
        yield server


def _arrange(parent: int) -> None:
    """Orphans of our children become ours, and we are told to stop when our parent ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended in between: the signal will never come
        os.kill(os.getpid(), signal.SIGTERM)


def _stand_alone() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, 0)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m armature_testbed.supervisor")
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "parent", type=int, help="the process that started us; while it waits, we end when it does"
    )
    parser.add_argument("--stay", action="store_true", help="once ready, outlive it")
    args = parser.parse_args(argv)
    layout = Layout(args.directory)
    supervisor = Supervisor(layout, msgspec.json.decode(layout.launch.read_bytes(), type=Launch))

    def told(number: int, _frame: object) -> None:
        first, supervisor.stopping = not supervisor.stopping, True
        if first and supervisor.state.ready_s is None:
            raise KeyboardInterrupt(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, told)
    try:
        _arrange(args.parent)
        supervisor.start(_say)
        if args.stay:
            _stand_alone()
        _tell({"stage": "ready", "seconds": supervisor.state.ready_s})
        _let_go_of_output()
        supervisor.serve()
    except KeyboardInterrupt as interrupted:
        _tell({"error": f"it was told to stop ({interrupted})"})
        return 1
    except (ArmatureError, OSError, subprocess.CalledProcessError) as error:
        _tell({"error": str(error)})
        return 1
    finally:
        supervisor.stopping = True
        supervisor.stop()
        with contextlib.suppress(OSError), layout.locked(wait=False):  # whoever holds it cleans up
            layout.remove()
    return 0


def _say(stage: str, seconds: float) -> None:
    _tell({"stage": stage, "seconds": seconds})


def _tell(message: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(message), flush=True)


def _let_go_of_output() -> None:
    """Whoever started us has heard everything."""
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 1)


if __name__ == "__main__":
    sys.exit(main())
