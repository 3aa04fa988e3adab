"""A v1alpha1 request, of the proposal or as shipped, as a v1beta1 request.

`profilingConfig.config` is the profiler's own free mapping; its keys come in camelCase and, from releases before
0.8.1, in snake_case. Each known leaf has its place in `CONFIG_FIELDS`; every other leaf gets a note.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from armature.api.base import camel
from armature.api.convert.built import Builder, Converted
from armature.api.convert.status import request_status_to_beta
from armature.api.problems import join
from armature.api.skus import SKUS, sku_hint

__all__ = [
    "CONFIG_FIELDS",
    "CONFIG_MAP_ANNOTATION",
    "OUTPUT_PVC_ANNOTATION",
    "WORKERS_IMAGE_ANNOTATION",
    "convert_request",
]

CONFIG_MAP_ANNOTATION = "nvidia.com/dgdr-config-map-ref"
OUTPUT_PVC_ANNOTATION = "nvidia.com/dgdr-output-pvc"
WORKERS_IMAGE_ANNOTATION = "nvidia.com/dgdr-workers-image"

_RUNTIME_IMAGE = re.compile(r"nvcr\.io/nvidia/ai-dynamo/(vllm|sglang|tensorrtllm)-runtime:(\d+\.\d+\.\d+)")
_RUNTIME_OF = {"vllm": "vllm", "sglang": "sglang", "trtllm": "tensorrtllm"}

CONFIG_FIELDS = {
    "sla.isl": "spec.workload.isl",
    "sla.osl": "spec.workload.osl",
    "sla.ttft": "spec.sla.ttft",
    "sla.itl": "spec.sla.itl",
    "sla.e2eLatency": "spec.sla.e2eLatency",
    "hardware.gpuSku": "spec.hardware.gpuSku",
    "hardware.gpuModel": "spec.hardware.gpuSku",
    "hardware.system": "spec.hardware.gpuSku",
    "sweep.aicSystem": "spec.hardware.gpuSku",
    "aicSystem": "spec.hardware.gpuSku",
    "hardware.gpuVramMib": "spec.hardware.vramMb",
    "hardware.numGpusPerNode": "spec.hardware.numGpusPerNode",
    "hardware.totalGpus": "spec.hardware.totalGpus",
    "sweep.useAiConfigurator": "spec.searchStrategy",
    "useAiConfigurator": "spec.searchStrategy",
    "deployment.modelCache.pvcName": "spec.modelCache.pvcName",
    "deployment.modelCache.pvcPath": "spec.modelCache.pvcModelPath",
    "deployment.modelCache.pvcModelPath": "spec.modelCache.pvcModelPath",
    "deployment.modelCache.mountPath": "spec.modelCache.pvcMountPath",
    "deployment.modelCache.pvcMountPath": "spec.modelCache.pvcMountPath",
}
_PLACES = {name: place for place, name in enumerate(CONFIG_FIELDS)}
_ENGINE_RANGE = {"hardware.minNumGpusPerEngine", "hardware.maxNumGpusPerEngine"}
_REPEATS_MODEL = {"sweep.aicHfId", "aicHfId", "deployment.model"}
_CONFIG_PATH = "spec.profilingConfig.config"


def convert_request(old: Mapping[str, Any], *, fitting: bool = False) -> Converted:
    """The request in v1beta1, with notes on what has no place there.

    fitting: leave out what v1beta1's schema would refuse; else it is carried, for its rules to name.
    """
    build = Builder({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeploymentRequest"})
    if "metadata" in old:
        build.data["metadata"] = dict(old["metadata"])
    if "spec" in old:
        build.data["spec"] = {}
        _convert_spec(old["spec"], fitting, build)
    if "status" in old:
        build.data["status"] = request_status_to_beta(old["status"])
    return build.done()


def _convert_spec(spec: Mapping[str, Any], fitting: bool, build: Builder) -> None:
    build.put("spec.model", spec.get("model"), "spec.model")
    backend = spec.get("backend")
    build.put("spec.backend", "auto" if backend == "any" else backend, "spec.backend")
    _proposal(spec, build)
    _profiling_config(spec, fitting, build)
    _deployment_overrides(backend, spec.get("deploymentOverrides", {}), build)
    if spec.get("useMocker"):
        build.put("spec.features.mocker", {"enabled": True}, "spec.useMocker")
    if spec.get("enableAutoScaling") and build.get("spec.features.planner") is None:
        build.put("spec.features.planner", {"enabled": True}, "spec.enableAutoScaling")
    if "enableGpuDiscovery" in spec:
        build.notes.append(
            "spec.enableGpuDiscovery is deprecated and ignored: hardware left out is discovered"
        )
    _auto_apply(spec, build)


def _auto_apply(spec: Mapping[str, Any], build: Builder) -> None:
    if "autoApply" in spec:
        build.put("spec.autoApply", spec["autoApply"], "spec.autoApply")
    elif "profilingConfig" in spec:
        build.put("spec.autoApply", False, "spec.autoApply")
        build.notes.append(
            "spec.autoApply is false, the default of v1alpha1 with profilingConfig; set it to deploy"
        )


def _proposal(spec: Mapping[str, Any], build: Builder) -> None:
    build.put("spec.image", spec.get("image"), "spec.image")
    build.put("spec.searchStrategy", spec.get("searchStrategy"), "spec.searchStrategy")
    for block, names in (("workload", ("isl", "osl")), ("sla", ("ttft", "itl"))):
        for name in names:
            build.put(f"spec.{block}.{name}", spec.get(block, {}).get(name), f"spec.{block}.{name}")
    cache = spec.get("modelCache", {})
    build.put("spec.modelCache.pvcName", cache.get("pvcName"), "spec.modelCache.pvcName")
    build.put("spec.modelCache.pvcModelPath", cache.get("pvcPath"), "spec.modelCache.pvcPath")
    for name in ("profilingJob", "dgd"):
        build.put(f"spec.overrides.{name}", spec.get("overrides", {}).get(name), f"spec.overrides.{name}")


def _profiling_config(spec: Mapping[str, Any], fitting: bool, build: Builder) -> None:
    where = "spec.profilingConfig"
    profiling = spec.get("profilingConfig", {})
    image = profiling.get("profilerImage") or None
    if image is not None and build.get("spec.image") not in (None, image):
        build.notes.append(f"spec.image is given, so {where}.profilerImage is ignored")
    elif image is not None:
        build.put("spec.image", image, f"{where}.profilerImage")
    _config(spec, profiling.get("config", {}), fitting, build)
    reference = profiling.get("configMapRef")
    if reference is not None:
        kept = json.dumps({"key": "disagg.yaml", **reference}, sort_keys=True)
        _annotate(build, CONFIG_MAP_ANNOTATION, kept)
        build.notes.append(
            f"{where}.configMapRef is kept as an annotation and not used: the graph is built from the search, "
            "change it with spec.overrides.dgd"
        )
    if profiling.get("outputPVC") is not None:
        _annotate(build, OUTPUT_PVC_ANNOTATION, profiling["outputPVC"])
        build.notes.append(
            f"{where}.outputPVC is kept as an annotation and not used: the result is the Profile"
        )
    _job(profiling, build)


def _job(profiling: Mapping[str, Any], build: Builder) -> None:
    """Resources and tolerations of the profiler's pod, whose container is named `profiler`."""
    pod: dict[str, Any] = {}
    if profiling.get("tolerations"):
        pod["tolerations"] = profiling["tolerations"]
    if profiling.get("resources"):
        pod["containers"] = [{"name": "profiler", "resources": profiling["resources"]}]
    if not pod:
        return
    if build.get("spec.overrides.profilingJob") is not None:
        build.notes.append(
            "spec.overrides.profilingJob is given, so spec.profilingConfig.resources and tolerations are ignored"
        )
        return
    job = {"template": {"spec": {"containers": [], **pod}}}
    build.put("spec.overrides.profilingJob", job, "spec.profilingConfig")


