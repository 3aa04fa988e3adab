"""The supervisor's children: started with a log each, ended one by one or all at once, and reaped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from armature.errors import StartFailed
from armature.local.proc import ProcessId, die_with_parent, signal_group
from armature_testbed.layout import Component, Layout

__all__ = ["Children"]


@dataclass(slots=True)
class _Child:
    argv: list[str]
    env: dict[str, str]
    extra: bool
    process: subprocess.Popen[bytes]
    identity: ProcessId = field(init=False)

    def __post_init__(self) -> None:
        self.identity = ProcessId.of(self.process.pid)


class Children:
    """Processes by name, each in a session of its own and killed by the kernel with this process.

    Used from the main thread alone: it is the one whose end the kernel watches.
    """

    def __init__(self, layout: Layout, environment: Mapping[str, str]) -> None:
        self._layout = layout
        self._environment = dict(environment)
        self._children: dict[str, _Child] = {}

    def start(
        self,
        name: str,
        argv: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        *,
        extra: bool = True,
    ) -> None:
        """Starts a process, or one of this name again that has ended (then `argv` and `env` may be left out).

        env: added to the testbed's environment. extra: added by a user, so stopped in order and first.
        Raises StartFailed when one of this name runs or it cannot be started.
        """
        before = self._children.get(name)
        if before is not None and before.process.poll() is None:
            raise StartFailed(f"{name} runs already (pid {before.process.pid}).")
        if argv is None and before is None:
            raise StartFailed(f"{name} was never started, so its command must be given.")
        argv = list(argv) if argv is not None else before.argv if before else []
        env = dict(env) if env is not None else before.env if before else {}
        extra = extra if before is None else before.extra
        environment = {**self._environment, **env}
        try:
            with self._layout.log(name).open("ab") as log:
                process = subprocess.Popen(
                    argv,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=die_with_parent(),
                )
        except OSError as error:
            raise StartFailed(f"{name} cannot be started: {error}.") from None
        self._children[name] = _Child(argv, env, extra, process)

    def stop(self, name: str, *, grace_s: float = 0.0) -> None:
        """Ends a process and its group: with SIGTERM and `grace_s` first where that is not 0. Raises StartFailed for
        an unknown name; stopping what has ended is no error."""
        child = self._children.get(name)
        if child is None:
            raise StartFailed(f"{name} is not here; there are: {', '.join(self._children)}.")
        if child.process.poll() is not None:
            return
        if grace_s > 0:
            signal_group(child.process.pid, signal.SIGCONT)
            signal_group(child.process.pid, signal.SIGTERM)
            try:
                child.process.wait(timeout=grace_s)
                return
            except subprocess.TimeoutExpired:
                pass
        signal_group(child.process.pid, signal.SIGKILL)
        child.process.wait()

    def stop_extras(self, *, grace_s: float) -> None:
        """SIGTERM to all that users added, and `grace_s` for them to end; what is left is the caller's to kill."""
        extras = [child for child in self._children.values() if child.extra and child.process.poll() is None]
        for child in extras:
            signal_group(child.process.pid, signal.SIGTERM)
        end = time.monotonic() + grace_s
        for child in extras:
            try:
                child.process.wait(timeout=max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue

    def reap(self) -> bool:
        """Collects children that have ended, adopted ones included; says whether one of ours has."""
        own = {child.process.pid for child in self._children.values() if child.process.returncode is None}
        ended = [child for child in self._children.values() if child.process.returncode is None]
        changed = [child for child in ended if child.process.poll() is not None]
        while True:  # then those that our children left to us; ours are Popen's to collect
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if info is None or info.si_pid in own:
                break
            os.waitpid(info.si_pid, 0)
        return bool(changed)

    def ended(self, name: str) -> int | None:
        """The exit status of a process that has ended; None while it runs."""
        return self._children[name].process.poll()

    def components(self) -> tuple[Component, ...]:
        return tuple(
            Component(name, child.process.pid, child.identity.started, child.process.poll())
            for name, child in self._children.items()
        )
