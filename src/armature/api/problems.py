"""Paths as the user wrote them, suggestions for misspelt words, and pydantic's errors as `Problem`s."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from armature.api.skus import SKUS, sku_hint
from armature.errors import Problem

__all__ = ["MISSING", "UNKNOWN", "closest", "dotted", "from_validation_error", "join", "sku_problem", "under"]

MISSING = "required field is missing"
UNKNOWN = "unknown field"


def join(path: str, key: str) -> str:
    """`path.key`; a key with a dot or a slash is bracketed, since it would read as two."""
    part = key if key and not set(key) & set("./[] ") else f'["{key}"]'
    if not path or part.startswith("["):
        return f"{path}{part}"
    return f"{path}.{part}"


def dotted(location: Sequence[int | str]) -> str:
    """`("spec", "components", 1, "name")` -> `spec.components[1].name`."""
    path = ""
    for part in location:
        path = f"{path}[{part}]" if isinstance(part, int) else join(path, part)
    return path


def under(path: str, parent: str) -> bool:
    """Whether `path` is `parent` or lies below it."""
    return path == parent or (path.startswith(parent) and path[len(parent)] in ".[")


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` is most likely a misspelling of, or None. Case and underscores do not count."""
    plain = {_plain(name): name for name in known}
    match = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    return plain[match[0]] if match else None


def _plain(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()


def sku_problem(path: str, value: object) -> Problem:
    """The problem with a `gpuSku` that is no SKU name; names the right one for a vendor's product string (VAL-03)."""
    hint = (sku_hint(value) or closest(value, SKUS)) if isinstance(value, str) else None
    mend = f"write {hint}" if hint else f"one of {', '.join(SKUS)}"
    return Problem(path, "not a GPU SKU name", mend, value)


def from_validation_error(error: ValidationError) -> list[tuple[tuple[int | str, ...], Problem]]:
    """Each of pydantic's complaints as (location, problem)."""
    found = []
    for detail in error.errors(include_url=False, include_context=True):
        location = tuple(detail["loc"])
        found.append((location, _problem(location, detail)))
    return found


def _problem(location: tuple[int | str, ...], detail: Mapping[str, Any]) -> Problem:
    path = dotted(location)
    kind: str = detail["type"]
    value = detail.get("input")
    context: Mapping[str, Any] = detail.get("ctx") or {}
    if kind == "missing":
        return Problem(path, MISSING, f"add {location[-1]}")
    if kind == "literal_error":
        if location and location[-1] == "gpuSku":
            return sku_problem(path, value)
        return _not_allowed(path, value, str(context.get("expected", "")))
    if kind in _TYPE_RULES:
        rule, mend = _TYPE_RULES[kind]
        return Problem(path, rule, _type_mend(kind, value) or mend, _shown(value))
    if kind in _LIMIT_RULES:
        words, key = _LIMIT_RULES[kind]
        return Problem(path, f"{words} {context.get(key)}", "", _shown(value))
    if kind == "string_pattern_mismatch":
        return Problem(path, f"does not match {context.get('pattern')}", "", value)
    return Problem(path, str(detail.get("msg", kind)), "", _shown(value))


_TYPE_RULES = {
    "string_type": ("must be a string", ""),
    "int_type": ("must be a whole number", ""),
    "int_from_float": ("must be a whole number", ""),
    "float_type": ("must be a number", ""),
    "bool_type": ("must be true or false", ""),
    "dict_type": ("must be a mapping", "write `key: value` lines below it"),
    "model_type": ("must be a mapping", "write `key: value` lines below it"),
    "model_attributes_type": ("must be a mapping", "write `key: value` lines below it"),
    "list_type": ("must be a list", "write `- ` before each entry"),
    "finite_number": ("must be a finite number", "leave the field out for no value"),
}

_LIMIT_RULES = {
    "greater_than_equal": ("must be at least", "ge"),
    "greater_than": ("must be greater than", "gt"),
    "less_than_equal": ("must be at most", "le"),
    "less_than": ("must be less than", "lt"),
    "string_too_short": ("must have at least this many characters:", "min_length"),
    "string_too_long": ("must have at most this many characters:", "max_length"),
    "too_short": ("must have at least this many entries:", "min_length"),
    "too_long": ("must have at most this many entries:", "max_length"),
}


def _not_allowed(path: str, value: object, expected: str) -> Problem:
    allowed = [part.strip().strip("'") for part in expected.replace(" or ", ", ").split(",") if part.strip()]
    rule = f"must be {allowed[0]}" if len(allowed) == 1 else f"must be one of {', '.join(allowed)}"
    hint = closest(value, allowed) if isinstance(value, str) else None
    return Problem(path, rule, f"did you mean {hint}?" if hint else "", _shown(value))


def _type_mend(kind: str, value: object) -> str:
    """How to turn the value that was written into one of the right type, when that is plain."""
    if kind == "string_type" and isinstance(value, bool | int | float):
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        return f'put it in quotes: "{shown}"'
    if kind in ("int_type", "int_from_float", "float_type"):
        return _number_mend(kind, value)
    if kind == "bool_type" and isinstance(value, str) and value.lower() in ("true", "false"):
        return f"remove the quotes: {value.lower()}"
    if kind == "list_type" and isinstance(value, str):
        return f"write it as a list: [{value}]"
    return ""


def _number_mend(kind: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | float):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if not math.isfinite(number) or (kind != "float_type" and number != int(number)):
        return ""
    shown = str(int(number)) if number == int(number) else str(number)
    return f"remove the quotes: {shown}" if isinstance(value, str) else f"write {shown}"


def _shown(value: object) -> object:
    return type(value).__name__ if isinstance(value, dict | list) and len(str(value)) > 60 else value
