"""The answer of profiling as fields of a request's status and as its annotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.api.write import to_yaml_documents
from armature.operator.names import (
    ADDITIONAL_RESOURCES,
    GENERATED_SPEC,
    POINT,
    REQUEST_NAME,
    REQUEST_NAMESPACE,
    request_labels,
)
from armature.operator.profiling.answer import Answer
from armature.operator.request.draft import Draft
from armature.operator.runtime.conditions import ConditionStatus, timestamp

__all__ = ["chosen_point", "graph_of", "is_own_graph", "point_of", "write_answer"]


def write_answer(draft: Draft, answer: Answer) -> dict[str, Any]:
    """Puts the answer into the status: results, graph's name, the conditions on it. Returns the patch of the request's
    annotations, which hold the graph as YAML and the ConfigMaps that go with it."""
    seen = draft.seen
    graph = _graph(seen.request, answer)
    results = dict(draft.fields.get("profilingResults") or {})
    results |= {"selectedConfig": graph, "pareto": answer.pareto}
    results.setdefault("completionTime", timestamp(seen.now))
    draft.fields |= {"profilingResults": results, "dgdName": graph["metadata"]["name"]}
    draft.conditions.set("SLAMet", *_sla(answer))
    annotations: dict[str, Any] = {GENERATED_SPEC: to_yaml_documents([graph])}
    if answer.extras:
        annotations[ADDITIONAL_RESOURCES] = to_yaml_documents(answer.extras)
    elif seen.annotation(ADDITIONAL_RESOURCES):
        annotations[ADDITIONAL_RESOURCES] = None
    return {"metadata": {"annotations": annotations}}


def _graph(request: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    metadata = dict(answer.graph["metadata"])
    labels = (metadata.get("labels") or {}) | request_labels(request)
    annotations = (metadata.get("annotations") or {}) | {POINT: answer.point}
    metadata |= {"namespace": request["metadata"]["namespace"], "labels": labels, "annotations": annotations}
    return answer.graph | {"metadata": metadata}


def _sla(answer: Answer) -> tuple[ConditionStatus, str, str]:
    """Status, reason and message of `SLAMet`: which target is missed, by how much, and what would meet it."""
    if answer.missed:
        mend = "".join(f" {sentence}" for sentence in answer.would_meet)
        return "False", "Missed", f"{'; '.join(answer.missed)}.{mend}"
    if not answer.targets:
        return "True", "NotStated", "No target is stated, so none is missed"
    if answer.at_risk:
        return (
            "True",
            "AtRisk",
            "Every target is met as predicted, but not all within the 80 % band of the estimate",
        )
    return "True", "Met", "Every target is met"


def graph_of(status: Mapping[str, Any]) -> dict[str, Any] | None:
    """The graph that the status holds."""
    graph = (status.get("profilingResults") or {}).get("selectedConfig")
    return dict(graph) if graph else None


def point_of(graph: Mapping[str, Any] | None) -> str:
    """The id of the candidate that a graph runs; empty for a graph that names none."""
    return str((((graph or {}).get("metadata") or {}).get("annotations") or {}).get(POINT) or "")


def chosen_point(status: Mapping[str, Any], wanted: str) -> str | None:
    """The id of the point that the user chose by number or id; None when none is, or the graph runs it already.

    A point that is not among those in the status is given back as it was written.
    """
    if not wanted:
        return None
    points = (status.get("profilingResults") or {}).get("pareto") or ()
    ids = [str(point["id"]) for point in points if str(point.get("point")) == wanted]
    id = ids[0] if ids else wanted
    return None if id == point_of(graph_of(status)) else id


def is_own_graph(graph: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    labels = graph["metadata"].get("labels") or {}
    own = request["metadata"]
    return bool(labels.get(REQUEST_NAME) == own["name"] and labels.get(REQUEST_NAMESPACE) == own["namespace"])
