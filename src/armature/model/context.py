"""How long a sequence a model takes, and whether a workload stays within it.

The rule is the engines' own (vLLM's `max_model_len` when none is given): `max_position_embeddings`, except

    yarn              original_max_position_embeddings * factor (max_position_embeddings when no original is given)
    linear, dynamic   max_position_embeddings * factor, except Gemma 3, whose value is already scaled
    llama3, longrope, su, mrope, proportional   max_position_embeddings: already scaled
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from armature.errors import Problem
from armature.model.keys import ConfigKeys

if TYPE_CHECKING:
    from armature.model.facts import ModelFacts

__all__ = ["check_context", "max_context_of"]

_FALLBACK = 2048  # vLLM's assumption when a config names no limit


def max_context_of(keys: ConfigKeys) -> tuple[int, tuple[str, ...]]:
    """The longest sequence in tokens, and what the user should know about it."""
    limit = keys.number(
        "max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_seq_len", "n_ctx",
        "model_max_length",
    )  # fmt: skip
    if not limit:
        return _FALLBACK, (f"config.json names no context limit; {_FALLBACK} tokens are assumed",)
    scaling = keys.mapping("rope_scaling", "rope_parameters")
    kind = str(scaling.get("rope_type") or scaling.get("type") or "default")
    factor = scaling.get("factor")
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor <= 10_000:
        return limit, ()
    if kind == "yarn":
        original = scaling.get("original_max_position_embeddings")
        base = original if isinstance(original, int) and original > 0 else limit
        return math.floor(base * factor), ()
    if kind in ("linear", "dynamic") and "gemma3" not in keys.model_type:
        return math.floor(limit * factor), ()
    return limit, ()


def check_context(facts: ModelFacts, isl: int, osl: int) -> Problem | None:
    """The problem when a prompt of `isl` and an answer of `osl` tokens exceed the model's context; else None."""
    if isl + osl <= facts.max_context:
        return None
    rule = f"isl {isl} + osl {osl} = {isl + osl} tokens is past {facts.name}'s context of {facts.max_context} tokens"
    mend = f"lower them to at most {facts.max_context} together, or choose a model with a longer context"
    return Problem("spec.workload", rule, mend)