def _config(spec: Mapping[str, Any], config: Mapping[str, Any], fitting: bool, build: Builder) -> None:
    for name, value, origin in sorted(_leaves(config, "", _CONFIG_PATH), key=_precedence):
        if name == "planner" and (isinstance(value, Mapping) or not fitting):
            build.put("spec.features.planner", value, origin)
        elif name in CONFIG_FIELDS:
            _carry(build, CONFIG_FIELDS[name], value, origin, fitting)
        elif name in _REPEATS_MODEL or name == "engine.backend":
            ours = spec.get("backend" if name == "engine.backend" else "model")
            if value != ours:
                build.notes.append(f"{origin} ({value}) is ignored: {ours} of the spec is used")
        elif name in _ENGINE_RANGE:
            build.notes.append(
                f"{origin} has no counterpart and is ignored: engines are sized by the search; "
                "spec.hardware.totalGpus bounds the whole graph"
            )
        else:
            build.notes.append(f"{origin} has no counterpart in v1beta1 and is ignored")


def _precedence(leaf: tuple[str, Any, str]) -> tuple[int, str]:
    """Of several leaves for one field the first of the table counts, whatever their order in the file."""
    name, _, origin = leaf
    return (_PLACES[name], origin) if name in _PLACES else (len(_PLACES), "")


