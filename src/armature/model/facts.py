"""What a model's config.json says about its size and shape, in our terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Attention", "ModelFacts", "Moe", "Quantisation"]

Dtype = Literal["bf16", "fp8", "fp4", "int8", "int4"]


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention of a model, layer kinds counted.

    full_layers keep KV for the whole context, window_layers for at most `window` tokens, linear_layers
    (Mamba, gated delta, ...) a fixed `linear_state_bytes` per sequence and layer. MLA keeps
    `kv_lora_rank + rope_head_dim` elements per token and layer instead of keys and values per head.
    """

    kind: Literal["mha", "gqa", "mla"]
    heads: int
    kv_heads: int
    head_dim: int
    full_layers: int
    window_layers: int = 0
    window: int = 0
    linear_layers: int = 0
    linear_state_bytes: int = 0
    kv_lora_rank: int = 0
    rope_head_dim: int = 0
    q_lora_rank: int = 0


@dataclass(frozen=True, slots=True)
class Moe:
    """Routed and shared experts."""

    experts: int
    experts_per_token: int
    expert_intermediate: int
    shared_intermediate: int
    layers: int


@dataclass(frozen=True, slots=True)
class Quantisation:
    """Dtype of the stored weights by part: dense linear layers (attention, MLP), routed experts, and the rest
    (embeddings, head, norms)."""

    linear: Dtype = "bf16"
    experts: Dtype = "bf16"
    other: Dtype = "bf16"
    method: str = ""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Everything later rooms need to know about a model.

    params: parameters in all; active_params: used per token. linear_params, expert_params, other_params split
    them by `Quantisation` part. weight_bytes: bytes of the stored checkpoint. max_context: tokens.
    config_dir: a directory with `config.json`; tokenizer_dir: one with `tokenizer.json`, when there is one.
    source says where the facts come from, for the user.
    """

    name: str
    architecture: str
    layers: int
    hidden: int
    vocab: int
    intermediate: int
    attention: Attention
    quantisation: Quantisation
    linear_params: int
    expert_params: int
    other_params: int
    active_params: int
    weight_bytes: int
    max_context: int
    source: str
    moe: Moe | None = None
    config_dir: Path | None = None
    tokenizer_dir: Path | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def params(self) -> int:
        return self.linear_params + self.expert_params + self.other_params

    @property
    def is_moe(self) -> bool:
        return self.moe is not None
