"""One mapping to one typed resource and back: the strict reader, the tolerant reader, and the writer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from pydantic import ValidationError

from armature.api import v1alpha1, v1beta1
from armature.api.base import Model
from armature.api.checkpoint import DynamoCheckpoint
from armature.api.meta import API_GROUP, V1ALPHA1, V1BETA1, Foreign
from armature.api.models import DynamoModel
from armature.api.problems import MISSING, closest, from_validation_error
from armature.api.unknown import unknown_keys
from armature.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from armature.api.adapter import AlphaAdapter, DynamoGraphDeploymentScalingAdapter
    from armature.api.v1alpha1.dcd import DynamoComponentDeployment as AlphaComponentDeployment
    from armature.api.v1beta1.dcd import DynamoComponentDeployment
    from armature.api.worker_metadata import DynamoWorkerMetadata

__all__ = [
    "Location",
    "Resource",
    "class_of",
    "parse_strict",
    "parse_tolerant",
    "parse_tolerant_as",
    "served_versions",
    "to_dict",
    "without_nulls",
]

Resource: TypeAlias = (
    "v1beta1.DynamoGraphDeploymentRequest | v1beta1.DynamoGraphDeployment"
    " | v1alpha1.DynamoGraphDeploymentRequest | v1alpha1.DynamoGraphDeployment"
    " | DynamoModel | DynamoCheckpoint | Foreign"
    " | DynamoComponentDeployment | AlphaComponentDeployment"
    " | DynamoGraphDeploymentScalingAdapter | AlphaAdapter | DynamoWorkerMetadata"
)
Location = tuple[int | str, ...]
M = TypeVar("M", bound=Model)


def _class(module: str, name: str) -> Callable[[], type[Model]]:
    return lambda: cast(type[Model], getattr(import_module(f"armature.api.{module}"), name))


_CLASSES: dict[tuple[str, str], Callable[[], type[Model]]] = {
    (V1BETA1, "DynamoGraphDeploymentRequest"): lambda: v1beta1.DynamoGraphDeploymentRequest,
    (V1ALPHA1, "DynamoGraphDeploymentRequest"): lambda: v1alpha1.DynamoGraphDeploymentRequest,
    (V1BETA1, "DynamoGraphDeployment"): lambda: v1beta1.DynamoGraphDeployment,
    (V1ALPHA1, "DynamoGraphDeployment"): lambda: v1alpha1.DynamoGraphDeployment,
    (V1ALPHA1, "DynamoModel"): lambda: DynamoModel,
    (V1BETA1, "DynamoModel"): lambda: DynamoModel,
    (V1ALPHA1, "DynamoCheckpoint"): lambda: DynamoCheckpoint,
    (V1BETA1, "DynamoComponentDeployment"): _class("v1beta1.dcd", "DynamoComponentDeployment"),
    (V1ALPHA1, "DynamoComponentDeployment"): _class("v1alpha1.dcd", "DynamoComponentDeployment"),
    (V1BETA1, "DynamoGraphDeploymentScalingAdapter"): _class(
        "adapter", "DynamoGraphDeploymentScalingAdapter"
    ),
    (V1ALPHA1, "DynamoGraphDeploymentScalingAdapter"): _class("adapter", "AlphaAdapter"),
    (V1ALPHA1, "DynamoWorkerMetadata"): _class("worker_metadata", "DynamoWorkerMetadata"),
}
"""The served kinds; most classes are made when a file needs them."""
_KINDS = tuple(dict.fromkeys(kind for _, kind in _CLASSES))
_SHORT = {
    "dgdr": "DynamoGraphDeploymentRequest",
    "dgd": "DynamoGraphDeployment",
    "dm": "DynamoModel",
    "dckpt": "DynamoCheckpoint",
    "dcd": "DynamoComponentDeployment",
    "dgdsa": "DynamoGraphDeploymentScalingAdapter",
    "dwm": "DynamoWorkerMetadata",
}


def served_versions(kind: str | None) -> tuple[str, ...]:
    """The versions of a kind (`nvidia.com/v1beta1`), the one to prefer first; none for a kind that is not ours."""
    return tuple(version for version, owned in _CLASSES if owned == kind)


def class_of(data: Mapping[str, Any]) -> tuple[type[Model] | None, list[Problem]]:
    """The class for `apiVersion` and `kind`, and what is wrong with them.

    With a problem the class is the one that was probably meant, so that the rest can still be judged; None when
    there is no telling.
    """
    problems: list[Problem] = []
    version, kind = data.get("apiVersion"), data.get("kind")
    for key, value in (("apiVersion", version), ("kind", kind)):
        if value is not None and not isinstance(value, str):
            problems.append(Problem(key, "must be a string", "put it in quotes", value))
    version = version if isinstance(version, str) else None
    kind = kind if isinstance(kind, str) else None
    if version and kind and kind not in _KINDS and not _ours(version):
        return Foreign, problems
    meant = (
        kind
        if kind in _KINDS
        else _SHORT.get((kind or "").lower()) or (closest(kind, _KINDS) if kind else None)
    )
    if data.get("kind") is None:
        problems.append(Problem("kind", "required field is missing", f"add kind: one of {', '.join(_KINDS)}"))
    elif kind is not None and kind not in _KINDS:
        mend = f"did you mean {meant}?" if meant else f"one of {', '.join(_KINDS)}"
        problems.append(Problem("kind", "unknown kind", mend, kind))
    served = served_versions(meant) or (V1BETA1, V1ALPHA1)
    if data.get("apiVersion") is None:
        problems.append(Problem("apiVersion", "required field is missing", f"add apiVersion: {served[0]}"))
    elif version is not None and version not in served:
        hint = closest(version, served) or served[0]
        problems.append(
            Problem("apiVersion", "unknown version of this kind", f"did you mean {hint}?", version)
        )
        version = hint
    if meant is None:
        return None, problems
    return _CLASSES[(version or served[0], meant)](), problems


def _ours(version: str) -> bool:
    """Whether an apiVersion is of our group, or a misspelling of it."""
    group = version.split("/")[0] if "/" in version else ""
    return closest(group, [API_GROUP]) is not None and group.count(".") <= 1


def without_nulls(value: Any) -> Any:
    """A copy without keys whose value is null: an explicit null counts as absent, at every depth."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def parse_strict(cls: type[M], data: Mapping[str, Any]) -> tuple[M | None, list[tuple[Location, Problem]]]:
    """`data` (without nulls) as `cls`, and every structural problem with its location.

    Where a value has the wrong shape the resource is built without it, so that the rules of `validate` can still
    speak about the rest; None when even that cannot be done.
    """
    problems = [] if cls is Foreign else unknown_keys(cls, data)
    try:
        return _validated(cls, data), problems
    except ValidationError as error:
        misspelt = {(location[:-1], problem.mend) for location, problem in problems}
        problems += [
            (location, problem)
            for location, problem in from_validation_error(error)
            if not _is_missing_twice(location, problem, misspelt)
        ]
        return _repaired(cls, data, error), problems


