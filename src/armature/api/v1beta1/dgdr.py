"""`DynamoGraphDeploymentRequest`, `nvidia.com/v1beta1`: what a user asks for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from armature.api.base import EmbeddedObject, Int32, Int64, IntOrString, Model, OpenMap, Timestamp, keyed_by
from armature.api.meta import Condition, Metadata
from armature.api.skus import GpuSku

__all__ = [
    "SEMVER_PATTERN",
    "ConfigMapKey",
    "DeploymentInfo",
    "DynamoGraphDeploymentRequest",
    "Features",
    "Hardware",
    "KvRouter",
    "Mocker",
    "ModelCache",
    "NumberSource",
    "Overrides",
    "ParetoItem",
    "ProfilingResults",
    "PvcFile",
    "RequestBackend",
    "RequestSpec",
    "RequestStatus",
    "SearchStrategy",
    "Sla",
    "Speculation",
    "TraceRef",
    "Workload",
]

RequestBackend = Literal["auto", "sglang", "trtllm", "vllm"]
SearchStrategy = Literal["rapid", "thorough"]
NumberSource = Literal["measured", "calibrated", "silicon", "estimated"]
SEMVER_PATTERN = r"^(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})$"


class ModelCache(Model):
    """A PersistentVolumeClaim that holds the model's files."""

    pvc_name: str | None = None
    pvc_model_path: str | None = None
    pvc_mount_path: str = "/opt/model-cache"


class Hardware(Model):
    """The GPUs to plan for; what is absent is discovered. `vram_mb` is MiB per GPU."""

    gpu_sku: GpuSku | None = None
    vram_mb: float | None = None
    total_gpus: Int32 | None = None
    num_gpus_per_node: Int32 | None = None
    interconnect: str | None = None
    rdma: bool | None = None


class ConfigMapKey(Model):
    """One key of a ConfigMap in the request's namespace."""

    name: str = Field(min_length=1)
    key: str = Field(min_length=1)


class PvcFile(Model):
    """A file inside a PersistentVolumeClaim, by its path from the volume's root."""

    name: str = Field(min_length=1)
    path: str = Field(min_length=1)


class TraceRef(Model):
    """Ours, not in the field's API: a recorded load, in exactly one place. A relative `path` starts at the request's
    own file; the other two are for a cluster."""

    path: str | None = Field(default=None, min_length=1)
    config_map: ConfigMapKey | None = None
    pvc: PvcFile | None = None


class Workload(Model):
    """The load: tokens in and out of a request, and requests per second or in flight; or a trace of all of it."""

    isl: Int32 = 4000
    osl: Int32 = 1000
    concurrency: float | None = None
    request_rate: float | None = None
    trace_ref: TraceRef | None = None


class Sla(Model):
    """Targets in milliseconds. There are no defaults: an absent target does not bind."""

    ttft: float | None = None
    itl: float | None = None
    e2e_latency: float | None = None
    optimization_type: Literal["latency", "throughput"] | None = None


class Overrides(Model):
    """What the user wants different in the profiling Job and in the generated graph."""

    profiling_job: OpenMap | None = None
    trust_remote_code: bool = False
    dgd: EmbeddedObject | None = None


class KvRouter(Model):
    """KV-aware routing in the generated frontend."""

    enabled: bool | None = None


class Mocker(Model):
    """Mocked engines: no GPU is used."""

    enabled: bool | None = None


class Speculation(Model):
    """Ours, not in the field's API: speculative decoding with the model's own multi-token-prediction layers.

    nextn: tokens drafted per step. acceptance_rate: share of drafted tokens that hold, given that those before them do.
    """

    nextn: Int32
    acceptance_rate: float


class Features(Model):
    """Optional parts. `planner` is the planner's own configuration (`planner_keys.py`)."""

    planner: OpenMap | None = None
    kv_router: KvRouter = Field(default_factory=KvRouter)
    mocker: Mocker = Field(default_factory=Mocker)
    speculation: Speculation | None = None


class RequestSpec(Model):
    """`spec`. Only `model` is required; the defaults of backend, searchStrategy and autoApply are DGDR-05 to 07."""

    model: str = Field(min_length=1)
    backend: RequestBackend = "auto"
    image: str | None = None
    runtime_version_override: str | None = Field(default=None, pattern=SEMVER_PATTERN)
    model_cache: ModelCache | None = None
    hardware: Hardware = Field(default_factory=Hardware)
    workload: Workload = Field(default_factory=Workload)
    sla: Sla = Field(default_factory=Sla)
    overrides: Overrides = Field(default_factory=Overrides)
    features: Features = Field(default_factory=Features)
    search_strategy: SearchStrategy = "rapid"
    auto_apply: bool = True


class ParetoItem(Model):
    """One non-dominated configuration: the keys of DGDR-20, and ours about how far to trust them.

    parallelization: degrees as our tables write them (`2×tp4`), or one degree. throughput: output tokens/s of all GPUs.
    ttft, itl: ms; their 80 % bands from low to high. source: where the numbers come from. point, id: its number on the
    front and its name in the plan, by either of which it can be selected (REQ-16).
    """

    config: OpenMap
    point: Int32 | None = None
    id: str | None = None
    backend: str | None = None
    parallelization: IntOrString | None = None
    gpus: Int32 | None = None
    throughput: float | None = None
    ttft: float | None = None
    ttft_low: float | None = None
    ttft_high: float | None = None
    itl: float | None = None
    itl_low: float | None = None
    itl_high: float | None = None
    meets_sla: bool | None = None
    source: NumberSource | None = None


class ProfilingResults(Model):
    """What profiling found. Start and completion time are kept from the proposal (C-13)."""

    pareto: list[ParetoItem] | None = None
    selected_config: OpenMap | None = None
    start_time: Timestamp | None = None
    completion_time: Timestamp | None = None


class DeploymentInfo(Model):
    """Replicas of the generated graph."""

    replicas: Int32 | None = None
    available_replicas: Int32 | None = None


class RequestStatus(Model):
    """`status`, written by the operator."""

    phase: Literal["Pending", "Profiling", "Ready", "Deploying", "Deployed", "Failed"] | None = None
    profiling_phase: (
        Literal[
            "Initializing",
            "SweepingPrefill",
            "SweepingDecode",
            "SelectingConfig",
            "BuildingCurves",
            "GeneratingDGD",
            "Done",
        ]
        | None
    ) = None
    dgd_name: str | None = None
    profiling_job_name: str | None = None
    conditions: Annotated[list[Condition], keyed_by("type")] | None = None
    profiling_results: ProfilingResults | None = None
    deployment_info: DeploymentInfo | None = None
    observed_generation: Int64 | None = None


class DynamoGraphDeploymentRequest(Model):
    """A request for a deployment: model, and if the user cares, workload, SLA and hardware."""

    api_version: Literal["nvidia.com/v1beta1"] = "nvidia.com/v1beta1"
    kind: Literal["DynamoGraphDeploymentRequest"] = "DynamoGraphDeploymentRequest"
    metadata: Metadata = Field(default_factory=Metadata)
    spec: RequestSpec
    status: RequestStatus | None = None
