"""A v1alpha1 graph as a v1beta1 graph: the services map becomes the components list."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from armature.api.convert.built import Builder, Converted
from armature.api.convert.service_to_beta import convert_service
from armature.api.convert.status import graph_status_to_beta
from armature.api.problems import join

__all__ = ["SAME_FIELDS", "component_name", "convert_graph"]

SAME_FIELDS = (
    "backendFramework",
    "annotations",
    "labels",
    "priorityClassName",
    "providerOverride",
    "restart",
)
_LONGEST_NAME = 63


def component_name(service: str) -> str:
    """A service's key as a component name: what v1beta1's name pattern does not allow becomes a dash."""
    return re.sub(r"[^A-Za-z0-9-]", "-", service).strip("-") or "component"


def component_names(services: Iterable[str]) -> dict[str, str]:
    """Service -> component, each its own; the names are the same whatever the order of the services."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for service in sorted(services, key=lambda name: (component_name(name) != name, name)):
        stem = component_name(service)[:_LONGEST_NAME].rstrip("-")
        name, number = stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem[: _LONGEST_NAME - 4]}-{number}"
        taken.add(name.lower())
        names[service] = name
    return names


def convert_graph(old: Mapping[str, Any]) -> Converted:
    """The graph in v1beta1, with notes on what has no place there."""
    build = Builder({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment"})
    if "metadata" in old:
        build.data["metadata"] = dict(old["metadata"])
    spec: Mapping[str, Any] = old.get("spec", {})
    names = component_names(spec.get("services", {}))

    def rename(service: str) -> str:
        return names.get(service, service)

    if "spec" in old:
        build.data["spec"] = {}
        _convert_spec(spec, names, rename, build)
    if "status" in old:
        build.data["status"] = graph_status_to_beta(old["status"], rename)
    build.names = {component: service for service, component in names.items() if component != service}
    return build.done()


def _convert_spec(
    spec: Mapping[str, Any], names: Mapping[str, str], rename: Callable[[str], str], build: Builder
) -> None:
    for name in SAME_FIELDS:
        build.put(f"spec.{name}", spec.get(name), f"spec.{name}")
    build.put("spec.env", spec.get("envs"), "spec.envs")
    _topology(spec, build)
    _pvcs(spec, build)
    components: list[dict[str, Any]] = []
    for name, service in spec.get("services", {}).items():
        where = join("spec.services", name)
        new_name = names[name]
        if new_name != name:
            build.notes.append(f"{where} is named {new_name}: v1beta1 allows letters, digits and dashes")
        component, notes, origins = convert_service(new_name, service, where)
        at = f"spec.components[{len(components)}]"
        build.origins[at] = where
        build.origins.update({f"{at}.{path}": f"{where}.{origin}" for path, origin in origins.items()})
        build.notes += notes
        components.append(component)
    if "services" in spec:
        build.put("spec.components", components, "spec.services")
    _experimental(spec, rename, build)
    _restart_order(rename, build)


def _topology(spec: Mapping[str, Any], build: Builder) -> None:
    constraint = dict(spec.get("topologyConstraint", {}))
    profile = constraint.pop("topologyProfile", None)
    if profile is not None:
        constraint.setdefault("clusterTopologyName", profile)
    if "clusterTopologyName" in constraint:
        build.put("spec.topologyConstraint", constraint, "spec.topologyConstraint")


def _pvcs(spec: Mapping[str, Any], build: Builder) -> None:
    for pvc in spec.get("pvcs", []):
        if pvc.get("create"):
            build.notes.append(
                f"spec.pvcs: v1beta1 creates no PersistentVolumeClaim; create {pvc['name']} "
                f"({pvc.get('size', '?')}, {pvc.get('volumeAccessMode', '?')}, "
                f"class {pvc.get('storageClass', '?')}) yourself"
            )


def _experimental(spec: Mapping[str, Any], rename: Callable[[str], str], build: Builder) -> None:
    experimental = dict(spec.get("experimental", {}))
    if not experimental:
        return
    groups = []
    for group in experimental.get("componentGroups", []):
        new = dict(group)
        if "components" in group:
            new["components"] = [
                {**part, "name": rename(part.get("name", ""))} for part in group["components"]
            ]
        adapter = new.pop("scalingAdapter", None)
        if adapter and adapter.get("enabled"):
            new["scalingAdapter"] = {}
        groups.append(new)
    if groups:
        experimental["componentGroups"] = groups
    build.put("spec.experimental", experimental, "spec.experimental")


def _restart_order(rename: Callable[[str], str], build: Builder) -> None:
    restart = build.get("spec.restart")
    strategy = (restart or {}).get("strategy")
    if strategy and strategy.get("order"):
        order = [rename(name) for name in strategy["order"]]
        build.data["spec"]["restart"] = {**restart, "strategy": {**strategy, "order": order}}
