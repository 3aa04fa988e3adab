"""One run of a container from its start to its end: its hook, its probes, its log, and what they say of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from typing import Any

from armature_testbed.process_node.asking import ask
from armature_testbed.process_node.downward import ConfigError
from armature_testbed.process_node.probes import ProbeSpec, Verdict, answered, handler_check, probe_of
from armature_testbed.process_node.runtime import Container

__all__ = ["ContainerRun", "Say"]

Say = Callable[[str, str, str], None]
"""Records an event about the pod: type, reason, message."""
_KILL_POLL_S = 0.25
_LEAST_GRACE_S = 2.0


class ContainerRun:
    """`started` and `ready` are what its probes say. changed: called when they change. unwell: called when a probe or
    its hook wants it ended, with why and the grace in seconds (None: the pod's own)."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        container: Container,
        pod_ip: str,
        *,
        now_s: Callable[[], float],
        changed: Callable[[], None],
        unwell: Callable[[str, float | None], None],
        say: Say,
    ) -> None:
        self.name = str(spec["name"])
        self.container = container
        self.started = False
        self.ready = False
        self.ended = asyncio.Event()
        self._spec = spec
        self._pod_ip = pod_ip
        self._now_s = now_s
        self._changed = changed
        self._unwell = unwell
        self._say = say
        self._stopping: asyncio.Task[None] | None = None
        self._asking = asyncio.create_task(self._ask_all())

    async def finish(self) -> int:
        """Waits for its end; the exit code."""
        code = await self.container.wait()
        self._asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._asking
        self.started = self.ready = False
        self.ended.set()
        return code

    def stop(self, deadline_s: Callable[[], float]) -> None:
        """Begins its end: preStop, SIGTERM, and SIGKILL when the deadline has come (asked again as time goes on)."""
        if self._stopping is None and not self.ended.is_set():
            self._asking.cancel()
            self._stopping = asyncio.create_task(self._stop(deadline_s))

    def kill(self) -> None:
        self.container.signal(signal.SIGKILL)

    async def _stop(self, deadline_s: Callable[[], float]) -> None:
        hook = (self._spec.get("lifecycle") or {}).get("preStop")
        begun_s = self._now_s()
        if hook:
            ok, why = await self._hook(hook, max(0.0, deadline_s() - begun_s))
            if not ok:
                self._say("Warning", "FailedPreStopHook", f"PreStopHook failed: {why}")
        hook_end_s = self._now_s()
        self.container.signal(signal.SIGTERM)
        while not self.ended.is_set():
            end_s = max(deadline_s(), hook_end_s + _LEAST_GRACE_S if hook else 0.0)
            left_s = end_s - self._now_s()
            if left_s <= 0:
                self.kill()
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), min(left_s, _KILL_POLL_S))

    async def _hook(self, hook: Mapping[str, Any], limit_s: float) -> tuple[bool, str]:
        try:
            check = handler_check(hook, self._spec, self._pod_ip)
        except ConfigError as error:
            return False, str(error)
        return await ask(check, limit_s, self.container.execute)

    async def _ask_all(self) -> None:
        hook = (self._spec.get("lifecycle") or {}).get("postStart")
        if hook:
            ok, why = await self._hook(hook, 3600.0)
            if not ok:
                self._say("Warning", "FailedPostStartHook", f"PostStartHook failed: {why}")
                self._unwell(f"FailedPostStartHook: {why}", None)
                return
        startup = probe_of(self._spec, "startup", self._pod_ip)
        if startup is not None and not await self._until_started(startup):
            return
        self.started = True
        readiness = probe_of(self._spec, "readiness", self._pod_ip)
        liveness = probe_of(self._spec, "liveness", self._pod_ip)
        self.ready = readiness is None
        self._changed()
        async with asyncio.TaskGroup() as group:
            if readiness is not None:
                group.create_task(self._stay_ready(readiness))
            if liveness is not None:
                group.create_task(self._stay_alive(liveness))

    async def _until_started(self, spec: ProbeSpec) -> bool:
        verdict = Verdict()
        await asyncio.sleep(spec.initial_delay_s)
        while True:
            verdict = await self._ask_once("Startup", spec, verdict)
            if verdict.passed is not None:
                if not verdict.passed:
                    self._unwell(f"Container {self.name} failed startup probe", spec.grace_s)
                return verdict.passed
            await asyncio.sleep(spec.period_s)

    async def _stay_ready(self, spec: ProbeSpec) -> None:
        verdict = Verdict()
        await asyncio.sleep(spec.initial_delay_s)
        while True:
            verdict = await self._ask_once("Readiness", spec, verdict)
            if verdict.passed is not None and verdict.passed != self.ready:
                self.ready = verdict.passed
                self._changed()
            await asyncio.sleep(spec.period_s)

    async def _stay_alive(self, spec: ProbeSpec) -> None:
        verdict = Verdict()
        await asyncio.sleep(spec.initial_delay_s)
        while True:
            verdict = await self._ask_once("Liveness", spec, verdict)
            if verdict.passed is False:
                self._unwell(f"Container {self.name} failed liveness probe", spec.grace_s)
                return
            await asyncio.sleep(spec.period_s)

    async def _ask_once(self, kind: str, spec: ProbeSpec, before: Verdict) -> Verdict:
        ok, why = await ask(spec.check, spec.timeout_s, self.container.execute)
        if not ok and before.failures == 0:
            self._say("Warning", "Unhealthy", f"{kind} probe failed: {why}")
        return answered(before, ok, spec)
