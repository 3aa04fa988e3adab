"""A type of ours as the structural schema of a CustomResourceDefinition: no `$ref`, every field with its type.

It reads the fields of the classes and not pydantic's JSON schema, which would have to build a validator per class.
What the CRD says beyond the types stands at the field (`base.Crd`) or, for CEL, in `rules`.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from armature.api.base import Crd, Model
from armature.api.crds.rules import rules_of

__all__ = ["OPEN", "object_schema"]

OPEN: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

_SCALARS = {str: "string", bool: "boolean", int: "integer", float: "number"}
_LENGTH = {"string": "Length", "array": "Items", "object": "Properties"}
_WHOLE_RANGE = {"int32": 2**31 - 1, "int64": 2**63 - 1}
_REQUIREMENT = re.compile(r" \([A-Z]+\d*-\d+\)")  # says something to us alone
_MAX_DESCRIPTION = 300  # characters


def object_schema(cls: type[Model]) -> dict[str, Any]:
    """The schema of a class: its fields, those required, its rules, and its docstring's first paragraph."""
    schema: dict[str, Any] = {"type": "object"}
    about = _first_paragraph(cls)
    if about:
        schema["description"] = about
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, field in cls.model_fields.items():
        alias = field.alias or name
        properties[alias] = _field_schema(field)
        if field.is_required() or any(note.required for note in _crd_notes(field)):
            required.append(alias)
    if properties:
        schema["properties"] = properties
    if required:
        schema["required"] = required
    rules = rules_of(cls)
    if rules:
        schema["x-kubernetes-validations"] = rules
    return schema


def _first_paragraph(cls: type[Model]) -> str | None:
    text = _REQUIREMENT.sub("", " ".join((cls.__doc__ or "").split("\n\n")[0].split()))
    return text if 0 < len(text) <= _MAX_DESCRIPTION else None


def _crd_notes(field: FieldInfo) -> list[Crd]:
    return [note for note in field.metadata if isinstance(note, Crd)]


def _field_schema(field: FieldInfo) -> dict[str, Any]:
    schema = _constrained(_schema(field.annotation), field.metadata)
    default = field.default
    if default is not PydanticUndefined and default is not None and default != "":
        schema["default"] = default
    return schema


def _schema(annotation: Any) -> dict[str, Any]:
    if annotation is Any:
        return {}  # its `Crd` says all
    if annotation in _SCALARS:
        return {"type": _SCALARS[annotation]}
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return object_schema(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _constrained(_schema(arguments[0]), arguments[1:])
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin in (Union, types.UnionType):
        rest = [part for part in arguments if part is not type(None)]
        return _schema(rest[0]) if len(rest) == 1 else {}  # int | str: its `Crd` says all
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is dict:
        return dict(OPEN) if arguments[1] is Any else _map_of(_schema(arguments[1]))
    raise TypeError(f"no structural schema for {annotation}")


def _map_of(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for note in metadata:
        if isinstance(note, FieldInfo):
            yield from note.metadata
        else:
            yield note


def _constrained(schema: dict[str, Any], metadata: Iterable[Any]) -> dict[str, Any]:
    """The schema with what pydantic's constraints and our `Crd` notes say; the narrower limit counts."""
    limits: dict[str, Any] = {}
    for note in _flat(metadata):
        if isinstance(note, Ge):
            limits["minimum"] = max(note.ge, limits.get("minimum", note.ge))
        elif isinstance(note, Le):
            limits["maximum"] = min(note.le, limits.get("maximum", note.le))
        elif isinstance(note, MinLen):
            limits[f"min{_LENGTH[schema['type']]}"] = note.min_length
        elif isinstance(note, MaxLen):
            limits[f"max{_LENGTH[schema['type']]}"] = note.max_length
        elif isinstance(note, Crd):
            limits.update(note.schema)
        elif getattr(note, "pattern", None) is not None:
            limits["pattern"] = note.pattern
    whole = _WHOLE_RANGE.get(limits.get("format", schema.get("format", "")))
    if whole is not None and limits.get("maximum") == whole:
        del limits["maximum"]  # the format says it
    return schema | limits
