"""What the fake API server remembers: objects, their versions, and the changes a watch may resume from.

The rules of a write that hold whatever the request was: names and labels, uids, generations, finalizers, and that a
write which changes nothing is none. `fake` turns requests into these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from armature.kube import merge
from armature.kube.client import EventType, Selector
from armature.kube.errors import BadRequest, Conflict, Invalid, NotFound
from armature.kube.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    DYNAMO_WORKER_METADATA,
    ENDPOINT_SLICE,
    EVENT,
    LEASE,
    MUTATING_WEBHOOKS,
    NAMESPACE,
    NODE,
    PVC,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    VALIDATING_WEBHOOKS,
    Kind,
    Object,
)
from armature.kube.selectors import fields_match, labels_match

__all__ = [
    "WITHOUT_STATUS",
    "Change",
    "FakeStore",
    "check_meant",
    "check_unchanged",
    "missing",
    "part",
    "seen_as",
    "selects",
    "under",
]

_RBAC = (ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING)
WITHOUT_STATUS = frozenset(
    {
        CONFIG_MAP,
        DYNAMO_WORKER_METADATA,
        ENDPOINT_SLICE,
        EVENT,
        LEASE,
        MUTATING_WEBHOOKS,
        SECRET,
        SERVICE_ACCOUNT,
    }
    | {VALIDATING_WEBHOOKS, *_RBAC}
)
_WITHOUT_GENERATION = frozenset(
    {CONFIG_MAP, ENDPOINT_SLICE, EVENT, LEASE, NAMESPACE, NODE, PVC, SECRET, SERVICE, SERVICE_ACCOUNT, *_RBAC}
)
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")
_SERVERS_OWN = (
    *("uid", "resourceVersion", "generation", "creationTimestamp"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"),
)


@dataclass(frozen=True, slots=True)
class Change:
    version: int
    type: EventType
    old: Object | None
    new: Object


@dataclass(slots=True)
class _Collection:
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


class FakeStore:
    """now: the wall clock. admit: called with (verb, kind, old, new) before a write. changed: called after one."""

    def __init__(
        self,
        now: Callable[[], datetime],
        admit: Callable[[str, Kind, Object | None, Object], None],
        changed: Callable[[], None],
    ) -> None:
        self.version = 100
        self.compacted = self.version
        self._now = now
        self._admit = admit
        self._changed = changed
        self._made = 0
        self._collections: dict[tuple[str, str], _Collection] = {}

    def stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._held(kind).objects.get((namespace, name))

    def live(self, kind: Kind, namespace: str, name: str) -> Object:
        found = self.find(kind, namespace, name)
        if found is None:
            raise missing(kind, name)
        return found

    def all(self, kind: Kind) -> list[Object]:
        """In the order of their keys, as etcd has them."""
        return [obj for _, obj in sorted(self._held(kind).objects.items())]

    def changes_after(self, kind: Kind, version: int) -> list[Change]:
        return [change for change in self._held(kind).changes if change.version > version]

    def new(self, kind: Kind, obj: Mapping[str, Any], namespace: str, name: str) -> Object:
        """An object as it is when it has just been created; not stored yet."""
        self._made += 1
        made: Object = {"apiVersion": kind.api_version, "kind": kind.kind} | merge.copy_of(
            part(kind, obj, "")
        )
        made["metadata"] |= {
            "name": name or f"{made['metadata']['generateName']}{self._made:05d}",
            "uid": f"00000000-0000-4000-8000-{self._made:012d}",
            "creationTimestamp": self.stamp(),
        }
        if namespace:
            made["metadata"]["namespace"] = namespace
        if kind not in _WITHOUT_GENERATION:
            made["metadata"]["generation"] = 1
        return made

    def put(self, kind: Kind, old: Object | None, new: Object) -> Object:
        """Stores what a write made of an object, unless it changed nothing."""
        _check_names(kind, new)
        if old is not None and old == new:
            return old
        self._admit("update" if old else "create", kind, old, new)
        states = {*(old or {}), *new} - {"metadata", "status"}
        self._store(
            kind, old, new, bump=old is not None and any(old.get(key) != new.get(key) for key in states)
        )
        meta = new["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            self._remove(kind, meta.get("namespace") or "", meta["name"])
        return new

    def delete(self, kind: Kind, live: Object) -> None:
        meta = live["metadata"]
        self._admit("delete", kind, live, live)
        if not meta.get("finalizers"):
            self._remove(kind, meta.get("namespace") or "", meta["name"])
        elif not meta.get("deletionTimestamp"):
            doomed = merge.copy_of(live)
            doomed["metadata"] |= {"deletionTimestamp": self.stamp(), "deletionGracePeriodSeconds": 0}
            self._store(kind, live, doomed, bump=True)

    def collect_garbage(self) -> int:
        """Deletes every object all of whose owners are gone, until none is left; how many that were."""
        deleted = 0
        while orphans := self._orphans():
            for kind, obj in orphans:
                self.delete(kind, obj)
            deleted += len(orphans)
        return deleted

    def _orphans(self) -> list[tuple[Kind, Object]]:
        every = [(key, obj) for key, held in self._collections.items() for obj in held.objects.values()]
        uids = {obj["metadata"]["uid"] for _, obj in every}
        return [
            (Kind(group, obj["apiVersion"].rpartition("/")[2], obj["kind"], plural), obj)
            for (group, plural), obj in every
            if not obj["metadata"].get("deletionTimestamp")
            and (owners := obj["metadata"].get("ownerReferences"))
            and not any(owner["uid"] in uids for owner in owners)
        ]

    def _held(self, kind: Kind) -> _Collection:
        return self._collections.setdefault((kind.group, kind.plural), _Collection())

    def _store(self, kind: Kind, old: Object | None, new: Object, *, bump: bool) -> None:
        self.version += 1
        meta = new["metadata"]
        meta["resourceVersion"] = str(self.version)
        if bump and kind not in _WITHOUT_GENERATION:
            meta["generation"] = meta.get("generation", 0) + 1
        held = self._held(kind)
        held.objects[meta.get("namespace") or "", meta["name"]] = new
        held.changes.append(Change(self.version, "ADDED" if old is None else "MODIFIED", old, new))
        self._changed()

    def _remove(self, kind: Kind, namespace: str, name: str) -> None:
        held = self._held(kind)
        self.version += 1
        old = held.objects.pop((namespace, name))
        gone = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.version)}}
        held.changes.append(Change(self.version, "DELETED", old, gone))
        self._changed()


def missing(kind: Kind, name: str) -> NotFound:
    return NotFound(f'{kind} "{name}" not found', status=404, reason="NotFound")


def under(kind: Kind, obj: Object) -> Object:
    """A copy of an object in the version that was asked for."""
    copy: Object = merge.copy_of(obj)
    copy["apiVersion"] = kind.api_version
    return copy


def part(kind: Kind, obj: Mapping[str, Any], subresource: str) -> Object:
    """What a write to the object itself, or to its status, may state."""
    if subresource == "status":
        return {"metadata": {}, **({"status": obj["status"]} if "status" in obj else {})}
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _SERVERS_OWN}
    hidden = {"metadata", "apiVersion", "kind", *(() if kind in WITHOUT_STATUS else ("status",))}
    return {"metadata": metadata, **{key: value for key, value in obj.items() if key not in hidden}}


def check_meant(kind: Kind, live: Object, uid: str | None, version: str | None) -> None:
    """The preconditions of a deletion."""
    meta = live["metadata"]
    if (uid and uid != meta["uid"]) or (version and version != meta["resourceVersion"]):
        raise Conflict(
            f'Operation cannot be fulfilled on {kind} "{meta["name"]}": it has changed since it was read',
            status=409,
            reason="Conflict",
        )


def check_unchanged(kind: Kind, live: Object, stated: Mapping[str, Any]) -> None:
    """What the metadata of a patch may demand: an old version is a conflict, another uid cannot be."""
    if stated.get("uid", live["metadata"]["uid"]) != live["metadata"]["uid"]:
        raise Invalid(
            f'{kind} "{live["metadata"]["name"]}" is invalid: metadata.uid: field is immutable',
            status=422,
            reason="Invalid",
        )
    check_meant(kind, live, None, stated.get("resourceVersion"))


def selects(selector: Selector, obj: Object) -> bool:
    meta = obj["metadata"]
    return (
        selector.namespace in ("", meta.get("namespace"))
        and labels_match(selector.labels, meta.get("labels"))
        and fields_match(selector.fields, obj)
    )


def seen_as(selector: Selector, change: Change) -> EventType | None:
    """How a change looks to a watch that sees only the objects it selects."""
    was = change.old is not None and selects(selector, change.old)
    is_now = change.type != "DELETED" and selects(selector, change.new)
    if was and is_now:
        return "MODIFIED"
    return "ADDED" if is_now else "DELETED" if was else None


def _check_names(kind: Kind, obj: Object) -> None:
    meta = obj["metadata"]
    if kind not in _RBAC and not _NAME.fullmatch(meta["name"]):
        raise Invalid(f"{kind}: metadata.name: Invalid value: {meta['name']!r}", status=422, reason="Invalid")
    for key, value in (meta.get("labels") or {}).items():
        if not isinstance(value, str):
            raise BadRequest(f"{kind}: metadata.labels[{key}]: not a string: {value!r}", status=400)
        if not _LABEL_VALUE.fullmatch(value):
            raise Invalid(
                f"{kind}: metadata.labels[{key}]: Invalid value: {value!r}", status=422, reason="Invalid"
            )
