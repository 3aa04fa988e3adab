"""GPU memory of a model: known answers, and what must hold for every layout. PROF-05, PN-04."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.model.bundle import bundled_config
from armature.model.facts import Attention, ModelFacts, Quantisation, facts_from_config
from armature.model.memory import (
    default_kv_dtype,
    fit,
    kv_bytes_per_sequence,
    reserve_bytes_per_gpu,
    smallest_parallelism,
    weight_bytes_per_gpu,
)
from armature.model.parallelism import Parallelism

H100, H200 = 80_000_000_000, 141_000_000_000
ONE = Parallelism()


def facts(name: str) -> ModelFacts:
    found = bundled_config(name)
    assert found is not None, name
    return facts_from_config(name, found.config, found.quant_config, source=found.source)


def ask(name: str, parallelism: Parallelism, vram: int, **changes):
    asked = {"sequence_tokens": 5000, "prefill_tokens": 8192, "kv_dtype": "bf16", **changes}
    return fit(facts(name), parallelism, vram_bytes=vram, **asked)


@pytest.mark.parametrize(
    ("name", "layout", "vram", "fits", "needed"),
    [
        ("Qwen/Qwen3-32B-FP8", ONE, H100, True, 1),
        ("Qwen/Qwen3-235B-A22B-FP8", Parallelism(tp=8, moe_ep=8), H100, True, 8),
        ("Qwen/Qwen3-235B-A22B-FP8", Parallelism(tp=2, moe_tp=2), H100, False, 4),
        ("deepseek-ai/DeepSeek-R1", Parallelism(tp=8, moe_tp=8), H200, True, 8),
        ("deepseek-ai/DeepSeek-R1", Parallelism(dp=8, moe_ep=8), H200, True, 8),
        ("deepseek-ai/DeepSeek-R1", Parallelism(tp=8, moe_tp=8), H100, False, 16),
        ("meta-llama/Llama-3.1-70B-Instruct", ONE, H100, False, 4),
        ("meta-llama/Llama-3.1-70B-Instruct", ONE, H200, False, 2),
        ("meta-llama/Llama-3.1-70B-Instruct", Parallelism(tp=4), H100, True, 4),
        ("meta-llama/Llama-3.1-70B-Instruct", Parallelism(tp=2), H200, True, 2),
        ("meta-llama/Llama-3.1-405B-Instruct", Parallelism(tp=8), H100, False, 16),
        ("nvidia/Llama-3.1-405B-Instruct-FP8", Parallelism(tp=8), H100, True, 8),
        ("openai/gpt-oss-120b", ONE, H100, True, 1),
        ("meta-llama/Llama-3.1-8B-Instruct", ONE, 24_000_000_000, True, 1),
        ("meta-llama/Llama-3.1-8B-Instruct", ONE, 16_000_000_000, False, 2),
    ],
)
def test_known_fits(name, layout, vram, fits, needed):
    answer = ask(name, layout, vram)
    assert answer.fits is fits
    assert answer.gpus_needed == needed


def test_a_no_says_what_would_do():
    answer = ask("meta-llama/Llama-3.1-70B-Instruct", ONE, H100)
    assert "weights need 141.1 GB per GPU of 72.0 GB usable" in answer.reason
    assert "TP4 would fit" in answer.reason
    assert (answer.kv_room_tokens, answer.max_sequences) == (0, 0)


def test_kv_alone_can_be_the_reason():
    """PROF-05: long context needs more GPUs even where the weights fit."""
    answer = ask("Qwen/Qwen3-32B-FP8", ONE, H100, sequence_tokens=40_000, sequences=8)
    assert not answer.fits
    assert "KV of 8 requests of 40000 tokens" in answer.reason
    assert answer.gpus_needed == 2


def test_nothing_up_to_four_nodes():
    answer = ask("moonshotai/Kimi-K3", ONE, 16_000_000_000)
    assert answer.gpus_needed is None
    assert "no layout up to 32 GPUs" in answer.reason


@pytest.mark.parametrize(
    ("name", "per_token"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 131_072), ("Qwen/Qwen3-32B", 262_144),
        ("deepseek-ai/DeepSeek-V3", 576 * 2 * 61), ("meta-llama/Llama-3.1-70B-Instruct", 327_680),
        ("Qwen/Qwen3-235B-A22B", 192_512),
    ],
)  # fmt: skip
def test_kv_bytes_per_token(name, per_token):
    f = facts(name)
    assert kv_bytes_per_sequence(f, ONE, 1000, "bf16") == 1000 * per_token
    assert kv_bytes_per_sequence(f, ONE, 1000, "fp8") == 500 * per_token


def test_kv_heads_split_then_repeat_and_latents_do_not_split():
    qwen, deepseek = facts("Qwen/Qwen3-235B-A22B"), facts("deepseek-ai/DeepSeek-V3")
    whole = kv_bytes_per_sequence(qwen, ONE, 100, "bf16")
    assert kv_bytes_per_sequence(qwen, Parallelism(tp=4), 100, "bf16") == whole / 4
    assert kv_bytes_per_sequence(qwen, Parallelism(tp=8), 100, "bf16") == whole / 4
    assert kv_bytes_per_sequence(qwen, Parallelism(dp=8, moe_ep=8), 100, "bf16") == whole
    latent = kv_bytes_per_sequence(deepseek, ONE, 100, "bf16")
    assert kv_bytes_per_sequence(deepseek, Parallelism(tp=8), 100, "bf16") == latent


def test_windows_stop_growing_and_states_do_not_grow():
    oss = facts("openai/gpt-oss-120b")
    per_layer = 2 * 8 * 64 * 2
    assert kv_bytes_per_sequence(oss, ONE, 100, "bf16") == 36 * per_layer * 100
    assert kv_bytes_per_sequence(oss, ONE, 10_000, "bf16") == 18 * per_layer * (10_000 + 128)
    hybrid = facts("nvidia/Nemotron-H-56B-Base-8K")
    state = kv_bytes_per_sequence(hybrid, ONE, 0, "bf16")
    assert state == 54 * hybrid.attention.linear_state_bytes
    assert kv_bytes_per_sequence(hybrid, ONE, 1000, "bf16") - state == 1000 * 10 * 2 * 8 * 128 * 2


def test_compressed_kv_of_deepseek_v4_is_small():
    v4, v3 = facts("deepseek-ai/DeepSeek-V4-Flash"), facts("deepseek-ai/DeepSeek-V3")
    assert kv_bytes_per_sequence(v4, ONE, 1_000_000, "fp8") < 0.15 * kv_bytes_per_sequence(
        v3, ONE, 1_000_000, "fp8"
    )


def test_tokens_may_be_an_array():
    f = facts("openai/gpt-oss-120b")
    tokens = np.array([[1, 100], [1000, 100_000]])
    sizes = kv_bytes_per_sequence(f, Parallelism(tp=2, pp=2), tokens, "fp8")
    assert sizes.shape == tokens.shape
    each = [kv_bytes_per_sequence(f, Parallelism(tp=2, pp=2), int(t), "fp8") for t in tokens.ravel()]
    assert sizes.ravel().tolist() == each


def test_kv_dtype_follows_the_checkpoint():
    assert default_kv_dtype(facts("nvidia/Llama-3.3-70B-Instruct-FP8"), True) == "fp8"
    assert default_kv_dtype(facts("nvidia/Llama-3.3-70B-Instruct-FP8"), False) == "bf16"
    assert default_kv_dtype(facts("Qwen/Qwen3-32B-FP8"), True) == "bf16"


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("meta-llama/Llama-2-7b-chat-hf", 13, 16), ("meta-llama/Llama-2-13b-chat-hf", 26, 28),
        ("meta-llama/Llama-3.1-70B-Instruct", 140, 150), ("Qwen/Qwen3-0.6B", 1.1, 1.5),
    ],
)  # fmt: skip
def test_rules_of_thumb_for_vram(name, low, high):
    """PN-04."""
    assert low <= weight_bytes_per_gpu(facts(name), ONE) / 1e9 <= high


def test_reserve_matches_a_measured_engine():
    """vLLM profiled Llama-3-8B on 80 GB: 1.79 GiB outside PyTorch and 1.26 GiB of activations, 256 sequences."""
    f = facts("meta-llama/Meta-Llama-3-8B-Instruct")
    measured = (1.79 + 1.26) * 2**30
    assert reserve_bytes_per_gpu(f, ONE, prefill_tokens=8192, sequences=256) == pytest.approx(
        measured, rel=0.03
    )
    measured = (3.58 + 1.26) * 2**30
    two = Parallelism(tp=2)
    assert reserve_bytes_per_gpu(f, two, prefill_tokens=8192, sequences=256) == pytest.approx(
        measured, rel=0.03
    )


def test_replicated_weights_are_counted():
    """MLA's down projections and repeated KV heads do not shrink with TP; attention-DP keeps all dense weights."""
    r1 = facts("deepseek-ai/DeepSeek-R1")
    tp = weight_bytes_per_gpu(r1, Parallelism(tp=8, moe_tp=8))
    dep = weight_bytes_per_gpu(r1, Parallelism(dp=8, moe_ep=8))
    assert r1.weight_bytes / 8 < tp < dep
    assert r1.parts is not None
    assert dep - r1.parts.experts / 8 == pytest.approx(r1.parts.linear + r1.parts.other, rel=1e-6)


