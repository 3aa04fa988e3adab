"""A v1beta1 request as a v1alpha1 request, in the shape that was shipped: its fields under `profilingConfig`.

A client of the shipped API finds the image, the workload, the SLA, the GPUs and the model cache where it looks for
them. What it demands (`profilerImage`, `autoApply`) is there wherever `profilingConfig` is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from armature.api.convert.built import Builder
from armature.api.convert.request_to_beta import (
    CONFIG_FIELDS,
    CONFIG_MAP_ANNOTATION,
    OUTPUT_PVC_ANNOTATION,
    WORKERS_IMAGE_ANNOTATION,
)
from armature.api.convert.status import request_status_to_alpha

__all__ = ["request_to_alpha"]

_LEAF_OF = {field: leaf for leaf, field in reversed(CONFIG_FIELDS.items())}
"""Each field of v1beta1 -> its leaf of `profilingConfig.config`: the first where there are several."""


def request_to_alpha(new: Mapping[str, Any]) -> dict[str, Any]:
    """The request in v1alpha1."""
    read = Builder(dict(new))
    build = Builder({"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeploymentRequest"})
    if "metadata" in new:
        build.data["metadata"] = new["metadata"]
    if "spec" in new:
        build.data["spec"] = {}
        for name in ("model", "backend"):
            build.put(f"spec.{name}", read.get(f"spec.{name}"), "")
        _profiling_config(read, build)
        _annotated(build)
        if read.get("spec.features.mocker.enabled") is True:
            build.put("spec.useMocker", True, "")
        for name in ("profilingJob", "dgd"):
            build.put(f"spec.overrides.{name}", read.get(f"spec.overrides.{name}"), "")
        auto_apply = read.get("spec.autoApply")
        shipped = build.get("spec.profilingConfig") is not None
        build.put("spec.autoApply", True if auto_apply is None and shipped else auto_apply, "")
    if "status" in new:
        build.data["status"] = request_status_to_alpha(new["status"])
    return build.data


def _profiling_config(read: Builder, build: Builder) -> None:
    for field, leaf in _LEAF_OF.items():
        value = read.get(field)
        if field == "spec.searchStrategy" and value is not None:
            value = value == "rapid"
        build.put(f"spec.profilingConfig.config.{leaf}", value, "")
    build.put("spec.profilingConfig.config.planner", read.get("spec.features.planner"), "")
    image = read.get("spec.image")
    if image is not None or build.get("spec.profilingConfig") is not None:
        build.put("spec.profilingConfig.profilerImage", image or "", "")


def _annotated(build: Builder) -> None:
    """Fields that v1beta1 keeps as annotations."""
    metadata = build.data.get("metadata", {})
    annotations = dict(metadata.get("annotations", {}))
    reference = _reference(annotations.get(CONFIG_MAP_ANNOTATION))
    found = {
        CONFIG_MAP_ANNOTATION: ("spec.profilingConfig.configMapRef", reference),
        OUTPUT_PVC_ANNOTATION: ("spec.profilingConfig.outputPVC", annotations.get(OUTPUT_PVC_ANNOTATION)),
        WORKERS_IMAGE_ANNOTATION: (
            "spec.deploymentOverrides.workersImage",
            annotations.get(WORKERS_IMAGE_ANNOTATION),
        ),
    }
    for annotation, (path, value) in found.items():
        if value is not None:
            build.put(path, value, "")
            del annotations[annotation]
    if "profilingConfig" in build.data["spec"]:
        build.data["spec"]["profilingConfig"].setdefault("profilerImage", "")
    if annotations != metadata.get("annotations", {}):
        rest = {key: value for key, value in metadata.items() if key != "annotations"}
        build.data["metadata"] = {**rest, "annotations": annotations} if annotations else rest


def _reference(text: object) -> dict[str, Any] | None:
    try:
        value = json.loads(text)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        return None
    sound = isinstance(value, dict) and isinstance(value.get("name"), str)
    return value if sound and isinstance(value.get("key", ""), str) else None
