"""What a model's config.json says about its size and shape, in our terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from armature.model.quantise import Dtype

__all__ = ["Attention", "Dtype", "ModelFacts", "Moe", "Quantisation", "WeightBytes", "facts_from_config"]


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention of a model, layer kinds counted.

    full_layers keep KV for the whole context, window_layers for at most `window` tokens, linear_layers
    (Mamba, gated delta, ...) a fixed `linear_state_bytes` per sequence and layer. MLA keeps
    `kv_lora_rank + rope_head_dim` elements per token and layer instead of keys and values per head.

    full_kv_elements, window_kv_elements: elements per token and layer of each kind, all heads together, where they
    are not `2 * kv_heads * head_dim` (or MLA's sum); 0 means they are. window_kv_heads: likewise, 0 is `kv_heads`.
    index_bytes: bytes per token and full layer of a sparse-attention index, which every rank keeps whole.
    sequence_bytes: bytes per sequence beside all that, which every rank keeps whole.
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
    full_kv_elements: float = 0.0
    window_kv_elements: float = 0.0
    window_kv_heads: int = 0
    index_bytes: float = 0.0
    sequence_bytes: int = 0


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
    (embeddings, head, norms). Where a part mixes formats, the one of most parameters. kv: what the checkpoint asks
    for its KV cache."""

    linear: Dtype = "bf16"
    experts: Dtype = "bf16"
    other: Dtype = "bf16"
    method: str = ""
    kv: Literal["bf16", "fp8"] = "bf16"


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Stored bytes by part, scales included; `linear + experts + other` is the whole.

    Of `linear`: whole is kept by every tensor-parallel rank (MLA's down projections), kv splits only up to the
    number of KV heads. Of `other`: embedding and head are the two tables (head 0 when tied), whole is routers,
    norms and other small tensors.
    """

    linear: int
    experts: int
    other: int
    linear_whole: int = 0
    linear_kv: int = 0
    embedding: int = 0
    head: int = 0
    other_whole: int = 0

    @property
    def total(self) -> int:
        return self.linear + self.experts + self.other


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Everything later rooms need to know about a model.

    params: parameters in all; active_params: multiplied per token (an embedding lookup multiplies none).
    linear_params, expert_params, other_params split them by `Quantisation` part. weight_bytes: bytes of the stored
    checkpoint, without multi-token-prediction layers, of which there are mtp_layers; parts: the same by part.
    max_context: tokens.
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
    parts: WeightBytes | None = None
    mtp_layers: int = 0

    @property
    def params(self) -> int:
        return self.linear_params + self.expert_params + self.other_params

    @property
    def is_moe(self) -> bool:
        return self.moe is not None


def facts_from_config(
    name: str,
    config: Mapping[str, object],
    quant_config: Mapping[str, object] | None,
    *,
    source: str,
    config_dir: Path | None = None,
    tokenizer_dir: Path | None = None,
) -> ModelFacts:
    """The facts of a decoder-only model.

    config is a parsed config.json, quant_config a parsed hf_quant_config.json; source says where they come from.
    An architecture we do not know is read as a plain decoder. Raises InvalidInput naming every key that is missing
    or makes no sense.
    """
    from armature.model.read import read_facts  # the reader builds on the types above

    return read_facts(
        name, config, quant_config, source=source, config_dir=config_dir, tokenizer_dir=tokenizer_dir
    )
