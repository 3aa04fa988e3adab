"""The rules of a request that its file alone does not have (dynamo-operator reference §§4.1, 4.2; VAL-07, C-19)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.errors import Problem
from armature.graph.images import images_for
from armature.operator.admission.kinds import ALPHA
from armature.operator.admission.plain import at, mapping_at, same
from armature.operator.admission.policy import Judgement, Policy, Write

__all__ = ["judge_request"]

_FROZEN = ("Profiling", "Ready", "Deploying", "Deployed", "DeploymentDeleted")
"""Phases from which the spec stays as it is. `DeploymentDeleted` is a state of v1alpha1 alone."""
_MANUAL = ("gpuSku", "vramMb", "totalGpus", "numGpusPerNode")


def judge_request(write: Write, policy: Policy) -> Judgement:
    found = Judgement()
    if write.old:
        found.immutable += _frozen(write)
    spec = mapping_at(write.new, "spec")
    if write.version == ALPHA:
        found.invalid += _alpha_problems(spec)
        found.invalid += _hardware_problems(
            mapping_at(spec, "profilingConfig", "config", "hardware"),
            "spec.profilingConfig.config.hardware",
            policy,
        )
        found.warnings += _alpha_warnings(spec)
        return found
    found.invalid += _hardware_problems(mapping_at(spec, "hardware"), "spec.hardware", policy)
    found.warnings += _image_warnings(spec)
    return found


def _frozen(write: Write) -> list[Problem]:
    old, new = mapping_at(write.old, "spec"), mapping_at(write.new, "spec")
    status = mapping_at(write.old, "status")
    phase = status.get("phase") or status.get("state")
    if phase not in _FROZEN or same(old, new) or _excepted(phase, old, new, write.version):
        return []
    rule = f'updates are forbidden while the resource is in phase "{phase}"'
    return [Problem("spec", rule, "delete and recreate the resource to change its spec")]


def _excepted(phase: str, old: Mapping[str, Any], new: Mapping[str, Any], version: str) -> bool:
    """A plan that waits for a person may still be given a runtime version, and, once it is ready, be applied."""
    if phase not in ("Profiling", "Ready") or _applies(old, version):
        return False
    free = {"runtimeVersionOverride"}
    if phase == "Ready" or not _applies(new, version):
        free.add("autoApply")
    return same(*({key: value for key, value in spec.items() if key not in free} for spec in (old, new)))


def _applies(spec: Mapping[str, Any], version: str) -> bool:
    """autoApply, where it is absent too: false with v1alpha1's profilingConfig, else true (C-11)."""
    stated = spec.get("autoApply")
    if stated is None:
        return version != ALPHA or spec.get("profilingConfig") is None
    return bool(stated)


def _hardware_problems(hardware: Mapping[str, Any], path: str, policy: Policy) -> list[Problem]:
    if policy.discover or any(hardware.get(name) is not None for name in _MANUAL) or hardware.get("gpuModel"):
        return []
    rule = "GPU hardware configuration is required when GPU discovery is disabled"
    return [Problem(path, rule, "set gpuSku, totalGpus and numGpusPerNode, or enable discovery")]


def _image_warnings(spec: Mapping[str, Any]) -> list[str]:
    """The newest field operator refuses such an image; seeds and samples use them, so here it is said, not refused."""
    image, override = spec.get("image"), spec.get("runtimeVersionOverride")
    if not isinstance(image, str) or override:
        return []
    tag = images_for(image, None).tag
    if f":{tag}" in image:
        return []
    rule = "is required when spec.image has no parseable semantic-version tag"
    return [f"spec.runtimeVersionOverride {rule}; without it components run {tag}"]


def _alpha_problems(spec: Mapping[str, Any]) -> list[Problem]:
    """Of the shipped v1alpha1; a request of the older proposal has no profilingConfig."""
    profiling = spec.get("profilingConfig")
    if not isinstance(profiling, Mapping):
        return []
    problems = []
    if not profiling.get("profilerImage"):
        path = "spec.profilingConfig.profilerImage"
        problems.append(Problem(path, "is required", "such as nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.0.0"))
    if not profiling.get("config"):
        path = "spec.profilingConfig.config"
        problems.append(Problem(path, "is required and must not be empty", "write at least sla: {isl, osl}"))
    return problems


def _alpha_warnings(spec: Mapping[str, Any]) -> list[str]:
    warnings = []
    config = at(spec, "profilingConfig", "config")
    for path, field in (("engine.backend", "backend"), ("deployment.model", "model")):
        inner, outer = at(config, *path.split(".")), spec.get(field)
        if inner is not None and outer is not None and inner != outer:
            warnings.append(
                f"spec.profilingConfig.config.{path} ({inner}) will be overwritten by spec.{field} ({outer})"
            )
    return warnings
