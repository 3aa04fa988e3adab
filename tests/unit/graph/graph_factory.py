"""Profiles and requests for the graph room's tests, small and exact; the search is not needed to write a graph."""

from __future__ import annotations

from typing import Any

from armature.api import v1beta1
from armature.perf.steptable import StepTable
from armature.search.profile import (
    PROFILE_VERSION,
    Candidate,
    Curves,
    Group,
    InventoryPool,
    Number,
    Profile,
)

GIB = 2**30
MODEL = "Qwen/Qwen3-32B-FP8"


def group(role: str = "agg", **changes: Any) -> Group:
    """One group of H200 workers, TP1, that fits: 512k tokens of KV for at most 64 requests of 5000."""
    values: dict[str, Any] = {
        "role": role,
        "sku": "h200_sxm",
        "replicas": 1,
        "tp": 1,
        "pp": 1,
        "dp": 1,
        "moe_tp": 1,
        "moe_ep": 1,
        "gpus_per_node": 8,
        "batch": 1 if role == "prefill" else 48,
        "max_num_seqs": 1 if role == "prefill" else 64,
        "chunk_tokens": 8192,
        "kv_dtype": "fp8",
        "kv_room_tokens": 512_000,
        "weight_bytes_per_gpu": 33 * GIB,
        "kv_bytes_per_gpu": 40 * GIB,
    }
    return Group(**(values | changes))


def candidate(groups: tuple[Group, ...], *, backend: str = "vllm", **changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "id": "c1",
        "mode": "agg" if groups[0].role == "agg" else "disagg",
        "backend": backend,
        "groups": groups,
        "gpus": sum(item.gpus for item in groups),
        "concurrency": 48.0,
        "request_rate": 4.0,
        "ttft_ms": Number(420.0, 300.0, 700.0),
        "itl_ms": Number(18.0, 15.0, 24.0),
        "e2e_ms": Number(18402.0, 15300.0, 24700.0),
        "unloaded_ttft_ms": 210.0,
        "unloaded_itl_ms": 9.0,
        "tokens_per_s": 4000.0,
        "tokens_per_s_per_gpu": 500.0,
        "tokens_per_s_per_user": 55.6,
        "meets_sla": True,
        "at_risk": False,
        "carries_load": True,
        "margins": (),
        "source": "silicon",
    }
    return Candidate(**(values | changes))


def step_table() -> StepTable:
    return StepTable(
        source="silicon",
        isl=(512.0, 4000.0),
        prefill_ms=(30.0, 210.0),
        batch=(1.0, 64.0),
        context=(1024.0, 8192.0),
        chunk=(0.0, 8192.0),
        decode_ms=((8.0, 14.0), (9.0, 22.0)),
        mixed_ms=(((8.0, 14.0), (9.0, 22.0)), ((400.0, 410.0), (402.0, 420.0))),
    )


def pool(**changes: Any) -> InventoryPool:
    values: dict[str, Any] = {
        "sku": "h200_sxm",
        "gpus": 8,
        "gpus_per_node": 8,
        "nodes": 1,
        "vram_bytes": 141 * GIB,
        "rdma": False,
        "rdma_resource": None,
        "product": None,
        "estimated": False,
    }
    return InventoryPool(**(values | changes))


def profile(
    groups: tuple[Group, ...] = (group(),),
    *,
    backend: str = "vllm",
    candidates: tuple[Candidate, ...] = (),
    pools: tuple[InventoryPool, ...] = (pool(),),
    **changes: Any,
) -> Profile:
    chosen = candidates or (candidate(groups, backend=backend),)
    values: dict[str, Any] = {
        "version": PROFILE_VERSION,
        "armature": "0.1.0",
        "name": "my-model",
        "model": MODEL,
        "model_source": "bundle",
        "model_weight_bytes": 33 * GIB,
        "model_max_context": 40960,
        "backend_asked": "auto",
        "workload": {"isl": 4000.0, "osl": 1000.0},
        "sla": {"optimize": "throughput"},
        "inventory": pools,
        "inventory_source": "stated",
        "gpus_budget": sum(item.gpus for item in pools),
        "candidates": chosen,
        "pareto": tuple(item.id for item in chosen),
        "pick": chosen[0].id,
        "runner_up": None,
        "reasons": (),
        "considered": {},
        "notes": (),
        "curves": Curves((512.0, 4000.0), (30.0, 210.0), (1024.0,), (1.0, 8.0), ((8.0, 9.0),)),
        "step_tables": {item.role: step_table() for item in chosen[0].groups},
    }
    return Profile(**(values | changes))


def request(name: str = "my-model", *, namespace: str | None = None, **spec: Any) -> Any:
    """A v1beta1 request; `spec` is written as in YAML."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return v1beta1.DynamoGraphDeploymentRequest.model_validate(
        {"metadata": metadata, "spec": {"model": MODEL, **spec}}, by_alias=True, by_name=False
    )
