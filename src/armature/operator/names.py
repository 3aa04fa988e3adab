"""Names, labels and annotations that the operator and the field's tools both know (dynamo-operator reference §§1-3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.graph.names import with_suffix

__all__ = [
    "ADDITIONAL_RESOURCES",
    "DISCOVERED",
    "GENERATED_SPEC",
    "MANAGED_BY",
    "OPERATOR",
    "POINT",
    "PROFILER_ACCOUNT",
    "REQUEST_NAME",
    "REQUEST_NAMESPACE",
    "SELECTED_POINT",
    "job_name",
    "output_name",
    "owner_of",
    "profiler_labels",
    "profiler_role_name",
    "request_labels",
]

OPERATOR = "dynamo-operator"
MANAGED_BY = "nvidia.com/managed-by"
REQUEST_NAME, REQUEST_NAMESPACE = "dgdr.nvidia.com/name", "dgdr.nvidia.com/namespace"
GENERATED_SPEC = "nvidia.com/generated-dgd-spec"
"""On the request: the graph to create, as YAML; blank once it was seen to exist."""
ADDITIONAL_RESOURCES = "dgdr.nvidia.com/additional-resources"
"""On the request: the ConfigMaps that the graph mounts, as YAML."""
SELECTED_POINT = "dgdr.nvidia.com/selected-point"
"""On the request, ours: the number or id of another point of the plan, in place of the pick (REQ-16)."""
DISCOVERED = "dgdr.nvidia.com/discovered-hardware"
"""On the request, ours: what discovery found, pool by pool, for a person."""
POINT = "dgdr.nvidia.com/point"
"""On the graph, ours: the candidate of the plan that it runs."""
PROFILER_ACCOUNT = "dgdr-profiling-job"

_NAME_LIMIT = 63
"""Of a Job: its pods carry its name in a label."""


def job_name(request: str) -> str:
    return with_suffix(f"profile-{request}", "", _NAME_LIMIT)


def output_name(request: str) -> str:
    """The ConfigMap through which the profiling Job speaks."""
    return f"dgdr-output-{request}"


def profiler_role_name(request: str) -> str:
    """Role and RoleBinding of one request's Job."""
    return f"dgdr-profiling-{request}"


def request_labels(request: Mapping[str, Any]) -> dict[str, str]:
    """What every object that a request leads to carries (LIFE-11, LIFE-12)."""
    metadata = request["metadata"]
    return {REQUEST_NAME: metadata["name"], REQUEST_NAMESPACE: metadata["namespace"], MANAGED_BY: OPERATOR}


def profiler_labels(request: Mapping[str, Any]) -> dict[str, str]:
    """Labels of the Job and its pods: all the families that the field's tools select by (C-56, LIFE-13)."""
    name = request["metadata"]["name"]
    families = {"app": "dynamo-profiler", "dgdr": name, "nvidia.com/dgdr-name": name}
    return request_labels(request) | families


def owner_of(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The reference by which what belongs to an object goes when it goes."""
    metadata = obj["metadata"]
    whose = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    return whose | {"controller": True, "blockOwnerDeletion": True}
