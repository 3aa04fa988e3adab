"""`DynamoCheckpoint`, `nvidia.com/v1alpha1`: a checkpoint of one warm engine, and its identity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from armature.api.base import Int32, Int64, Model, OpenMap, Quantity, Timestamp
from armature.api.meta import Condition, Metadata

__all__ = [
    "CONTAINER_NAME_PATTERN",
    "CheckpointIdentity",
    "CheckpointJobSpec",
    "CheckpointMemoryService",
    "CheckpointSpec",
    "CheckpointState",
    "ContainerName",
    "DynamoCheckpoint",
    "SharedMemory",
]

CONTAINER_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
ContainerName = Annotated[str, Field(min_length=1, max_length=63, pattern=CONTAINER_NAME_PATTERN)]


class CheckpointIdentity(Model):
    """What must be equal for a checkpoint to be reused."""

    model: str = Field(min_length=1)
    backend_framework: Literal["vllm", "sglang", "trtllm"]
    dynamo_version: str | None = None
    tensor_parallel_size: Int32 = Field(default=1, ge=1)
    pipeline_parallel_size: Int32 = Field(default=1, ge=1)
    dtype: str | None = None
    max_model_len: Int32 | None = Field(default=None, ge=1)
    extra_parameters: dict[str, str] | None = None


class CheckpointMemoryService(Model):
    """GPU memory service of the checkpointed engine, in v1alpha1's spelling."""

    enabled: bool
    mode: Literal["intraPod", "interPod"] = "intraPod"
    device_class_name: str = "gpu.nvidia.com"


class SharedMemory(Model):
    """Shared memory of a pod: a size, or off."""

    disabled: bool | None = None
    size: Quantity | None = None


class CheckpointJobSpec(Model):
    """The Job that makes the checkpoint. `backoff_limit` is deprecated: there is one attempt (CK-01)."""

    pod_template_spec: OpenMap
    target_container_name: str = Field(
        default="main", min_length=1, max_length=63, pattern=CONTAINER_NAME_PATTERN
    )
    shared_memory: SharedMemory | None = None
    active_deadline_seconds: Int64 = Field(default=3600, ge=1)
    backoff_limit: Int32 | None = Field(default=None, ge=0)
    ttl_seconds_after_finished: Int32 | None = Field(default=None, ge=0)


class CheckpointSpec(Model):
    """`spec` of a DynamoCheckpoint."""

    identity: CheckpointIdentity
    gpu_memory_service: CheckpointMemoryService | None = None
    job: CheckpointJobSpec


class CheckpointState(Model):
    """`status` of a DynamoCheckpoint."""

    phase: Literal["Pending", "Creating", "Ready", "Failed"] | None = None
    checkpoint_id: str | None = None
    identity_hash: str | None = None
    location: str | None = None
    storage_type: Literal["pvc", "s3", "oci"] | None = None
    job_name: str | None = None
    created_at: Timestamp | None = None
    message: str | None = None
    conditions: list[Condition] | None = None


class DynamoCheckpoint(Model):
    """A checkpoint to make or to restore from."""

    api_version: Literal["nvidia.com/v1alpha1"] = "nvidia.com/v1alpha1"
    kind: Literal["DynamoCheckpoint"] = "DynamoCheckpoint"
    metadata: Metadata = Field(default_factory=Metadata)
    spec: CheckpointSpec
    status: CheckpointState | None = None
