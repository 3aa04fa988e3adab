from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.hardware.catalog import GPUS
from armature.model.parallelism import Parallelism
from armature.perf.choose import estimator_for
from armature.perf.estimate import EngineSpec
from armature.perf.roofline import EFFICIENCY, IDEAL, RooflineEstimator, RooflineTimes
from armature.perf.silicon import SiliconEstimator, library

MODELS = (
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-32B-FP8",
    "meta-llama/Meta-Llama-3.1-70B",
    "Qwen/Qwen3-30B-A3B",
    "deepseek-ai/DeepSeek-R1",
    "openai/gpt-oss-120b",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
    "google/gemma-4-26B-A4B",
    "nvidia/DeepSeek-V3.1-NVFP4",
)
LAYOUTS = (
    Parallelism(),
    Parallelism(tp=8),
    Parallelism(tp=4, pp=2),
    Parallelism(tp=8, moe_ep=8),
    Parallelism(dp=8, moe_ep=8),
    Parallelism(tp=4, moe_tp=4),
    Parallelism(tp=16, pp=2, moe_ep=16),
)


def roofline(facts, model, sku="h200_sxm", parallelism=LAYOUTS[0], kv_dtype="bf16"):
    return RooflineEstimator().engine(EngineSpec(facts(model), GPUS[sku], "vllm", parallelism, kv_dtype))


@settings(max_examples=100, deadline=None)
@given(
    model=st.sampled_from(MODELS),
    sku=st.sampled_from(sorted(GPUS)),
    layout=st.sampled_from(LAYOUTS),
    kv_dtype=st.sampled_from(["bf16", "fp8"]),
    tokens=st.tuples(st.floats(1, 2e6), st.floats(1, 2e6)),
    batches=st.tuples(st.floats(1, 1e4), st.floats(1, 1e4)),
    contexts=st.tuples(st.floats(0, 2e6), st.floats(0, 2e6)),
)
def test_every_gpu_and_model_gives_finite_positive_times_that_never_fall(
    facts, model, sku, layout, kv_dtype, tokens, batches, contexts
):
    times = roofline(facts, model, sku, layout, kv_dtype)
    (n0, n1), (b0, b1), (c0, c1) = sorted(tokens), sorted(batches), sorted(contexts)
    for low, high in (
        (times.decode_ms(b0, c0), times.decode_ms(b1, c1)),
        (times.prefill_ms(n0, 1, c0), times.prefill_ms(n1, 2, c1)),
        (times.mixed_ms(n0, b0, c0), times.mixed_ms(n1, b1, c1)),
        (times.decode_ms(b0, c0), times.mixed_ms(n0, b0, c0)),
        (times.prefill_ms(n0), times.mixed_ms(n0, b0, c0)),
    ):
        assert np.isfinite([low, high]).all()
        assert 0 < float(low) <= float(high) * (1 + 1e-9)
    assert times.source == "estimated"


@pytest.mark.parametrize("model", MODELS)
def test_a_mixed_step_is_consistent_with_its_parts(facts, model):
    times = roofline(facts, model)
    assert float(times.mixed_ms(0, 8, 4000)) == float(times.decode_ms(8, 4000))
    assert float(times.mixed_ms(2000, 0, 0)) == pytest.approx(float(times.prefill_ms(2000)), rel=1e-9)
    whole = float(times.prefill_ms(4000))
    halves = float(times.prefill_ms(2000)) + float(times.prefill_ms(2000, 1, 2000))
    assert whole <= halves < 2.1 * whole


def test_arrays_broadcast(facts):
    times = roofline(facts, MODELS[0])
    grid = times.decode_ms(np.array([1, 8, 64])[:, None], np.array([1000.0, 8000.0]))
    assert grid.shape == (3, 2)
    assert float(grid[1, 0]) == float(times.decode_ms(8, 1000))


def test_one_request_reads_all_weights_of_a_dense_model_once(facts):
    """8B in bf16 is 15 GB without the embedding: at 3.35 TB/s no less than 4.4 ms, and not twice that."""
    model = facts("meta-llama/Meta-Llama-3.1-8B")
    read = 2 * (model.linear_params + model.vocab * model.hidden)
    floor_ms = read / GPUS["h100_sxm"].bandwidth_bytes_per_s * 1e3
    assert floor_ms < float(roofline(facts, model.name, "h100_sxm").decode_ms(1, 1000)) < 2 * floor_ms


def test_experts_touched_grow_with_the_batch(facts):
    """One token touches 8 of 128 experts; 256 tokens touch nearly all."""
    times = RooflineTimes(
        EngineSpec(facts("Qwen/Qwen3-30B-A3B"), GPUS["h200_sxm"], "vllm", Parallelism(), "bf16")
    )
    weights = 2 * facts("Qwen/Qwen3-30B-A3B").expert_params
    unit = weights / (GPUS["h200_sxm"].bandwidth_bytes_per_s * EFFICIENCY.memory)
    touched = times._experts_s(np.array([1.0, 256.0])) / unit
    assert touched == pytest.approx([8 / 128, 1.0], rel=0.01)


