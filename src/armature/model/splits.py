"""Which parallelisms a model's own shape allows: what must divide for its weights to be split.

One rule for the memory model and the search. Whether the result fits, and where it can be placed, is judged there.
"""

from __future__ import annotations

from armature.model.facts import Dtype, ModelFacts
from armature.model.parallelism import Parallelism

__all__ = ["splits"]

FP8_BLOCK = 128
"""Engines refuse shards of block-quantised FP8 weights that are not whole 128-wide blocks (vLLM, SGLang)."""


def splits(facts: ModelFacts, parallelism: Parallelism) -> bool:
    """Whether heads, KV heads (split or repeated), dense MLP, experts and layers divide by the degrees."""
    a, p, moe = facts.attention, parallelism, facts.moe
    if a.heads % p.tp or p.pp > facts.layers:
        return False
    if a.kind != "mla" and a.kv_heads % p.tp and p.tp % a.kv_heads:
        return False
    has_dense_mlp = moe is None or moe.layers < facts.layers
    if has_dense_mlp and p.tp > 1 and facts.intermediate % (p.tp * _block(facts, facts.quantisation.linear)):
        return False
    if moe is None:
        return p.moe_tp == p.moe_ep == 1
    block = _block(facts, facts.quantisation.experts)
    whole = p.moe_tp == 1 or moe.expert_intermediate % (p.moe_tp * block) == 0
    return whole and moe.experts % p.moe_ep == 0


def _block(facts: ModelFacts, dtype: Dtype) -> int:
    return FP8_BLOCK if dtype == "fp8" and f"block {FP8_BLOCK}" in facts.quantisation.method else 1
