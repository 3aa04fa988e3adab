"""GPUs without tables take those of the nearest GPU, scaled: finite, rising, labelled."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from armature.hardware.catalog import GPUS, SEED_SKUS, gpu
from armature.model.memory import default_kv_dtype
from armature.model.parallelism import Parallelism
from armature.model.resolve import bundled_models, resolve_model
from armature.model.splits import splits
from armature.perf.choose import estimator_for
from armature.perf.donor import donors_for, scaled
from armature.perf.estimate import EngineSpec
from armature.perf.roofline import RooflineTimes
from armature.perf.silicon import SiliconEstimator

pytest.importorskip("aiconfigurator_core")

AUTO = estimator_for("auto")
TOKENS = np.array([1.0, 100, 1000, 5000, 50000])
BATCHES = np.array([1.0, 5, 50, 500])


@pytest.mark.parametrize(
    ("target", "donor"),
    [
        ("h100_pcie", "h100_sxm"),
        ("a100_pcie", "a100_sxm"),
        ("a30", "a100_sxm"),
        ("l40", "l40s"),
        ("l4", "l40s"),
        ("h20", "h100_sxm"),
    ],
)
def test_the_nearest_gpu_gives(target, donor):
    assert donors_for(GPUS[target])[0].sku == donor


def test_another_architecture_does_not_give():
    """Its tables say no more than the roofline does (the scorecard's leave-one-out table)."""
    for sku in ("v100_sxm", "t4", "mi300", "vr_nvl72"):
        assert donors_for(GPUS[sku]) == ()
        assert len(donors_for(GPUS[sku], across=True)) >= 6


def test_a_slice_asks_its_own_whole_first():
    whole = GPUS["h200_sxm"]
    half = replace(whole, bandwidth_bytes_per_s=whole.bandwidth_bytes_per_s / 2, estimated=True)
    assert donors_for(half)[0] == whole
    assert whole not in donors_for(whole)


def test_scaling_is_the_ratio_of_the_rooflines(facts):
    model = facts("Qwen/Qwen3-8B")
    giver = EngineSpec(model, GPUS["h100_sxm"], "vllm", Parallelism(), "bf16")
    target = replace(giver, gpu=GPUS["h100_pcie"])
    tables = SiliconEstimator().engine(giver)
    found = scaled(tables, giver, target)
    at = np.array([128.0, 2048, 8192])
    ratio = RooflineTimes(target).prefill_ms(at) / RooflineTimes(giver).prefill_ms(at)
    assert found.prefill_ms(at) == pytest.approx(tables.prefill_ms(at) * ratio, rel=0.02)
    assert scaled(tables, giver, giver).decode_ms(8, 1000) == pytest.approx(tables.decode_ms(8, 1000))


def test_the_user_is_told_whose_tables_they_are(facts):
    times = AUTO.engine(EngineSpec(facts("Qwen/Qwen3-8B"), GPUS["h100_pcie"], "vllm", Parallelism(), "bf16"))
    assert times.source == "estimated"
    assert times.notes[0] == (
        "no measured tables for h100_pcie/vllm: those of h100_sxm, scaled by the roofline of both"
    )


def test_every_answer_of_a_seeded_sample_is_finite_rising_and_labelled():
    """Every (SKU, bundled model, engine) has an answer; all of them: `benchmarks/scorecard.py --engines`. Few donors
    here, since each loads its tables: the nearest one is what every GPU asks."""
    pick = random.Random(4)
    skus = [part for part in map(gpu, SEED_SKUS) if GPUS["h100_sxm"] in donors_for(part)[:1]]
    assert len(skus) >= 2
    for _ in range(6):
        part, backend = pick.choice(skus), "vllm"
        model = resolve_model(pick.choice(bundled_models()), offline=True)
        width = pick.choice((1, 8))
        layouts = (
            [Parallelism(tp=width, moe_ep=width), Parallelism(dp=width, moe_ep=width)]
            if model.is_moe
            else [Parallelism(tp=width)]
        )
        layout = next((p for p in layouts if splits(model, p)), Parallelism())
        times = AUTO.engine(EngineSpec(model, part, backend, layout, default_kv_dtype(model, part.has_fp8)))
        assert times.source in ("calibrated", "estimated")
        prefill = times.prefill_ms(TOKENS)
        decode = times.decode_ms(BATCHES[:, None], TOKENS)
        mixed = times.mixed_ms(TOKENS[:, None], BATCHES, 1000.0)
        for found in (prefill, decode, mixed):
            assert np.isfinite(found).all()
            assert found.min() > 0
            for axis in range(found.ndim):
                assert (np.diff(found, axis=axis) >= -1e-9 * found.max()).all()
        assert 0 < times.prefill_band.low <= 1 <= times.prefill_band.high
        assert 0 < times.decode_band.low <= 1 <= times.decode_band.high
