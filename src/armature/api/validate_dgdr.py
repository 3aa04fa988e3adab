"""The rules of a v1beta1 request: VAL-01 to VAL-04, VAL-10, and numbers that can be meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from armature.api import v1alpha1, v1beta1
from armature.api.base import Model
from armature.api.planner_keys import planner_enabled, planner_problems
from armature.api.problems import closest
from armature.api.unknown import unknown_keys
from armature.errors import Problem

__all__ = ["MAX_DRAFT_TOKENS", "MAX_SEQUENCE_TOKENS", "request_problems", "request_warnings"]

MAX_SEQUENCE_TOKENS = 1_048_576
"""Largest isl or osl taken: 2^20, above the longest context served with published performance data
(Qwen2.5-1M, 1 010 000 tokens). A few models claim more (Llama 4 Scout, 10 M); no estimate exists there."""

MAX_DRAFT_TOKENS = 16
"""Tokens drafted per step, at most: published deployments draft 1 to 5 with multi-token prediction."""

_MAX_GPUS = 100_000  # the largest single clusters announced have about this many
_MAX_GPUS_PER_NODE = 144  # Vera Rubin NVL144 names its GPU dies; one NVLink domain is the largest "node"
_MAX_LATENCY_MS = 86_400_000  # a day
_MAX_RATE = 1_000_000
_MIN_VRAM_MIB, _MAX_VRAM_MIB = 1024, 4 * 1024 * 1024
_SNAPSHOT = re.compile(r"hub/models--[^/]+--[^/]+/snapshots/[0-9a-f]{7,64}")
_GRAPH_VERSIONS = ("nvidia.com/v1beta1", "nvidia.com/v1alpha1")


def request_problems(request: v1beta1.DynamoGraphDeploymentRequest) -> list[Problem]:
    """Every rule the request's spec breaks."""
    spec = request.spec
    problems: list[Problem] = []
    if not spec.model.strip() or spec.model != spec.model.strip():
        problems.append(
            Problem("spec.model", "must be a model's name", "such as Qwen/Qwen3-0.6B", spec.model)
        )
    if spec.search_strategy == "thorough" and spec.backend == "auto":  # VAL-01
        rule = 'is incompatible with spec.backend "auto"'  # this and the mend: the field's own words
        mend = "set spec.backend to a specific backend (sglang, trtllm, or vllm)"
        problems.append(Problem("spec.searchStrategy", rule, mend, spec.search_strategy))
    problems += _sla_problems(spec.sla)
    problems += _workload_problems(spec.workload)
    problems += _trace_problems(spec.workload)
    problems += _speculation_problems(spec.features.speculation)
    problems += _hardware_problems(spec.hardware)
    if spec.model_cache is not None:
        problems += _cache_problems(spec.model_cache)
    if spec.features.planner is not None:
        problems += planner_problems(spec.features.planner, "spec.features.planner")
    if spec.overrides.dgd is not None:
        problems += _graph_override_problems(spec.overrides.dgd)
    return problems


def _number(
    path: str, value: float | None, low: int, high: int, unit: str, *, above: bool = False
) -> list[Problem]:
    """`low` itself is refused when `above`."""
    if value is None or ((low < value if above else low <= value) and value <= high):
        return []
    if value > high:
        return [Problem(path, f"must be at most {high:,} {unit}".rstrip(), "", value)]
    word = "greater than" if above else "at least"
    return [Problem(path, f"must be {word} {low:,} {unit}".rstrip(), "", value)]


def _sla_problems(sla: v1beta1.Sla) -> list[Problem]:
    problems = []
    for name, value in (("ttft", sla.ttft), ("itl", sla.itl), ("e2eLatency", sla.e2e_latency)):
        problems += _number(f"spec.sla.{name}", value, 0, _MAX_LATENCY_MS, "ms", above=True)
    if sla.e2e_latency is not None and (sla.ttft is not None or sla.itl is not None):  # VAL-02
        with_what = " and ".join(
            name for name, value in (("ttft", sla.ttft), ("itl", sla.itl)) if value is not None
        )
        rule = f"cannot be combined with {with_what}"
        mend = f"keep either e2eLatency or {with_what}"
        problems.append(Problem("spec.sla.e2eLatency", rule, mend, sla.e2e_latency))
    return problems


