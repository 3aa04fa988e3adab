"""A v1alpha1 graph as a v1beta1 graph: the services map becomes the components list."""

from __future__ import annotations

import re
from typing import Any

from armature.api.convert_service import convert_service
from armature.api.converted import Builder, Converted
from armature.api.parse import to_dict
from armature.api.problems import join
from armature.api.v1alpha1 import DynamoGraphDeployment

__all__ = ["component_name", "convert_graph"]


def component_name(service: str) -> str:
    """A service's key as a component name: what v1beta1's name pattern does not allow becomes a dash."""
    return re.sub(r"[^A-Za-z0-9-]", "-", service).strip("-") or "component"


def convert_graph(graph: DynamoGraphDeployment) -> Converted:
    """The graph in v1beta1, with notes on what has no place there."""
    old = to_dict(graph)
    spec: dict[str, Any] = old["spec"]
    build = Builder({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment"})
    build.data["metadata"] = dict(old.get("metadata", {}))
    build.data["spec"] = {}
    for name in (
        "backendFramework",
        "annotations",
        "labels",
        "priorityClassName",
        "providerOverride",
        "restart",
    ):
        build.put(f"spec.{name}", spec.get(name), f"spec.{name}")
    build.put("spec.env", spec.get("envs"), "spec.envs")
    _topology(spec, build)
    _pvcs(spec, build)
    components: list[dict[str, Any]] = []
    for name, service in spec.get("services", {}).items():
        where = join("spec.services", name)
        new_name = component_name(name)
        if new_name != name:
            build.notes.append(f"{where} is named {new_name}: v1beta1 allows letters, digits and dashes")
        component, notes, origins = convert_service(new_name, service, where)
        at = f"spec.components[{len(components)}]"
        build.origins[at] = where
        build.origins.update({f"{at}.{path}": f"{where}.{origin}" for path, origin in origins.items()})
        build.notes += notes
        components.append(component)
    build.put("spec.components", components, "spec.services")
    _experimental(spec, build)
    _restart_order(build)
    if old.get("status"):
        build.notes.append("status is not converted")
    return build.done()


def _topology(spec: dict[str, Any], build: Builder) -> None:
    constraint = dict(spec.get("topologyConstraint", {}))
    profile = constraint.pop("topologyProfile", None)
    if profile is not None:
        constraint.setdefault("clusterTopologyName", profile)
    if constraint:
        build.put("spec.topologyConstraint", constraint, "spec.topologyConstraint")


def _pvcs(spec: dict[str, Any], build: Builder) -> None:
    for pvc in spec.get("pvcs", []):
        if pvc.get("create"):
            build.notes.append(
                f"spec.pvcs: v1beta1 creates no PersistentVolumeClaim; create {pvc['name']} "
                f"({pvc.get('size', '?')}, {pvc.get('volumeAccessMode', '?')}, "
                f"class {pvc.get('storageClass', '?')}) yourself"
            )


def _experimental(spec: dict[str, Any], build: Builder) -> None:
    experimental = dict(spec.get("experimental", {}))
    if not experimental:
        return
    groups = []
    for group in experimental.get("componentGroups", []):
        new = {
            **group,
            "components": [{"name": component_name(part["name"])} for part in group["components"]],
        }
        adapter = new.pop("scalingAdapter", None)
        if adapter and adapter.get("enabled"):
            new["scalingAdapter"] = {}
        groups.append(new)
    if groups:
        experimental["componentGroups"] = groups
    build.put("spec.experimental", experimental, "spec.experimental")


def _restart_order(build: Builder) -> None:
    restart = build.get("spec.restart")
    strategy = (restart or {}).get("strategy")
    if strategy and strategy.get("order"):
        order = [component_name(name) for name in strategy["order"]]
        build.data["spec"]["restart"] = {**restart, "strategy": {**strategy, "order": order}}
