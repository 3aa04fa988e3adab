"""How much GPU memory a model needs under a parallelism, and whether it fits.

An engine may use `memory_fraction` of a GPU (vLLM's `gpu_memory_utilization`). Out of that it takes, in this order:

    weights    `weight_bytes_per_gpu`
    reserve    runtime + max(forward, sampling)
      runtime    CUDA context, libraries, CUDA graphs; with more than one GPU the communicators too:
                 1.8 GiB on one GPU, 3.6 GiB on several (vLLM's own profile of Llama-3-8B on 80 GB, pull 10511)
      forward    peak activations of one step of `prefill_tokens` tokens, 2 bytes each:
                 tokens * (4 hidden + query and KV of all heads / tp + 2 intermediate / tp), and for routed experts
                 tokens * per-token experts * (hidden + 2 expert width / moe_tp); at most 32768 tokens at a time
      sampling   sequences * vocab * 40 bytes: logits, their sorted copy, indices, probabilities and masks
                 (the same profile: 1.26 GiB for 256 sequences of a 128256-token vocabulary, at TP1 and TP2 alike)
    KV cache   the rest

Weights: tensor parallelism splits the dense layers and the vocabulary, pipeline parallelism the layers; attention-DP
ranks each hold all dense weights; routed experts split over moe_tp * moe_ep. KV heads split up to their number and
are then repeated; MLA's latent is whole on every tensor-parallel rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import overload

import msgspec
import numpy as np
import numpy.typing as npt

from armature.model.facts import ModelFacts, WeightBytes
from armature.model.parallelism import Parallelism
from armature.model.splits import splits

__all__ = [
    "MAX_GPUS",
    "Fit",
    "default_kv_dtype",
    "fit",
    "kv_bytes_per_sequence",
    "reserve_bytes_per_gpu",
    "smallest_parallelism",
    "weight_bytes_per_gpu",
]

MAX_GPUS = 32  # of one worker: four nodes of eight, by experts (ENUM-04) or by four pipeline stages
_RUNTIME_ONE = int(1.8 * 2**30)
_RUNTIME_MANY = int(3.6 * 2**30)
_SAMPLING_BYTES = 40
_STEP_TOKENS = 32_768
_KV_BYTES = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0}
_PARAM_BYTES = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5625, "int4": 0.53125}


class Fit(msgspec.Struct, frozen=True):
    """Whether an engine fits its GPUs, and the room left.

    Bytes are per GPU. kv_room_tokens: tokens of full context that fit per attention-DP rank; 0 when it does not
    fit. max_sequences: requests of the asked length that fit per rank. gpus_needed: the smallest number of GPUs
    of one worker that would fit (None when none up to MAX_GPUS would). lacking_bytes_per_gpu: what is missing for the
    asked requests; 0 when it fits.
    """

    fits: bool
    weight_bytes_per_gpu: int
    reserve_bytes_per_gpu: int
    kv_room_bytes_per_gpu: int
    kv_room_tokens: int
    max_sequences: int
    gpus_needed: int | None
    reason: str
    lacking_bytes_per_gpu: int = 0


def weight_bytes_per_gpu(facts: ModelFacts, parallelism: Parallelism) -> int:
    """Weight bytes of the fullest GPU of one worker."""
    parts = _parts(facts)
    tp = parallelism.tp
    stage = -(-facts.layers // parallelism.pp) / facts.layers  # share of the layers in the largest stage
    kv_shards = min(tp, facts.attention.kv_heads)
    split = parts.linear - parts.linear_whole - parts.linear_kv
    linear = split / tp + parts.linear_whole + parts.linear_kv / kv_shards
    expert_layers = facts.moe.layers if facts.moe else 0
    experts = 0.0
    if expert_layers:
        held = -(-expert_layers * -(-facts.layers // parallelism.pp) // facts.layers)
        experts = parts.experts * held / expert_layers / (parallelism.moe_tp * parallelism.moe_ep)
    tables = parts.embedding + parts.head
    if parallelism.pp > 1:  # the first stage embeds, the last predicts
        tables = max(parts.embedding, parts.head)
    small = parts.other - parts.embedding - parts.head - parts.other_whole
    return math.ceil(linear * stage + experts + tables / tp + (parts.other_whole + small / tp) * stage)


@overload
def kv_bytes_per_sequence(
    facts: ModelFacts, parallelism: Parallelism, tokens: float, kv_dtype: str
) -> float: ...
@overload
def kv_bytes_per_sequence(
    facts: ModelFacts, parallelism: Parallelism, tokens: npt.NDArray[np.generic], kv_dtype: str
) -> npt.NDArray[np.float64]: ...
def kv_bytes_per_sequence(
    facts: ModelFacts, parallelism: Parallelism, tokens: float | npt.NDArray[np.generic], kv_dtype: str
) -> float | npt.NDArray[np.float64]:
    """Bytes on each GPU that serves it for one request with `tokens` in the cache; an array gives an array.

    The state of linear-attention layers counts as well, and does not grow with tokens. kv_dtype: `bf16`, `fp8`.
    """
    a = facts.attention
    item = _KV_BYTES.get(kv_dtype, 2.0)
    latent = float(a.kv_lora_rank + a.rope_head_dim) if a.kv_lora_rank else 0.0
    per_full = a.full_kv_elements or latent or 2.0 * a.kv_heads * a.head_dim
    window_heads = a.window_kv_heads or a.kv_heads
    per_window = a.window_kv_elements or 2.0 * window_heads * a.head_dim
    share_full = 1.0 if a.kind == "mla" else _head_share(a.kv_heads, parallelism.tp)
    share_window = 1.0 if a.kind == "mla" else _head_share(window_heads, parallelism.tp)
    stages = _stage_share(facts.layers, parallelism.pp)
    full = a.full_layers * (per_full * share_full * item + a.index_bytes)
    window = a.window_layers * per_window * share_window * item
    state = a.linear_layers * a.linear_state_bytes / parallelism.tp + a.sequence_bytes
    if isinstance(tokens, np.ndarray):
        length = np.maximum(tokens.astype(np.float64), 0.0)
        return (full * length + window * np.minimum(length, a.window) + state) * stages
    one = max(float(tokens), 0.0)
    return float((full * one + window * min(one, a.window) + state) * stages)


def default_kv_dtype(facts: ModelFacts, gpu_has_fp8: bool) -> str:
    """`fp8` where the checkpoint asks for an fp8 KV cache and the GPU has fp8, else `bf16`: what engines do by
    default. fp8 weights alone do not make the cache fp8."""
    return "fp8" if gpu_has_fp8 and facts.quantisation.kv == "fp8" else "bf16"


def reserve_bytes_per_gpu(
    facts: ModelFacts, parallelism: Parallelism, *, prefill_tokens: int, sequences: int = 1
) -> int:
    """Bytes of one GPU that neither weights nor KV cache may have; the formula is at the top of this module."""
    runtime = _RUNTIME_ONE if parallelism.gpus == 1 else _RUNTIME_MANY
    sampling = max(1, sequences) * facts.vocab * _SAMPLING_BYTES
    return runtime + max(_forward_bytes(facts, parallelism, prefill_tokens), sampling)


def fit(
    facts: ModelFacts,
    parallelism: Parallelism,
    *,
    vram_bytes: int,
    sequence_tokens: int,
    prefill_tokens: int,
    kv_dtype: str,
    sequences: int = 1,
    memory_fraction: float = 0.9,
) -> Fit:
    """Whether one worker holds `sequences` requests (per attention-DP rank) of `sequence_tokens` each.

    vram_bytes: memory of one GPU. prefill_tokens: the most tokens of one step. The answer's reason has the numbers.
    """
    result = _fit(
        facts, parallelism, vram_bytes, sequence_tokens, prefill_tokens, kv_dtype, sequences, memory_fraction
    )
    if result.fits:
        return result
    smallest = smallest_parallelism(
        facts, vram_bytes=vram_bytes, sequence_tokens=sequence_tokens, prefill_tokens=prefill_tokens,
        kv_dtype=kv_dtype, sequences=sequences, memory_fraction=memory_fraction,
    )  # fmt: skip
    advice = (
        f"{smallest.label.upper()} would fit" if smallest else f"no layout up to {MAX_GPUS} GPUs would fit"
    )
    return Fit(
        False, result.weight_bytes_per_gpu, result.reserve_bytes_per_gpu, result.kv_room_bytes_per_gpu, 0, 0,
        smallest.gpus if smallest else None, f"{result.reason}; {advice}", result.lacking_bytes_per_gpu,
    )  # fmt: skip


def smallest_parallelism(
    facts: ModelFacts,
    *,
    vram_bytes: int,
    sequence_tokens: int,
    prefill_tokens: int,
    kv_dtype: str,
    sequences: int = 1,
    memory_fraction: float = 0.9,
) -> Parallelism | None:
    """The parallelism of one worker with the fewest GPUs that holds the workload: a power of two up to MAX_GPUS."""
    for parallelism in _ladder(facts):
        answer = _fit(
            facts,
            parallelism,
            vram_bytes,
            sequence_tokens,
            prefill_tokens,
            kv_dtype,
            sequences,
            memory_fraction,
        )
        if answer.fits:
            return parallelism
    return None


def _fit(
    facts: ModelFacts,
    parallelism: Parallelism,
    vram_bytes: int,
    sequence_tokens: int,
    prefill_tokens: int,
    kv_dtype: str,
    sequences: int,
    memory_fraction: float,
) -> Fit:
    usable = math.floor(max(0, vram_bytes) * min(max(memory_fraction, 0.0), 1.0))
    tokens, wanted = max(1, sequence_tokens), max(1, sequences)
    weights = weight_bytes_per_gpu(facts, parallelism)
    reserve = reserve_bytes_per_gpu(facts, parallelism, prefill_tokens=prefill_tokens, sequences=wanted)
    room = usable - weights - reserve
    each = kv_bytes_per_sequence(facts, parallelism, tokens, kv_dtype)
    if room < wanted * each:
        reason = _why_not(parallelism, weights, reserve, usable, wanted, tokens, each)
        lacking = math.ceil(wanted * each - room)
        return Fit(False, weights, reserve, max(0, room), 0, 0, None, reason, lacking)
    held = _sequences_held(facts, parallelism, prefill_tokens, usable - weights, each)
    room_tokens = math.floor(room / each * tokens) if each > 0 else 0
    reason = (
        f"weights {_gb(weights)} and {_gb(reserve)} of activations and runtime leave {_gb(room)} per GPU of "
        f"{_gb(usable)} usable for KV: {held} requests of {tokens} tokens"
    )
    return Fit(True, weights, reserve, room, room_tokens, held, parallelism.gpus, reason)


def _sequences_held(
    facts: ModelFacts, parallelism: Parallelism, prefill_tokens: int, free: int, each: float
) -> int:
    """Most requests n with n KV and max(forward, sampling of n) within `free` bytes."""
    free -= _RUNTIME_ONE if parallelism.gpus == 1 else _RUNTIME_MANY
    forward = _forward_bytes(facts, parallelism, prefill_tokens)
    sampling = facts.vocab * _SAMPLING_BYTES
    by_kv = (free - forward) / each if each > 0 else math.inf
    return max(0, math.floor(min(by_kv, free / (each + sampling))))


def _why_not(
    parallelism: Parallelism, weights: int, reserve: int, usable: int, wanted: int, tokens: int, each: float
) -> str:
    if weights > usable:
        return f"{parallelism.label}: weights need {_gb(weights)} per GPU of {_gb(usable)} usable"
    if weights + reserve > usable:
        return (
            f"{parallelism.label}: weights {_gb(weights)} and {_gb(reserve)} of activations and runtime need "
            f"{_gb(weights + reserve)} per GPU of {_gb(usable)} usable"
        )
    return (
        f"{parallelism.label}: KV of {wanted} request{'s' if wanted > 1 else ''} of {tokens} tokens needs "
        f"{_gb(wanted * each)} per GPU, {_gb(usable - weights - reserve)} of {_gb(usable)} usable are left"
    )


def _ladder(facts: ModelFacts) -> Iterator[Parallelism]:
    """Layouts by number of GPUs, of the kinds that the search tries: dense models tensor parallel within eight GPUs,
    then pipelines of those; mixtures of experts TP (not MLA's), TEP and DEP as wide as it takes."""
    gpus = 1
    while gpus <= MAX_GPUS:
        shapes = [Parallelism(tp=tp, pp=gpus // tp) for tp in sorted({min(gpus, 8), gpus})]
        if facts.moe is not None:
            shapes = [Parallelism(tp=gpus, moe_ep=gpus), Parallelism(dp=gpus, moe_ep=gpus)]
            if facts.attention.kind != "mla":
                shapes.insert(0, Parallelism(tp=gpus, moe_tp=gpus))
        yield from (shape for shape in dict.fromkeys(shapes) if splits(facts, shape))
        gpus *= 2


def _forward_bytes(facts: ModelFacts, parallelism: Parallelism, prefill_tokens: int) -> int:
    tokens = min(max(1, prefill_tokens), _STEP_TOKENS)
    a, tp = facts.attention, parallelism.tp
    width = 4 * facts.hidden + ((a.heads + 2 * a.kv_heads) * a.head_dim + 2 * facts.intermediate) / tp
    if facts.moe is not None:
        routed = facts.hidden + 2 * facts.moe.expert_intermediate / parallelism.moe_tp
        width += facts.moe.experts_per_token * routed
    return math.ceil(2 * tokens * width)


def _head_share(kv_heads: int, tp: int) -> float:
    """Share of the KV heads on one rank: whole heads, at least one."""
    return math.ceil(kv_heads / tp) / kv_heads


def _stage_share(layers: int, pp: int) -> float:
    return math.ceil(layers / pp) / layers


def _parts(facts: ModelFacts) -> WeightBytes:
    """The stored bytes by part; for facts made by hand, from the dtypes, scaled to `weight_bytes`."""
    if facts.parts is not None:
        return facts.parts
    q = facts.quantisation
    sizes = (
        facts.linear_params * _PARAM_BYTES[q.linear],
        facts.expert_params * _PARAM_BYTES[q.experts],
        facts.other_params * _PARAM_BYTES[q.other],
    )
    scale = facts.weight_bytes / sum(sizes) if facts.weight_bytes > 0 and sum(sizes) > 0 else 1.0
    linear, experts, other = (math.ceil(size * scale) for size in sizes)
    return WeightBytes(linear, experts, other, embedding=other)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
