"""Component deployments and scaling adapters, both ways: one component alone, and the scale of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.api.convert.component_to_alpha import component_to_service
from armature.api.convert.graph_to_beta import component_name
from armature.api.convert.service_to_beta import convert_service
from armature.api.convert.status import component_status_to_alpha, component_status_to_beta

__all__ = ["adapter_to_alpha", "adapter_to_beta", "component_to_alpha", "component_to_beta"]

Object = dict[str, Any]


def _name_of(data: Mapping[str, Any]) -> str:
    name = data.get("metadata", {}).get("name")
    return name if isinstance(name, str) else ""


def component_to_beta(old: Mapping[str, Any]) -> Object:
    """A component deployment in v1beta1; its component is named as the service, or else as the object."""
    new: Object = {key: value for key, value in old.items() if key == "metadata"}
    if "spec" in old:
        name = component_name(old["spec"].get("serviceName") or _name_of(old))
        component, _, _ = convert_service(name, old["spec"], "spec")
        engine = {key: value for key, value in old["spec"].items() if key == "backendFramework"}
        new["spec"] = engine | component
    if "status" in old:
        new["status"] = component_status_to_beta(old["status"])
    return {"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoComponentDeployment", **new}


def component_to_alpha(new: Mapping[str, Any]) -> Object:
    """A component deployment in v1alpha1."""
    old: Object = {key: value for key, value in new.items() if key == "metadata"}
    if "spec" in new:
        spec = new["spec"]
        head = {key: spec[key] for key in ("backendFramework",) if key in spec}
        if "name" in spec:
            head["serviceName"] = spec["name"]
        service, _ = component_to_service(spec)
        old["spec"] = head | service
    if "status" in new:
        name = new.get("spec", {}).get("name", _name_of(new))
        old["status"] = component_status_to_alpha(new["status"], name)
    return {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoComponentDeployment", **old}


def adapter_to_beta(old: Mapping[str, Any]) -> Object:
    """A scaling adapter in v1beta1."""
    return _adapter(old, "nvidia.com/v1beta1", "serviceName", "componentName")


def adapter_to_alpha(new: Mapping[str, Any]) -> Object:
    """A scaling adapter in v1alpha1."""
    return _adapter(new, "nvidia.com/v1alpha1", "componentName", "serviceName")


def _adapter(data: Mapping[str, Any], version: str, was: str, now: str) -> Object:
    out = {**data, "apiVersion": version}
    reference = data.get("spec", {}).get("dgdRef")
    if isinstance(reference, Mapping) and was in reference:
        name = reference[was]
        rest = {key: value for key, value in reference.items() if key not in (was, now)}
        named = component_name(name) if now == "componentName" else name
        out["spec"] = {**data["spec"], "dgdRef": {**rest, now: named}}
    return out
