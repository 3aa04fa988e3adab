"""The rules of DynamoModel and DynamoCheckpoint."""

from __future__ import annotations

from armature.api.checkpoint import DynamoCheckpoint
from armature.api.models import DynamoModel
from armature.api.validate_pod import containers_of
from armature.errors import Problem

__all__ = ["checkpoint_problems", "checkpoint_warnings", "model_problems"]


def model_problems(model: DynamoModel) -> list[Problem]:
    """DM-01: names are given, and a LoRA says where its files are."""
    spec = model.spec
    problems = []
    for path, value in (("spec.modelName", spec.model_name), ("spec.baseModelName", spec.base_model_name)):
        if not value.strip():
            problems.append(Problem(path, "must not be empty", "write the model's name", value))
    uri = spec.source.uri if spec.source is not None else ""
    if spec.model_type == "lora" and spec.source is None:
        mend = "add source.uri: s3://bucket/path or hf://org/model@revision"
        problems.append(Problem("spec.source", "is required when modelType is lora", mend))
    elif spec.source is not None:
        scheme = next((scheme for scheme in ("s3://", "hf://") if uri.startswith(scheme)), None)
        if scheme is None or not uri[len(scheme) :].strip("/"):
            mend = "write s3://bucket/path or hf://org/model@revision"
            problems.append(
                Problem("spec.source.uri", "must start with s3:// or hf:// and name a path", mend, uri)
            )
    return problems


def checkpoint_problems(checkpoint: DynamoCheckpoint) -> list[Problem]:
    """Shared memory is sized or off, and no GPU memory service is asked for."""
    job = checkpoint.spec.job
    problems = []
    if job.shared_memory is not None and job.shared_memory.disabled and job.shared_memory.size is not None:
        path = "spec.job.sharedMemory.size"
        rule = "must not be set when disabled is true"
        problems.append(Problem(path, rule, "remove one of them", job.shared_memory.size))
    if checkpoint.spec.gpu_memory_service is not None and checkpoint.spec.gpu_memory_service.enabled:
        rule = "a GPU memory service cannot be checkpointed yet (CK-15)"
        problems.append(Problem("spec.gpuMemoryService", rule, "set enabled: false"))
    return problems


def checkpoint_warnings(checkpoint: DynamoCheckpoint) -> tuple[str, ...]:
    """A deprecated field, and a target container that the pod does not have (CK-01)."""
    job = checkpoint.spec.job
    warnings = []
    if job.backoff_limit is not None:
        warnings.append("spec.job.backoffLimit is deprecated and ignored: there is one attempt")
    names = [container.get("name") for container in containers_of(job.pod_template_spec)]
    if names and job.target_container_name not in names:
        warnings.append(
            f"spec.job.podTemplateSpec has no container {job.target_container_name}, the one that is checkpointed: "
            f"set spec.job.targetContainerName to {names[0]}"
        )
    return tuple(warnings)
