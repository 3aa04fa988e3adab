"""Which parallelisms a model's own shape allows: what must divide for its weights to be split.

One rule for the memory model and the search. Whether the result fits, and where it can be placed, is judged there.
"""

from __future__ import annotations

from armature.model.facts import Dtype, ModelFacts
from armature.model.parallelism import Parallelism

__all__ = ["split_problem", "splits"]

FP8_BLOCK = 128
"""Engines refuse shards of block-quantised FP8 weights that are not whole 128-wide blocks (vLLM, SGLang)."""


def splits(facts: ModelFacts, parallelism: Parallelism) -> bool:
    """Whether heads, KV heads (split or repeated), dense MLP, experts and layers divide by the degrees."""
    return split_problem(facts, parallelism) is None


def split_problem(facts: ModelFacts, parallelism: Parallelism) -> tuple[str, str] | None:
    """(what does not divide: `heads`, `layers`, `kv_heads`, `mlp` or `experts`; why, as a clause), or None."""
    a, p, moe = facts.attention, parallelism, facts.moe
    if a.heads % p.tp:
        return "heads", f"tp {p.tp} does not divide its {a.heads} attention heads"
    if p.pp > facts.layers:
        return "layers", f"it has {facts.layers} layers, fewer than {p.pp} pipeline stages"
    if a.kind != "mla" and a.kv_heads % p.tp and p.tp % a.kv_heads:
        return "kv_heads", f"tp {p.tp} neither divides its {a.kv_heads} KV heads nor is a multiple of them"
    has_dense_mlp = moe is None or moe.layers < facts.layers
    block = _block(facts, facts.quantisation.linear)
    if has_dense_mlp and p.tp > 1 and facts.intermediate % (p.tp * block):
        return "mlp", f"{_columns('its MLP', facts.intermediate, block)} do not split {p.tp} ways"
    if moe is None:
        return None if p.moe_tp == p.moe_ep == 1 else ("experts", "it has no experts to split")
    block = _block(facts, facts.quantisation.experts)
    if p.moe_tp > 1 and moe.expert_intermediate % (p.moe_tp * block):
        return (
            "experts",
            f"{_columns('an expert', moe.expert_intermediate, block)} do not split {p.moe_tp} ways",
        )
    if moe.experts % p.moe_ep:
        return "experts", f"moe_ep {p.moe_ep} does not divide its {moe.experts} experts"
    return None


def _columns(what: str, width: int, block: int) -> str:
    """`the 25,600 columns of its MLP, in whole FP8 blocks of 128,`."""
    whole = f", in whole FP8 blocks of {block}," if block > 1 else ""
    return f"the {width:,} columns of {what}{whole}"


def _block(facts: ModelFacts, dtype: Dtype) -> int:
    return FP8_BLOCK if dtype == "fp8" and f"block {FP8_BLOCK}" in facts.quantisation.method else 1
