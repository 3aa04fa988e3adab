"""The Planner component and the ConfigMaps it reads (GEN-04, LIFE-12, PROF-06).

The configuration is derived from the profile, so that budget, engine, topology and targets are those of the graph
it will scale; whatever the user writes in `features.planner` wins. A key that the planner does not know is
refused, because it would be ignored in silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from armature.api.planner_keys import planner_problems, planner_settings
from armature.errors import InvalidInput
from armature.graph.images import Images
from armature.graph.pods import main_container
from armature.search.profile import Candidate, Curves, Profile

__all__ = ["COMPONENT", "config_map", "curves_files", "planner_component", "planner_config"]

_CONFIG_DIR = "/workspace/planner_config"
_CONFIG_FILE = "planner_config.json"
_CURVES_DIR = "/workspace/profiling_results"
COMPONENT = "Planner"

_ALIASES = {
    "ttft": "ttft_ms",
    "itl": "itl_ms",
    "throughput_adjustment_interval": "throughput_adjustment_interval_seconds",
}


def planner_config(
    planner: Mapping[str, Any], profile: Profile, candidate: Candidate, *, mocker: bool
) -> dict[str, Any]:
    """The planner's configuration. Raises InvalidInput for keys it does not have."""
    problems = planner_problems(planner, "spec.features.planner")
    if problems:
        raise InvalidInput("spec.features.planner", problems)
    own = {_ALIASES.get(key, key): value for key, value in planner_settings(planner).items()}
    targets = {
        name: value for name, value in profile.sla.items() if isinstance(value, int | float) and value > 0
    }
    decode = candidate.group("decode") or candidate.group("agg")
    prefill = candidate.group("prefill")
    config: dict[str, Any] = {
        "environment": "kubernetes",
        "backend": "mocker" if mocker else candidate.backend,
        "mode": candidate.mode,
        "model_name": profile.model,
        # A stated target must be what the planner works towards, or it would be ignored.
        "optimization_target": "sla" if targets else "throughput",
        "ttft_ms": round(targets.get("ttft_ms", candidate.ttft_ms.value), 3),
        "itl_ms": round(targets.get("itl_ms", candidate.itl_ms.value), 3),
        "max_gpu_budget": profile.gpus_budget,
        "min_endpoint": 1,
        "pre_deployment_sweeping_mode": "none",
        "profile_results_dir": _CURVES_DIR,
    }
    if prefill is not None:
        config["prefill_engine_num_gpu"] = prefill.gpus_per_worker
    if decode is not None:
        config["decode_engine_num_gpu"] = decode.gpus_per_worker
    if profile.speculation is not None:
        config["speculative_nextn"] = profile.speculation.nextn
    return config | own


def planner_component(
    config: Mapping[str, Any],
    images: Images,
    dgd_name: str,
    *,
    labels: Mapping[str, str],
    files: Mapping[str, str],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the component, the ConfigMaps it mounts). files: the profile's curves, by file name."""
    config_name, data_name = f"{dgd_name}-planner-config", f"{dgd_name}-planner-data"
    container = main_container(
        images.planner,
        command=("python3", "-m", "dynamo.planner"),
        args=("--config", f"{_CONFIG_DIR}/{_CONFIG_FILE}"),
    )
    mounts = {"planner-config": (config_name, _CONFIG_DIR), "planner-data": (data_name, _CURVES_DIR)}
    container["volumeMounts"] = [
        {"name": volume, "mountPath": path, "readOnly": True} for volume, (_, path) in mounts.items()
    ]
    component = {
        "name": COMPONENT,
        "type": "planner",
        "replicas": 1,
        "podTemplate": {
            "spec": {
                "containers": [container],
                "volumes": [
                    {"name": volume, "configMap": {"name": name}} for volume, (name, _) in mounts.items()
                ],
            }
        },
    }
    text = json.dumps(dict(config), indent=2, allow_nan=False) + "\n"
    return component, [
        config_map(config_name, {_CONFIG_FILE: text}, labels),
        config_map(data_name, files, labels),
    ]


def config_map(name: str, data: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, Any]:
    """A ConfigMap that carries the labels of its request."""
    metadata: dict[str, Any] = {"name": name} | ({"labels": dict(labels)} if labels else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}


def curves_files(curves: Curves) -> dict[str, str]:
    """The profile's curves as one JSON file: TTFT in ms over ISL, ITL in ms over context by concurrency."""
    value = {
        "isl": curves.isl,
        "ttft_ms": curves.ttft_ms,
        "context": curves.context,
        "concurrency": curves.concurrency,
        "itl_ms": curves.itl_ms,
    }
    return {"curves.json": json.dumps(value, allow_nan=False)}
