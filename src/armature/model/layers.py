"""What each layer of a model is made of: which token mixer and which feed-forward part.

Families write this down in a dozen ways (`layer_types`, `hybrid_override_pattern`, `first_k_dense_replace`,
`sliding_window_pattern`, ...); from here on it is one tuple of `Layer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from armature.model.keys import ConfigKeys

__all__ = ["Ffn", "Layer", "Mixer", "plan_layers"]

Mixer = Literal["full", "window", "gdn", "kda", "mamba", "lightning", "none"]
Ffn = Literal["dense", "moe", "dense+moe", "none"]

_EXPERT_KEYS = ("n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")


class Layer(msgspec.Struct, frozen=True):
    """One layer. gdn, kda, mamba and lightning are linear mixers with a fixed state per sequence.

    kv_heads, intermediate: override the model's own when not 0. compress: the KV of `compress` tokens is one
    entry (DeepSeek-V4); 1 is plain. indexer: the layer selects tokens with an index of its own (sparse attention).
    """

    mixer: Mixer
    ffn: Ffn
    kv_heads: int = 0
    intermediate: int = 0
    compress: int = 1
    indexer: bool = False


def plan_layers(keys: ConfigKeys) -> tuple[Layer, ...]:
    """The layers of the model, in order. Problems of missing keys are left with `keys`."""
    hybrid = _hybrid_blocks(keys)
    if hybrid is not None:
        return hybrid
    count = keys.needed("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    if count > 10_000:
        return ()
    blocks = keys.items("block_configs")
    if len(blocks) == count:
        heads = keys.needed("num_attention_heads", "n_head")
        hidden = keys.needed("hidden_size", "n_embd", "d_model")
        return tuple(_searched_block(block, heads, hidden) for block in blocks)
    mixers = _mixers(keys, count)
    ffns = _ffns(keys, count)
    ratios = keys.items("compress_ratios")
    indexers = _indexers(keys, count)
    layers = []
    for index in range(count):
        compress = ratios[index] if index < len(ratios) else 1
        compress = compress if isinstance(compress, int) else 1
        mixer: Mixer = mixers[index] if not ratios else "full" if compress else "window"
        indexer = compress == 4 if ratios else indexers[index]
        layers.append(Layer(mixer, ffns[index], compress=max(1, compress), indexer=indexer))
    return tuple(layers)


def _hybrid_blocks(keys: ConfigKeys) -> tuple[Layer, ...] | None:
    """Nemotron-H: each block is only a mixer or only a feed-forward part."""
    names: Mapping[str, tuple[Mixer, Ffn]] = {
        "M": ("mamba", "none"), "mamba": ("mamba", "none"),
        "*": ("full", "none"), "attention": ("full", "none"),
        "-": ("none", "dense"), "mlp": ("none", "dense"),
        "E": ("none", "moe"), "moe": ("none", "moe"),
    }  # fmt: skip
    pattern = keys.get("hybrid_override_pattern")
    blocks = tuple(pattern) if isinstance(pattern, str) else keys.items("layers_block_type")
    if not blocks or any(block not in names for block in blocks):
        return None
    return tuple(Layer(*names[str(block)]) for block in blocks)


def _searched_block(block: object, heads: int, hidden: int) -> Layer:
    """A block of a model found by architecture search (DeciLM): attention and MLP differ by layer or are absent."""
    parts = block if isinstance(block, Mapping) else {}
    attention, ffn = parts.get("attention") or {}, parts.get("ffn") or {}
    group = attention.get("n_heads_in_group")
    kv_heads = max(1, heads // group) if isinstance(group, int) and group > 0 else 0
    mult = ffn.get("ffn_mult")
    # DeciLM: two thirds of ffn_mult * hidden, rounded up to a multiple of 256
    width = -(-int(2 * float(mult) * hidden / 3) // 256) * 256 if isinstance(mult, int | float) else 0
    return Layer(
        "full" if kv_heads else "none",
        "dense" if width else "none",
        kv_heads=kv_heads,
        intermediate=width,
    )


def _mixers(keys: ConfigKeys, count: int) -> list[Mixer]:
    kinds = {
        "full_attention": "full", "attention": "full", "sliding_attention": "window",
        "chunked_attention": "window", "linear_attention": "gdn",
    }  # fmt: skip
    named = keys.items("layer_types")
    if len(named) == count and all(name in kinds for name in named):
        return [_windowed(keys, kinds[str(name)]) for name in named]
    linear = keys.mapping("linear_attn_config")
    if linear:
        kda = linear.get("kda_layers")
        marked = set(kda) if isinstance(kda, list) else set()
        return ["kda" if index + 1 in marked else "full" for index in range(count)]
    marks = keys.items("attn_type_list")
    if len(marks) == count:
        return ["full" if mark == 1 else "lightning" for mark in marks]
    marks = keys.items("hybrid_layer_pattern")
    if len(marks) == count:
        return ["window" if mark == 1 else "full" for mark in marks]
    every = keys.number("full_attention_interval", default=4 if keys.get("linear_num_value_heads") else 0)
    if every:
        return ["full" if (index + 1) % every == 0 else "gdn" for index in range(count)]
    if keys.number("attention_chunk_size") and keys.model_type.startswith("llama4"):
        every = keys.number("no_rope_layer_interval", default=4, least=1)
        return ["full" if (index + 1) % every == 0 else "window" for index in range(count)]
    return _sliding(keys, count)


def _sliding(keys: ConfigKeys, count: int) -> list[Mixer]:
    """Layers of a model with one `sliding_window`, which families apply to all, some or none of them."""
    window = keys.number("sliding_window")
    reach = keys.number("max_position_embeddings", default=window + 1)
    if not 0 < window < reach or not keys.flag("use_sliding_window", default=True):
        return ["full"] * count  # a window as long as the context is none (Phi-3 128k)
    if keys.get("use_sliding_window") is not None:  # Qwen2 and Qwen3: the layers above max_window_layers
        first = keys.number("max_window_layers", default=count)
        return ["window" if index >= first else "full" for index in range(count)]
    defaults = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4}
    every = keys.number("sliding_window_pattern", default=defaults.get(keys.model_type, 0))
    if every:
        return ["full" if (index + 1) % every == 0 else "window" for index in range(count)]
    return ["window"] * count


def _windowed(keys: ConfigKeys, kind: str) -> Mixer:
    if kind == "window":
        return "window" if keys.number("sliding_window", "attention_chunk_size") else "full"
    return "gdn" if kind == "gdn" else "full"


def _ffns(keys: ConfigKeys, count: int) -> list[Ffn]:
    if not keys.number(*_EXPERT_KEYS) or keys.get("enable_moe_block") is False:
        return ["dense"] * count
    if keys.flag("enable_moe_block"):  # Gemma 4: a dense MLP beside the experts in every layer
        return ["dense+moe"] * count
    named = keys.items("mlp_layer_types")
    if len(named) == count:
        return ["moe" if name == "sparse" else "dense" for name in named]
    frequency = keys.items("moe_layer_freq")
    if len(frequency) == count:
        return ["moe" if mark else "dense" for mark in frequency]
    first = keys.number("first_k_dense_replace")
    every = keys.number("moe_layer_freq", "decoder_sparse_step", "interleave_moe_layer_step", default=1)
    offset = 1 if keys.get("decoder_sparse_step", "interleave_moe_layer_step") is not None else 0
    dense_only = set(keys.items("mlp_only_layers"))
    return [
        "moe"
        if index >= first and index not in dense_only and (index + offset) % max(1, every) == 0
        else "dense"
        for index in range(count)
    ]


def _indexers(keys: ConfigKeys, count: int) -> list[bool]:
    if keys.number("index_n_heads"):  # DeepSeek sparse attention; GLM shares an index among layers
        kinds = keys.items("indexer_types")
        return [kinds[i] == "full" for i in range(count)] if len(kinds) == count else [True] * count
    marks = keys.mapping("sparse_attention_config").get("sparse_attention_freq")
    if isinstance(marks, list) and len(marks) == count:
        return [bool(mark) for mark in marks]
    return [False] * count
