"""What every type of the API shares: camelCase names, strict types, and unknown keys kept rather than lost.

One set of classes serves both readers. A user's file is checked for unknown keys before it is parsed
(`unknown.py`); an object from an API server is parsed by the same class, keeps keys we do not know in
`model_extra`, and writes them back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

__all__ = [
    "Crd",
    "EmbeddedObject",
    "EnvVars",
    "Int32",
    "Int64",
    "IntOrString",
    "Model",
    "OpenMap",
    "Quantity",
    "Timestamp",
    "camel",
    "keyed_by",
]

_IRREGULAR = {"observed_id": "observedID", "checkpoint_id": "checkpointID", "output_pvc": "outputPVC"}

# resource.Quantity as the CRDs state it (tests/data/crds).
QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
    r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
_QUANTITY = re.compile(QUANTITY_PATTERN)


def camel(name: str) -> str:
    """The name in YAML of a Python attribute: `num_gpus_per_node` -> `numGpusPerNode`."""
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


class Model(BaseModel):
    """Base of every API type: no coercion, finite numbers only, unknown keys survive a round trip."""

    model_config = ConfigDict(
        alias_generator=camel,
        populate_by_name=True,
        extra="allow",
        strict=True,
        allow_inf_nan=False,
        defer_build=True,  # a command that reads one DGDR does not pay for the schemas of the other kinds
        protected_namespaces=(),
    )


@dataclass(frozen=True, slots=True, eq=False)  # pydantic hashes annotations
class Crd:
    """What a field's schema says in the CRD alone (`crds/`): our readers do not look at it, or take more."""

    schema: Mapping[str, Any]
    required: bool = False


def keyed_by(key: str) -> Crd:
    """A list whose items the API server tells apart by one field."""
    return Crd({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]})


def _quantity(value: object) -> int | str:
    if isinstance(value, str) and _QUANTITY.match(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("quantity", "must be a quantity such as 8Gi, 500m or 2")


_INT_OR_STRING = {"anyOf": [{"type": "integer"}, {"type": "string"}]}

Quantity = Annotated[
    int | str,
    PlainValidator(_quantity),
    WithJsonSchema(_INT_OR_STRING | {"pattern": QUANTITY_PATTERN}),
    Crd(_INT_OR_STRING | {"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN}),
]
"""An amount as Kubernetes writes it (`64Gi`, `500m`, `2`)."""

IntOrString = Annotated[int | str, Crd(_INT_OR_STRING | {"x-kubernetes-int-or-string": True})]

Int32 = Annotated[int, Field(le=2**31 - 1), Crd({"format": "int32"})]
Int64 = Annotated[int, Field(le=2**63 - 1), Crd({"format": "int64"})]

Timestamp = Annotated[str, Crd({"format": "date-time"})]
"""RFC 3339, as the API server checks it; kept as text."""

OpenMap = dict[str, Any]
"""A mapping whose keys are Kubernetes' own (pod templates, jobs, env entries): taken as written."""

EmbeddedObject = Annotated[OpenMap, Crd({"x-kubernetes-embedded-resource": True})]
"""A whole Kubernetes object inside another; the API server demands its apiVersion and kind."""

_NAMED = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "required": ["name"]}
_NAMED_ITEMS = Crd({"items": _NAMED | {"properties": {"name": {"type": "string"}}}})
EnvVars = Annotated[list[OpenMap], _NAMED_ITEMS]
"""Environment variables, or anything else of Kubernetes that is a list of objects with names."""
