"""Profiles made by hand: small, complete, and different in the one thing a test is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from armature.perf.steptable import StepTable
from armature.search.profile import (
    PROFILE_VERSION,
    Candidate,
    Curves,
    Group,
    InventoryPool,
    Margin,
    Number,
    Profile,
)

TARGETS = {"ttft_ms": 2000.0, "itl_ms": 30.0}


def number(value: float, spread: float = 0.2) -> Number:
    return Number(value, value * (1 - spread), value * (1 + spread))


def group(role: str, replicas: int, tp: int, sku: str = "h200_sxm") -> Group:
    return msgspec.convert(
        {
            "role": role,
            "sku": sku,
            "replicas": replicas,
            "tp": tp,
            "pp": 1,
            "dp": 1,
            "moe_tp": 1,
            "moe_ep": 1,
            "gpus_per_node": 8,
            "batch": 16,
            "max_num_seqs": 32,
            "chunk_tokens": 8192,
            "kv_dtype": "fp8",
            "kv_room_tokens": 400_000,
            "weight_bytes_per_gpu": 16_000_000_000,
            "kv_bytes_per_gpu": 20_000_000_000,
        },
        Group,
    )


def candidate(
    id: str,
    groups: Sequence[Group] | None = None,
    *,
    ttft_ms: float = 400.0,
    itl_ms: float = 12.5,
    per_gpu: float = 300.0,
    targets: dict[str, float] | None = None,
    **changes: Any,
) -> Candidate:
    groups = tuple(groups or (group("agg", 4, 2),))
    gpus = sum(g.gpus for g in groups)
    predicted = {"ttft_ms": ttft_ms, "itl_ms": itl_ms, "e2e_ms": ttft_ms + 999 * itl_ms}
    asked = TARGETS if targets is None else targets
    margins = tuple(
        Margin(name, target, predicted[name], predicted[name] / target, predicted[name] <= target)
        for name, target in asked.items()
    )
    made = Candidate(
        id=id,
        mode="agg" if len(groups) == 1 else "disagg",
        backend="vllm",
        groups=groups,
        gpus=gpus,
        concurrency=64.0,
        request_rate=4.2,
        ttft_ms=number(ttft_ms),
        itl_ms=number(itl_ms),
        e2e_ms=number(predicted["e2e_ms"]),
        unloaded_ttft_ms=ttft_ms / 2,
        unloaded_itl_ms=itl_ms / 2,
        tokens_per_s=per_gpu * gpus,
        tokens_per_s_per_gpu=per_gpu,
        front_y=per_gpu,
        tokens_per_s_per_user=1000 / itl_ms,
        meets_sla=all(m.met for m in margins),
        at_risk=False,
        carries_load=True,
        margins=margins,
        source="silicon",
    )
    return msgspec.structs.replace(made, **changes)


AGG = candidate("agg-1")
DISAGG = candidate(
    "disagg-1", [group("prefill", 3, 1), group("decode", 1, 4)], ttft_ms=800, itl_ms=9.0, per_gpu=250
)


def profile(candidates: Sequence[Candidate] = (AGG, DISAGG), **changes: Any) -> Profile:
    candidates = tuple(candidates)
    made = Profile(
        version=PROFILE_VERSION,
        armature="0.1.0",
        name="quickstart",
        model="Qwen/Qwen3-32B-FP8",
        model_source="bundle",
        model_weight_bytes=33_000_000_000,
        model_max_context=40_960,
        backend_asked="vllm",
        workload={"isl": 4000.0, "osl": 1000.0, "request_rate": 4.0},
        sla={**TARGETS, "optimize": "throughput"},
        inventory=(InventoryPool("h200_sxm", 8, 8, 1, 141 * 10**9, False, None, None, False),),
        inventory_source="stated",
        gpus_budget=8,
        candidates=candidates,
        pareto=tuple(c.id for c in candidates[:2]),
        pick=candidates[0].id,
        runner_up=candidates[1].id if len(candidates) > 1 else None,
        reasons=("Fewest GPUs that carry 4 requests/s within the SLA.",),
        considered={"layouts": 412, "do_not_fit": 96, "meet_everything": 316},
        notes=("Prefix caching is not assumed.",),
        curves=Curves((1.0,), (1.0,), (1.0,), (1.0,), ((1.0,),)),
        step_tables={
            "agg-1": StepTable("silicon", (1.0,), (1.0,), (1.0,), (1.0,), (0.0,), ((1.0,),), (((1.0,),),))
        },
    )
    return msgspec.structs.replace(made, **changes)
