"""Which key's turn it is: a queue for passes over objects, by namespace and name.

A key waits at most once, is never with two passes at a time, and is looked at again when it was added during its pass.
First come, first served. `KeyedQueue` decides, with the time passed in; `WorkQueue` waits.
"""

from __future__ import annotations

import asyncio
import heapq
import random

from armature.kube.store import Key

__all__ = ["FIRST_WAIT_S", "LONGEST_WAIT_S", "KeyedQueue", "WorkQueue"]

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 300.0


class KeyedQueue:
    """The queue's state. Times are seconds of one clock."""

    def __init__(
        self,
        rng: random.Random,
        *,
        first_wait_s: float = FIRST_WAIT_S,
        longest_wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        self._rng = rng
        self._first_wait_s = first_wait_s
        self._longest_wait_s = longest_wait_s
        self._ready: dict[Key, None] = {}
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._order: list[tuple[float, Key]] = []
        self._failures: dict[Key, int] = {}

    def __len__(self) -> int:
        """How many keys could be taken now, were those that are due moved up."""
        return len(self._ready)

    def add(self, key: Key) -> None:
        if key in self._running:
            self._again.add(key)
        else:
            self._ready[key] = None

    def add_at(self, key: Key, time_s: float) -> None:
        """Adds the key then. Of two such times the earlier holds, and a pass that begins before it makes it void: what
        is still to come, that pass will say."""
        held = self._due.get(key)
        if held is None or time_s < held:
            self._due[key] = time_s
            heapq.heappush(self._order, (time_s, key))

    def retry(self, key: Key, now_s: float, at_least_s: float = 0.0) -> float:
        """Adds the key after its back-off, which doubles with every failure; how long that is, seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        wait_s: float = min(self._longest_wait_s, self._first_wait_s * 2 ** min(failures - 1, 32))
        wait_s = max(wait_s, at_least_s) * self._rng.uniform(0.75, 1.25)
        self.add_at(key, now_s + wait_s)
        return wait_s

    def forget(self, key: Key) -> None:
        """The key's pass went well: its next failure is its first."""
        self._failures.pop(key, None)

    def take(self, now_s: float) -> Key | None:
        """The key whose turn it is; `done` must follow. None when there is none."""
        while self._order and self._order[0][0] <= now_s:
            time_s, key = heapq.heappop(self._order)
            if self._due.get(key) == time_s:
                del self._due[key]
                self.add(key)
        if not self._ready:
            return None
        key = next(iter(self._ready))
        del self._ready[key]
        self._running.add(key)
        self._due.pop(key, None)
        return key

    def done(self, key: Key) -> None:
        self._running.remove(key)
        if key in self._again:
            self._again.remove(key)
            self._ready[key] = None

    def next_due_s(self) -> float | None:
        """When the next key that waits for its time may be taken."""
        while self._order and self._due.get(self._order[0][1]) != self._order[0][0]:
            heapq.heappop(self._order)
        return self._order[0][0] if self._order else None


class WorkQueue:
    """A `KeyedQueue` on the running loop's time, for one taker."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._queue = KeyedQueue(rng or random.Random())
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, key: Key) -> None:
        self._queue.add(key)
        self._wake.set()

    def add_after(self, key: Key, delay_s: float) -> None:
        self._queue.add_at(key, asyncio.get_running_loop().time() + delay_s)
        self._wake.set()

    def retry(self, key: Key, at_least_s: float = 0.0) -> float:
        wait_s = self._queue.retry(key, asyncio.get_running_loop().time(), at_least_s)
        self._wake.set()
        return wait_s

    def forget(self, key: Key) -> None:
        self._queue.forget(key)

    def done(self, key: Key) -> None:
        self._queue.done(key)
        self._wake.set()

    async def take(self) -> Key:
        """Waits for a key whose turn it is."""
        now = asyncio.get_running_loop().time
        while (key := self._queue.take(now())) is None:
            self._wake.clear()
            try:
                async with asyncio.timeout_at(self._queue.next_due_s()):
                    await self._wake.wait()
            except TimeoutError:
                pass
        return key
