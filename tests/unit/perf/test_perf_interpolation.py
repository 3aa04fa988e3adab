"""The lattice against the library's own answers, at random points (`benchmarks/interpolation.py` with fewer), and how
its nodes come to be."""

from __future__ import annotations

import numpy as np
import pytest
from interpolation import errors_of

from armature.hardware.catalog import GPUS
from armature.model.memory import default_kv_dtype
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec
from armature.perf.lattice import BATCHES, TOKENS
from armature.perf.silicon import SiliconEstimator, measure
from armature.perf.silicon.measure import QUANTISED, attention_of, compiled, sampled

pytest.importorskip("aiconfigurator_core")


@pytest.mark.parametrize(
    ("model", "sku", "backend", "parallelism"),
    [
        ("Qwen/Qwen3-32B", "h200_sxm", "vllm", Parallelism(tp=2)),
        ("Qwen/Qwen3-30B-A3B", "h200_sxm", "vllm", Parallelism(tp=2, moe_ep=2)),
        ("deepseek-ai/DeepSeek-R1", "h200_sxm", "sglang", Parallelism(dp=16, moe_ep=16)),
        ("Qwen/Qwen3-32B", "b200_sxm", "trtllm", Parallelism()),
        ("deepseek-ai/DeepSeek-R1", "gb200", "vllm", Parallelism(dp=16, moe_ep=16)),
        ("Qwen/Qwen3-8B", "a100_sxm", "vllm", Parallelism()),
    ],
)
def test_interpolation_is_within_one_percent(facts, model, sku, backend, parallelism):
    """Issue 4 section 6: of all points, for each kind of step, at the 95th percentile."""
    read = facts(model)
    spec = EngineSpec(read, GPUS[sku], backend, parallelism, default_kv_dtype(read, GPUS[sku].has_fp8))
    kinds = []
    for found in errors_of(spec, points=600, seed=7):
        kinds.append(found.step)
        assert np.median(np.abs(found.lattice)) < 0.002, found.step
        assert np.percentile(np.abs(found.lattice), 95) < 0.01, found.step
        assert np.abs(found.lattice).max() < 0.2, found.step
        # Where a table falls it is held level, so the search reads more than the library says, never less.
        if read.quantisation.linear not in QUANTISED:
            assert np.percentile(found.mended, 5) > -0.01, found.step
    assert kinds == ["decode", "prefill", "chunk"]


@pytest.mark.parametrize(
    ("model", "backend", "one", "others"),
    [
        ("Qwen/Qwen3-32B", "vllm", Parallelism(tp=2), [Parallelism(tp=2, pp=2)]),
        (
            "Qwen/Qwen3-30B-A3B",
            "vllm",
            Parallelism(tp=2, moe_ep=2),
            [Parallelism(tp=2, moe_tp=2), Parallelism(tp=2, dp=2, moe_ep=4)],
        ),
        (
            "deepseek-ai/DeepSeek-R1",
            "sglang",
            Parallelism(dp=8, moe_ep=8),
            [Parallelism(dp=16, moe_ep=16)],  # both over DeepEP, whose tables of attention differ
        ),
    ],
)
def test_engines_that_share_their_attention_have_the_same(facts, model, backend, one, others):
    def own(parallelism):
        kv_dtype = default_kv_dtype(facts(model), True)
        handle, _, _ = compiled(EngineSpec(facts(model), GPUS["h200_sxm"], backend, parallelism, kv_dtype))
        return attention_of(handle)

    expected = own(one)
    assert expected.cached.max() > 1
    for other in map(own, others):
        assert other.cached == pytest.approx(expected.cached, abs=2e-9)
        assert other.prior == pytest.approx(expected.prior, abs=2e-9)


def test_attention_is_asked_once_for_all_that_share_it(facts, monkeypatch):
    asked = []
    monkeypatch.setattr(measure, "attention_of", lambda handle: asked.append(handle) or attention_of(handle))
    estimator = SiliconEstimator()
    shared = [Parallelism(tp=2, moe_ep=2), Parallelism(tp=2, moe_tp=2), Parallelism(tp=2, dp=2, moe_ep=4)]
    for parallelism in (*shared, Parallelism(tp=4, moe_ep=4)):
        estimator.engine(
            EngineSpec(facts("Qwen/Qwen3-30B-A3B"), GPUS["h200_sxm"], "vllm", parallelism, "bf16")
        )
    assert len(asked) == 2
    estimator.engine(EngineSpec(facts("Qwen/Qwen3-30B-A3B"), GPUS["h200_sxm"], "vllm", shared[0], "fp8"))
    assert len(asked) == 3


def test_a_jump_between_two_nodes_gets_nodes_of_its_own():
    """The tables of experts jump by half where no tile of a matrix multiplication ends."""

    class Jumping:
        def prefill_ms(self, tokens, prior=0):
            return 10.0 + tokens / 100

        def decode_ms(self, batch, context):
            return (20.0 if batch >= 197 else 10.0) + batch / 100

    found = sampled(Jumping(), attention_of(Jumping()))
    assert set(BATCHES) < set(found.batch)
    assert {196, 197} <= set(found.batch)
    assert len(found.batch) - len(BATCHES) <= 6
    assert tuple(found.tokens) == TOKENS  # a straight line needs none


def test_a_table_of_noise_gets_a_bounded_number_of_nodes():
    class Noise:
        def prefill_ms(self, tokens, prior=0):
            return 10.0 + 5 * (tokens * 7919 % 13)

        def decode_ms(self, batch, context):
            return 10.0

    found = sampled(Noise(), attention_of(Noise()))
    assert len(TOKENS) < len(found.tokens) <= len(TOKENS) + 64
