"""Which environment variables of a container mean something outside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["plain_env"]

_OF_THE_IMAGE = frozenset(
    ["PATH", "HOME", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD", "TMPDIR"]
)
"""Variables that name places inside an image; here they would break the interpreter."""


def plain_env(items: Iterable[Any]) -> tuple[dict[str, str], list[str]]:
    """(variables with a plain value, why others are left out). A later item replaces an earlier one."""
    passed: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for item in items:
        if not isinstance(item, Mapping) or not item.get("name"):
            continue
        name, value = str(item["name"]), item.get("value")
        passed.pop(name, None)
        left_out.pop(name, None)
        if name in _OF_THE_IMAGE:
            left_out[name] = f"{name} (names a place in the image)"
        elif item.get("valueFrom") is not None:
            left_out[name] = f"{name} (its value is in the cluster)"
        else:
            passed[name] = "" if value is None else str(value)
    return passed, list(left_out.values())
