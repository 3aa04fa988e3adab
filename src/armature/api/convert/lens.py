"""Both versions of an object, without loss: what the other version cannot say travels in one annotation.

Converting is a lens. Fields that both versions have are mapped by the modules beside this one, each way a plain
function. What is left over is kept in an annotation of the result, put back when the object returns, and judged there:
a field that was changed meanwhile wins over what was kept (`remainder`). So an object that goes to the other version
and back is what it was, and a client of either version that changes one field changes that field alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from armature.api.convert.remainder import (
    Entry,
    decoded,
    difference,
    encoded,
    fingerprint,
    restored,
    with_all,
)
from armature.api.meta import V1BETA1
from armature.api.parse import served_versions, without_nulls
from armature.errors import InvalidInput, Problem

__all__ = ["ALPHA_REMAINDER", "BETA_REMAINDER", "convert_object", "kept_places"]

ALPHA_REMAINDER = "nvidia.com/v1alpha1-remainder"
"""On a v1beta1 object: what its v1alpha1 form had beyond it."""
BETA_REMAINDER = "nvidia.com/v1beta1-remainder"
"""On a v1alpha1 object: what its v1beta1 form has beyond it."""

Object = dict[str, Any]
Names = dict[str, str]
"""Component -> service, where v1beta1 does not allow the service's name."""


@dataclass(frozen=True, slots=True)
class _Maps:
    """The two functions of a kind. Names come out of the one and go into the other."""

    to_beta: Callable[[Object], tuple[Object, Names]]
    to_alpha: Callable[[Object, Names], Object]


def _maps(kind: str) -> _Maps | None:
    """None: both versions of the kind are alike."""
    if kind == "DynamoGraphDeploymentRequest":
        from armature.api.convert.request_to_alpha import request_to_alpha
        from armature.api.convert.request_to_beta import convert_request

        return _Maps(
            lambda old: (convert_request(old, fitting=True).data, {}), lambda new, _: request_to_alpha(new)
        )
    if kind == "DynamoGraphDeployment":
        from armature.api.convert.graph_to_alpha import graph_to_alpha
        from armature.api.convert.graph_to_beta import convert_graph

        def to_beta(old: Object) -> tuple[Object, Names]:
            converted = convert_graph(old)
            return converted.data, converted.names

        return _Maps(to_beta, graph_to_alpha)
    if kind == "DynamoComponentDeployment":
        from armature.api.convert.component_deployment import component_to_alpha, component_to_beta

        return _Maps(lambda old: (component_to_beta(old), {}), lambda new, _: component_to_alpha(new))
    if kind == "DynamoGraphDeploymentScalingAdapter":
        from armature.api.convert.component_deployment import adapter_to_alpha, adapter_to_beta

        return _Maps(lambda old: (adapter_to_beta(old), {}), lambda new, _: adapter_to_alpha(new))
    return None


def convert_object(data: Mapping[str, Any], version: str) -> Object:
    """An object as the API server holds it, in `version` (`nvidia.com/v1alpha1`, `nvidia.com/v1beta1`).

    Metadata other than annotations stays as it is; elsewhere explicit nulls count as absent. Raises
    InvalidInput for a kind or a version that is not served.
    """
    kind, source = data.get("kind"), data.get("apiVersion")
    _check_served(data, kind, source, version)
    metadata = data.get("metadata") or {}
    old: Object = without_nulls({key: value for key, value in data.items() if key != "metadata"})
    maps = _maps(str(kind))
    if source == version or maps is None:
        new = {**old, "apiVersion": version}
    else:
        old["metadata"] = {key: metadata[key] for key in ("name", "annotations") if metadata.get(key)}
        new = _to_beta(old, maps) if version == V1BETA1 else _to_alpha(old, maps)
        annotations = new.pop("metadata").get("annotations")
        metadata = {key: value for key, value in metadata.items() if key != "annotations"}
        if annotations:
            metadata["annotations"] = annotations
    head = {key: new.pop(key) for key in ("apiVersion", "kind")}
    return {**head, **({"metadata": metadata} if metadata else {}), **new}


