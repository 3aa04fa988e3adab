"""AIConfigurator 0.12's memory check, for `--objective aic`; `model.memory` is ours.

Weights and KV bytes are our own, which agree with its; activations, NCCL's buffers, 3.5 GiB of others and what an
engine may use are its (`sdk/backends/*.py`, `systems/*.yaml` of `aiconfigurator-core` 0.12.0, the same for every GPU).
"""

from __future__ import annotations

from armature.model.facts import ModelFacts
from armature.model.memory import kv_bytes_per_sequence, weight_bytes_per_gpu
from armature.model.parallelism import Parallelism
from armature.perf.estimate import Backend

__all__ = ["holds"]

_NCCL_BYTES = {1: 0, 2: 358_612_992, 4: 411_041_792, 8: 411_041_792}
_OTHER_BYTES = 3_758_096_384
# Bytes per token and attention width by TP, halved; what SGLang needs more is in its own table.
_ACTIVATIONS = {"dense": {1: 11.0, 2: 6.5, 4: 5.0, 8: 5.0}, "moe": {1: 22.0, 2: 13.0, 4: 10.0, 8: 10.0}}
_SGLANG_ACTIVATIONS = {
    "dense": {1: 14.0, 2: 8.5, 4: 6.5, 8: 6.5},
    "moe": {1: 28.0, 2: 17.0, 4: 13.0, 8: 13.0},
}
_TOLERANCE, _TRTLLM_RESERVED = 0.02, 0.015
_FRACTION: dict[Backend, float] = {"vllm": 0.92, "sglang": 0.88, "trtllm": 0.9}


def holds(
    facts: ModelFacts,
    backend: Backend,
    p: Parallelism,
    in_step: int,
    batch: int,
    tokens: int,
    *,
    vram_bytes: int,
    kv_dtype: str,
    static: bool,
) -> bool:
    """Whether a worker holds `batch` requests of `tokens` each and the activations of a step of `in_step` tokens.
    static: a prefill or decode worker, else an aggregated one."""
    a, moe = facts.attention, facts.moe
    sglang = backend == "sglang"
    table = (_SGLANG_ACTIVATIONS if sglang else _ACTIVATIONS)["moe" if moe else "dense"]
    width = a.heads * (a.head_dim if a.kind != "mla" else 128)
    tp = min(p.tp, 8)
    activations = 2.0 * in_step * width * table[tp]
    if moe and a.kind == "mla":  # block-scale dispatch workspace
        routed = p.dp * moe.experts * moe.experts_per_token / p.moe_ep
        activations += in_step * width * routed / 128 * 4
    activations = max(activations, (90 if sglang else 70) * 2**20) * (1.15 if sglang else 1.0)
    weights = weight_bytes_per_gpu(facts, p)
    other = weights + activations + _NCCL_BYTES[tp] + _OTHER_BYTES * (1.2 if sglang else 1.0)
    kv = batch * kv_bytes_per_sequence(facts, p, tokens, kv_dtype)
    capacity = vram_bytes
    if other + kv >= capacity:
        return False
    if backend == "trtllm":
        if static:
            return True  # only the device's size bounds its static workers
        return kv <= (capacity - other) * _FRACTION["trtllm"] * (1 - _TRTLLM_RESERVED) * (1 - _TOLERANCE)
    fraction = _sglang_fraction(capacity, p) if sglang and static else _FRACTION[backend]
    return kv <= capacity * fraction * (1 - _TOLERANCE) - other


def _sglang_fraction(capacity: int, p: Parallelism) -> float:
    """SGLang's default `mem_fraction_static` by memory and parallelism, as that search derives it."""
    size = capacity / 2**20
    if size < 60 * 1024:
        chunk, graphs = 4096, 32 if p.tp < 4 else 160
    elif size < 160 * 1024:
        chunk, graphs = 8192, 256 if p.tp < 4 else 512
    else:
        chunk, graphs = 16384, 512
    reserved = 512 + 1.5 * chunk + p.tp * p.pp / 8 * 1024 + graphs * 2
    if p.dp > 1:
        reserved += graphs * p.dp * (4.5 if graphs > 300 else 3.0)
    if size > 60 * 1024:
        reserved = max(reserved, 10 * 1024)
    return round((size - reserved) / size, 3)
