"""What may not change in a DynamoGraphDeployment or DynamoComponentDeployment (reference §§4.3, 4.4; SA-04).

The rules that need nothing but the two objects; those of Grove, checkpoints and the GPU memory service join them with
their controllers. Every rule here speaks on UPDATE alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.errors import Problem
from armature.operator.admission.kinds import ALPHA
from armature.operator.admission.plain import at, mapping_at, same
from armature.operator.admission.policy import Judgement, Policy, Write

__all__ = ["judge_component", "judge_graph"]

_FIXED = "is immutable and cannot be changed after creation"
_RECREATE = "is immutable and cannot be added, removed, or changed after creation"
_ANNOTATIONS = ("dynamo.nvidia.com/gpu-power-limit", "nvidia.com/workload-provider")
_NODES = "cannot change node topology between single-node and multi-node after creation"


def judge_graph(write: Write, policy: Policy) -> Judgement:
    found = Judgement()
    if not write.old:
        return found
    old, new = mapping_at(write.old, "spec"), mapping_at(write.new, "spec")
    found.immutable += _annotation_problems(write)
    before, after = (_components(spec, write.version) for spec in (old, new))
    found.immutable += _topology_problems(before, after, write.version)
    for name in before.keys() & after.keys():
        found.immutable += _component_problems(name, before[name], after[name], write, policy)
    found.immutable += _framework_problems(old, new)
    if found.immutable and found.immutable[-1].path == "spec.backendFramework":
        found.warnings.append("Changing spec.backendFramework may cause unexpected behavior")
    for path, what in (
        (("topologyConstraint",), "topology constraints"),
        (("experimental", "kvTransferPolicy"), "the KV transfer policy"),
    ):
        if not same(at(old, *path), at(new, *path)):
            mend = f"delete and recreate the DynamoGraphDeployment to change {what}"
            found.immutable.append(Problem(".".join(("spec", *path)), _RECREATE, mend))
    rolling = at(write.old, "status", "rollingUpdate", "phase")
    if rolling in ("Pending", "InProgress") and at(old, "restart", "id") != at(new, "restart", "id"):
        rule = f"cannot be changed while a rolling update is {rolling}"
        found.invalid.append(Problem("spec.restart.id", rule, "wait until it has ended"))
    return found


def judge_component(write: Write, policy: Policy) -> Judgement:
    found = Judgement()
    if not write.old:
        return found
    old, new = mapping_at(write.old, "spec"), mapping_at(write.new, "spec")
    found.immutable += _framework_problems(old, new)
    if _multinode(old) != _multinode(new):
        found.immutable.append(Problem("spec.multinode", _NODES))
    return found


def _components(spec: Mapping[str, Any], version: str) -> dict[str, Mapping[str, Any]]:
    if version == ALPHA:
        services = mapping_at(spec, "services")
        return {name: service for name, service in services.items() if isinstance(service, Mapping)}
    listed = spec.get("components")
    entries = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    return {str(entry.get("name")): entry for entry in entries}


def _annotation_problems(write: Write) -> list[Problem]:
    old, new = (mapping_at(obj, "metadata", "annotations") for obj in (write.old, write.new))
    return [
        Problem(f'metadata.annotations["{name}"]', "field is immutable")
        for name in _ANNOTATIONS
        if old.get(name) is not None and old.get(name) != new.get(name)
    ]


def _topology_problems(before: Mapping[str, Any], after: Mapping[str, Any], version: str) -> list[Problem]:
    added, removed = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    if not added and not removed:
        return []
    one, many = ("service", "services") if version == ALPHA else ("component", "components")
    said = [
        f"{many} {verb}: [{' '.join(names)}]"
        for verb, names in (("added", added), ("removed", removed))
        if names
    ]
    rule = f"{one} topology is immutable and cannot be modified after creation: {', '.join(said)}"
    return [Problem(f"spec.{many}", rule, "delete and recreate the DynamoGraphDeployment")]


def _component_problems(
    name: str, old: Mapping[str, Any], new: Mapping[str, Any], write: Write, policy: Policy
) -> list[Problem]:
    where = f"spec.{'services' if write.version == ALPHA else 'components'}[{name}]"
    problems = []
    if _multinode(old) != _multinode(new):
        problems.append(Problem(f"{where}.multinode", _NODES))
    adapted = _adapted(old, write.version) and _adapted(new, write.version)
    scaled = old.get("replicas", 1) != new.get("replicas", 1)
    if adapted and scaled and not write.may_scale(policy):
        problems.append(_scaled(f"{where}.replicas", name, new, write))
    return problems


def _scaled(path: str, name: str, new: Mapping[str, Any], write: Write) -> Problem:
    adapter = f"{mapping_at(write.new, 'metadata').get('name')}-{name.lower()}"
    mend = (
        f"use 'kubectl scale dgdsa/{adapter} --replicas={new.get('replicas', 1)}' or update the "
        "DynamoGraphDeploymentScalingAdapter instead"
    )
    return Problem(path, "cannot be modified directly when scaling adapter is enabled", mend)


def _adapted(component: Mapping[str, Any], version: str) -> bool:
    """Whether a scaling adapter owns the replicas: v1alpha1 says so, in v1beta1 its presence does."""
    adapter = component.get("scalingAdapter")
    return isinstance(adapter, Mapping) and (version != ALPHA or bool(adapter.get("enabled")))


def _multinode(component: Mapping[str, Any]) -> bool:
    return isinstance(component.get("multinode"), Mapping)


def _framework_problems(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Problem]:
    """It may be set later, once."""
    before, after = old.get("backendFramework"), new.get("backendFramework")
    return [] if not before or before == after else [Problem("spec.backendFramework", _FIXED)]
