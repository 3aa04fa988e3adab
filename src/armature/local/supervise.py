"""Keeps a set of processes running: starts, watches, restarts and stops them, and leaves nothing behind.

One thread and one selector, no callbacks: `Supervisor.tick` observes (output, ends, time) and acts on what it sees,
so a test drives it step by step with real children. Every child is the leader of its own session and is killed by
the kernel when the supervisor dies (see `proc`); its whole group is killed when it ends or will not stop.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from armature.local.logs import LOG_BYTES, CappedLog
from armature.local.proc import signal_group, spawn
from armature.local.spec import ProcessSpec

__all__ = ["Child", "ChildState", "RestartPolicy", "Supervisor", "restart_delay_s"]

ChildState = Literal["waiting", "starting", "ready", "stopping", "stopped", "failed"]
_READ_BYTES = 65536
_READY_LINE_BYTES = 65536
_LAST_READS = 64


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a dead process is started again: after first_s, then twice as long each time up to cap_s. After
    max_crashes within window_s it is left alone; a crash older than that is forgotten."""

    first_s: float = 1.0
    cap_s: float = 30.0
    max_crashes: int = 6
    window_s: float = 120.0


def restart_delay_s(crashes: Sequence[float], now: float, policy: RestartPolicy) -> float | None:
    """Seconds to wait before the next start, given the times of all crashes so far; None to give up."""
    recent = sum(1 for at in crashes if now - at <= policy.window_s)
    if recent >= policy.max_crashes:
        return None
    return min(policy.cap_s, policy.first_s * 2.0 ** max(0, recent - 1))


@dataclass(slots=True)
class Child:
    """One process over its lives. `message` says why it is in its state; `port` is what it told when ready."""

    spec: ProcessSpec
    state: ChildState = "waiting"
    pid: int | None = None
    port: int | None = None
    restarts: int = 0
    exit_code: int | None = None
    message: str = ""
    was_ready: bool = False
    ready_at: float | None = None
    crashes: list[float] = field(default_factory=list)
    start_at: float = 0.0
    popen: subprocess.Popen[bytes] | None = None
    log: CappedLog | None = None
    line: bytes = b""

    @property
    def running(self) -> bool:
        return self.popen is not None


