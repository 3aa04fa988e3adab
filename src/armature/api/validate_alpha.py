"""The rules of v1alpha1: a few that only it can break; all others are judged on its v1beta1 form.

There the paths are put back as the user wrote them, so each rule stands once.
"""

from __future__ import annotations

from armature.api import v1alpha1, v1beta1
from armature.api.base import Model, camel
from armature.api.convert.built import Converted
from armature.api.convert.graph_to_beta import component_name, convert_graph
from armature.api.convert.request_to_beta import convert_request
from armature.api.parse import parse_strict, parse_tolerant_as, to_dict
from armature.api.problems import UNKNOWN, dotted, join, under
from armature.api.v1alpha1.service import Service
from armature.api.validate_dgd import graph_problems, graph_warnings
from armature.api.validate_dgdr import request_problems, request_warnings
from armature.errors import InvalidInput, Problem

__all__ = ["alpha_problems", "alpha_warnings"]


def alpha_problems(
    resource: v1alpha1.DynamoGraphDeploymentRequest | v1alpha1.DynamoGraphDeployment,
) -> list[Problem]:
    """Every rule that a v1alpha1 request or graph breaks, of its own version and of v1beta1."""
    if isinstance(resource, v1alpha1.DynamoGraphDeploymentRequest):
        newer: type[Model] = v1beta1.DynamoGraphDeploymentRequest
        return _request_problems(resource) + _judged(newer, convert_request(to_dict(resource)))
    return _graph_problems(resource) + _judged(
        v1beta1.DynamoGraphDeployment, convert_graph(to_dict(resource))
    )


def alpha_warnings(
    resource: v1alpha1.DynamoGraphDeploymentRequest | v1alpha1.DynamoGraphDeployment,
) -> tuple[str, ...]:
    """The notes of `to_v1beta1`, and the warnings on what it makes."""
    if isinstance(resource, v1alpha1.DynamoGraphDeploymentRequest):
        converted = convert_request(to_dict(resource))
    else:
        converted = convert_graph(to_dict(resource))
    try:
        if isinstance(resource, v1alpha1.DynamoGraphDeploymentRequest):
            request = parse_tolerant_as(v1beta1.DynamoGraphDeploymentRequest, converted.data)
            return (*converted.notes, *request_warnings(request))
        graph = parse_tolerant_as(v1beta1.DynamoGraphDeployment, converted.data)
        return (*converted.notes, *graph_warnings(graph))
    except InvalidInput:  # `validate` reports why; there is no v1beta1 form to warn about
        return converted.notes


def _judged(cls: type[Model], converted: Converted) -> list[Problem]:
    """The v1beta1 rules on a converted object, its problems with the paths of the original."""
    resource, structural = parse_strict(cls, converted.data)
    problems = [problem for _, problem in structural]
    refused = [dotted(location) for location, problem in structural if problem.rule != UNKNOWN]
    found: list[Problem] = []
    if isinstance(resource, v1beta1.DynamoGraphDeploymentRequest):
        found = request_problems(resource)
    elif isinstance(resource, v1beta1.DynamoGraphDeployment):
        found = graph_problems(resource)
    problems += [p for p in found if not any(under(p.path, bad) or under(bad, p.path) for bad in refused)]
    return [converted.original(problem) for problem in problems]


def _request_problems(request: v1alpha1.DynamoGraphDeploymentRequest) -> list[Problem]:
    """An engine range turned round (the shipped webhook's rule)."""
    profiling = request.spec.profiling_config
    hardware = (profiling.config or {}).get("hardware") if profiling is not None else None
    if not isinstance(hardware, dict):
        return []
    sizes = {camel(key): (key, value) for key, value in hardware.items()}
    (_, low), (key, high) = (
        sizes.get("minNumGpusPerEngine", ("", 0)),
        sizes.get("maxNumGpusPerEngine", ("", None)),
    )
    if isinstance(low, int) and isinstance(high, int) and low > high:
        rule = f"invalid GPU range: minNumGpusPerEngine ({low}) cannot be greater than maxNumGpusPerEngine ({high})"
        return [Problem(f"spec.profilingConfig.config.hardware.{key}", rule, "swap the two")]
    return []


def _graph_problems(graph: v1alpha1.DynamoGraphDeployment) -> list[Problem]:
    """PVCs, volume mounts, ingress, shared memory, checkpoint and topology of the older schema."""
    spec = graph.spec
    problems: list[Problem] = []
    for index, pvc in enumerate(spec.pvcs or []):
        if pvc.create:
            for name in ("size", "storage_class", "volume_access_mode"):
                if getattr(pvc, name) is None:
                    path = f"spec.pvcs[{index}].{camel(name)}"
                    problems.append(Problem(path, "is required when create is true", f"add {camel(name)}"))
    topology = spec.topology_constraint
    if topology is not None and topology.cluster_topology_name is None and topology.topology_profile is None:
        path = "spec.topologyConstraint.clusterTopologyName"
        problems.append(Problem(path, "required field is missing", "add clusterTopologyName"))
    names: dict[str, str] = {}
    for name, service in spec.services.items():
        where = join("spec.services", name)
        taken = names.setdefault(component_name(name).lower(), name)
        if taken != name:
            rule = f"has the same name as {taken}: case and punctuation do not tell services apart"
            problems.append(Problem(where, rule, "rename one of them"))
        problems += _service_problems(service, where)
    return problems


def _service_problems(service: Service, where: str) -> list[Problem]:
    problems: list[Problem] = []
    if service.ingress is not None and service.ingress.enabled and not service.ingress.host:
        problems.append(Problem(f"{where}.ingress.host", "is required when ingress is enabled", "add host"))
    for index, mount in enumerate(service.volume_mounts or []):
        if not mount.mount_point and not mount.use_as_compilation_cache:
            path = f"{where}.volumeMounts[{index}].mountPoint"
            rule = "is required when useAsCompilationCache is false"
            problems.append(Problem(path, rule, "add mountPoint"))
    memory = service.shared_memory
    if memory is not None and memory.disabled and memory.size is not None:
        path = f"{where}.sharedMemory.size"
        problems.append(
            Problem(path, "must not be set when disabled is true", "remove one of them", memory.size)
        )
    if memory is not None and not memory.disabled and memory.size is None:
        path = f"{where}.sharedMemory.size"
        problems.append(Problem(path, "is required unless disabled is true", "add size, such as 8Gi"))
    checkpoint = service.checkpoint
    if checkpoint is not None and checkpoint.enabled:
        seeded = "startup_policy" in checkpoint.model_fields_set or "mode" in checkpoint.model_fields_set
        if not checkpoint.checkpoint_ref and checkpoint.identity is None and not seeded:
            rule = "when enabled, needs checkpointRef, or identity with model and backendFramework, or mode: Auto"
            problems.append(Problem(f"{where}.checkpoint", rule, "add checkpointRef"))
    return problems
