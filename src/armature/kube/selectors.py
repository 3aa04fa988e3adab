"""Label and field selectors, as kubectl takes them, evaluated here: for the fake, and for objects in a cache."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["fields_match", "labels_match"]

_TERM = re.compile(
    r"\s*(?:!\s*(?P<absent>[^\s,=!()]+)"
    r"|(?P<key>[^\s,=!()]+)"
    r"(?:\s*(?P<op>==|=|!=)\s*(?P<value>[^\s,()]*)|\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|$)"
)


def labels_match(selector: str, labels: Mapping[str, str] | None) -> bool:
    """Whether labels satisfy a selector (`a=b,c!=d,e,!f,g in (x,y)`). ValueError when it is not one."""
    held = labels or {}
    return all(term(held) for term in _terms(selector))


def fields_match(selector: str, obj: Mapping[str, Any]) -> bool:
    """Whether the fields of an object satisfy a selector (`metadata.name=x,status.phase!=Failed`)."""
    return all(term(_Fields(obj)) for term in _terms(selector))


class _Fields(dict[str, str]):
    """The dotted paths of an object as if they were labels; a missing field counts as empty."""

    def __init__(self, obj: Mapping[str, Any]) -> None:
        super().__init__()
        self._obj = obj

    def get(self, path: str, default: Any = None) -> Any:
        value: Any = self._obj
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return "" if value is None else str(value)


def _terms(selector: str) -> list[Callable[[Mapping[str, str]], bool]]:
    terms = []
    position = 0
    while position < len(selector):
        match = _TERM.match(selector, position)
        if match is None:
            raise ValueError(f"not a selector: {selector!r}, at {selector[position:]!r}")
        terms.append(_term(match.groupdict()))
        position = match.end()
    return terms


def _term(parts: dict[str, str]) -> Callable[[Mapping[str, str]], bool]:
    key, value = parts["key"], parts["value"]
    if parts["absent"]:
        return lambda held: parts["absent"] not in held
    if parts["set"]:
        values = {entry.strip() for entry in parts["values"].split(",")}
        if parts["set"] == "in":
            return lambda held: held.get(key) in values
        return lambda held: held.get(key) not in values
    if parts["op"] == "!=":
        return lambda held: held.get(key) != value
    if parts["op"]:
        return lambda held: held.get(key) == value
    return lambda held: key in held
