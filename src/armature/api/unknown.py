"""Keys that no type knows, found by walking a value beside its class.

Pydantic keeps unknown keys (`Model` allows them, so that an API server's objects survive); for a user's file they
are errors, each with the field that was probably meant.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from armature.api.base import Model
from armature.api.problems import UNKNOWN, closest, dotted
from armature.errors import Problem

__all__ = ["field_names", "nested_model", "unknown_keys"]

_EXPLAINED = {
    "v1beta2": "Armature does not read the v1beta2 envelope: write the v1beta1 fields directly under spec",
}


@cache
def field_names(cls: type[Model]) -> dict[str, Any]:
    """Name in YAML -> annotation, of every field of `cls`."""
    return {field.alias or name: field.annotation for name, field in cls.model_fields.items()}


def nested_model(annotation: Any) -> tuple[type[Model] | None, type | None]:
    """The model an annotation holds, and how: `(Model, None)`, `(Model, list)`, `(Model, dict)`, `(None, None)`."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation, None
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        return nested_model(arguments[0])
    if origin in (Union, types.UnionType):
        rest = [part for part in arguments if part is not type(None)]
        return nested_model(rest[0]) if len(rest) == 1 else (None, None)
    if origin in (list, dict):
        inner, container = nested_model(arguments[-1])
        return (inner, origin) if inner is not None and container is None else (None, None)
    return None, None


def unknown_keys(
    cls: type[Model], data: Mapping[str, Any], at: tuple[int | str, ...] = ()
) -> list[tuple[tuple[int | str, ...], Problem]]:
    """Every key under `data` that `cls` does not know, as (location, problem), in the order of the file."""
    known = field_names(cls)
    found: list[tuple[tuple[int | str, ...], Problem]] = []
    for key, value in data.items():
        location = (*at, key)
        if key not in known:
            found.append((location, _unknown(location, key, known)))
            continue
        inner, container = nested_model(known[key])
        if inner is None:
            continue
        if container is None and isinstance(value, Mapping):
            found += unknown_keys(inner, value, location)
        elif container is list and isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, Mapping):
                    found += unknown_keys(inner, item, (*location, index))
        elif container is dict and isinstance(value, Mapping):
            for name, item in value.items():
                if isinstance(item, Mapping):
                    found += unknown_keys(inner, item, (*location, name))
    return found


def _unknown(location: tuple[int | str, ...], key: str, known: Mapping[str, Any]) -> Problem:
    if key in _EXPLAINED:
        return Problem(dotted(location), UNKNOWN, _EXPLAINED[key])
    hint = closest(key, known)
    names = ", ".join(sorted(known)) if known else "none"
    mend = f"did you mean {hint}?" if hint else f"fields here: {names}"
    return Problem(dotted(location), UNKNOWN, mend)
