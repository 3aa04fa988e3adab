"""From a change of any object to the keys of those that must be looked at: pure functions for `Watch`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from armature.kube.kinds import Kind, Object, namespace_of
from armature.kube.store import Change, Key, key_of

__all__ = ["Keys", "itself", "labelled", "owners", "unless_only_status", "when"]

Keys = Callable[[Change], Iterable[Key]]


def itself(change: Change) -> list[Key]:
    """The object that changed."""
    return [key_of(change.object)]


def owners(kind: Kind) -> Keys:
    """The owners of that kind, in whatever version the reference names it; those it had before included."""

    def keys(change: Change) -> list[Key]:
        return _both(change, named)

    def named(obj: Object) -> list[Key]:
        return [
            (namespace_of(obj) if kind.namespaced else "", owner["name"])
            for owner in obj["metadata"].get("ownerReferences") or ()
            if owner.get("kind") == kind.kind and owner.get("apiVersion", "").rpartition("/")[0] == kind.group
        ]

    return keys


def labelled(name_label: str, namespace_label: str = "") -> Keys:
    """The object that labels name, the labels it had before included. namespace_label: empty, or missing on the object:
    the object's own namespace."""

    def keys(change: Change) -> list[Key]:
        return _both(change, named)

    def named(obj: Object) -> list[Key]:
        labels = obj["metadata"].get("labels") or {}
        name = labels.get(name_label)
        return [(labels.get(namespace_label) or namespace_of(obj), name)] if name else []

    return keys


def when(condition: Callable[[Change], bool], keys: Keys) -> Keys:
    """Those keys, of the changes that matter."""
    return lambda change: keys(change) if condition(change) else ()


def unless_only_status(change: Change) -> bool:
    """Whether something besides the status changed: a spec, labels, annotations, finalizers, owners, a deletion."""
    if change.old is None or change.new is None:
        return True
    return _stated(change.old) != _stated(change.new)


def _stated(obj: Object) -> tuple[object, ...]:
    metadata = obj["metadata"]
    parts = ("generation", "labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp")
    return tuple(metadata.get(part) for part in parts)


def _both(change: Change, named: Callable[[Object], list[Key]]) -> list[Key]:
    found = dict.fromkeys(key for obj in (change.old, change.new) if obj is not None for key in named(obj))
    return list(found)
