"""The weights of a model as a list: every matrix with its size and the part it belongs to.

Names follow Hugging Face's (`self_attn.q_proj`, `mlp.experts`, ...) because quantisation configs exclude parts by
name. Multi-token-prediction layers (`num_nextn_predict_layers`, `mtp_*`) are left out: engines do not load them
unless asked to speculate. Biases and norms are counted where they are known; together they stay below 0.1 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from armature.model.keys import ConfigKeys
from armature.model.layers import Layer

__all__ = [
    "Part",
    "Tensor",
    "Widths",
    "attention_widths",
    "linear_widths",
    "mamba_widths",
    "tensors_of",
    "vision_params",
    "widths_of",
]

Part = Literal["linear", "experts", "other"]

# feed-forward parts of two matrices (up, down) rather than three (gate, up, down)
_UNGATED = ("gpt2", "gpt_neox", "gpt_bigcode", "gptj", "opt", "bloom", "falcon", "phi", "starcoder2", "mpt")
_UNGATED_TYPES = frozenset((*_UNGATED, "nemotron", "nemotron_h", "gpt_neo", "codegen"))
_QKV_BIAS = ("qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl")


class Tensor(msgspec.Struct, frozen=True):
    """One weight matrix, or a few of one kind. layer is -1 outside the layers.

    active: parameters a token's forward pass multiplies (an embedding lookup multiplies none).
    per_rank: how tensor parallelism treats it: split, kept whole by each rank, or split only up to the KV heads.
    """

    layer: int
    name: str
    params: int
    part: Part
    active: int
    per_rank: Literal["split", "whole", "kv"] = "split"


class Widths(msgspec.Struct, frozen=True):
    """The sizes that repeat through a model; 0 where a model has no such part."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    intermediate: int
    vocab: int
    experts: int
    experts_per_token: int
    expert_intermediate: int
    expert_hidden: int
    shared_intermediate: int
    mla: bool
    kv_lora_rank: int
    q_lora_rank: int
    rope_head_dim: int
    nope_head_dim: int
    tied: bool
    gated: bool