def kept_places(data: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The annotation with an object's remainder, and the fields that it keeps for the other version."""
    annotations = (data.get("metadata") or {}).get("annotations") or {}
    for annotation in (ALPHA_REMAINDER, BETA_REMAINDER):
        entries = decoded(annotations.get(annotation)).get("rest", [])
        steps = (
            [step if isinstance(step, str) else f"[{next(iter(step.values()))}]" for step in entry["at"]]
            for entry in entries
            if "is" in entry
        )
        places = tuple(".".join(each).replace(".[", "[") for each in steps)
        if places:
            return annotation, places
    return "", ()


def _check_served(data: Mapping[str, Any], kind: Any, source: Any, version: str) -> None:
    served = served_versions(kind) if isinstance(kind, str) else ()
    metadata = data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    subject = f"{kind or 'object'} {name or '(no name)'}"
    if not served:
        mend = "only the kinds of nvidia.com are converted"
        raise InvalidInput(subject, [Problem("kind", "is not served", mend, kind)])
    for path, wanted in (("apiVersion", source), ("desired apiVersion", version)):
        if wanted not in served:
            mend = f"{kind} is served in {' and '.join(served)}"
            raise InvalidInput(subject, [Problem(path, "is not a served version", mend, wanted)])


def _to_beta(alpha: Object, maps: _Maps) -> Object:
    alpha, kept = _taken(alpha, BETA_REMAINDER)
    computed, names = maps.to_beta(alpha)

    def back(beta: Object) -> Object:
        return maps.to_alpha(beta, names)

    beta, rest = _put_back(computed, kept, alpha, back)
    again = restored(back(beta), rest, lambda it: difference(maps.to_beta(_as_served(it))[0], beta))[0]
    return _with(beta, ALPHA_REMAINDER, {"rest": rest, "names": names, "of": _mark(beta, again == alpha)})


def _to_alpha(beta: Object, maps: _Maps) -> Object:
    beta, kept = _taken(beta, ALPHA_REMAINDER)
    alpha, rest = _put_back(
        maps.to_alpha(beta, kept.get("names", {})), kept, beta, lambda it: maps.to_beta(_as_served(it))[0]
    )
    served = _as_served(alpha)
    computed, names = maps.to_beta(served)
    again = restored(computed, rest, lambda it: difference(maps.to_alpha(it, names), served))[0]
    return _with(alpha, BETA_REMAINDER, {"rest": rest, "of": _mark(alpha, again == beta)})


def _put_back(
    computed: Object, kept: Mapping[str, Any], source: Object, back: Callable[[Object], Object]
) -> tuple[Object, list[Entry]]:
    """What was kept, put back; and what the result cannot say of its source."""
    entries = kept.get("rest", [])
    if "of" in kept and kept["of"] == fingerprint(source):
        result = with_all(computed, entries)
        return result, difference(back(result), source)
    return restored(computed, entries, lambda it: difference(back(it), source))


def _mark(result: Object, returns: bool) -> str | None:
    """For the rare object that would not come back as it was by its remainder alone: that it is this very one."""
    return None if returns else fingerprint(result)


def _as_served(value: Object) -> Object:
    """As the API server gives it to a client: the keys of every map in order, those of `services` too."""
    served: Object = json.loads(json.dumps(value, sort_keys=True))
    return served


def _taken(value: Object, annotation: str) -> tuple[Object, dict[str, Any]]:
    """The object without the annotation, and what it held."""
    metadata = value.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    if not isinstance(annotations, dict) or annotation not in annotations:
        return value, {}
    others = {key: item for key, item in annotations.items() if key != annotation}
    rest = {key: item for key, item in value["metadata"].items() if key != "annotations"}
    return {**value, "metadata": {**rest, "annotations": others} if others else rest}, decoded(
        annotations[annotation]
    )


def _with(value: Object, annotation: str, remainder: Mapping[str, Any]) -> Object:
    remainder = {key: item for key, item in remainder.items() if item}
    if not remainder:
        return value
    metadata = value.get("metadata", {})
    annotations = {**metadata.get("annotations", {}), annotation: encoded(remainder)}
    return {**value, "metadata": {**metadata, "annotations": annotations}}
