"""Leader election on a `coordination.k8s.io/v1` Lease: of several replicas one leads at a time.

The leader renews the lease; where it has not managed to for `renew_s`, it stops leading, which is well before
`lease_s`, after which another may begin. How old a lease is, is judged by when *this* process saw it change, so clocks
of machines need not agree. A process that was frozen and wakes up may find that another leads by now: `held` knows from
the clock alone, before any answer of the server, and `guard.Guarded` refuses every write by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from armature.kube.client import Client
from armature.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from armature.kube.kinds import LEASE, Object

__all__ = ["Election", "Terms", "boot_clock"]

_log = logging.getLogger(__name__)


def boot_clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system can tell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, slots=True)
class Terms:
    """lease_s: a lease not renewed for so long is free. renew_s: a leader that could not renew for so long gives up.
    retry_s: how often the leader renews and the others look. The defaults of Kubernetes' own components."""

    lease_s: float = 15.0
    renew_s: float = 10.0
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        if not self.lease_s > self.renew_s > self.retry_s > 0:
            raise ValueError(f"a lease needs lease_s > renew_s > retry_s > 0, not {self}")


class Election:
    """One contender for the lease `namespace/name`.

    identity: unlike any other process's, this one's earlier runs included. clock: seconds (`boot_clock`). now: the wall
    clock, for the times in the lease, which only people read.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        terms: Terms | None = None,
        clock: Callable[[], float] = boot_clock,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: random.Random | None = None,
    ) -> None:
        self.identity = identity
        self.leader = ""
        self._client = client
        self._namespace = namespace
        self._name = name
        self._terms = terms or Terms()
        self._clock = clock
        self._now = now
        self._rng = rng or random.Random()
        self._renewed_at: float | None = None
        self._seen: tuple[str, float] = ("", 0.0)

    def held(self) -> bool:
        """Whether this process leads, by its own clock: nobody else can have begun yet."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < self._terms.renew_s

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Contends, and runs `lead` whenever this process leads, until `lead` returns or raises or this is cancelled;
        then the lease is released. When leadership is lost, `lead` is cancelled and awaited, and it contends again."""
        while True:
            await self._contend()
            _log.info("%s leads (lease %s/%s)", self.identity, self._namespace, self._name)
            leading = asyncio.ensure_future(lead())
            try:
                await self._renew_while(leading)
                if leading.done():
                    leading.result()
                    return
                self._renewed_at = None
                _log.warning("%s no longer leads: %s does", self.identity, self.leader or "nobody yet")
            finally:
                await _end(leading)
                if self.held():
                    await self._release()
                self._renewed_at = None

    async def _contend(self) -> None:
        while True:
            begun = self._clock()
            try:
                if await self._try():
                    self._renewed_at = begun
                    return
            except ApiError as error:
                _log.warning("lease %s/%s: %s", self._namespace, self._name, error.message)
            await asyncio.sleep(self._terms.retry_s * self._rng.uniform(0.8, 1.2))

    async def _renew_while(self, leading: asyncio.Future[None]) -> None:
        """Returns when `leading` is done or leadership is lost."""
        while self.held():
            done, _ = await asyncio.wait((leading,), timeout=self._terms.retry_s)
            if done or not self.held():
                return
            begun = self._clock()
            try:
                async with asyncio.timeout(self._left_s()):
                    if await self._try():
                        self._renewed_at = begun
                    elif self.leader != self.identity:
                        return
            except (ApiError, TimeoutError) as error:
                _log.warning("lease %s/%s not renewed: %s", self._namespace, self._name, error or "no answer")

    def _left_s(self) -> float:
        assert self._renewed_at is not None
        return max(0.0, self._terms.renew_s - (self._clock() - self._renewed_at))

    async def _try(self) -> bool:
        """Takes the lease or renews it, if it is ours or free."""
        try:
            lease = await self._client.get(LEASE, self._name, self._namespace)
        except NotFound:
            with contextlib.suppress(AlreadyExists):
                await self._client.create(LEASE, self._new_lease())
                self.leader = self.identity
                return True
            return False
        spec = lease.get("spec") or {}
        holder = self.leader = spec.get("holderIdentity") or ""
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        free_at = self._seen[1] + float(spec.get("leaseDurationSeconds") or 0)
        if holder not in ("", self.identity) and self._clock() < free_at:
            return False
        claim: dict[str, object] = {"holderIdentity": self.identity, "renewTime": self._stamp()}
        claim["leaseDurationSeconds"] = math.ceil(self._terms.lease_s)
        if holder != self.identity:
            claim["acquireTime"] = claim["renewTime"]
            claim["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        try:
            await self._patch(claim, version)
        except Conflict:  # somebody wrote it since we read it: the next look tells who
            return False
        self.leader = self.identity
        return True

    async def _release(self) -> None:
        """Lets another begin at once."""
        try:
            async with asyncio.timeout(self._terms.retry_s):
                lease = await self._client.get(LEASE, self._name, self._namespace)
                if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                    free = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._stamp()}
                    await self._patch(free, lease["metadata"]["resourceVersion"])
        except (ApiError, TimeoutError) as error:
            _log.warning("lease %s/%s not released: %s", self._namespace, self._name, error or "no answer")

    async def _patch(self, spec: dict[str, object], version: str) -> None:
        patch = {"metadata": {"resourceVersion": version}, "spec": spec}
        await self._client.patch(LEASE, self._name, self._namespace, patch)

    def _new_lease(self) -> Object:
        stamp = self._stamp()
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._terms.lease_s),
            "acquireTime": stamp,
            "renewTime": stamp,
            "leaseTransitions": 0,
        }
        return {"metadata": {"name": self._name, "namespace": self._namespace}, "spec": spec}

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def _end(task: asyncio.Future[None]) -> None:
    """Cancels a task and waits until it has ended, however long that takes: another may begin only then."""
    if task.done():
        return
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("what the leader ran failed while it ended", exc_info=error)