def test_facts_made_by_hand_work_too():
    attention = Attention("gqa", 32, 8, 128, full_layers=32)
    hand = ModelFacts(
        "hand", "X", 32, 4096, 128_256, 14_336, attention, Quantisation(linear="fp8"), 6_979_321_856, 0, 1_050_939_392,
        7_500_000_000, 9_100_000_000, 131_072, "test",
    )  # fmt: skip
    assert weight_bytes_per_gpu(hand, ONE) == pytest.approx(9.1e9, rel=1e-6)
    assert (
        smallest_parallelism(
            hand, vram_bytes=H100, sequence_tokens=1000, prefill_tokens=2048, kv_dtype="bf16"
        )
        == ONE
    )


def test_block_scales_forbid_splitting_an_expert_inside_a_block():
    """Qwen3-235B-A22B-FP8: 1536 wide experts split over 8 GPUs are 192, no multiple of a 128 block; EP does it."""
    q = facts("Qwen/Qwen3-235B-A22B-FP8")
    found = smallest_parallelism(
        q, vram_bytes=48_000_000_000, sequence_tokens=5000, prefill_tokens=8192, kv_dtype="bf16"
    )
    assert found == Parallelism(tp=8, moe_ep=8)


NAMES = ("meta-llama/Llama-3.1-70B-Instruct", "Qwen/Qwen3-235B-A22B-FP8", "deepseek-ai/DeepSeek-V3", "Qwen/Qwen3-0.6B",
         "openai/gpt-oss-120b", "nvidia/Nemotron-H-56B-Base-8K", "google/gemma-3-27b-it",
         "deepseek-ai/DeepSeek-V4-Flash")  # fmt: skip