def _is_missing_twice(location: Location, problem: Problem, misspelt: set[tuple[Location, str]]) -> bool:
    """Whether a missing field is there under a misspelt name, which is reported already."""
    return problem.rule == MISSING and (location[:-1], f"did you mean {location[-1]}?") in misspelt


def _validated(cls: type[M], data: Mapping[str, Any]) -> M:
    return cls.model_validate(data, by_alias=True, by_name=False)


_PLACEHOLDERS: dict[str, Any] = {
    "int_type": 1,
    "float_type": 1.0,
    "bool_type": False,
    "list_type": [],
    "dict_type": {},
    "model_type": {},
    "model_attributes_type": {},
}


def _repaired(cls: type[M], data: Mapping[str, Any], error: ValidationError) -> M | None:
    """`data` with each refused value taken out and each missing one stood in for, until it parses."""
    tree: dict[str, Any] = copy.deepcopy(dict(data))
    filled: set[Location] = set()
    for _ in range(8):
        for detail in sorted(error.errors(include_url=False), key=lambda item: -len(item["loc"])):
            location = tuple(detail["loc"])
            kind: str = detail["type"]
            if kind == "missing":
                _assign(tree, location, "placeholder")
                filled.add(location)
            elif location in filled and kind == "literal_error":
                _assign(tree, location, str(detail["ctx"]["expected"]).split("'")[1])
            elif location in filled and kind in _PLACEHOLDERS:
                _assign(tree, location, copy.deepcopy(_PLACEHOLDERS[kind]))
            else:
                _remove(tree, location)
        try:
            return _validated(cls, tree)
        except ValidationError as again:
            error = again
    return None


def _parent(tree: Any, location: Location) -> Any:
    for part in location[:-1]:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _assign(tree: Any, location: Location, value: Any) -> None:
    parent = _parent(tree, location)
    if isinstance(parent, dict):
        parent[location[-1]] = value


def _remove(tree: Any, location: Location) -> None:
    parent = _parent(tree, location)
    if isinstance(parent, dict):
        parent.pop(location[-1], None)
    elif isinstance(parent, list) and isinstance(location[-1], int) and location[-1] < len(parent):
        parent[location[-1]] = {}  # keep the positions of the entries after it


def parse_tolerant(data: Mapping[str, Any]) -> Resource:
    """An object read from an API server. Unknown fields are kept and written back by `to_dict`.

    Raises InvalidInput for a kind or version that is not served and for a value of the wrong type.
    """
    cls, problems = class_of(data)
    if problems or cls is None:
        raise InvalidInput(_subject(data), problems)
    return cast(Resource, parse_tolerant_as(cls, data))


def parse_tolerant_as(cls: type[M], data: Mapping[str, Any]) -> M:
    """`parse_tolerant` for a kind the caller knows already."""
    try:
        return _validated(cls, without_nulls(data))
    except ValidationError as error:
        found = [problem for _, problem in from_validation_error(error)]
        raise InvalidInput(_subject(data), found) from error


def _subject(data: Mapping[str, Any]) -> str:
    metadata = data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return f"{data.get('kind') or 'object'} {name or '(no name)'}"


def to_dict(resource: Model) -> dict[str, Any]:
    """The resource as plain data with YAML's names: only what was set, no nulls, unknown fields included."""
    plain = _plain(resource)
    head = {"apiVersion": getattr(resource, "api_version", None), "kind": getattr(resource, "kind", None)}
    return {**{key: value for key, value in head.items() if value is not None}, **plain}


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        out: dict[str, Any] = {}
        for name, field in type(value).model_fields.items():
            item = getattr(value, name)
            if item is None:
                continue
            plain = _plain(item)
            # A default that was filled in place (`request.spec.sla.ttft = 200`) is set as well.
            if name in value.model_fields_set or (isinstance(plain, dict | list) and plain):
                out[field.alias or name] = plain
        out.update({key: _plain(item) for key, item in (value.model_extra or {}).items() if item is not None})
        return out
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