def _carry(build: Builder, target: str, value: Any, origin: str, fitting: bool) -> None:
    if target == "spec.searchStrategy" and isinstance(value, bool):
        value = "rapid" if value else "thorough"
    if target == "spec.hardware.gpuSku" and isinstance(value, str) and value not in SKUS:
        value = sku_hint(value) or value
    present = build.get(target)
    if fitting and not _fits(target, value):
        build.notes.append(f"{origin} is not what {target} takes and is ignored")
    elif present is None:
        build.put(target, value, origin)
    elif present != value:
        build.notes.append(f"{build.origins[target]} is given, so {origin} is ignored")


def _fits(target: str, value: Any) -> bool:
    """Whether v1beta1's schema takes the value."""
    if target.startswith("spec.modelCache."):
        return isinstance(value, str)
    if target in ("spec.hardware.gpuSku", "spec.searchStrategy"):
        return value in (SKUS if target == "spec.hardware.gpuSku" else ("rapid", "thorough"))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = target.rsplit(".", 1)[-1] in ("isl", "osl", "totalGpus", "numGpusPerNode")
    return isinstance(value, int) and abs(value) < 2**31 if whole else math.isfinite(value)


def _leaves(config: Mapping[str, Any], name: str, path: str) -> Iterator[tuple[str, Any, str]]:
    """(camelCase dotted name, value, path as written) of each leaf; `planner` is one leaf."""
    for key, value in config.items():
        full = f"{name}.{camel(key)}" if name else camel(key)
        if isinstance(value, Mapping) and full != "planner":
            yield from _leaves(value, full, join(path, key))
        else:
            yield full, value, join(path, key)


def _deployment_overrides(backend: str | None, overrides: Mapping[str, Any], build: Builder) -> None:
    where = "spec.deploymentOverrides"
    metadata = {
        key: overrides[key] for key in ("name", "namespace", "labels", "annotations") if key in overrides
    }
    if metadata and build.get("spec.overrides.dgd") is not None:
        build.notes.append(f"spec.overrides.dgd is given, so the metadata of {where} is ignored")
    elif metadata:
        graph = {"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment", "metadata": metadata}
        build.put("spec.overrides.dgd", graph, where)
        build.origins["spec.overrides.dgd.metadata"] = where
    image = overrides.get("workersImage")
    if image is None:
        return
    standard = _RUNTIME_IMAGE.fullmatch(image)
    if standard and standard[1] == _RUNTIME_OF.get(backend or ""):
        build.put("spec.runtimeVersionOverride", standard[2], f"{where}.workersImage")
        return
    _annotate(build, WORKERS_IMAGE_ANNOTATION, image)
    build.notes.append(
        f"{where}.workersImage ({image}) is no released runtime image of the backend: it is kept as an annotation; "
        "name it per component in spec.overrides.dgd"
    )


def _annotate(build: Builder, name: str, value: str) -> None:
    metadata = build.data.setdefault("metadata", {})
    metadata["annotations"] = {**metadata.get("annotations", {}), name: value}