MODELS = st.sampled_from([facts(name) for name in NAMES])
DEGREE = st.sampled_from([1, 2, 4, 8, 16])


@settings(max_examples=60, deadline=None)
@given(MODELS, DEGREE, st.sampled_from([1, 2, 4]), st.sampled_from(["tp", "pp", "moe_ep", "moe_tp"]))
def test_more_gpus_never_raise_weights_per_gpu(f, tp, pp, what):
    moe = {"moe_tp": tp} if f.is_moe else {}
    base = Parallelism(tp=tp, pp=pp, **moe)
    more = replace(base, **{what: 2 * getattr(base, what)})
    assert weight_bytes_per_gpu(f, more) <= weight_bytes_per_gpu(f, base)


@settings(max_examples=60, deadline=None)
@given(MODELS, DEGREE, st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["bf16", "fp8"]))
def test_more_tokens_never_lower_kv(f, tp, tokens, extra, dtype):
    layout = Parallelism(tp=tp)
    less = kv_bytes_per_sequence(f, layout, tokens, dtype)
    assert 0 <= less <= kv_bytes_per_sequence(f, layout, tokens + extra, dtype)
    assert math.isfinite(less)


@settings(max_examples=60, deadline=None)
@given(
    MODELS, DEGREE, st.integers(0, 300 * 10**9), st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 5000),
    st.floats(-1, 2),
)  # fmt: skip
def test_a_fit_is_consistent(f, tp, vram, tokens, prefill, sequences, fraction):
    moe = {"moe_ep": tp} if f.is_moe else {}
    layout = Parallelism(tp=tp, **moe)
    answer = fit(
        f, layout, vram_bytes=vram, sequence_tokens=tokens, prefill_tokens=prefill, kv_dtype="bf16",
        sequences=sequences, memory_fraction=fraction,
    )  # fmt: skip
    assert min(answer.kv_room_bytes_per_gpu, answer.kv_room_tokens, answer.max_sequences) >= 0
    if answer.fits:
        assert answer.gpus_needed == layout.gpus
        assert answer.max_sequences >= max(1, sequences)
        assert (
            answer.weight_bytes_per_gpu + answer.reserve_bytes_per_gpu + answer.kv_room_bytes_per_gpu <= vram
        )
    else:
        assert answer.max_sequences == 0
        needed = answer.gpus_needed
        assert needed is None or needed >= 1
