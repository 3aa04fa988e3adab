"""From a graph in the status to a graph that serves, and the watch over it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.operator.names import GENERATED_SPEC, SELECTED_POINT
from armature.operator.profiling.answer import Answer, Failure
from armature.operator.request import texts
from armature.operator.request.draft import Draft, failed
from armature.operator.request.results import chosen_point, graph_of, is_own_graph, point_of, write_answer
from armature.operator.request.state import Event, Observed, Pass

__all__ = ["deployed", "deploying", "rejected", "selected"]

_CONDITION = "DeploymentReady"


def deploying(seen: Observed, draft: Draft) -> Pass:
    """The graph is created, once, and then waited for; deleted by its user, it is not created again."""
    name = str(seen.status.get("dgdName") or "")
    if seen.graph is None:
        if not seen.annotation(GENERATED_SPEC):
            return _deleted(seen, name)
        if isinstance(seen.selected, Answer):
            return selected(seen, draft)
        events = _unknown_point(seen, draft)
        waiting = f"DGD {name} is in initializing state"
        draft.conditions.set(_CONDITION, "False", "DeploymentInProgress", waiting)
        return draft.done("Deploying", deploy=True, events=events)
    if not is_own_graph(seen.graph, seen.request):
        return rejected(seen, texts.NOT_OURS.format(name=name))
    if isinstance(seen.selected, Answer):
        return selected(seen, draft)
    draft.fields["deploymentInfo"] = _info(seen.graph)
    if seen.annotation(SELECTED_POINT) and point_of(seen.graph) not in ("", point_of(graph_of(seen.status))):
        makes_way = f"DGD {name} makes way for another point"
        draft.conditions.set(_CONDITION, "False", "DeploymentReplaced", makes_way)
        return draft.done("Deploying", replace=True)
    patch, adopt, events = _first_seen(seen, name)
    state = _state(seen.graph)
    if state == "successful":
        ready = f"DynamoGraphDeployment {name} is ready"
        events.append(Event("Normal", "DeploymentReady", ready, draft.conditions.since(_CONDITION)))
        draft.conditions.set(_CONDITION, "True", "DeploymentReady", ready)
        return draft.done("Deployed", patch=patch, adopt=adopt, events=events)
    degraded = draft.conditions.get(_CONDITION).get("reason") == "DeploymentDegraded"
    said = f"Deployment degraded to {state}" if degraded else f"DGD {name} is in {state} state"
    pulls = [
        f"pod {pod} container {container}: {reason}{f': {message}' if message else ''}"
        for pod, container, reason, message in seen.stuck
    ]
    reason = "DeploymentDegraded" if degraded else "DeploymentInProgress"
    if draft.conditions.set(_CONDITION, "False", reason, "; ".join([said, *pulls])):
        events += [Event("Warning", "ImagePullFailed", pull) for pull in pulls]
    return draft.done("Deploying", patch=patch, adopt=adopt, events=events)


def deployed(seen: Observed, draft: Draft) -> Pass:
    """The graph's replicas are kept up to date; a graph that fails takes the request back to Deploying."""
    name = str(seen.status.get("dgdName") or "")
    if seen.graph is None:
        return _deleted(seen, name)
    draft.fields["deploymentInfo"] = _info(seen.graph)
    patch, adopt, events = _first_seen(seen, name)
    wanted = seen.annotation(SELECTED_POINT)
    if chosen_point(seen.status, wanted) is not None:
        refused = texts.POINT_REFUSED.format(point=wanted, graph=name)
        if draft.conditions.set("PointSelected", "False", "PointRefused", refused):
            events.append(Event("Warning", "PointRefused", refused))
    state = _state(seen.graph)
    if state == "successful":
        return draft.done("Deployed", patch=patch, adopt=adopt, events=events)
    message = f"DynamoGraphDeployment {name} degraded from Ready to {state}"
    events.append(Event("Warning", "DeploymentDegraded", message, draft.conditions.since(_CONDITION)))
    draft.conditions.set(_CONDITION, "False", "DeploymentDegraded", f"Deployment degraded to {state}")
    return draft.done("Deploying", patch=patch, adopt=adopt, events=events)


def selected(seen: Observed, draft: Draft) -> Pass:
    """Another point of the plan takes the pick's place; a graph that is there already makes way for it later."""
    wanted, phase = seen.annotation(SELECTED_POINT), str(seen.status["phase"])
    if not isinstance(seen.selected, Answer):
        return draft.done(phase, events=_unknown_point(seen, draft))
    patch = write_answer(draft, seen.selected)
    message = f"Point {wanted} ({seen.selected.point}) takes the place of the pick"
    draft.conditions.set("PointSelected", "True", "PointSelected", message)
    return draft.done(phase, patch=patch, events=[Event("Normal", "PointSelected", message)])


def _unknown_point(seen: Observed, draft: Draft) -> list[Event]:
    if not isinstance(seen.selected, Failure):
        return []
    message = f"Point {seen.annotation(SELECTED_POINT)} cannot be selected: {seen.selected.message}"
    new = draft.conditions.set("PointSelected", "False", "PointUnknown", message)
    return [Event("Warning", "PointUnknown", message)] if new else []


def rejected(seen: Observed, message: str) -> Pass:
    """The API server does not take the graph."""
    return failed(seen, _CONDITION, "DeploymentRejected", message, "DeploymentCreationFailed")


def _deleted(seen: Observed, name: str) -> Pass:
    draft = Draft(seen)
    draft.fields |= {"dgdName": None, "deploymentInfo": None}
    draft.conditions.set(_CONDITION, "False", "DeploymentDeleted", texts.DELETED)
    message = texts.DELETED_EVENT.format(name=name)
    return draft.done("Failed", events=[Event("Warning", "DeploymentDeleted", message)])


def _first_seen(seen: Observed, name: str) -> tuple[dict[str, Any], bool, list[Event]]:
    """(patch, adopt, events) of a graph that is there: the first time, the generated spec is blanked, so that from then
    on a missing graph is a deleted one."""
    if not seen.annotation(GENERATED_SPEC):
        return {}, False, []
    created = f"DynamoGraphDeployment {name} created successfully"
    patch = {"metadata": {"annotations": {GENERATED_SPEC: ""}}}
    return patch, True, [Event("Normal", "DeploymentCreated", created, point_of(seen.graph))]


def _state(graph: Mapping[str, Any]) -> str:
    return str((graph.get("status") or {}).get("state") or "initializing")


def _info(graph: Mapping[str, Any]) -> dict[str, int]:
    components = ((graph.get("status") or {}).get("components") or {}).values()
    return {
        "replicas": sum(int(component.get("replicas") or 0) for component in components),
        "availableReplicas": sum(int(component.get("availableReplicas") or 0) for component in components),
    }
