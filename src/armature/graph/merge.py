"""The one merge of a partial Kubernetes object onto a whole one; pure.

The rules are those of a strategic merge patch, for the shapes that pod templates and graphs have:

- maps merge key by key; a `null` deletes the key; a scalar replaces;
- a list of objects with a merge key (`containers` by `name`, `volumeMounts` by `mountPath`, ...) merges item by
  item: an item with a known key changes that item in place, a new one is appended, `$patch: delete` removes it;
- an environment variable, a volume and a toleration are replaced whole, because merging `value` with `valueFrom`,
  or two volume sources, makes an object that no API server takes;
- any other list, such as `args`, is replaced.

So an empty patch changes nothing and applying a patch twice is applying it once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

__all__ = ["strategic_merge", "without_nulls"]

Key = Callable[[Mapping[str, Any]], object]


def _field(*names: str) -> Key:
    return lambda item: tuple(item.get(name) for name in names)


def _component_name(item: Mapping[str, Any]) -> object:
    """Component names are unique without regard to case (DGD v1beta1 CEL rule)."""
    return str(item.get("name", "")).lower()


def _env_source(item: Mapping[str, Any]) -> object:
    for kind in ("secretRef", "configMapRef"):
        if isinstance(item.get(kind), Mapping):
            return (kind, item[kind].get("name"), item.get("prefix"))
    return repr(sorted(item.items()))


# Merge keys of the Kubernetes core/v1 types; `envFrom` and `tolerations` are atomic there, but a user who adds one
# does not mean to drop the others.
_KEYS: dict[str, Key] = {
    "components": _component_name,
    "containers": _field("name"),
    "initContainers": _field("name"),
    "ephemeralContainers": _field("name"),
    "env": _field("name"),
    "envFrom": _env_source,
    "volumes": _field("name"),
    "volumeMounts": _field("mountPath"),
    "volumeDevices": _field("devicePath"),
    "ports": _field("containerPort", "protocol"),
    "tolerations": _field("key", "effect"),
    "imagePullSecrets": _field("name"),
    "hostAliases": _field("ip"),
    "resourceClaims": _field("name"),
    "topologySpreadConstraints": _field("topologyKey", "whenUnsatisfiable"),
}
_WHOLE = {"env", "envFrom", "volumes", "tolerations"}


def strategic_merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `patch` applied; neither is changed."""
    merged: dict[str, Any] = {key: copy.deepcopy(value) for key, value in base.items()}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = strategic_merge(below if isinstance(below, Mapping) else {}, value)
        elif _is_list(value) and key in _KEYS and all(isinstance(item, Mapping) for item in value):
            below = merged.get(key)
            merged[key] = _merge_list(
                below if _is_list(below) else [], value, _KEYS[key], whole=key in _WHOLE
            )
        else:
            merged[key] = without_nulls(value)
    return merged


def without_nulls(value: Any) -> Any:
    """A deep copy with every key whose value is None left out (an explicit null counts as absent)."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if _is_list(value):
        return [without_nulls(item) for item in value]
    return copy.deepcopy(value)


def _merge_list(
    base: Sequence[Any], patch: Sequence[Mapping[str, Any]], key: Key, *, whole: bool
) -> list[dict[str, Any]]:
    merged = [copy.deepcopy(dict(item)) for item in base if isinstance(item, Mapping)]
    for item in patch:
        at = next((index for index, own in enumerate(merged) if key(own) == key(item)), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del merged[at]
        elif at is None:
            merged.append(strategic_merge({}, item))
        elif whole:
            merged[at] = without_nulls(item)
        else:
            merged[at] = strategic_merge(merged[at], item)
    return merged


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
