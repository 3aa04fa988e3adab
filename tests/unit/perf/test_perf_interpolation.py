"""The lattice against the library's own answers, at random points (`benchmarks/interpolation.py` with fewer)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from armature.hardware.catalog import GPUS
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec

pytest.importorskip("aiconfigurator_core")


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[3] / "benchmarks" / "interpolation.py"
    found = importlib.util.spec_from_file_location("interpolation", path)
    module = importlib.util.module_from_spec(found)
    import sys

    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("model", "backend", "parallelism", "kv_dtype"),
    [
        ("Qwen/Qwen3-32B", "vllm", Parallelism(tp=2), "bf16"),
        ("Qwen/Qwen3-30B-A3B", "vllm", Parallelism(tp=2, moe_ep=2), "bf16"),
        ("deepseek-ai/DeepSeek-R1", "sglang", Parallelism(dp=16, moe_ep=16), "fp8"),
    ],
)
def test_where_no_guard_had_a_hand_interpolation_is_within_one_percent(
    benchmark, facts, model, backend, parallelism, kv_dtype
):
    spec = EngineSpec(facts(model), GPUS["h200_sxm"], backend, parallelism, kv_dtype)
    for found in benchmark.errors_of(spec, points=600, seed=7):
        sound = np.abs(found.error[found.sound])
        assert len(sound) > 120, found.step
        assert np.median(sound) < 0.002, found.step
        assert np.percentile(sound, 95) < 0.01, found.step
        assert np.percentile(np.abs(found.error), 95) < 0.06, found.step  # held level where the table falls
