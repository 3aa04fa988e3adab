"""A v1beta1 graph as a v1alpha1 graph: the components list becomes the services map, claims are listed as `pvcs`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from armature.api.convert.component_to_alpha import component_to_service
from armature.api.convert.graph_to_beta import SAME_FIELDS
from armature.api.convert.status import graph_status_to_alpha

__all__ = ["graph_to_alpha"]

Object = dict[str, Any]


def graph_to_alpha(new: Mapping[str, Any], names: Mapping[str, str], *, exact: bool = True) -> Object:
    """The graph in v1alpha1. `names`: component -> service, where they differ; `exact` as in `component_to_service`."""

    def rename(name: str) -> str:
        return names.get(name, name)

    old: Object = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment"}
    if "metadata" in new:
        old["metadata"] = new["metadata"]
    if "spec" in new:
        old["spec"] = _spec(new["spec"], rename, exact)
    if "status" in new:
        old["status"] = graph_status_to_alpha(new["status"], rename)
    return old


def _spec(spec: Mapping[str, Any], rename: Callable[[str], str], exact: bool) -> Object:
    out: Object = {key: spec[key] for key in (*SAME_FIELDS, "topologyConstraint") if key in spec}
    services: Object = {}
    claims: list[str] = []
    for component in spec.get("components", []):
        service, mounted = component_to_service(component, exact=exact)
        services[rename(component.get("name", ""))] = service
        claims += mounted
    if claims:
        out["pvcs"] = [{"name": name, "create": False} for name in dict.fromkeys(claims)]
    if "env" in spec:
        out["envs"] = spec["env"]
    if "components" in spec:
        out["services"] = services
    if "experimental" in spec:
        out["experimental"] = _experimental(spec["experimental"], rename)
    strategy = spec.get("restart", {}).get("strategy", {})
    if "order" in strategy:
        order = [rename(name) for name in strategy["order"]]
        out["restart"] = {**spec["restart"], "strategy": {**strategy, "order": order}}
    return out


def _experimental(experimental: Mapping[str, Any], rename: Callable[[str], str]) -> Object:
    out = dict(experimental)
    if "componentGroups" in experimental:
        out["componentGroups"] = [_group(group, rename) for group in experimental["componentGroups"]]
    return out


def _group(group: Mapping[str, Any], rename: Callable[[str], str]) -> Object:
    out = dict(group)
    if "components" in group:
        out["components"] = [{**part, "name": rename(part.get("name", ""))} for part in group["components"]]
    if "scalingAdapter" in group:
        out["scalingAdapter"] = {"enabled": True}
    return out
