"""The rules of one v1beta1 component."""

from __future__ import annotations

from collections.abc import Mapping

from armature.api.v1beta1 import Component
from armature.api.validate_pod import containers_of, pod_template_problems
from armature.errors import Problem

__all__ = ["component_problems", "component_warnings"]

_WORKERS = {"worker", "prefill", "decode"}
_GPU = "nvidia.com/gpu"


def component_problems(component: Component, path: str) -> list[Problem]:
    """Every rule the component breaks."""
    problems = pod_template_problems(component.pod_template, f"{path}.podTemplate")
    if (
        component.min_available is not None
        and component.replicas
        and component.min_available > component.replicas
    ):
        rule = f"must be at most replicas ({component.replicas}) unless that is 0"
        problems.append(Problem(f"{path}.minAvailable", rule, "", component.min_available))
    size = component.shared_memory_size
    if (isinstance(size, int) and size < 0) or (isinstance(size, str) and size.startswith("-")):
        problems.append(
            Problem(f"{path}.sharedMemorySize", "must not be negative", 'write "0" for none', size)
        )
    problems += _epp_problems(component, path)
    problems += _sidecar_problems(component, path)
    problems += _memory_service_problems(component, path)
    problems += _checkpoint_problems(component, path)
    return problems


def _epp_problems(component: Component, path: str) -> list[Problem]:
    config = component.epp_config
    problems = []
    if config is not None and component.type != "epp":
        rule = "may only be set when type is epp"
        problems.append(Problem(f"{path}.eppConfig", rule, "remove it, or set type: epp"))
    if config is not None and (config.config_map_ref is None) == (config.config is None):
        rule = "exactly one of configMapRef or config must be specified"
        problems.append(Problem(f"{path}.eppConfig", rule, ""))
    if config is not None and config.config_map_ref is not None and not config.config_map_ref.name:
        problems.append(
            Problem(f"{path}.eppConfig.configMapRef.name", "required field is missing", "add name")
        )
    if component.type != "epp":
        return problems
    if config is None:
        problems.append(
            Problem(f"{path}.eppConfig", "is required when type is epp", "add config or configMapRef")
        )
    if component.multinode is not None:
        problems.append(Problem(f"{path}.multinode", "an epp component cannot be multinode", "remove it"))
    if component.replicas != 1:
        rule = "an epp component must have exactly 1 replica"
        problems.append(Problem(f"{path}.replicas", rule, "write 1", component.replicas))
    return problems


def _sidecar_problems(component: Component, path: str) -> list[Problem]:
    name = component.frontend_sidecar
    if name is None:
        return []
    names = [container.get("name") for container in containers_of(component.pod_template)]
    if name in names:
        return []
    rule = "must name a container of podTemplate.spec.containers"
    return [
        Problem(f"{path}.frontendSidecar", rule, f"one of {', '.join(map(str, names)) or '(none)'}", name)
    ]


def _main_gpus(component: Component) -> int:
    for container in containers_of(component.pod_template):
        if container.get("name") == "main":
            resources = container.get("resources")
            limits = resources.get("limits") if isinstance(resources, Mapping) else None
            amount = limits.get(_GPU) if isinstance(limits, Mapping) else None
            return int(amount) if isinstance(amount, int | str) and str(amount).isdigit() else 0
    return 0


def _memory_service_problems(component: Component, path: str) -> list[Problem]:
    experimental = component.experimental
    if experimental is None:
        return []
    service, failover = experimental.gpu_memory_service, experimental.failover
    at, over = f"{path}.experimental.gpuMemoryService", f"{path}.experimental.failover"
    problems = []
    if service is not None:
        if component.type not in _WORKERS:
            rule = "is only supported for worker, prefill or decode components"
            problems.append(Problem(at, rule, "remove it", component.type))
        if _main_gpus(component) < 1:
            rule = f"needs podTemplate.spec.containers[main].resources.limits of {_GPU} >= 1"
            problems.append(Problem(at, rule, "add the limit"))
        if service.extra_client_containers and service.mode != "IntraPod":
            rule = "is only supported with mode: IntraPod"
            problems.append(Problem(f"{at}.extraClientContainers", rule, "remove it"))
        if service.extra_client_pods:
            rule = "is reserved for inter-pod GMS and is not implemented yet"
            problems.append(Problem(f"{at}.extraClientPods", rule, "remove it"))
        names = {container.get("name") for container in containers_of(component.pod_template)}
        for name in service.extra_client_containers or []:
            if name not in names:
                problems.append(Problem(f"{at}.extraClientContainers", "names no container", "", name))
    if failover is not None and service is None:
        problems.append(Problem(over, "needs gpuMemoryService", "add experimental.gpuMemoryService: {}"))
    elif failover is not None and service is not None and failover.mode != service.mode:
        rule = f"must match gpuMemoryService.mode {service.mode}"
        problems.append(Problem(f"{over}.mode", rule, f"write {service.mode}", failover.mode))
    return problems


def _checkpoint_problems(component: Component, path: str) -> list[Problem]:
    experimental = component.experimental
    checkpoint = experimental.checkpoint if experimental is not None else None
    if experimental is None or checkpoint is None:
        return []
    at = f"{path}.experimental.checkpoint"
    problems = []
    if checkpoint.job is not None and checkpoint.checkpoint_ref:
        problems.append(
            Problem(f"{at}.job", "cannot be set when checkpointRef is given", "remove one of them")
        )
    if checkpoint.enabled and experimental.gpu_memory_service is not None:
        rule = "cannot be combined with gpuMemoryService yet (CK-15)"
        problems.append(Problem(at, rule, "remove one of them"))
    if (
        checkpoint.job is not None
        and checkpoint.job.gms_client_containers
        and experimental.gpu_memory_service is None
    ):
        problems.append(Problem(f"{at}.job.gmsClientContainers", "needs gpuMemoryService", "remove it"))
    return problems


def component_warnings(component: Component, path: str) -> list[str]:
    """Deprecated fields, and an image that Kubernetes will ask for."""
    warnings = []
    main = next((c for c in containers_of(component.pod_template) if c.get("name") == "main"), None)
    if (main is None or not main.get("image")) and component.runtime_version_override is None:
        warnings.append(f"{path} ({component.name}): container main has no image; Kubernetes needs one")
    checkpoint = component.experimental.checkpoint if component.experimental is not None else None
    if checkpoint is not None and checkpoint.identity is not None:
        warnings.append(f"{path}.experimental.checkpoint.identity is deprecated and ignored")
    if checkpoint is not None and checkpoint.mode is not None:
        warnings.append(f"{path}.experimental.checkpoint.mode is deprecated")
    return warnings
