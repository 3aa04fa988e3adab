"""How a write changes an object: JSON merge patch and server-side apply, as pure functions of values.

The fake API server computes with them. Server-side apply is that of KEP-555 for the objects Armature writes: lists
are merged by the keys of `fields.LIST_KEYS` and otherwise taken whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from armature.kube.fields import LIST_KEYS, FieldSet, find, from_fields_v1, paths_of, to_fields_v1
from armature.kube.kinds import Object

__all__ = ["Applied", "apply", "copy_of", "merge_patch", "record_update"]


def copy_of(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, Mapping):
        return {key: copy_of(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [copy_of(entry) for entry in value]
    return value


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` after a JSON merge patch (RFC 7386); neither is changed."""
    if not isinstance(patch, Mapping):
        return copy_of(patch)
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


@dataclass(frozen=True, slots=True)
class Applied:
    """An object after an apply, and who else owned a field that it set to something else."""

    obj: Object
    conflicts: tuple[str, ...]


def apply(live: Object, config: Mapping[str, Any], manager: str, now: str, subresource: str = "") -> Applied:
    """`live` after `manager` applied `config`; the fields' ownership is in its managedFields. now: RFC 3339."""
    wanted = paths_of(config)
    entries = _entries(live)
    mine = (manager, "Apply", subresource)
    before = entries.get(mine, frozenset())
    conflicts = []
    for who, fields in entries.items():
        if who == mine:
            continue
        taken = frozenset(path for path in fields & wanted if _value(live, path) != _value(config, path))
        conflicts += [f"conflict with {who[0]!r}: {_dotted(path)}" for path in sorted(taken)]
        entries[who] = fields - taken
    others = frozenset().union(*(fields for who, fields in entries.items() if who != mine))
    merged: Object = copy_of(live)
    dropped = before - wanted - others
    whole = {path[:-1] for path in dropped if path[-1] == "."}
    for entry in whole:
        if not any(path[: len(entry)] == entry for path in others):
            _remove(merged, entry)
    for path in sorted(dropped, key=len, reverse=True):
        if path[-1] != "." and path[:-1] not in whole:
            _remove(merged, path)
    merged = _merge("", merged, {key: value for key, value in config.items() if key != "metadata"})
    stated = config.get("metadata") or {}
    merged["metadata"] = _merge(
        "metadata",
        merged["metadata"],
        {
            key: stated[key]
            for key in ("labels", "annotations", "finalizers", "ownerReferences")
            if key in stated
        },
    )
    entries[mine] = wanted
    _set_entries(merged, entries, mine, now, changed=before != wanted or _differs(live, merged))
    return Applied(merged, tuple(conflicts))


def record_update(live: Mapping[str, Any], changed: Object, manager: str, now: str, subresource: str) -> None:
    """Notes in `changed` that `manager` wrote whatever differs from `live` (a create, a patch)."""
    was, now_stated = paths_of(live), paths_of(changed)
    written = frozenset(p for p in now_stated if p not in was or _value(live, p) != _value(changed, p))
    entries = {who: (fields - written) & now_stated for who, fields in _entries(live).items()}
    mine = (manager, "Update", subresource)
    entries[mine] = entries.get(mine, frozenset()) | written
    _set_entries(changed, entries, mine, now, changed=bool(written))


_Who = tuple[str, str, str]


def _entries(obj: Mapping[str, Any]) -> dict[_Who, FieldSet]:
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): from_fields_v1(
            entry["fieldsV1"]
        )
        for entry in obj.get("metadata", {}).get("managedFields") or ()
    }


def _set_entries(obj: Object, entries: dict[_Who, FieldSet], mine: _Who, now: str, changed: bool) -> None:
    times = {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): entry["time"]
        for entry in obj["metadata"].get("managedFields") or ()
    }
    if changed:
        times[mine] = now
    written = []
    for who, fields in sorted(entries.items()):
        if fields:
            entry = {"manager": who[0], "operation": who[1], "apiVersion": obj["apiVersion"]}
            entry |= {"time": times.get(who, now), "fieldsType": "FieldsV1", "fieldsV1": to_fields_v1(fields)}
            written.append(entry | ({"subresource": who[2]} if who[2] else {}))
    obj["metadata"]["managedFields"] = written


def _merge(name: str, live: Any, config: Any) -> Any:
    if isinstance(config, Mapping) and isinstance(live, Mapping):
        merged = dict(live)
        for key, value in config.items():
            merged[key] = _merge(key, live[key], value) if key in live else copy_of(value)
        return merged
    if isinstance(config, list) and isinstance(live, list):
        if name == "finalizers":
            return live + [entry for entry in config if entry not in live]
        if keys := LIST_KEYS.get(name):
            return _merge_list(live, config, keys)
    return copy_of(config)


def _merge_list(live: list[Any], config: list[Any], keys: tuple[str, ...]) -> list[Any]:
    def identity(entry: Any) -> Any:
        return tuple(entry.get(key) for key in keys) if isinstance(entry, Mapping) else None

    stated = {identity(entry): entry for entry in config}
    merged = [_merge("", entry, stated.pop(identity(entry), entry)) for entry in live]
    return merged + [copy_of(entry) for entry in stated.values()]


def _differs(live: Mapping[str, Any], merged: Mapping[str, Any]) -> bool:
    def bare(obj: Mapping[str, Any]) -> Any:
        metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
        return {**obj, "metadata": metadata}

    return bool(bare(live) != bare(merged))


def _value(obj: Any, path: tuple[str, ...]) -> Any:
    holder, at = find(obj, path)
    if at is None:
        return None
    return None if path[-1] == "." else holder[at]


def _remove(obj: Any, path: tuple[str, ...]) -> None:
    holder, at = find(obj, path)
    if at is not None:
        del holder[at]
        if not holder and len(path) > 2:  # a mapping or list that an apply made goes with its last entry
            _remove(obj, path[:-1])


def _dotted(path: tuple[str, ...]) -> str:
    return "".join(
        f".{step[2:]}" if step.startswith("f:") else f"[{step[2:]}]" for step in path if step != "."
    )
