"""Object metadata, conditions, and the stand-in for kinds that are not ours."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from armature.api.base import Int64, Model, OpenMap

__all__ = ["API_GROUP", "Condition", "Foreign", "Metadata"]

API_GROUP = "nvidia.com"


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


class Condition(Model):
    """One entry of `status.conditions`. Only type and status are demanded: older writers leave out the rest."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    observed_generation: Int64 | None = None


class Foreign(Model):
    """An object of another API group (ConfigMap, Job, InferencePool): kept as it was written."""

    api_version: str
    kind: str
    metadata: Metadata = Field(default_factory=Metadata)
    spec: Any = None
    status: Any = None