class Supervisor:
    """Runs `specs` until `stop`.

    A process that ends before it was ever ready has `failed`: what cannot start once will not start twice, and
    whoever waits should hear it at once. clock: seconds, monotonic. Not safe for use from several threads.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        policy: RestartPolicy | None = None,
        grace_s: float = 6.0,
        env: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        log_bytes: int = LOG_BYTES,
    ) -> None:
        self.children = tuple(Child(spec) for spec in specs)
        self.policy = policy or RestartPolicy()
        self.grace_s = grace_s
        self.env = dict(os.environ if env is None else env)
        self.clock = clock
        self.log_bytes = log_bytes
        self._selector = selectors.DefaultSelector()

    @property
    def ready(self) -> bool:
        return all(child.state == "ready" for child in self.children)

    @property
    def failed(self) -> tuple[Child, ...]:
        return tuple(child for child in self.children if child.state == "failed")

    def watch(self, fd: int) -> None:
        """Makes `tick` wake up when `fd` becomes readable; reading it is the caller's business."""
        self._selector.register(fd, selectors.EVENT_READ, None)

    def unwatch(self, fd: int) -> None:
        self._selector.unregister(fd)

    def tick(self, wait_s: float = 0.2) -> None:
        """Starts what is due, waits at most `wait_s` for something to happen, and takes note of it."""
        now = self.clock()
        for child in self.children:
            if child.state == "waiting" and child.start_at <= now:
                self._start(child)
        for key, _ in self._selector.select(wait_s):
            if key.data is not None:
                child, is_stdout = key.data
                self._read(child, key.fd, is_stdout)
        for child in self.children:
            if child.popen is not None and (code := child.popen.poll()) is not None:
                self._ended(child, code)

    def stop(self) -> None:
        """Ends every process, the highest stage first: SIGTERM, `grace_s`, SIGKILL. Returns when all are gone."""
        for child in self.children:
            if child.state == "waiting":
                child.state = "stopped"
        for stage in sorted({child.spec.stage for child in self.children}, reverse=True):
            group = [child for child in self.children if child.spec.stage == stage and child.running]
            for child in group:
                child.state = "stopping"
                self._signal(child, signal.SIGTERM)
            self._wait(group, self.grace_s)
            for child in group:
                if child.running:
                    child.message = f"did not stop within {self.grace_s:g} s and was killed"
                    self._signal(child, signal.SIGKILL)
            self._wait(group, None)
        self._selector.close()
        for child in self.children:
            if child.log is not None:
                child.log.close()

    def _wait(self, group: Sequence[Child], limit_s: float | None) -> None:
        end = None if limit_s is None else self.clock() + limit_s
        while any(child.running for child in group) and (end is None or self.clock() < end):
            self.tick(0.05)

    def _start(self, child: Child) -> None:
        path = Path(child.spec.log_path)
        child.state, child.message, child.exit_code = "starting", "", None
        try:
            if child.log is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                child.log = CappedLog(path, self.log_bytes)
            popen = spawn(_with_port(child.spec.argv, child.port), env={**self.env, **child.spec.env})
        except OSError as error:
            child.state, child.message = "failed", f"could not be started: {error}"
            return
        child.popen, child.pid, child.line = popen, popen.pid, b""
        for pipe, is_stdout in ((popen.stdout, True), (popen.stderr, False)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._selector.register(pipe.fileno(), selectors.EVENT_READ, (child, is_stdout))
        if child.spec.ready == "started":
            self._is_ready(child, None)

    def _read(self, child: Child, fd: int, is_stdout: bool) -> None:
        """Moves what a pipe holds into the log; at its end the pipe is no longer watched."""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(fd)
            return
        if child.log is not None:
            child.log.write(data)
        if is_stdout and child.state == "starting":
            *lines, rest = (child.line + data).split(b"\n")
            child.line = rest[-_READY_LINE_BYTES:]
            for line in lines:
                told = _ready_line(line)
                if told is not None:
                    self._is_ready(child, told.get("port"))
                    return

    def _is_ready(self, child: Child, port: object) -> None:
        child.state, child.was_ready, child.ready_at = "ready", True, self.clock()
        if isinstance(port, int) and 0 < port < 65536:
            child.port = port

    def _ended(self, child: Child, code: int) -> None:
        popen, now = child.popen, self.clock()
        if popen is None:
            return
        signal_group(popen.pid, signal.SIGKILL)  # what it may have started itself
        for pipe in (popen.stdout, popen.stderr):
            if pipe is not None:
                self._drain(child, pipe.fileno())
                pipe.close()
        child.popen, child.pid, child.exit_code = None, None, code
        if child.state == "stopping":
            child.state = "stopped"
            return
        ended = _how_it_ended(code)
        self._after_end(child, ended, now)
        if child.log is not None and child.crashes:  # a failed start is told by `up` itself
            child.log.write(f"armature: {child.spec.name} {child.message}\n".encode())

    def _after_end(self, child: Child, ended: str, now: float) -> None:
        """What becomes of a child that ended without being told to: failed, or waiting for its next start."""
        if not child.was_ready or not child.spec.restart:
            child.state, child.message = "failed", ended
            return
        child.crashes.append(now)
        delay_s = restart_delay_s(child.crashes, now, self.policy)
        if delay_s is None:
            times, window = self.policy.max_crashes, self.policy.window_s
            child.state, child.message = (
                "failed",
                f"{ended}; gave up after {times} crashes within {window:g} s",
            )
            return
        child.restarts += 1
        child.state, child.message = "waiting", f"{ended}; starts again in {delay_s:g} s"
        child.start_at = now + delay_s

    def _drain(self, child: Child, fd: int) -> None:
        """Last words: what is still in the pipe. A grandchild may hold the other end, so nothing is waited for."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)
        with contextlib.suppress(BlockingIOError):
            for _ in range(_LAST_READS):
                if not (data := os.read(fd, _READ_BYTES)):
                    break
                if child.log is not None:
                    child.log.write(data)

    @staticmethod
    def _signal(child: Child, number: int) -> None:
        if child.pid is not None:
            signal_group(child.pid, number)


def _ready_line(line: bytes) -> dict[str, object] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.get("ready") is True else None


def _with_port(argv: Sequence[str], port: int | None) -> list[str]:
    """`argv` with the port told earlier in place of a `0` after `--port`."""
    words = list(argv)
    if port is not None and "--port" in words[:-1]:
        at = words.index("--port") + 1
        words[at] = str(port) if words[at] == "0" else words[at]
    return words


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
