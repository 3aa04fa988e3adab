"""One controller: changes in, keys queued, a pass over each until there is nothing to do.

A pass is given a key, reads the caches and writes what differs. It need not know why it was called: what it does
follows from what it sees. It says when to look again; if it fails it is tried again, later each time, and where only a
change can help (the API server calls the object invalid) much later.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from armature.errors import ArmatureError
from armature.kube.errors import ApiError, Conflict
from armature.kube.reflector import Reflector
from armature.kube.store import Change, Key
from armature.operator.runtime.mapping import Keys
from armature.operator.runtime.metrics import ReconcileMetrics
from armature.operator.runtime.queue import WorkQueue

__all__ = ["Controller", "Outcome", "Reconcile", "Watch"]

_log = logging.getLogger(__name__)
_LASTING_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass that went well leaves to be done. requeue_after_s: look again then, even if nothing changes."""

    requeue_after_s: float | None = None


Reconcile = Callable[[Key], Awaitable[Outcome | None]]


@dataclass(frozen=True, slots=True)
class Watch:
    """Whose changes a controller hears, and which of its keys each concerns (`mapping`)."""

    reflector: Reflector
    keys: Keys


class Controller:
    """Calls `reconcile` for the keys that `watches` name, at most `workers` at a time and one at a time per key.

    name: the resource type in metrics and logs. pass_timeout_s: a pass that takes longer is ended and counts as failed.
    Time is the running loop's.
    """

    def __init__(
        self,
        name: str,
        reconcile: Reconcile,
        watches: Sequence[Watch],
        *,
        workers: int = 8,
        metrics: ReconcileMetrics | None = None,
        rng: random.Random | None = None,
        pass_timeout_s: float = 120.0,
    ) -> None:
        self.name = name
        self.watches = tuple(watches)
        self._reconcile = reconcile
        self._workers = workers
        self._metrics = metrics
        self._rng = rng
        self._pass_timeout_s = pass_timeout_s
        self._queue: WorkQueue | None = None
        self._draining = asyncio.Event()
        for watch in self.watches:
            watch.reflector.on_change(lambda change, keys=watch.keys: self._heard(change, keys))  # type: ignore[misc]

    def add(self, key: Key, delay_s: float = 0.0) -> None:
        """Asks for a pass from outside, now or later; nothing while the controller does not run."""
        if self._queue is not None:
            if delay_s > 0:
                self._queue.add_after(key, delay_s)
            else:
                self._queue.add(key)

    def drain(self) -> None:
        """Begins no further pass; `run` returns when those under way have ended."""
        self._draining.set()

    async def run(self) -> None:
        """Begins with a pass over everything there is; until `drain`, or cancelled, which ends passes where they
        are. The reflectors must have synced."""
        self._draining.clear()
        self._queue = queue = WorkQueue(self._rng)
        slots = asyncio.Semaphore(self._workers)
        for watch in self.watches:
            for obj in watch.reflector.store.all():
                self._heard(Change("ADDED", None, obj), watch.keys)
        try:
            async with asyncio.TaskGroup() as passes:
                ended = passes.create_task(self._draining.wait())
                while not self._draining.is_set():
                    await slots.acquire()
                    key = await _first(queue.take(), ended)
                    if key is None:
                        return
                    passes.create_task(self._pass(queue, key)).add_done_callback(lambda _: slots.release())
        finally:
            self._queue = None

    def _heard(self, change: Change, keys: Keys) -> None:
        if self._queue is not None:
            for key in keys(change):
                self._queue.add(key)

    async def _pass(self, queue: WorkQueue, key: Key) -> None:
        now = asyncio.get_running_loop().time
        begun = now()
        try:
            async with asyncio.timeout(self._pass_timeout_s):
                outcome = await self._reconcile(key) or Outcome()
        except Exception as error:
            self._failed(queue, key, error, now() - begun)
        else:
            queue.forget(key)
            if outcome.requeue_after_s is not None:
                queue.add_after(key, outcome.requeue_after_s)
            if self._metrics is not None:
                result = "success" if outcome.requeue_after_s is None else "requeue"
                self._metrics.passed(self.name, key[0], result, now() - begun)  # type: ignore[arg-type]
        finally:
            queue.done(key)

    def _failed(self, queue: WorkQueue, key: Key, error: Exception, duration_s: float) -> None:
        at_least_s = 0.0
        if isinstance(error, ApiError):
            at_least_s = max(error.retry_after_s or 0.0, _LASTING_WAIT_S if error.lasting else 0.0)
        wait_s = queue.retry(key, at_least_s)
        name = "/".join(part for part in key if part)
        if isinstance(error, Conflict):
            _log.debug("%s %s: %s; again in %.1f s", self.name, name, error.message, wait_s)
        elif isinstance(error, ArmatureError | TimeoutError):
            _log.warning(
                "%s %s: %s; again in %.1f s", self.name, name, error or "the pass took too long", wait_s
            )
        else:
            _log.exception("%s %s: again in %.1f s", self.name, name, wait_s, exc_info=error)
        if self._metrics is not None:
            self._metrics.failed(self.name, key[0], error, duration_s)


async def _first(taking: Awaitable[Key], ended: asyncio.Task[bool]) -> Key | None:
    """The next key, or None once `ended` is done."""
    take = asyncio.ensure_future(taking)
    try:
        await asyncio.wait((take, ended), return_when=asyncio.FIRST_COMPLETED)
        return None if ended.done() else take.result()
    finally:
        take.cancel()