def _workload_problems(workload: v1beta1.Workload) -> list[Problem]:
    problems = []
    for name, tokens in (("isl", workload.isl), ("osl", workload.osl)):
        path = f"spec.workload.{name}"
        if not 1 <= tokens <= MAX_SEQUENCE_TOKENS:
            rule = f"must be between 1 and {MAX_SEQUENCE_TOKENS} tokens"
            problems.append(Problem(path, rule, "write the tokens of one typical request", tokens))
    problems += _number(
        "spec.workload.requestRate", workload.request_rate, 0, _MAX_RATE, "requests/s", above=True
    )
    problems += _number(
        "spec.workload.concurrency", workload.concurrency, 0, _MAX_RATE, "requests", above=True
    )
    if workload.request_rate is not None and workload.concurrency is not None:
        rule = "cannot be combined with concurrency"
        mend = "keep the one you know: requests per second, or requests in flight"
        problems.append(Problem("spec.workload.requestRate", rule, mend, workload.request_rate))
    return problems


def _trace_problems(workload: v1beta1.Workload) -> list[Problem]:
    """A trace lies in one place, and its lengths are the only ones."""
    ref, path = workload.trace_ref, "spec.workload.traceRef"
    if ref is None:
        return []
    problems = []
    given = [
        name for name, place in (("path", ref.path), ("configMap", ref.config_map), ("pvc", ref.pvc)) if place
    ]
    if len(given) != 1:
        rule = f"has {' and '.join(given)}" if given else "names no place"
        problems.append(Problem(path, rule, "give one of path, configMap or pvc"))
    if ref.pvc is not None and (ref.pvc.path.startswith("/") or ".." in ref.pvc.path.split("/")):
        mend = "write the path inside the PVC, without a leading slash and without .."
        problems.append(Problem(f"{path}.pvc.path", "must stay inside the PVC", mend, ref.pvc.path))
    for name in ("isl", "osl"):
        tokens = getattr(workload, name)
        if tokens != type(workload).model_fields[name].default:  # an API server fills in the default
            rule, mend = "cannot be combined with a trace", "remove it: the trace has the lengths"
            problems.append(Problem(f"spec.workload.{name}", rule, mend, tokens))
    return problems


def _speculation_problems(speculation: v1beta1.Speculation | None) -> list[Problem]:
    if speculation is None:
        return []
    path = "spec.features.speculation"
    problems = _number(f"{path}.nextn", speculation.nextn, 1, MAX_DRAFT_TOKENS, "tokens")
    if not 0 < speculation.acceptance_rate <= 1:
        mend = "write a share such as 0.8; DeepSeek-V3's report has 0.85 to 0.9 for the first drafted token"
        rule = "must be above 0 and at most 1"
        problems.append(Problem(f"{path}.acceptanceRate", rule, mend, speculation.acceptance_rate))
    return problems


def _hardware_problems(hardware: v1beta1.Hardware) -> list[Problem]:
    problems = _number("spec.hardware.totalGpus", hardware.total_gpus, 1, _MAX_GPUS, "")
    problems += _number("spec.hardware.numGpusPerNode", hardware.num_gpus_per_node, 1, _MAX_GPUS_PER_NODE, "")
    vram = hardware.vram_mb
    if vram is not None and 8 <= vram < _MIN_VRAM_MIB:
        mend = f"the unit is MiB: write {int(vram * 1024)} for {vram:g} GiB"
        problems.append(Problem("spec.hardware.vramMb", f"must be at least {_MIN_VRAM_MIB} MiB", mend, vram))
    else:
        problems += _number("spec.hardware.vramMb", vram, _MIN_VRAM_MIB, _MAX_VRAM_MIB, "MiB")
    return problems


