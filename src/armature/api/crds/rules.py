"""The CEL rules of the CRDs: what holds when no webhook answers. Messages are the field's own (dynamo-operator 1, 4).

A rule with `oldSelf` is judged on updates alone. The API server refuses rules that could cost too much, so each reads
fields of limited size or compares whole objects once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from armature.api import checkpoint, models, v1alpha1, v1beta1
from armature.api.base import Model, camel
from armature.api.v1alpha1 import dgd as alpha_graph
from armature.api.v1beta1 import component, dgd

__all__ = ["root_rules_of", "rules_of"]

Rule = dict[str, Any]


def _rule(rule: str, message: str, **more: Any) -> Rule:
    return {"rule": rule, "message": message, **more}


def _kept(name: str, message: str) -> Rule:
    """A field that may be set later and then stays."""
    rule = f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} == oldSelf.{name})"
    return _rule(rule, message)


def _unchanged(name: str, message: str) -> Rule:
    """A field that is neither added, nor removed, nor changed."""
    return _rule(_same("self", "oldSelf", name), message)


def _same(new: str, old: str, name: str) -> str:
    """Whether a field that may be absent is alike; `new.?name == old.?name` is refused as too costly."""
    return f"has({new}.{name}) == has({old}.{name}) && (!has({new}.{name}) || {new}.{name} == {old}.{name})"


_SHARED_MEMORY = _rule(
    "!(has(self.disabled) && self.disabled && has(self.size))",
    "sharedMemory.size must not be set when sharedMemory.disabled is true",
)
_RESTART = _rule(
    "oldSelf.hasValue() || !has(self.restart)",
    "spec.restart must be unset on create; set spec.restart.id after creation to request a restart",
    optionalOldSelf=True,
)
_GRAPH = (
    _RESTART,
    _kept("backendFramework", "backendFramework is immutable and cannot be changed after creation"),
    _unchanged(
        "topologyConstraint",
        "topologyConstraint is immutable and cannot be added, removed, or changed after creation; delete and "
        "recreate the DynamoGraphDeployment to change topology constraints",
    ),
)
_FIXED = "is immutable and cannot be changed after creation"


@cache
def _rules() -> Mapping[type[Model], Sequence[Rule]]:
    return {
        component.Component: (
            _rule(
                "!has(self.eppConfig) || (has(self.type) && self.type == 'epp')",
                "eppConfig may only be set when type is epp",
            ),
            _rule(
                "!has(self.minAvailable) || (has(self.replicas) && self.replicas == 0) || "
                "self.minAvailable <= (has(self.replicas) ? self.replicas : 1)",
                "minAvailable must be less than or equal to replicas unless replicas is 0",
            ),
            _kept("minAvailable", "minAvailable is immutable after creation"),
            _kept("type", "type is immutable after it is set"),
        ),
        component.EppConfig: (
            _rule(
                "has(self.configMapRef) != has(self.config)",
                "exactly one of configMapRef or config must be specified",
            ),
        ),
        component.GpuMemoryService: (
            _rule(
                "!has(self.extraClientContainers) || size(self.extraClientContainers) == 0 || "
                "self.mode == 'IntraPod'",
                "extraClientContainers is only supported with mode=IntraPod",
            ),
            _rule(
                "!has(self.extraClientPods) || size(self.extraClientPods) == 0 || self.mode == 'InterPod'",
                "extraClientPods is only supported with mode=InterPod",
            ),
            _rule(
                "!has(self.extraClientPods) || size(self.extraClientPods) == 0",
                "extraClientPods is reserved for inter-pod GMS and is not implemented yet",
            ),
        ),
        component.Checkpoint: (
            _rule(
                "!has(self.job) || !has(self.checkpointRef) || size(self.checkpointRef) == 0",
                "checkpoint.job cannot be set when checkpointRef is specified",
            ),
        ),
        dgd.KvTransferPolicy: (
            _rule(
                "(has(self.labelKey) && !has(self.clusterTopologyName)) || "
                "(!has(self.labelKey) && has(self.clusterTopologyName))",
                "exactly one of labelKey or clusterTopologyName is required",
            ),
            _rule(
                "!has(self.enforcement) || self.enforcement != 'preferred' || has(self.preferredWeight)",
                "preferredWeight is required when enforcement is preferred",
            ),
            _rule(
                "!has(self.preferredWeight) || (has(self.enforcement) && self.enforcement == 'preferred')",
                "preferredWeight may only be set when enforcement is preferred",
            ),
        ),
        dgd.GraphSpec: _GRAPH,
        alpha_graph.AlphaGraphSpec: _GRAPH,
        alpha_graph.Pvc: (
            _rule(
                "!has(self.create) || self.create == false || "
                "(has(self.size) && has(self.storageClass) && has(self.volumeAccessMode))",
                "When create is true, size, storageClass, and volumeAccessMode are required",
            ),
        ),
        checkpoint.SharedMemory: (_SHARED_MEMORY,),
        models.ModelSpec: (
            _unchanged("modelType", f"spec.modelType {_FIXED}"),
            _rule("self.baseModelName == oldSelf.baseModelName", f"spec.baseModelName {_FIXED}"),
        ),
    }


def rules_of(cls: type[Model]) -> list[Rule]:
    """The rules of a class and of those it extends."""
    return [dict(rule) for base in cls.__mro__ for rule in _rules().get(base, ())]


def _request_rule(cls: type[Model], state: str, final: Sequence[str], free: Sequence[str]) -> Rule:
    """VAL-07: the spec stays as it is once profiling has begun; before the graph is applied, and only with
    autoApply: false, the `free` fields may change, and autoApply may become true once the plan is ready."""
    others = [
        field.alias or name
        for name, field in cls.model_fields.items()
        if (field.alias or name) not in (*free, "autoApply")
    ]
    same = " && ".join(_same("self.spec", "oldSelf.spec", name) for name in others)
    waiting = [name for name in final if name in ("Profiling", "Ready")]
    held = "has(oldSelf.spec.autoApply) && !oldSelf.spec.autoApply"
    applied = f"(has(self.spec.autoApply) && !self.spec.autoApply) || oldSelf.status.{state} == 'Ready'"
    exception = f"{held} && oldSelf.status.{state} in {_list(waiting)} && ({applied}) && {same}"
    rule = (
        f"!has(oldSelf.status) || !has(oldSelf.status.{state}) || !(oldSelf.status.{state} in {_list(final)}) || "
        f"self.spec == oldSelf.spec || ({exception})"
    )
    told = "updates are forbidden while the resource is in phase \"' + oldSelf.status.%s + '\"; delete and recreate"
    return {
        "rule": rule,
        "messageExpression": "'" + told % state + " the resource to change its spec'",
        "message": "updates are forbidden once profiling has started; delete and recreate the resource",
        "fieldPath": ".spec",
        "reason": "FieldValueForbidden",
    }


def _list(values: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{value}'" for value in values) + "]"


def root_rules_of(cls: type[Model]) -> list[Rule]:
    """The rules that need spec and status, or the metadata, of a whole object."""
    if cls is v1beta1.DynamoGraphDeploymentRequest:
        final = ("Profiling", "Ready", "Deploying", "Deployed")
        free = [camel("runtime_version_override")]
        return [_request_rule(v1beta1.RequestSpec, "phase", final, free)]
    if cls is v1alpha1.DynamoGraphDeploymentRequest:
        final = ("Profiling", "Ready", "Deploying", "DeploymentDeleted")
        return [_request_rule(v1alpha1.AlphaRequestSpec, "state", final, [])]
    if cls is checkpoint.DynamoCheckpoint:
        rule = "!has(oldSelf.spec.identity) || self.spec.identity == oldSelf.spec.identity"
        return [_rule(rule, "spec.identity is immutable after creation")]
    return []