def widths_of(keys: ConfigKeys) -> Widths:
    """Reads the widths; what is missing is left as problems with `keys`."""
    hidden = keys.needed("hidden_size", "n_embd", "d_model")
    heads = keys.needed("num_attention_heads", "n_head", "num_heads", "n_heads")
    vocab = keys.needed("vocab_size", "padded_vocab_size")
    experts = keys.number("n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")
    if keys.get("enable_moe_block") is False:
        experts = 0
    kv_lora = keys.number("kv_lora_rank")
    compressed = bool(keys.items("compress_ratios"))
    kv_heads = keys.number(
        "num_key_value_heads", "multi_query_group_num", "num_kv_heads", "n_head_kv", default=heads
    )
    if keys.flag("multi_query") and keys.get("num_key_value_heads", "n_head_kv", "num_kv_heads") is None:
        kv_heads = 1
    nope, rope = keys.number("qk_nope_head_dim"), keys.number("qk_rope_head_dim")
    default_dim = nope + rope if kv_lora else max(1, hidden // heads)
    head_dim = (
        default_dim
        if kv_lora
        else keys.number("head_dim", "attention_head_dim", default=default_dim) or default_dim
    )
    moe_width = keys.number("moe_intermediate_size", "expert_intermediate_size", "expert_ffn_hidden_size")
    intermediate = _dense_intermediate(keys, hidden, experts, moe_width)
    expert_width = (moe_width or keys.number("intermediate_size")) if experts else 0
    topk = keys.number(
        "num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts", "moe_topk"
    )
    if experts and not topk:
        topk = keys.needed("num_experts_per_tok", "num_experts_per_token", "top_k_experts")
    ungated = keys.model_type in _UNGATED_TYPES or keys.get("mlp_hidden_act") == "relu2"
    return Widths(
        hidden, heads, min(max(1, kv_heads), heads), head_dim, keys.number("v_head_dim", default=head_dim) or head_dim,
        intermediate, vocab, experts, min(topk, experts) if experts else 0, expert_width,
        keys.number("moe_latent_size", "routed_expert_hidden_size", default=hidden) or hidden,
        _shared_intermediate(keys, expert_width) if experts else 0,
        bool(kv_lora) or compressed, kv_lora, keys.number("q_lora_rank"), rope, nope,
        _tied(keys), not ungated,
    )  # fmt: skip


def _tied(keys: ConfigKeys) -> bool:
    value = keys.get("tie_word_embeddings")
    gemma = keys.model_type.startswith("gemma")  # Gemma's configs leave it out and mean yes
    return gemma if value is None else bool(value)


def _dense_intermediate(keys: ConfigKeys, hidden: int, experts: int, moe_width: int) -> int:
    names = ("intermediate_size_mlp", "dense_intermediate_size", "intermediate_size", "ffn_hidden_size", "n_inner",
             "ffn_dim", "ffn_hidden_dim")  # fmt: skip
    width = keys.number(*names)
    if width or moe_width or keys.items("block_configs"):
        return width
    if keys.model_type in _UNGATED:
        return 4 * hidden
    return keys.needed(
        *(("moe_intermediate_size",) if experts else ("intermediate_size", "ffn_hidden_size", "n_inner"))
    )


def _shared_intermediate(keys: ConfigKeys, expert_width: int) -> int:
    """Width of the shared experts together."""
    if keys.model_type.startswith("llama4"):
        return expert_width  # Llama 4: one shared expert in each MoE layer, as wide as a routed one
    wide = keys.number(
        "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "share_expert_dim",
        "shared_intermediate_size",
    )  # fmt: skip
    shared = keys.number("n_shared_experts", "num_shared_experts")
    return wide or shared * expert_width


def tensors_of(keys: ConfigKeys, widths: Widths, layers: Sequence[Layer]) -> Iterator[Tensor]:
    """Every weight of the language model."""
    w = widths
    table = w.vocab * w.hidden
    yield Tensor(-1, "embed_tokens", table, "other", table if w.tied else 0)
    if not w.tied:
        yield Tensor(-1, "lm_head", table, "other", table)
    per_layer_input = keys.number("hidden_size_per_layer_input")
    if per_layer_input:  # Gemma 3n and 4 E models: a second embedding, one row slice for each layer
        rows = keys.number("vocab_size_per_layer_input", default=w.vocab)
        yield Tensor(-1, "embed_tokens_per_layer", rows * len(layers) * per_layer_input, "other", 0)
    yield Tensor(-1, "norm", w.hidden, "other", w.hidden, "whole")
    for index, layer in enumerate(layers):
        yield from _mixer(keys, w, layer, index)
        yield from _ffn(keys, w, layer, index)
        gemma = keys.model_type.startswith(("gemma2", "gemma3", "gemma4"))
        norms = w.hidden * (4 if gemma else 1 if "none" in (layer.mixer, layer.ffn) else 2)
        yield Tensor(index, "norms", norms, "other", norms, "whole")
        if per_layer_input:
            size = 2 * w.hidden * per_layer_input
            yield Tensor(index, "per_layer_input", size, "linear", size)


def _linear(
    index: int, name: str, params: int, per_rank: Literal["split", "whole", "kv"] = "split"
) -> Tensor:
    return Tensor(index, name, params, "linear", params, per_rank)


def _mixer(keys: ConfigKeys, w: Widths, layer: Layer, index: int) -> Iterator[Tensor]:
    if layer.mixer == "none":
        return
    if layer.mixer in ("full", "window"):
        attention = _compressed if keys.items("compress_ratios") else _latent if w.mla else _attention
        yield from attention(keys, w, layer, index)
        return
    if layer.mixer == "gdn":
        yield from _gated_delta(keys, w, index)
    elif layer.mixer == "kda":
        yield from _kimi_delta(keys, w, index)
    elif layer.mixer == "mamba":
        yield from _mamba(keys, w, index)
    else:  # lightning attention: query, key, value, gate and output
        size = w.hidden * w.heads * w.head_dim
        yield _linear(index, "self_attn.qkv_proj", 3 * size)
        yield _linear(index, "self_attn.output_gate", size)
        yield _linear(index, "self_attn.out_proj", size)


def attention_widths(keys: ConfigKeys, w: Widths, layer: Layer) -> tuple[int, int, int, int]:
    """Query heads, KV heads, key and value width of an attention layer; windows may differ from full layers."""
    if layer.mixer == "window" and keys.get("swa_num_key_value_heads") is not None:  # MiMo
        return (
            keys.number("swa_num_attention_heads", default=w.heads, least=1),
            keys.number("swa_num_key_value_heads", default=w.kv_heads, least=1),
            keys.number("swa_head_dim", default=w.head_dim, least=1),
            keys.number("swa_v_head_dim", default=w.v_head_dim, least=1),
        )
    if layer.mixer == "full" and keys.number("global_head_dim"):  # Gemma 4
        dim = keys.number("global_head_dim")
        return w.heads, keys.number("num_global_key_value_heads", default=w.kv_heads, least=1), dim, dim
    return w.heads, layer.kv_heads or w.kv_heads, w.head_dim, w.v_head_dim


def _attention(keys: ConfigKeys, w: Widths, layer: Layer, index: int) -> Iterator[Tensor]:
    heads, kv_heads, dim, v_dim = attention_widths(keys, w, layer)
    prefix = "mixer" if _is_hybrid(keys) else "self_attn"
    bias = keys.flag("attention_bias", "qkv_bias", "add_qkv_bias", default=keys.model_type in _QKV_BIAS)
    gate = 2 if keys.flag("attn_output_gate", default=keys.model_type == "qwen3_next") else 1
    yield _linear(index, f"{prefix}.q_proj", gate * (w.hidden + bias) * heads * dim)
    yield _linear(index, f"{prefix}.k_proj", (w.hidden + bias) * kv_heads * dim, "kv")
    if not (keys.flag("attention_k_eq_v") and layer.mixer == "full"):  # Gemma 4: values are the keys there
        yield _linear(index, f"{prefix}.v_proj", (w.hidden + bias) * kv_heads * v_dim, "kv")
    yield _linear(index, f"{prefix}.o_proj", heads * v_dim * w.hidden)
    yield from _index_weights(keys, w, layer, index)


def _index_weights(keys: ConfigKeys, w: Widths, layer: Layer, index: int) -> Iterator[Tensor]:
    """The small attention that selects tokens (DeepSeek's and GLM's indexer, MiniMax's block index)."""
    if not layer.indexer:
        return
    heads, dim = keys.number("index_n_heads"), keys.number("index_head_dim")
    if not heads:
        sparse = keys.mapping("sparse_attention_config")
        heads, dim = _count(sparse, "sparse_num_index_heads"), _count(sparse, "sparse_index_dim")
    size = (w.q_lora_rank or w.hidden) * heads * dim + w.hidden * dim
    size += w.hidden * heads if w.q_lora_rank else 0
    yield _linear(index, "self_attn.indexer", size, "whole")


def _latent(keys: ConfigKeys, w: Widths, layer: Layer, index: int) -> Iterator[Tensor]:
    """Multi-head latent attention: low-rank down projections that every rank keeps, up projections that split."""
    query = w.heads * w.head_dim
    if w.q_lora_rank:
        yield _linear(index, "self_attn.q_a_proj", w.hidden * w.q_lora_rank, "whole")
        yield _linear(index, "self_attn.q_b_proj", w.q_lora_rank * query)
    else:
        yield _linear(index, "self_attn.q_proj", w.hidden * query)
    yield _linear(
        index, "self_attn.kv_a_proj_with_mqa", w.hidden * (w.kv_lora_rank + w.rope_head_dim), "whole"
    )
    yield _linear(index, "self_attn.kv_b_proj", w.kv_lora_rank * w.heads * (w.nope_head_dim + w.v_head_dim))
    if keys.flag("mla_use_output_gate"):
        yield _linear(index, "self_attn.g_proj", w.hidden * w.heads * w.v_head_dim)
    yield _linear(index, "self_attn.o_proj", w.heads * w.v_head_dim * w.hidden)
    yield from _index_weights(keys, w, layer, index)


def _compressed(keys: ConfigKeys, w: Widths, layer: Layer, index: int) -> Iterator[Tensor]:
    """DeepSeek-V4: one shared key-value head, KV compressed along the sequence, grouped low-rank output."""
    rank = keys.number("o_lora_rank", default=w.hidden, least=1)
    groups = keys.number("o_groups", default=1, least=1)
    yield _linear(index, "self_attn.q_a_proj", w.hidden * w.q_lora_rank, "whole")
    yield _linear(index, "self_attn.q_b_proj", w.q_lora_rank * w.heads * w.head_dim)
    yield _linear(index, "self_attn.kv_proj", w.hidden * w.head_dim, "whole")
    yield _linear(index, "self_attn.o_a_proj", w.heads * w.head_dim * rank)
    yield _linear(index, "self_attn.o_b_proj", groups * rank * w.hidden)
    if layer.mixer == "full":  # value and gate of the compressor; overlapping windows double them at ratio 4
        overlap = 2 if layer.compress == 4 else 1
        yield _linear(index, "self_attn.compressor", 2 * overlap * w.hidden * w.head_dim, "whole")
    yield from _index_weights(keys, w, layer, index)


def _gated_delta(keys: ConfigKeys, w: Widths, index: int) -> Iterator[Tensor]:
    key, value, heads = linear_widths(keys)
    conv = (2 * key + value) * keys.number("linear_conv_kernel_dim", default=4)
    yield _linear(index, "linear_attn.in_proj_qkv", w.hidden * (2 * key + value))
    yield _linear(index, "linear_attn.in_proj_z", w.hidden * value)
    yield Tensor(
        index, "linear_attn.small", 2 * w.hidden * heads + conv, "other", 2 * w.hidden * heads + conv
    )
    yield _linear(index, "linear_attn.out_proj", value * w.hidden)


def linear_widths(keys: ConfigKeys) -> tuple[int, int, int]:
    """Key width, value width and value heads of gated-delta layers."""
    heads = keys.number("linear_num_value_heads")
    key = keys.number("linear_num_key_heads") * keys.number("linear_key_head_dim")
    return key, heads * keys.number("linear_value_head_dim"), heads


def _kimi_delta(keys: ConfigKeys, w: Widths, index: int) -> Iterator[Tensor]:
    config = keys.mapping("linear_attn_config")
    heads, dim = _count(config, "num_heads"), _count(config, "head_dim")
    width = heads * dim
    yield _linear(index, "self_attn.qkv_proj", 3 * w.hidden * width)
    small = 3 * width * _count(config, "short_conv_kernel_size") + w.hidden * (heads + dim) + dim * width
    yield _linear(index, "self_attn.small", small)
    gate = w.hidden * width if config.get("use_full_rank_gate") else (w.hidden + width) * dim
    yield _linear(index, "self_attn.g_proj", gate)
    yield _linear(index, "self_attn.o_proj", width * w.hidden)


def _mamba(keys: ConfigKeys, w: Widths, index: int) -> Iterator[Tensor]:
    inner, states, heads = mamba_widths(keys)
    conv = (inner + 2 * states) * keys.number("conv_kernel", "mamba_d_conv", default=4)
    yield _linear(index, "mixer.in_proj", w.hidden * (2 * inner + 2 * states + heads))
    yield Tensor(index, "mixer.conv1d", conv + inner + 3 * heads, "other", conv + inner + 3 * heads)
    yield _linear(index, "mixer.out_proj", inner * w.hidden)


def mamba_widths(keys: ConfigKeys) -> tuple[int, int, int]:
    """Inner width, groups * state size and heads of Mamba-2 layers."""
    heads = keys.number("mamba_num_heads", "mamba_n_heads")
    inner = heads * keys.number("mamba_head_dim", "mamba_d_head")
    groups = keys.number("n_groups", "mamba_n_groups", default=1)
    return inner, groups * keys.number("ssm_state_size", "mamba_d_state"), heads


def _ffn(keys: ConfigKeys, w: Widths, layer: Layer, index: int) -> Iterator[Tensor]:
    names = ("gate_proj", "up_proj", "down_proj") if w.gated else ("up_proj", "down_proj")
    prefix = "mixer" if _is_hybrid(keys) else "mlp"
    if layer.ffn in ("dense", "dense+moe"):
        width = layer.intermediate or w.intermediate or w.expert_intermediate
        for name in names:
            yield _linear(index, f"{prefix}.{name}", w.hidden * width)
    if layer.ffn not in ("moe", "dense+moe"):
        return
    one = len(names) * w.expert_hidden * w.expert_intermediate
    if keys.model_type == "gpt_oss":  # its experts have biases
        one += 2 * w.expert_intermediate + w.hidden
    routed = "" if layer.ffn == "dense+moe" else f"{prefix}."  # Gemma 4: experts stand beside the MLP
    yield Tensor(index, f"{routed}experts", w.experts * one, "experts", w.experts_per_token * one)
    yield Tensor(index, f"{routed}gate", w.hidden * w.experts, "other", w.hidden * w.experts, "whole")
    if w.expert_hidden != w.hidden:
        yield _linear(index, f"{prefix}.latent_proj", 2 * w.hidden * w.expert_hidden, "whole")
    if w.shared_intermediate:
        for name in names:
            yield _linear(index, f"{prefix}.shared_experts.{name}", w.hidden * w.shared_intermediate)


def vision_params(keys: ConfigKeys) -> int:
    """Parameters of a vision tower, about: attention and MLP of each block, and its mergers. 0 without one."""
    vision = keys.top.get("vision_config")
    if not keys.nested or not isinstance(vision, Mapping):
        return 0
    hidden = _count(vision, "hidden_size", "vt_hidden_size")
    depth = _count(vision, "depth", "num_hidden_layers", "vt_num_hidden_layers")
    width = _count(vision, "intermediate_size", "vt_intermediate_size") or 4 * hidden
    merge = max(1, _count(vision, "spatial_merge_size")) ** 2 * hidden
    out = _count(vision, "out_hidden_size", "text_hidden_size", "projection_dim")
    deepstack = vision.get("deepstack_visual_indexes")  # Qwen3-VL: one more merger per tapped layer
    mergers = 1 + len(deepstack) if isinstance(deepstack, list) else 1
    return depth * (4 * hidden**2 + 2 * hidden * width) + (mergers * merge * (merge + out) if out else 0)


def _is_hybrid(keys: ConfigKeys) -> bool:
    return keys.get("hybrid_override_pattern", "layers_block_type") is not None


def _count(source: Mapping[str, object], *names: str) -> int:
    value = next((source[name] for name in names if source.get(name) is not None), 0)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9 else 0