def test_fp8_weights_without_fp8_arithmetic_are_read_small_and_computed_wide(facts):
    """A100 has no fp8: decode (memory) gains, prefill (arithmetic) does not, and the user is told."""
    fp8, bf16 = (
        roofline(facts, "Qwen/Qwen3-32B-FP8", "a100_sxm"),
        roofline(facts, "Qwen/Qwen3-32B", "a100_sxm"),
    )
    assert float(fp8.decode_ms(1, 1000)) < 0.65 * float(bf16.decode_ms(1, 1000))
    assert float(fp8.prefill_ms(8000)) == pytest.approx(float(bf16.prefill_ms(8000)), rel=0.02)
    assert any("no fp8 arithmetic" in note for note in fp8.notes)
    assert not any("arithmetic" in note for note in roofline(facts, "Qwen/Qwen3-32B-FP8").notes)


@pytest.mark.parametrize("sku", ["t4", "v100_sxm"])
def test_gpus_without_bf16_run_at_their_fp16_rate(facts, sku):
    gpu = GPUS[sku]
    assert "bf16" not in gpu.flops
    times, linear = roofline(facts, "Qwen/Qwen3-0.6B", sku), facts("Qwen/Qwen3-0.6B").linear_params
    assert float(times.prefill_ms(4000)) > 2 * 4000 * linear / gpu.flops["fp16"] * 1e3


def test_the_physical_floor_is_below_every_estimate(facts):
    for model in MODELS:
        spec = EngineSpec(facts(model), GPUS["b200_sxm"], "vllm", Parallelism(tp=8, moe_ep=8), "fp8")
        floor, times = RooflineTimes(spec, IDEAL), RooflineTimes(spec)
        batch, tokens = np.array([1, 16, 256]), np.array([1, 512, 8192])
        assert (floor.decode_ms(batch, 4000) < times.decode_ms(batch, 4000)).all()
        assert (floor.prefill_ms(tokens) < times.prefill_ms(tokens)).all()


@pytest.mark.parametrize(
    ("sku", "model", "layout"),
    [
        ("h100_sxm", "meta-llama/Meta-Llama-3.1-8B", Parallelism()),
        ("h200_sxm", "Qwen/Qwen3-32B", Parallelism(tp=2)),
        ("h200_sxm", "Qwen/Qwen3-30B-A3B", Parallelism(tp=2, moe_ep=2)),
        ("h200_sxm", "deepseek-ai/DeepSeek-R1", Parallelism(tp=8, moe_ep=8)),
        ("b200_sxm", "meta-llama/Meta-Llama-3.1-70B", Parallelism(tp=4)),
        ("a100_sxm", "Qwen/Qwen3-8B", Parallelism()),
    ],
)
def test_the_fit_holds_against_the_silicon_tables(facts, sku, model, layout):
    """The recorded fit (the module's docstring), as bounds on an engine's median and on its points."""
    pytest.importorskip("aiconfigurator_core")
    spec = EngineSpec(facts(model), GPUS[sku], "vllm", layout, "bf16")
    silicon, estimate = SiliconEstimator().engine(spec), RooflineTimes(spec)
    batch, tokens = np.array([1, 4, 16, 64, 256.0]), np.array([256, 1000, 4000, 16000.0])
    for phase, ratio in (
        (
            "decode",
            silicon.decode_ms(batch[:, None], np.array([1000.0, 4000, 16000]))
            / estimate.decode_ms(batch[:, None], np.array([1000.0, 4000, 16000])),
        ),
        ("prefill", silicon.prefill_ms(tokens) / estimate.prefill_ms(tokens)),
    ):
        assert 0.6 < np.median(ratio) < 1.7, phase
        assert ratio.min() > 0.45, phase
        assert ratio.max() < 3.0, phase


def test_auto_falls_back_to_the_roofline_and_says_why(facts):
    times = estimator_for("auto").engine(
        EngineSpec(facts("Qwen/Qwen3-8B"), GPUS["t4"], "vllm", Parallelism(), "bf16")
    )
    assert times.source == "estimated"
    assert times.notes[0] == "no silicon data for t4/vllm: roofline (there are no measured tables for t4)"


def test_auto_uses_silicon_where_there_is_data(facts):
    pytest.importorskip("aiconfigurator_core")
    spec = EngineSpec(facts("Qwen/Qwen3-8B"), GPUS["h200_sxm"], "vllm", Parallelism(), "bf16")
    assert estimator_for("auto").engine(spec).source == "calibrated"
    assert estimator_for("roofline").engine(spec).source == "estimated"


def test_silicon_alone_raises_a_documented_error(facts):
    from armature.errors import ArmatureError

    spec = EngineSpec(facts("Qwen/Qwen3-8B"), GPUS["t4"], "vllm", Parallelism(), "bf16")
    with pytest.raises(ArmatureError, match="t4"):
        estimator_for("silicon").engine(spec)


def test_without_the_library_auto_still_answers(facts, monkeypatch):
    spec = EngineSpec(facts("Qwen/Qwen3-8B"), GPUS["h200_sxm"], "vllm", Parallelism(), "bf16")
    monkeypatch.setattr(library, "_PACKAGE", "a_package_that_is_not_installed")
    times = estimator_for("auto").engine(spec)
    assert times.source == "estimated"
    assert "not installed" in times.notes[0]
