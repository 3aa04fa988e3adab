"""`DynamoGraphDeploymentRequest`, `nvidia.com/v1alpha1`: one schema for the two things that had this name.

The older proposal wrote `backend: any`, `image`, `workload`, `sla`, `modelCache.pvcPath`, `searchStrategy` and
`enableAutoScaling`; the shipped API has `profilingConfig`, `useMocker` and `deploymentOverrides`. A file may use
either. None of the proposal's defaults (isl 512, osl 128, ttft 100, itl 15) is kept: C-04, C-05.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from armature.api.base import Crd, EmbeddedObject, Int32, Int64, Model, OpenMap
from armature.api.meta import Condition, Metadata

__all__ = [
    "AlphaModelCache",
    "AlphaOverrides",
    "AlphaRequestSpec",
    "AlphaRequestStatus",
    "AlphaSla",
    "AlphaWorkload",
    "ConfigMapRef",
    "DeploymentOverrides",
    "DynamoGraphDeploymentRequest",
    "GeneratedStatus",
    "ProfilingConfig",
]


class AlphaModelCache(Model):
    """Proposal: the PVC with the model and the path inside it."""

    pvc_name: str | None = None
    pvc_path: str | None = None


class AlphaWorkload(Model):
    """Proposal: tokens in and out."""

    isl: Int32 | None = None
    osl: Int32 | None = None


class AlphaSla(Model):
    """Proposal: targets in milliseconds."""

    ttft: float | None = None
    itl: float | None = None


class AlphaOverrides(Model):
    """Proposal: overrides of the profiling Job and of the graph."""

    profiling_job: OpenMap | None = None
    dgd: EmbeddedObject | None = None


class ConfigMapRef(Model):
    """Shipped: a base graph kept in a ConfigMap."""

    name: str
    key: str = "disagg.yaml"


class ProfilingConfig(Model):
    """Shipped: the profiler's own configuration, passed through as `config`."""

    config: OpenMap | None = None
    config_map_ref: ConfigMapRef | None = None
    profiler_image: str
    output_pvc: str | None = None
    resources: OpenMap | None = None
    tolerations: list[OpenMap] | None = None


class DeploymentOverrides(Model):
    """Shipped: metadata of the generated graph and the image of its workers."""

    name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    workers_image: str | None = None


class AlphaRequestSpec(Model):
    """`spec` of either. An absent `autoApply` means false with `profilingConfig`, as shipped, else true (C-11)."""

    model: str = Field(min_length=1)
    backend: Literal["any", "auto", "vllm", "sglang", "trtllm"] = "auto"
    auto_apply: bool | None = None
    # the proposal
    image: str | None = None
    workload: AlphaWorkload | None = None
    sla: AlphaSla | None = None
    model_cache: AlphaModelCache | None = None
    overrides: AlphaOverrides | None = None
    search_strategy: Literal["rapid", "thorough"] | None = None
    enable_auto_scaling: bool = False
    # the shipped API
    use_mocker: bool = False
    profiling_config: ProfilingConfig | None = None
    deployment_overrides: DeploymentOverrides | None = None
    enable_gpu_discovery: bool | None = None


class GeneratedStatus(Model):
    """Shipped: the graph that was created."""

    name: str | None = None
    namespace: str | None = None
    state: str | None = None
    created: bool | None = None


class AlphaRequestStatus(Model):
    """`status` of either; `profilingResults` is a reference when shipped and a mapping in the proposal."""

    state: str | None = None
    backend: str | None = None
    observed_generation: Int64 | None = None
    conditions: list[Condition] | None = None
    profiling_results: Annotated[Any, Crd({"type": "string"})] = None
    generated_deployment: EmbeddedObject | None = None
    deployment: GeneratedStatus | None = None
    phase: str | None = None
    dgd_name: str | None = None
    profiling_job_name: str | None = None
    deployment_info: OpenMap | None = None


class DynamoGraphDeploymentRequest(Model):
    """A request in the older version."""

    api_version: Literal["nvidia.com/v1alpha1"] = "nvidia.com/v1alpha1"
    kind: Literal["DynamoGraphDeploymentRequest"] = "DynamoGraphDeploymentRequest"
    metadata: Metadata = Field(default_factory=Metadata)
    spec: AlphaRequestSpec
    status: AlphaRequestStatus | None = None
