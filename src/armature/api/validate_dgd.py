"""The rules of a v1beta1 graph that its file alone can break: the CRD's expressions and the webhook's checks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from armature.api import v1beta1
from armature.api.problems import closest
from armature.api.validate_component import component_problems, component_warnings
from armature.api.validate_pod import env_problems
from armature.errors import Problem

__all__ = ["graph_problems", "graph_warnings"]

# Annotations with a fixed set of values (dynamo-operator API, validation of DGD v1beta1).
_ANNOTATIONS: dict[str, tuple[str, ...]] = {
    "nvidia.com/vllm-distributed-executor-backend": ("mp", "ray"),
    "nvidia.com/grove-update-strategy": ("RollingRecreate", "OnDelete"),
    "nvidia.com/dynamo-kube-discovery-mode": ("pod", "container"),
}
_ORIGIN_VERSION = "nvidia.com/dynamo-operator-origin-version"
_SEMVER = re.compile(r"v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")


def graph_problems(graph: v1beta1.DynamoGraphDeployment) -> list[Problem]:
    """Every rule the graph breaks."""
    spec = graph.spec
    problems = _annotation_problems(graph.metadata.annotations)
    if not spec.components:
        problems.append(
            Problem("spec.components", "must have at least one component", "add a frontend and a worker")
        )
    problems += _name_problems(spec.components)
    problems += env_problems(spec.env, "spec.env")
    for index, component in enumerate(spec.components):
        problems += component_problems(component, f"spec.components[{index}]")
    problems += _restart_problems(graph)
    problems += _topology_problems(spec)
    if spec.experimental is not None:
        if spec.experimental.kv_transfer_policy is not None:
            problems += _kv_transfer_problems(spec.experimental.kv_transfer_policy)
        problems += _group_problems(spec)
    return problems


def _annotation_problems(annotations: Mapping[str, str]) -> list[Problem]:
    problems = []
    for name, allowed in _ANNOTATIONS.items():
        value = annotations.get(name)
        if value is not None and value not in allowed:
            hint = closest(value, allowed)
            rule = f"must be {' or '.join(allowed)}"
            problems.append(Problem(_annotation(name), rule, f"did you mean {hint}?" if hint else "", value))
    version = annotations.get(_ORIGIN_VERSION)
    if version is not None and not _SEMVER.fullmatch(version):
        problems.append(Problem(_annotation(_ORIGIN_VERSION), "must be a version such as 1.2.3", "", version))
    return problems


def _annotation(name: str) -> str:
    return f'metadata.annotations["{name}"]'


def _name_problems(components: Sequence[v1beta1.Component]) -> list[Problem]:
    problems = []
    first: dict[str, int] = {}
    for index, component in enumerate(components):
        earlier = first.setdefault(component.name.lower(), index)
        if earlier != index:
            rule = f"is taken by spec.components[{earlier}]: names must differ in more than case"
            problems.append(
                Problem(f"spec.components[{index}].name", rule, "rename one of them", component.name)
            )
    pickers = [index for index, component in enumerate(components) if component.type == "epp"]
    for index in pickers[1:]:
        rule = "at most one component may have type epp"
        problems.append(
            Problem(f"spec.components[{index}].type", rule, f"spec.components[{pickers[0]}] is one")
        )
    return problems


def _restart_problems(graph: v1beta1.DynamoGraphDeployment) -> list[Problem]:
    """A restart is asked for after creation. An object with a uid has been created."""
    restart = graph.spec.restart
    if restart is None:
        return []
    problems = []
    if graph.metadata.uid is None:
        mend = "remove it; set spec.restart.id after creation to request a restart"
        problems.append(Problem("spec.restart", "must be unset on create", mend))
    order = restart.strategy.order if restart.strategy is not None else None
    if restart.strategy is not None and order:
        path = "spec.restart.strategy.order"
        names = [component.name for component in graph.spec.components]
        if restart.strategy.type == "Parallel":
            problems.append(Problem(path, "cannot be set when the strategy is Parallel", "remove order"))
        for name, count in Counter(order).items():
            if count > 1:
                problems.append(Problem(path, "names a component twice", "", name))
            if name not in names:
                hint = closest(name, names)
                mend = f"did you mean {hint}?" if hint else f"one of {', '.join(names)}"
                problems.append(Problem(path, "names no component", mend, name))
        if set(names) - set(order):
            problems.append(
                Problem(path, f"leaves out {', '.join(sorted(set(names) - set(order)))}", "name them all")
            )
    return problems


def _topology_problems(spec: v1beta1.GraphSpec) -> list[Problem]:
    constrained = [c for c in spec.components if c.topology_constraint is not None]
    if constrained and spec.topology_constraint is None:
        rule = "is required when a component has a topologyConstraint"
        return [Problem("spec.topologyConstraint", rule, "add clusterTopologyName")]
    topology = spec.topology_constraint
    if topology is not None and topology.pack_domain is None and not constrained:
        rule = "is required when no component has a topologyConstraint"
        return [Problem("spec.topologyConstraint.packDomain", rule, "add packDomain, such as rack")]
    return []


def _kv_transfer_problems(policy: v1beta1.KvTransferPolicy) -> list[Problem]:
    path = "spec.experimental.kvTransferPolicy"
    problems = []
    if (policy.label_key is None) == (policy.cluster_topology_name is None):
        mend = "remove one of them" if policy.label_key is not None else "add labelKey"
        problems.append(Problem(path, "exactly one of labelKey or clusterTopologyName is required", mend))
    if policy.label_key is not None and "/" in policy.label_key and len(policy.label_key.split("/")[0]) > 253:
        problems.append(
            Problem(f"{path}.labelKey", "prefix must be 253 characters or less", "", policy.label_key)
        )
    preferred = policy.enforcement == "preferred"
    if preferred and policy.preferred_weight is None:
        rule = "is required when enforcement is preferred"
        problems.append(Problem(f"{path}.preferredWeight", rule, "add a weight from 0 to 1"))
    if not preferred and policy.preferred_weight is not None:
        rule = "may only be set when enforcement is preferred"
        mend = "remove it, or set enforcement: preferred"
        problems.append(Problem(f"{path}.preferredWeight", rule, mend, policy.preferred_weight))
    return problems


def _group_problems(spec: v1beta1.GraphSpec) -> list[Problem]:
    problems = []
    names = [component.name for component in spec.components]
    groups = spec.experimental.component_groups if spec.experimental is not None else None
    seen: set[str] = set()
    for index, group in enumerate(groups or []):
        path = f"spec.experimental.componentGroups[{index}]"
        if group.name in seen:
            problems.append(
                Problem(f"{path}.name", "is taken by an earlier group", "rename one of them", group.name)
            )
        seen.add(group.name)
        for position, member in enumerate(group.components):
            if member.name not in names:
                hint = closest(member.name, names)
                mend = f"did you mean {hint}?" if hint else f"one of {', '.join(names)}"
                where = f"{path}.components[{position}].name"
                problems.append(Problem(where, "names no component", mend, member.name))
    return problems


def graph_warnings(graph: v1beta1.DynamoGraphDeployment) -> tuple[str, ...]:
    """What is accepted and should be known."""
    warnings: list[str] = []
    for index, component in enumerate(graph.spec.components):
        warnings += component_warnings(component, f"spec.components[{index}]")
    return tuple(warnings)
