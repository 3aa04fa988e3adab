"""Keeps a `Store` in step with the API server: one list, then a watch that goes on from it, for ever.

What it survives, without missing a change or a deletion:

- the server forgets the version (410 as the answer, or as an ERROR event in mid-stream): it lists again, and what the
  new list lacks was deleted;
- the connection breaks, ends in the middle of a line, or falls silent: it watches on from the last version it heard;
- the server is overloaded or restarts: it waits, longer each time and never in step with its peers, and honours
  Retry-After; after a few failures in a row it lists again, whatever the reason was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence

from armature.kube.client import Client, Selector
from armature.kube.errors import ApiError, Gone
from armature.kube.kinds import Kind, Object
from armature.kube.store import Change, Store, key_of, version_of, without_foreign_fields

__all__ = ["Handler", "Reflector"]

Handler = Callable[[Change], None]
"""Hears each change, in order; must be quick. What it raises is logged and goes no further."""

_log = logging.getLogger(__name__)
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 30.0
_FAILURES_BEFORE_LIST = 4
_SHORTEST_WATCH_S = 1.0
_WATCH_S = (240.0, 480.0)


class Reflector:
    """The objects of one kind that `selector` selects, in `store`, while `run` runs.

    keep: what of an object to keep, to save memory; it may change and must return it. idle_s: a watch that is silent
    for so long is taken for dead, seconds; the server sends a bookmark every minute. Time is the running loop's.
    """

    def __init__(
        self,
        client: Client,
        kind: Kind,
        selector: Selector | None = None,
        *,
        label_keys: Sequence[str] = (),
        keep: Callable[[Object], Object] = without_foreign_fields,
        rng: random.Random | None = None,
        idle_s: float = 90.0,
    ) -> None:
        self.kind = kind
        self.selector = selector or Selector()
        self.store = Store(kind, label_keys=label_keys)
        self._client = client
        self._keep = keep
        self._rng = rng or random.Random()
        self._idle_s = idle_s
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._version = ""
        self._failures = 0

    def on_change(self, handler: Handler) -> None:
        """From now on `handler` hears every change; at once, that each object held already came."""
        self._handlers.append(handler)
        for obj in self.store.all():
            self._tell(handler, Change("ADDED", None, obj))

    def synced(self) -> bool:
        """Whether the store has held every object at least once."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def absorb(self, obj: Object) -> None:
        """Takes the server's answer to a write of ours, so that the next pass reads what this one wrote. The watch
        confirms it later. Nothing happens where only some objects of the kind are selected (nobody would tell of its
        end) or while a list is under way (which may be older)."""
        if self.selector.labels or self.selector.fields or not self.synced() or not self._version:
            return
        if self.selector.namespace in ("", key_of(obj)[0]) and version_of(obj) > int(self._version):
            self._publish(self.store.put(self._keep(obj)))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Gone as error:
                _log.info("%s: listing again: %s", self.kind, error.message)
                self._version = ""
                await self._wait(error)
            except ApiError as error:
                await self._wait(error)
            except Exception:
                _log.exception("%s: listing again after a bug", self.kind)
                self._version = ""
                await self._wait(None)

    async def _list(self) -> None:
        listing = await self._client.list(self.kind, self.selector)
        self._publish(self.store.replace(map(self._keep, listing.items)))
        self._version = listing.resource_version
        self._synced.set()

    async def _watch(self) -> None:
        """One watch, until the server ends it in good order."""
        now = asyncio.get_running_loop().time
        begun = now()
        watch = self._client.watch(
            self.kind,
            self.selector,
            resource_version=self._version,
            timeout_s=self._rng.uniform(*_WATCH_S),
            idle_s=self._idle_s,
        )
        async with contextlib.aclosing(watch) as events:
            async for event in events:
                self._failures = 0
                if event.type == "DELETED":
                    self._publish(self.store.remove(event.object))
                elif event.type != "BOOKMARK":
                    self._publish(self.store.put(self._keep(event.object)))
                self._version = event.resource_version
        if now() - begun < _SHORTEST_WATCH_S:
            await self._wait(None)
        else:
            self._failures = 0

    async def _wait(self, error: ApiError | None) -> None:
        self._failures += 1
        if error is not None and self._failures in (3, 30):
            _log.warning("%s: %d failures in a row: %s", self.kind, self._failures, error.message)
        if self._failures % _FAILURES_BEFORE_LIST == 0:
            self._version = ""
        wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(self._failures - 1, 16)) * self._rng.uniform(
            0.5, 1.0
        )
        await asyncio.sleep(max(wait_s, (error.retry_after_s if error else None) or 0.0))

    def _publish(self, changes: Sequence[Change]) -> None:
        for change in changes:
            for handler in self._handlers:
                self._tell(handler, change)

    def _tell(self, handler: Handler, change: Change) -> None:
        try:
            handler(change)
        except Exception:
            _log.exception("%s: a handler failed on %s", self.kind, key_of(change.object))
