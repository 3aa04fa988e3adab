"""`DynamoWorkerMetadata`, `nvidia.com/v1alpha1`: what one worker pod serves, for discovery. Workers write it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from armature.api.base import Model, OpenMap
from armature.api.meta import Metadata

__all__ = ["DynamoWorkerMetadata", "WorkerMetadataSpec"]


class WorkerMetadataSpec(Model):
    """`spec`: the worker's discovery record, as it wrote it."""

    data: OpenMap


class DynamoWorkerMetadata(Model):
    """The discovery record of one worker."""

    api_version: Literal["nvidia.com/v1alpha1"] = "nvidia.com/v1alpha1"
    kind: Literal["DynamoWorkerMetadata"] = "DynamoWorkerMetadata"
    metadata: Metadata = Field(default_factory=Metadata)
    spec: WorkerMetadataSpec
