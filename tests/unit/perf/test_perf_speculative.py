"""Speculative decoding over plain step times: tokens per step, what a step costs, the estimator library's own rule."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armature.hardware.catalog import GPUS
from armature.model.draft import with_draft_layers
from armature.model.memory import fit
from armature.model.parallelism import Parallelism
from armature.model.resolve import resolve_model
from armature.perf.estimate import EngineSpec
from armature.perf.roofline import RooflineEstimator
from armature.perf.speculative import Speculation, SpeculativeTimes, attention_factor, drafting
from armature.perf.steptable import TableTimes, sample

R1 = resolve_model("deepseek-ai/DeepSeek-R1", offline=True, env={})
GLM = resolve_model("zai-org/GLM-4.5", offline=True, env={})
DP8, TP8 = Parallelism(dp=8, moe_ep=8), Parallelism(tp=8, moe_ep=8)


def spec(facts=R1, parallelism=TP8, sku="h200_sxm", backend="trtllm"):
    return EngineSpec(facts, GPUS[sku], backend, parallelism, "bf16")


PLAIN = RooflineEstimator().engine(spec())


def times(nextn=1, rate=0.8, of=None):
    return SpeculativeTimes(PLAIN, of or spec(), Speculation(nextn, rate))


@given(st.integers(1, 16), st.floats(0.01, 1.0))
def test_tokens_per_step_are_those_of_a_chain_that_ends_at_the_first_miss(nextn, rate):
    """A request gets k tokens if the first k - 1 drafts hold and the next does not: the mean, summed by hand."""
    by_hand = sum((k + 1) * rate**k * (1 - rate) for k in range(nextn)) + (nextn + 1) * rate**nextn
    assert Speculation(nextn, rate).tokens_per_step == pytest.approx(by_hand)
    assert 1 < Speculation(nextn, rate).tokens_per_step <= nextn + 1


@given(st.integers(1, 512), st.integers(1, 100_000), st.integers(1, 5))
def test_more_acceptance_is_faster_and_none_at_all_is_slower_than_not_drafting(batch, context, nextn):
    slow, fast = times(nextn, 0.2), times(nextn, 0.9)
    assert fast.decode_ms(batch, context) < slow.decode_ms(batch, context)
    assert times(nextn, 1e-9).decode_ms(batch, context) > PLAIN.decode_ms(batch, context)
    assert (slow.step_ms(batch, context) == fast.step_ms(batch, context)).all(), "a step costs what it costs"


@given(st.integers(1, 8192), st.integers(1, 256), st.integers(100, 30_000))
def test_the_tokens_of_a_mixed_step_take_as_long_as_the_step(tokens, batch, context):
    """One mixed and else pure decode steps of one token each: the mixed step itself, plainly added up."""
    fast = times(2, 0.7)
    share = 1 / R1.layers
    verify = PLAIN.mixed_ms(tokens, 3 * batch, 1.0) + attention_factor(spec(), 3) * (
        PLAIN.mixed_ms(tokens, batch, context) - PLAIN.mixed_ms(tokens, batch, 1.0)
    )
    draft = fast.step_ms(batch, context) - (
        PLAIN.decode_ms(3 * batch, 1.0)
        + attention_factor(spec(), 3) * (PLAIN.decode_ms(batch, context) - PLAIN.decode_ms(batch, 1.0))
    )
    real = verify + draft + PLAIN.prefill_ms(tokens) * (1 + share) * share
    per_step = fast.speculation.tokens_per_step
    told = fast.mixed_ms(tokens, batch, context) + (per_step - 1) * fast.decode_ms(batch, context)
    assert told >= real * (1 - 1e-9)
    if told > real * (1 + 1e-9):  # held up by one of the two floors of a mixed step
        floor = max(fast.prefill_ms(tokens), fast.decode_ms(batch, context))
        assert fast.mixed_ms(tokens, batch, context) == pytest.approx(floor)


def test_the_edges_of_a_mixed_step_are_its_parts():
    fast = times()
    assert fast.mixed_ms(0, 32, 4000) == fast.decode_ms(32, 4000)
    assert fast.mixed_ms(2048, 0, 4000) == fast.prefill_ms(2048)
    grid = fast.mixed_ms(np.array([[0.0], [1.0], [8192.0]]), np.array([0.0, 0.5, 1.0, 900.0]), 4000.0)
    assert grid.shape == (3, 4) and np.isfinite(grid).all() and (grid >= 0).all()


def test_attention_is_read_once_unless_arithmetic_binds_it():
    assert attention_factor(spec(GLM), 4) == 1.0, "12 heads to a KV head: the cache's reading binds"
    assert attention_factor(spec(R1, DP8), 4) == pytest.approx(4.0, rel=0.1), (
        "128 heads to one latent: arithmetic binds"
    )
    assert attention_factor(spec(R1, TP8), 4) == 1.0, "16 of them"


def test_no_speculation_is_the_estimator_itself():
    plain = RooflineEstimator()
    assert drafting(plain, None) is plain
    fast = drafting(plain, Speculation(1, 0.8))
    assert fast.name == plain.name and isinstance(fast.engine(spec()), SpeculativeTimes)


def test_a_mocker_s_table_has_the_time_per_token():
    fast = times(2, 0.8)
    table = TableTimes(sample(fast, max_isl=8000, max_batch=256, max_context=8000, max_chunk=8192))
    batch, context = np.array([1.0, 16.0, 200.0]), np.array([500.0, 4000.0, 7000.0])
    assert table.decode_ms(batch, context) == pytest.approx(fast.decode_ms(batch, context), rel=0.03)
    assert table.step_ms(0, 16, 4000) < PLAIN.decode_ms(16, 4000)


def test_the_layers_that_draft_take_memory():
    assert (R1.mtp_layers, GLM.mtp_layers) == (1, 1)
    more = with_draft_layers(R1)
    assert more.layers == 62 and more.moe.layers == R1.moe.layers + 1
    assert 11e9 < more.weight_bytes - R1.weight_bytes < 13e9, (
        "DeepSeek-V3's report: 11.5 billion parameters, in fp8"
    )
    room = [
        fit(
            f,
            TP8,
            vram_bytes=GPUS["h200_sxm"].vram_bytes,
            sequence_tokens=5000,
            prefill_tokens=8192,
            kv_dtype="bf16",
        )
        for f in (R1, more)
    ]
    assert room[1].kv_room_tokens < room[0].kv_room_tokens
    assert with_draft_layers(replace(R1, mtp_layers=0)).layers == 61


def test_qwen3_next_has_a_layer_that_its_config_omits():
    assert resolve_model("Qwen/Qwen3-Next-80B-A3B-Instruct", offline=True, env={}).mtp_layers == 1
    assert resolve_model("Qwen/Qwen3-32B", offline=True, env={}).mtp_layers == 0


@pytest.mark.parametrize("nextn", [1, 3])
def test_at_short_contexts_a_step_takes_what_the_estimator_library_says(nextn):
    if importlib.util.find_spec("aiconfigurator_core") is None:
        pytest.skip("aiconfigurator-core has no wheel for this platform")
    from aiconfigurator_core.sdk.engine import EngineHandle

    from armature.perf.silicon.estimator import SiliconEstimator

    own = EngineHandle.compile(
        "deepseek-ai/DeepSeek-R1", "h200_sxm", "trtllm", tp_size=8, pp_size=1, attention_dp_size=1, moe_tp_size=1,
        moe_ep_size=8, nextn=nextn,
    )  # fmt: skip
    ours = SpeculativeTimes(SiliconEstimator().engine(spec()), spec(), Speculation(nextn, 0.8))
    for batch in (1, 16, 64, 256):
        theirs = own.decode_step_latency(batch, 500, 2)
        assert float(ours.step_ms(batch, 500)) == pytest.approx(theirs, rel=0.1), batch
        assert float(ours.step_ms(batch, 16_000)) < 1.05 * own.decode_step_latency(batch, 16_000, 2)
