"""The seven kinds (OP-02): their names, versions, printer columns and subresources, as the field has them.

v1beta1 is stored where the references store it; the other three kinds keep v1alpha1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from armature.api.base import Model

__all__ = ["ALPHA", "BETA", "Kind", "Version", "kinds"]

ALPHA, BETA = "v1alpha1", "v1beta1"
Column = tuple[str, ...]

_AGE: Column = ("Age", "date", ".metadata.creationTimestamp")
_SCALE = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}


@dataclass(frozen=True, slots=True)
class Version:
    """One served version: its type, and its columns as (name, type, JSON path, description if any)."""

    cls: type[Model]
    columns: tuple[Column, ...]
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `alike`: its versions have one schema, so no webhook is needed between them."""

    plural: str
    short: str
    versions: Mapping[str, Version]
    subresources: Mapping[str, Any] | None
    alike: bool = False


def _condition(kind: str, key: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{key}'


_BACKEND: Column = (
    "Backend",
    "string",
    ".spec.backendFramework",
    "Backend framework (sglang, vllm, trtllm)",
)
_GRAPH: tuple[Column, ...] = (
    ("Ready", "string", _condition("Ready", "status"), "Ready status of the graph deployment"),
    _BACKEND,
    _AGE,
)
_AVAILABLE: Column = ("Available", "string", ".status.conditions[?(@.type=='Available')].status", "Available")
_MODEL: tuple[Column, ...] = (
    ("BaseModel", "string", ".spec.baseModelName", "Base model name"),
    ("Type", "string", ".spec.modelType", "Model type"),
    ("Ready", "integer", ".status.readyEndpoints", "Ready endpoints"),
    ("Total", "integer", ".status.totalEndpoints", "Total endpoints"),
    _AGE,
)
_REQUEST_ALPHA: tuple[Column, ...] = (
    ("Model", "string", ".spec.model"),
    ("Backend", "string", ".status.backend"),
    ("State", "string", ".status.state"),
    ("DGD-State", "string", ".status.deployment.state"),
    _AGE,
)
_REQUEST_BETA: tuple[Column, ...] = (
    ("Model", "string", ".spec.model"),
    ("Backend", "string", ".spec.backend"),
    ("Phase", "string", ".status.phase"),
    ("Profiling", "string", ".status.profilingPhase"),
    ("Reason", "string", _condition("Succeeded", "reason")),
    ("Message", "string", _condition("Succeeded", "message")),
    ("DGD", "string", ".status.dgdName"),
    _AGE,
)


def _adapter(name: str, field: str) -> tuple[Column, ...]:
    return (
        ("DGD", "string", ".spec.dgdRef.name", "DynamoGraphDeployment name"),
        (name.upper(), "string", f".spec.dgdRef.{field}", f"{name} name"),
        ("REPLICAS", "integer", ".status.replicas", "Current replicas"),
        ("AGE", "date", ".metadata.creationTimestamp"),
    )


_CHECKPOINT: tuple[Column, ...] = (
    ("Model", "string", ".spec.identity.model", "Model identifier"),
    ("Backend", "string", ".spec.identity.backendFramework", "Backend framework"),
    ("Phase", "string", ".status.phase", "Current phase of the checkpoint"),
    ("CheckpointID", "string", ".status.checkpointID", "Artifact ID of the checkpoint"),
    _AGE,
)


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind by its name, in the order of OP-02."""
    from armature.api import v1alpha1, v1beta1
    from armature.api.adapter import AlphaAdapter, DynamoGraphDeploymentScalingAdapter
    from armature.api.checkpoint import DynamoCheckpoint
    from armature.api.models import DynamoModel
    from armature.api.v1alpha1.dcd import DynamoComponentDeployment as AlphaComponentDeployment
    from armature.api.v1beta1.dcd import DynamoComponentDeployment
    from armature.api.worker_metadata import DynamoWorkerMetadata

    status: Mapping[str, Any] = {"status": {}}
    component: Column = ("DynamoComponent", "string", ".spec.dynamoComponent", "Dynamo component")
    component_alpha = (component, _AVAILABLE, _BACKEND, _AGE)
    return {
        "DynamoGraphDeployment": Kind(
            "dynamographdeployments",
            "dgd",
            {
                ALPHA: Version(v1alpha1.DynamoGraphDeployment, _GRAPH),
                BETA: Version(v1beta1.DynamoGraphDeployment, _GRAPH, stored=True),
            },
            status,
        ),
        "DynamoComponentDeployment": Kind(
            "dynamocomponentdeployments",
            "dcd",
            {
                ALPHA: Version(AlphaComponentDeployment, component_alpha),
                BETA: Version(DynamoComponentDeployment, (_AVAILABLE, _BACKEND, _AGE), stored=True),
            },
            status,
        ),
        "DynamoGraphDeploymentRequest": Kind(
            "dynamographdeploymentrequests",
            "dgdr",
            {
                ALPHA: Version(v1alpha1.DynamoGraphDeploymentRequest, _REQUEST_ALPHA),
                BETA: Version(v1beta1.DynamoGraphDeploymentRequest, _REQUEST_BETA, stored=True),
            },
            status,
        ),
        "DynamoGraphDeploymentScalingAdapter": Kind(
            "dynamographdeploymentscalingadapters",
            "dgdsa",
            {
                ALPHA: Version(AlphaAdapter, _adapter("Service", "serviceName"), stored=True),
                BETA: Version(DynamoGraphDeploymentScalingAdapter, _adapter("Component", "componentName")),
            },
            {"status": {}, "scale": _SCALE},
        ),
        "DynamoModel": Kind(
            "dynamomodels",
            "dm",
            {ALPHA: Version(DynamoModel, _MODEL, stored=True), BETA: Version(DynamoModel, _MODEL)},
            status,
            alike=True,
        ),
        "DynamoCheckpoint": Kind(
            "dynamocheckpoints",
            "dckpt",
            {ALPHA: Version(DynamoCheckpoint, _CHECKPOINT, stored=True)},
            status,
            alike=True,
        ),
        "DynamoWorkerMetadata": Kind(
            "dynamoworkermetadatas",
            "dwm",
            {ALPHA: Version(DynamoWorkerMetadata, (_AGE,), stored=True)},
            None,
            alike=True,
        ),
    }
