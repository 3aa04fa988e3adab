"""What a pass writes: at most one patch of an object and one of its status, and nothing where nothing differs.

Two ways, for two situations. An object that others write too (its user, other controllers) is read, copied, changed and
given to `write`, which sends the differences with the version they were worked out from. An object that a pass makes
is rendered in full and given to `apply_object`: server-side apply, which also takes back what was rendered before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from armature.hardware.kube_values import quantity
from armature.kube.client import FIELD_MANAGER, Client
from armature.kube.fields import LIST_KEYS
from armature.kube.kinds import Kind, Object, name_of, namespace_of

__all__ = ["Patches", "apply_object", "covers", "difference", "needs_apply", "patches", "write"]

_OURS_IN_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")
_QUANTITIES = frozenset({"limits", "requests", "capacity", "allocatable"})
_OWN_QUANTITIES = frozenset({"sizeLimit", "storage"})


def difference(observed: Mapping[str, Any], desired: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch that turns `observed` into `desired`; empty when they are equal. A value of None counts as
    absent."""
    patch: dict[str, Any] = {
        key: None for key in observed if desired.get(key) is None and observed[key] is not None
    }
    for key, value in desired.items():
        held = observed.get(key)
        if value is None or held == value:
            continue
        if isinstance(value, Mapping) and isinstance(held, Mapping):
            if inner := difference(held, value):
                patch[key] = inner
        else:
            patch[key] = _without_none(value)
    return patch


@dataclass(frozen=True, slots=True)
class Patches:
    """The merge patches for an object and for its status; an empty one is not sent."""

    object: dict[str, Any]
    status: dict[str, Any]


def patches(observed: Object, desired: Object) -> Patches:
    """What has to be written so that `observed` becomes `desired`, of the metadata that is not the server's own."""

    def stated(obj: Object) -> dict[str, Any]:
        rest = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "status")}
        metadata = obj["metadata"]
        return rest | {"metadata": {key: metadata[key] for key in _OURS_IN_METADATA if metadata.get(key)}}

    return Patches(
        difference(stated(observed), stated(desired)),
        difference({"status": observed.get("status") or {}}, {"status": desired.get("status") or {}}),
    )


async def write(
    client: Client,
    kind: Kind,
    observed: Object,
    desired: Object,
    *,
    absorb: Callable[[Object], None] = lambda _: None,
) -> Object:
    """Makes `observed` into `desired` with at most two requests; how the object is then.

    Conflict when it has changed since it was read: the pass begins again on what it is now. absorb: is given each
    answer (`Reflector.absorb`), so that the next pass reads it.
    """
    wanted = patches(observed, desired)
    current = observed
    for patch, subresource in ((wanted.object, ""), (wanted.status, "status")):
        if patch:
            read = {
                "resourceVersion": current["metadata"]["resourceVersion"],
                "uid": current["metadata"]["uid"],
            }
            patch = patch | {"metadata": patch.get("metadata", {}) | read}
            current = await client.patch(
                kind, name_of(observed), namespace_of(observed), patch, subresource=subresource
            )
            absorb(current)
    return current


async def apply_object(
    client: Client,
    kind: Kind,
    observed: Object | None,
    desired: Object,
    *,
    absorb: Callable[[Object], None] = lambda _: None,
) -> Object:
    """Applies `desired` unless `observed` (None: there is none yet) is so already; how the object is then."""
    if observed is not None and not needs_apply(observed, desired):
        return observed
    applied = await client.apply(kind, desired)
    absorb(applied)
    return applied


def needs_apply(observed: Object, desired: Object, manager: str = FIELD_MANAGER) -> bool:
    """Whether applying `desired` would change something: a field differs, or one that `manager` applied before is no
    longer among them. What the server adds to an object, and writes in other words (1000m for 1), is no difference."""
    if not covers(observed, {key: value for key, value in desired.items() if key != "metadata"}):
        return True
    metadata = {key: desired["metadata"][key] for key in _OURS_IN_METADATA if desired["metadata"].get(key)}
    if not covers(observed["metadata"], metadata):
        return True
    return any(
        _drops(entry.get("fieldsV1") or {}, desired)
        for entry in observed["metadata"].get("managedFields") or ()
        if entry.get("manager") == manager
        and entry.get("operation") == "Apply"
        and not entry.get("subresource")
    )


def covers(observed: Any, desired: Any, name: str = "", above: str = "") -> bool:
    """Whether everything `desired` states is so in `observed`, which may hold more. name, above: the keys under which
    both stand."""
    if isinstance(desired, Mapping):
        if not isinstance(observed, Mapping):
            return not desired and observed is None
        return all(
            value is None or covers(observed.get(key), value, key, name) for key, value in desired.items()
        )
    if isinstance(desired, list | tuple):
        if not isinstance(observed, list):
            return not desired and observed is None
        return _covers_list(observed, desired, name)
    if name in _OWN_QUANTITIES or above in _QUANTITIES:
        amount = quantity(desired)
        return observed == desired or (amount is not None and quantity(observed) == amount)
    return bool(observed == desired and isinstance(observed, bool) == isinstance(desired, bool))


def _covers_list(observed: list[Any], desired: list[Any] | tuple[Any, ...], name: str) -> bool:
    if name == "finalizers":
        return all(entry in observed for entry in desired)
    keys = LIST_KEYS.get(name, ())
    if keys and all(isinstance(entry, Mapping) and all(key in entry for key in keys) for entry in desired):
        held = {tuple(entry.get(key) for key in keys): entry for entry in observed}
        return all(covers(held.get(tuple(entry[key] for key in keys)), entry) for entry in desired)
    return len(observed) == len(desired) and all(map(covers, observed, desired))


def _drops(owned: Mapping[str, Any], desired: Any) -> bool:
    """Whether a field set (`FieldsV1`) holds a field that `desired` no longer states."""
    for step, below in owned.items():
        sort, _, rest = step.partition(":")
        if sort == "f":
            held = desired.get(rest) if isinstance(desired, Mapping) else None
        elif sort == "k":
            held = _entry(desired, json.loads(rest))
        elif sort == "v":
            held = True if isinstance(desired, list) and json.loads(rest) in desired else None
        else:
            continue
        if held is None or _drops(below, held):
            return True
    return False


def _entry(entries: Any, keys: Mapping[str, Any]) -> Any:
    """The entry with these keys, where it states them: the server fills in some (a port's protocol)."""
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and all(entry.get(key, value) == value for key, value in keys.items()):
            return entry
    return None


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    return value
