"""Reading objects whose shape nobody has vouched for: a mutating webhook sees them before their schema does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.api.parse import without_nulls

__all__ = ["at", "mapping_at", "same"]


def at(value: Any, *path: str) -> Any:
    """The value under these keys; None where there is none, or something on the way is no mapping."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def mapping_at(value: Any, *path: str) -> dict[str, Any]:
    """The same where a mapping is meant: empty for anything else."""
    found = at(value, *path)
    return found if isinstance(found, dict) else {}


def same(one: Any, other: Any) -> bool:
    """Whether two values say the same: an explicit null counts as absent."""
    return bool(without_nulls(one) == without_nulls(other))
