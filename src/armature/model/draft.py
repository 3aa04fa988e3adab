"""The memory of a model that also serves its multi-token-prediction (MTP) layers, which are left out otherwise."""

from __future__ import annotations

import math
from dataclasses import replace

from armature.model.facts import ModelFacts

__all__ = ["with_draft_layers"]


def with_draft_layers(facts: ModelFacts) -> ModelFacts:
    """The facts for the memory model: as many more layers, of the mean layer's size, and their KV cache.

    An MTP layer is a whole layer with full attention and, in a mixture of experts, its own experts; embedding and
    head are the model's own (DeepSeek-V3 technical report, section 2.2). Not for estimators: their layers are the
    model's.
    """
    more = facts.mtp_layers
    if not more:
        return facts
    grown = 1.0 + more / facts.layers
    experts = 1.0 + more / facts.moe.layers if facts.moe is not None and facts.moe.layers else 1.0
    parts = facts.parts
    if parts is not None:
        parts = replace(
            parts,
            linear=math.ceil(parts.linear * grown),
            linear_whole=math.ceil(parts.linear_whole * grown),
            linear_kv=math.ceil(parts.linear_kv * grown),
            experts=math.ceil(parts.experts * experts),
        )
    sizes = facts.linear_params * grown + facts.expert_params * experts + facts.other_params
    return replace(
        facts,
        layers=facts.layers + more,
        attention=replace(facts.attention, full_layers=facts.attention.full_layers + more),
        linear_params=math.ceil(facts.linear_params * grown),
        expert_params=math.ceil(facts.expert_params * experts),
        weight_bytes=parts.total
        if parts is not None
        else math.ceil(facts.weight_bytes * sizes / max(facts.params, 1)),
        moe=None if facts.moe is None else replace(facts.moe, layers=facts.moe.layers + more),
        parts=parts,
    )
