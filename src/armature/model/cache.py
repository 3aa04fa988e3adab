"""What each layer of a model keeps per token and per sequence: config.json to `Attention`."""

from __future__ import annotations

from collections.abc import Sequence

from armature.model.facts import Attention
from armature.model.keys import ConfigKeys
from armature.model.layers import Layer
from armature.model.tensors import Widths, attention_widths, linear_widths, mamba_widths

__all__ = ["attention_of"]

_INDEX_BYTES = 132  # DeepSeek sparse attention: 128 fp8 elements and an fp32 scale per token and layer
_BLOCK_INDEX_BYTES = 256  # MiniMax's block index: one bf16 key of 128 elements


def attention_of(keys: ConfigKeys, widths: Widths, layers: Sequence[Layer]) -> Attention:
    """The attention of the model, its layers counted by what they keep."""
    full = [layer for layer in layers if layer.mixer == "full"]
    window = [layer for layer in layers if layer.mixer == "window"]
    linear = [layer for layer in layers if layer.mixer not in ("full", "window", "none")]
    size = keys.number("sliding_window", "attention_chunk_size", "sliding_window_size") if window else 0
    full_heads = max((attention_widths(keys, widths, layer)[1] for layer in full), default=widths.kv_heads)
    window_heads = max((attention_widths(keys, widths, layer)[1] for layer in window), default=0)
    states = sum(_state_bytes(keys, widths, layer) for layer in linear)
    plain = 2 * full_heads * widths.head_dim
    full_elements = _mean([_elements(keys, widths, layer) for layer in full])
    window_elements = _mean([_elements(keys, widths, layer) for layer in window])
    indexed = [layer for layer in full if layer.indexer]
    index_width = _INDEX_BYTES if keys.number("index_n_heads") else _BLOCK_INDEX_BYTES
    index = sum(index_width / layer.compress for layer in indexed) / len(full) if full else 0.0
    latent = widths.kv_lora_rank + widths.rope_head_dim if widths.kv_lora_rank else 0
    return Attention(
        kind="mla" if widths.mla else "mha" if full_heads == widths.heads else "gqa",
        heads=widths.heads,
        kv_heads=1 if widths.mla else full_heads,
        head_dim=widths.head_dim,
        full_layers=len(full),
        window_layers=len(window),
        window=size,
        linear_layers=len(linear),
        linear_state_bytes=-(-states // len(linear)) if linear else 0,
        kv_lora_rank=widths.kv_lora_rank,
        rope_head_dim=widths.rope_head_dim,
        q_lora_rank=widths.q_lora_rank,
        full_kv_elements=0.0 if full_elements == (latent or plain) else full_elements,
        window_kv_elements=0.0 if window_elements == plain else window_elements,
        window_kv_heads=0 if window_heads == full_heads else window_heads,
        index_bytes=index,
        sequence_bytes=_compressed_tail(keys, widths, layers),
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _elements(keys: ConfigKeys, w: Widths, layer: Layer) -> float:
    """KV elements of one token in one attention layer."""
    if keys.items("compress_ratios"):
        return w.head_dim / layer.compress
    if w.kv_lora_rank:
        return w.kv_lora_rank + w.rope_head_dim
    _, kv_heads, key, value = attention_widths(keys, w, layer)
    return kv_heads * (key + value)


def _compressed_tail(keys: ConfigKeys, w: Widths, layers: Sequence[Layer]) -> int:
    """DeepSeek-V4 keeps the last `sliding_window` tokens of its compressed layers uncompressed as well."""
    if not keys.items("compress_ratios"):
        return 0
    full = sum(layer.mixer == "full" for layer in layers)
    return 2 * full * keys.number("sliding_window") * w.head_dim


def _state_bytes(keys: ConfigKeys, w: Widths, layer: Layer) -> int:
    """Bytes a linear mixer keeps for one sequence: the recurrent state and the last inputs of its convolution."""
    wide = str(keys.get("mamba_ssm_dtype", "mamba_ssm_cache_dtype") or "") == "float32"
    item = 4 if wide else 2
    if layer.mixer == "gdn":
        key, value, heads = linear_widths(keys)
        taps = max(0, keys.number("linear_conv_kernel_dim", default=4) - 1)
        state = value * keys.number("linear_key_head_dim") if heads else 0
        return state * item + (2 * key + value) * taps * 2
    if layer.mixer == "mamba":
        inner, states, _ = mamba_widths(keys)
        taps = max(0, keys.number("conv_kernel", "mamba_d_conv", default=4) - 1)
        return inner * keys.number("ssm_state_size", "mamba_d_state") * item + (inner + 2 * states) * taps * 2
    if layer.mixer == "kda":
        config = keys.mapping("linear_attn_config")
        sizes = [config.get(name) for name in ("num_heads", "head_dim", "short_conv_kernel_size")]
        count, dim, kernel = (size if isinstance(size, int) and size > 0 else 0 for size in sizes)
        return count * dim * dim * 4 + 3 * count * dim * max(0, kernel - 1) * 2
    return w.heads * w.head_dim * w.head_dim * 4  # lightning attention keeps its state in fp32
