"""The status of requests, graphs and components, both ways. What has no place in the other version is left out here.

v1alpha1 calls a request's phase `state`; its `Ready` stands for a plan that is ready and for a graph that is, told
apart by `deployment.created`. It has `DeploymentDeleted`, where v1beta1 says Failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "component_status_to_alpha",
    "component_status_to_beta",
    "graph_status_to_alpha",
    "graph_status_to_beta",
    "request_status_to_alpha",
    "request_status_to_beta",
]

Object = dict[str, Any]
Rename = Callable[[str], str]

_SAME_PHASES = ("Pending", "Profiling", "Ready", "Deploying", "Failed")
_SAME_REQUEST = ("conditions", "observedGeneration", "profilingJobName", "deploymentInfo")
_SAME_GRAPH = ("observedGeneration", "state", "conditions", "placement")


def request_status_to_beta(old: Mapping[str, Any]) -> Object:
    """A request's status in v1beta1."""
    new: Object = {key: old[key] for key in _SAME_REQUEST[:3] if key in old}
    info = {key: value for key, value in old.get("deploymentInfo", {}).items() if _is_info(key, value)}
    if info or old.get("deploymentInfo") == {}:
        new["deploymentInfo"] = info
    state, deployment = old.get("phase", old.get("state")), old.get("deployment", {})
    if state == "Ready" and deployment.get("created") is True:
        new["phase"] = "Deployed"
    elif state in (*_SAME_PHASES, "Deployed"):
        new["phase"] = state
    elif state == "DeploymentDeleted":
        new["phase"] = "Failed"
    name = old.get("dgdName", deployment.get("name"))
    if name is not None:
        new["dgdName"] = name
    if "generatedDeployment" in old:
        new["profilingResults"] = {"selectedConfig": old["generatedDeployment"]}
    return new


def _is_info(key: str, value: Any) -> bool:
    counts = key in ("replicas", "availableReplicas")
    return counts and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31


def request_status_to_alpha(new: Mapping[str, Any]) -> Object:
    """A request's status in v1alpha1."""
    old: Object = {key: new[key] for key in _SAME_REQUEST if key in new}
    phase = new.get("phase")
    if phase is not None:
        old["state"] = "Ready" if phase == "Deployed" else phase
    deployment: Object = {}
    if "dgdName" in new:
        deployment["name"] = new["dgdName"]
    if phase == "Deployed":
        deployment["created"] = True
    if deployment:
        old["deployment"] = deployment
    chosen = new.get("profilingResults", {}).get("selectedConfig")
    if isinstance(chosen, dict) and all(isinstance(chosen.get(key), str) for key in ("apiVersion", "kind")):
        old["generatedDeployment"] = chosen
    return old


def graph_status_to_beta(old: Mapping[str, Any], rename: Rename) -> Object:
    """A graph's status in v1beta1; `rename` gives the component of a service."""
    new = _graph_status(old, rename, "updatedServices", "updatedComponents")
    if "services" in old:
        new["components"] = {rename(name): _component(item) for name, item in old["services"].items()}
    return new


def graph_status_to_alpha(new: Mapping[str, Any], rename: Rename) -> Object:
    """A graph's status in v1alpha1; `rename` gives the service of a component."""
    old = _graph_status(new, rename, "updatedComponents", "updatedServices")
    if "components" in new:
        old["services"] = {rename(name): _service(item, name) for name, item in new["components"].items()}
    return old


def _graph_status(status: Mapping[str, Any], rename: Rename, listed: str, as_listed: str) -> Object:
    out: Object = {key: status[key] for key in _SAME_GRAPH if key in status}
    if "restart" in status:
        out["restart"] = dict(status["restart"])
        if "inProgress" in status["restart"]:
            out["restart"]["inProgress"] = [rename(name) for name in status["restart"]["inProgress"]]
    if "checkpoints" in status:
        out["checkpoints"] = {rename(name): item for name, item in status["checkpoints"].items()}
    if "rollingUpdate" in status:
        update = dict(status["rollingUpdate"])
        names = update.pop(listed, None)
        if names is not None:
            update[as_listed] = [rename(name) for name in names]
        out["rollingUpdate"] = update
    return out


def _component(service: Mapping[str, Any]) -> Object:
    return {key: value for key, value in service.items() if key != "componentName"}


def _service(component: Mapping[str, Any], name: str) -> Object:
    """v1alpha1 demands the name of the first object."""
    objects = component.get("componentNames") or [name]
    return {**component, "componentName": objects[0]}


def component_status_to_beta(old: Mapping[str, Any]) -> Object:
    """A component deployment's status in v1beta1."""
    new: Object = {key: old[key] for key in ("observedGeneration", "conditions") if key in old}
    if "service" in old:
        new["component"] = _component(old["service"])
    return new


def component_status_to_alpha(new: Mapping[str, Any], name: str) -> Object:
    """A component deployment's status in v1alpha1, which demands conditions."""
    old: Object = {"conditions": new.get("conditions", [])}
    if "observedGeneration" in new:
        old["observedGeneration"] = new["observedGeneration"]
    if "component" in new:
        old["service"] = _service(new["component"], name)
    return old
