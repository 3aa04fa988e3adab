"""`DynamoModel`: a model or adapter to load on the workers of a base model. Served in both versions, alike."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from armature.api.base import Crd, Model
from armature.api.meta import Condition, Metadata

__all__ = ["DynamoModel", "ModelEndpoint", "ModelSource", "ModelSpec", "ModelStatus"]

_COUNTED = Crd({}, required=True)


class ModelSource(Model):
    """Where the files are: `s3://bucket/path` or `hf://org/model@revision`."""

    uri: str


class ModelSpec(Model):
    """`spec`; `base_model_name` matches a component's `modelRef.name`."""

    base_model_name: str
    model_name: str
    model_type: Literal["base", "lora", "adapter"] = "base"
    source: ModelSource | None = None


class ModelEndpoint(Model):
    """A worker that serves the base model."""

    address: str
    pod_name: str | None = None
    ready: bool


class ModelStatus(Model):
    """`status`, written by the operator."""

    conditions: list[Condition] | None = None
    endpoints: list[ModelEndpoint] | None = None
    ready_endpoints: Annotated[int, _COUNTED] = 0
    total_endpoints: Annotated[int, _COUNTED] = 0


class DynamoModel(Model):
    """A model or adapter."""

    api_version: Literal["nvidia.com/v1alpha1", "nvidia.com/v1beta1"] = "nvidia.com/v1alpha1"
    kind: Literal["DynamoModel"] = "DynamoModel"
    metadata: Metadata = Field(default_factory=Metadata)
    spec: ModelSpec
    status: ModelStatus | None = None
