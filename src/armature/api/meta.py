"""Object metadata, conditions, and the stand-in for kinds that are not ours."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from armature.api.base import Crd, Int64, Model, OpenMap

__all__ = ["API_GROUP", "V1ALPHA1", "V1BETA1", "Condition", "Foreign", "Metadata"]

API_GROUP = "nvidia.com"
V1ALPHA1, V1BETA1 = f"{API_GROUP}/v1alpha1", f"{API_GROUP}/v1beta1"


class Metadata(Model):
    """`metadata` of any object: the fields a user writes and the ones an API server adds."""

    name: str = ""
    generate_name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    uid: str | None = None
    resource_version: str | None = None
    generation: Int64 | None = None
    self_link: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: Int64 | None = None
    finalizers: list[str] | None = None
    owner_references: list[OpenMap] | None = None
    managed_fields: list[OpenMap] | None = None


_REASON = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
_CONDITION_TYPE = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
)


class Condition(Model):
    """One entry of `status.conditions`. We read those of older writers, who leave out most; the CRD is strict."""

    type: Annotated[str, Crd({"maxLength": 316, "pattern": _CONDITION_TYPE})]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Crd({"minLength": 1, "maxLength": 1024, "pattern": _REASON}, required=True)] = ""
    message: Annotated[str, Crd({"maxLength": 32768}, required=True)] = ""
    last_transition_time: Annotated[str | None, Crd({"format": "date-time"}, required=True)] = None
    observed_generation: Annotated[Int64 | None, Crd({"minimum": 0})] = None


class Foreign(Model):
    """An object of another API group (ConfigMap, Job, InferencePool): kept as it was written."""

    api_version: str
    kind: str
    metadata: Metadata = Field(default_factory=Metadata)
    spec: Any = None
    status: Any = None
