"""Rules that only v1alpha1 can break; all others are judged on the v1beta1 form (`validate`)."""

from __future__ import annotations

from armature.api import v1alpha1
from armature.api.base import camel
from armature.api.convert_dgd import component_name
from armature.api.problems import join
from armature.api.v1alpha1.service import Service
from armature.errors import Problem

__all__ = ["alpha_graph_problems", "alpha_request_problems"]


def alpha_request_problems(request: v1alpha1.DynamoGraphDeploymentRequest) -> list[Problem]:
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
        rule = f"invalid GPU range: smaller than minNumGpusPerEngine ({low})"
        return [Problem(f"spec.profilingConfig.config.hardware.{key}", rule, "swap the two", high)]
    return []


def alpha_graph_problems(graph: v1alpha1.DynamoGraphDeployment) -> list[Problem]:
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