def _cache_problems(cache: v1beta1.ModelCache) -> list[Problem]:
    problems = []
    if not cache.pvc_name:
        reason = (
            "needs pvcName" if cache.pvc_model_path or "pvc_mount_path" in cache.model_fields_set else None
        )
        if reason:
            path = "spec.modelCache.pvcModelPath" if cache.pvc_model_path else "spec.modelCache.pvcMountPath"
            mend = "add spec.modelCache.pvcName, the PersistentVolumeClaim that holds the model"
            problems.append(Problem(path, reason, mend, cache.pvc_model_path))
        else:
            mend = "add the PersistentVolumeClaim that holds the model, or remove modelCache"
            problems.append(Problem("spec.modelCache.pvcName", "required field is missing", mend))
    if not cache.pvc_mount_path.startswith("/"):
        path, mend = "spec.modelCache.pvcMountPath", f"write /{cache.pvc_mount_path}"
        problems.append(Problem(path, "must be an absolute path", mend, cache.pvc_mount_path))
    path = cache.pvc_model_path or ""
    if ".." in path.split("/"):
        problems.append(
            Problem("spec.modelCache.pvcModelPath", "must stay inside the PVC", "remove ..", path)
        )
    elif path.startswith("/") and not (path + "/").startswith(cache.pvc_mount_path.rstrip("/") + "/"):
        rule = f"absolute, but not under pvcMountPath {cache.pvc_mount_path}"
        mend = "write the path inside the PVC, without a leading slash"
        problems.append(Problem("spec.modelCache.pvcModelPath", rule, mend, path))
    return problems


def _graph_override_problems(override: Mapping[str, Any]) -> list[Problem]:
    """DGDR-16: a partial graph. Its required fields may be absent; a key that no graph has is a typo."""
    path = "spec.overrides.dgd"
    problems = []
    kind, version = override.get("kind"), override.get("apiVersion")
    if kind not in (None, "DynamoGraphDeployment"):
        problems.append(Problem(f"{path}.kind", "must be DynamoGraphDeployment", "", kind))
    if version not in (None, *_GRAPH_VERSIONS):
        hint = closest(version, _GRAPH_VERSIONS) if isinstance(version, str) else None
        mend = f"did you mean {hint}?" if hint else f"one of {', '.join(_GRAPH_VERSIONS)}"
        return [*problems, Problem(f"{path}.apiVersion", "unknown version", mend, version)]
    spec = override.get("spec")
    if spec is not None and not isinstance(spec, Mapping):
        return [*problems, Problem(f"{path}.spec", "must be a mapping", "", spec)]
    alpha = version == _GRAPH_VERSIONS[1] or (
        version is None and bool({"services", "envs", "pvcs"} & set(spec or {}))
    )
    cls: type[Model] = v1alpha1.DynamoGraphDeployment if alpha else v1beta1.DynamoGraphDeployment
    location = ("spec", "overrides", "dgd")
    return [*problems, *(problem for _, problem in unknown_keys(cls, override, location))]


def request_warnings(request: v1beta1.DynamoGraphDeploymentRequest) -> tuple[str, ...]:
    """What is accepted and probably not meant."""
    spec, sla = request.spec, request.spec.sla
    warnings = []
    if sla.ttft is not None and sla.ttft < 5:
        warnings.append(f"spec.sla.ttft is {sla.ttft:g} ms; the unit is milliseconds")
    if sla.itl is not None and sla.itl < 1:
        warnings.append(f"spec.sla.itl is {sla.itl:g} ms; the unit is milliseconds")
    if sla.e2e_latency is not None and sla.e2e_latency < 100:
        warnings.append(f"spec.sla.e2eLatency is {sla.e2e_latency:g} ms; the unit is milliseconds")
    path = spec.model_cache.pvc_model_path if spec.model_cache is not None else None
    if path and not _SNAPSHOT.search(path):  # VAL-10; real caches deviate, so no error
        warnings.append(
            f"spec.modelCache.pvcModelPath ({path}) is no Hugging Face snapshot path "
            "(hub/models--<org>--<model>/snapshots/<commit>): it is used as it stands"
        )
    if spec.hardware.gpu_sku == "gb200_sxm":
        warnings.append("spec.hardware.gpuSku gb200_sxm is deprecated: write gb200")
    planner = spec.features.planner
    if planner_enabled(planner) and spec.features.mocker.enabled:
        warnings.append("spec.features: planner and mocker are both on: the planner scales mocked engines")
    return tuple(warnings)
