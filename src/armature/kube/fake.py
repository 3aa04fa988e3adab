"""An API server in memory, for tests: it implements `Client`, and the contract tests hold it to the real one's answers.

It keeps resource versions, uids and generations, separates status from spec, merges patches and server-side applies,
honours preconditions and finalizers, remembers what a watch may resume from, and fails when told to. It does not
validate schemas, check that a namespace exists, convert between versions (an object is stored once and read under
whichever version asks) or run controllers; `collect_garbage` is one pass of the garbage collector.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from armature.kube import merge
from armature.kube.client import FIELD_MANAGER, Listing, Propagation, Selector, WatchEvent
from armature.kube.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Gone,
    NotFound,
    Timeout,
    Unavailable,
)
from armature.kube.fake_store import (
    WITHOUT_STATUS,
    FakeStore,
    check_meant,
    check_unchanged,
    missing,
    part,
    seen_as,
    selects,
    under,
)
from armature.kube.kinds import Kind, Object

__all__ = ["Call", "FakeCluster"]

_BOOKMARK_EVERY_S = 60.0
_ALL = Selector()


@dataclass(frozen=True, slots=True)
class Call:
    """One request that came in. wrote: it changed what is stored."""

    verb: str
    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    wrote: bool = False


@dataclass(slots=True)
class _Fault:
    error: BaseException
    verbs: tuple[str, ...]
    kind: Kind | None
    name: str
    times: int
    after: bool

    def hits(self, verb: str, kind: Kind, name: str) -> bool:
        return (
            self.times > 0
            and (not self.verbs or verb in self.verbs)
            and self.kind in (None, kind)
            and self.name in ("", name)
        )


class FakeCluster:
    """now: the wall clock. admit: called with ("create", "update" or "delete", kind, old, new) before a write; raises
    what refuses it. calls: every request since the start. latency_s: how long each takes."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        admit: Callable[[str, Kind, Object | None, Object], None] = lambda *_: None,
    ) -> None:
        self.calls: list[Call] = []
        self.latency_s = 0.0
        self._store = FakeStore(now, admit, self._wake)
        self._faults: list[_Fault] = []
        self._changed = asyncio.Event()
        self._breaks: list[ApiError] = []
        self._silent = False

    # What a test does to it

    def fail(
        self,
        error: BaseException,
        *verbs: str,
        kind: Kind | None = None,
        name: str = "",
        times: int = 1,
        after: bool = False,
    ) -> None:
        """The next `times` requests of these verbs (none: all), kind and name raise `error`: before they had an
        effect, or `after` it, as when the answer is lost. Verbs: get, list, watch, create, apply, patch, delete."""
        self._faults.append(_Fault(error, verbs, kind, name, times, after))

    def break_watches(self, error: ApiError | None = None) -> None:
        """Every open watch raises this (Unavailable, when none is given)."""
        self._breaks.append(error or Unavailable("watch: the connection was lost"))
        self._wake()

    def silence_watches(self, silent: bool = True) -> None:
        """Watches say nothing more, without ending: a connection that died unseen."""
        self._silent = silent
        self._wake()

    def compact(self) -> None:
        """Forgets history: a new watch from any version before this one is Gone."""
        self._store.compacted = self._store.version

    def collect_garbage(self) -> int:
        """Deletes every object all of whose owners are gone, until none is left; how many that were."""
        return self._store.collect_garbage()

    def writes(self, kind: Kind | None = None) -> list[Call]:
        """The requests that changed something, in order."""
        return [call for call in self.calls if call.wrote and kind in (None, call.kind)]

    # Client

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        return await self._object(
            "get", kind, namespace, name, "", lambda: self._store.live(kind, namespace, name)
        )

    async def list(self, kind: Kind, selector: Selector = _ALL, *, chunk: int = 500) -> Listing:
        await self._arrive("list", kind, selector.namespace, "", "")
        found = [under(kind, obj) for obj in self._store.all(kind) if selects(selector, obj)]
        return Listing(found, str(self._store.version))

    async def watch(
        self,
        kind: Kind,
        selector: Selector = _ALL,
        *,
        resource_version: str,
        timeout_s: float,
        idle_s: float,
    ) -> AsyncGenerator[WatchEvent, None]:
        await self._arrive("watch", kind, selector.namespace, "", "")
        at = int(resource_version)
        if at < self._store.compacted:
            raise Gone(f"watch {kind}: too old resource version: {at} ({self._store.compacted})", status=410)
        now = asyncio.get_running_loop().time
        end, heard, bookmark, broken = now() + timeout_s, now(), now() + _BOOKMARK_EVERY_S, len(self._breaks)
        while True:
            changed, told = self._changed, self._store.version
            if len(self._breaks) > broken:
                raise self._breaks[-1]
            if not self._silent:
                for change in self._store.changes_after(kind, at):
                    heard = now()
                    if seen := seen_as(selector, change):
                        yield WatchEvent(seen, under(kind, change.new), str(change.version))
                at = max(at, told)
                if now() >= end:
                    return
                if now() >= bookmark:
                    heard, bookmark = now(), now() + _BOOKMARK_EVERY_S
                    yield WatchEvent("BOOKMARK", {}, str(at))
            if now() >= heard + idle_s:
                raise Timeout(f"watch {kind}: nothing came for {idle_s:g} s")
            try:
                async with asyncio.timeout_at(
                    heard + idle_s if self._silent else min(heard + idle_s, end, bookmark)
                ):
                    await changed.wait()
            except TimeoutError:
                pass

    async def create(self, kind: Kind, obj: Mapping[str, Any], namespace: str = "") -> Object:
        namespace = obj["metadata"].get("namespace") or namespace
        name = obj["metadata"].get("name") or ""

        def write() -> Object:
            if self._store.find(kind, namespace, name) is not None:
                raise AlreadyExists(f'{kind} "{name}" already exists', status=409, reason="AlreadyExists")
            if obj["metadata"].get("resourceVersion"):
                raise ApiError(f"create {kind}: resourceVersion should not be set", status=500)
            made = self._store.new(kind, obj, namespace, name)
            empty: Object = {"apiVersion": made["apiVersion"], "metadata": {}}
            merge.record_update(empty, made, FIELD_MANAGER, self._store.stamp(), "")
            return self._store.put(kind, None, made)

        return await self._object("create", kind, namespace, name, "", write)

    async def apply(
        self, kind: Kind, obj: Mapping[str, Any], *, subresource: str = "", force: bool = True
    ) -> Object:
        stated = obj["metadata"]
        namespace, name = stated.get("namespace") or "", stated["name"]

        def write() -> Object:
            if stated.get("managedFields"):
                raise BadRequest("metadata.managedFields must be nil", status=400, reason="BadRequest")
            live = self._store.find(kind, namespace, name)
            config = part(kind, obj, subresource)
            if live is None:
                if subresource:
                    raise missing(kind, name)
                if stated.get("uid") or stated.get("resourceVersion"):
                    raise Conflict(
                        f'{kind} "{name}": no existing object was found', status=409, reason="Conflict"
                    )
                made = self._store.new(kind, obj, namespace, name)
                bare: Object = {"apiVersion": made["apiVersion"], "metadata": {}}
                done = merge.apply(bare, config, FIELD_MANAGER, self._store.stamp())
                made["metadata"]["managedFields"] = done.obj["metadata"]["managedFields"]
                return self._store.put(kind, None, made)
            check_unchanged(kind, live, stated)
            done = merge.apply(live, config, FIELD_MANAGER, self._store.stamp(), subresource)
            if done.conflicts and not force:
                raise Conflict(f'{kind} "{name}": {"; ".join(done.conflicts)}', status=409, reason="Conflict")
            return self._store.put(kind, live, done.obj)

        return await self._object("apply", kind, namespace, name, subresource, write)

    async def apply_status(self, kind: Kind, obj: Mapping[str, Any], *, force: bool = True) -> Object:
        return await self.apply(kind, obj, subresource="status", force=force)

    async def patch(
        self, kind: Kind, name: str, namespace: str, patch: Mapping[str, Any], *, subresource: str = ""
    ) -> Object:
        def write() -> Object:
            live = self._store.live(kind, namespace, name)
            stated = patch.get("metadata") or {}
            check_unchanged(kind, live, stated)
            changed = merge.merge_patch(live, part(kind, patch, subresource))
            merge.record_update(live, changed, FIELD_MANAGER, self._store.stamp(), subresource)
            return self._store.put(kind, live, changed)

        return await self._object("patch", kind, namespace, name, subresource, write)

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: Propagation = "Background",
        grace_s: int | None = None,
    ) -> None:
        def write() -> Object:
            live = self._store.live(kind, namespace, name)
            check_meant(kind, live, uid, resource_version)
            self._store.delete(kind, live)
            return live

        await self._object("delete", kind, namespace, name, "", write)

    async def close(self) -> None:
        pass

    # Inside

    async def _arrive(
        self, verb: str, kind: Kind, namespace: str, name: str, subresource: str
    ) -> _Fault | None:
        """Takes its time, and fails where it was told to; a fault that comes after the effect is given back."""
        kind.path(namespace, name, subresource)
        await asyncio.sleep(self.latency_s)
        fault = next((fault for fault in self._faults if fault.hits(verb, kind, name)), None)
        if fault is not None:
            fault.times -= 1
        self.calls.append(Call(verb, kind, namespace, name, subresource))
        if fault is not None and not fault.after:
            raise fault.error
        return fault

    async def _object(
        self, verb: str, kind: Kind, namespace: str, name: str, subresource: str, act: Callable[[], Object]
    ) -> Object:
        fault = await self._arrive(verb, kind, namespace, name, subresource)
        if subresource and (subresource != "status" or kind in WITHOUT_STATUS):
            raise NotFound(
                f"{verb} {kind}/{name}: the server could not find the requested resource", status=404
            )
        before = self._store.version
        answer = act()
        if self._store.version != before:
            self.calls[-1] = Call(verb, kind, namespace, answer["metadata"]["name"], subresource, wrote=True)
        if fault is not None:
            raise fault.error
        return under(kind, answer)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
