"""Which fields of an object a manager owns: `metadata.managedFields` in the API server's notation, read and written.

A field set is a set of paths. A path is a tuple of steps: `f:name` into a mapping, `k:{"name":"main"}` to the entry of
a list with that key, `v:"x"` to an entry of a set, `.` for the entry itself. Source: KEP-555 and the `FieldsV1` type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["LIST_KEYS", "FieldSet", "find", "from_fields_v1", "owned_by", "paths_of", "to_fields_v1"]

FieldSet = frozenset[tuple[str, ...]]

LIST_KEYS: dict[str, tuple[str, ...]] = {
    "conditions": ("type",),
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "components": ("name",),
}
"""Lists whose entries are told apart by a key, by the name of the field: the kinds that Armature writes have no others
whose entries several managers share."""
_SETS = frozenset({"finalizers"})
_UNMANAGED = frozenset(
    {
        "apiVersion",
        "kind",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.resourceVersion",
        "metadata.generation",
        "metadata.creationTimestamp",
        "metadata.deletionTimestamp",
        "metadata.deletionGracePeriodSeconds",
        "metadata.selfLink",
        "metadata.managedFields",
        "metadata.generateName",
    }
)


def paths_of(obj: Mapping[str, Any]) -> FieldSet:
    """The paths of everything `obj` states."""
    found: set[tuple[str, ...]] = set()
    for key, value in obj.items():
        if key == "metadata":
            for inner, entry in value.items():
                if f"metadata.{inner}" not in _UNMANAGED:
                    found.update(_walk(inner, entry, ("f:metadata", f"f:{inner}")))
        elif key not in _UNMANAGED:
            found.update(_walk(key, value, (f"f:{key}",)))
    return frozenset(found)


def _walk(name: str, value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from _walk(key, entry, (*path, f"f:{key}"))
    elif isinstance(value, list) and name in _SETS and value:
        for entry in value:
            yield (*path, f"v:{_compact(entry)}")
    elif isinstance(value, list) and value and (keys := _keys(name, value)):
        for entry in value:
            inner = (*path, f"k:{_compact({key: entry[key] for key in keys})}")
            yield (*inner, ".")
            for key, held in entry.items():
                yield from _walk(key, held, (*inner, f"f:{key}"))
    else:
        yield path


def _keys(name: str, entries: list[Any]) -> tuple[str, ...]:
    keys = LIST_KEYS.get(name, ())
    keyed = all(isinstance(entry, Mapping) and all(key in entry for key in keys) for entry in entries)
    return keys if keyed else ()


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def to_fields_v1(paths: FieldSet) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
    return tree


def from_fields_v1(tree: Mapping[str, Any]) -> FieldSet:
    return frozenset(_leaves(tree, ()))


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for step, below in tree.items():
        if below:
            yield from _leaves(below, (*path, step))
        else:
            yield (*path, step)


def owned_by(
    obj: Mapping[str, Any], manager: str, operation: str = "Apply", subresource: str = ""
) -> FieldSet:
    """The fields `manager` owns through that operation; empty where it owns none."""
    for entry in obj["metadata"].get("managedFields") or ():
        if (entry.get("manager"), entry.get("operation"), entry.get("subresource", "")) == (
            manager,
            operation,
            subresource,
        ):
            return from_fields_v1(entry.get("fieldsV1") or {})
    return frozenset()


def find(obj: Any, path: tuple[str, ...]) -> tuple[Any, str | int | None]:
    """Where a path leads in `obj`: the mapping or list that holds it and the key or index there; a key of None where
    it leads nowhere."""
    holder: Any = None
    at: str | int | None = None
    node: Any = obj
    for step in path:
        if step == ".":
            break
        holder, at = node, _locate(node, step)
        if at is None:
            return holder, None
        node = holder[at]
    return holder, at


def _locate(node: Any, step: str) -> str | int | None:
    sort, _, rest = step.partition(":")
    if sort == "f":
        return rest if isinstance(node, Mapping) and rest in node else None
    if not isinstance(node, list):
        return None
    wanted = json.loads(rest)
    for index, entry in enumerate(node):
        if sort == "v" and entry == wanted:
            return index
        if sort == "k" and isinstance(entry, Mapping) and all(entry.get(k) == v for k, v in wanted.items()):
            return index
    return None
