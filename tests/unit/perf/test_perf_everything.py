"""What `scorecard.py --engines` says of every (GPU, model, engine): how answers are told apart, and what is a fault."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from accuracy.everything import ANSWERS, answer_of, cause_of, fault_of, report

from armature.hardware.catalog import GPUS
from armature.model.memory import default_kv_dtype
from armature.model.parallelism import Parallelism
from armature.model.resolve import bundled_models, resolve_model
from armature.perf.choose import AutoEstimator
from armature.perf.estimate import Band, EngineSpec
from armature.perf.roofline import RooflineEstimator
from armature.perf.silicon import library
from armature.search.space import BACKENDS

pytest.importorskip("aiconfigurator_core")


@pytest.fixture(scope="module")
def auto():
    return AutoEstimator()


@pytest.mark.parametrize(
    ("sku", "model", "expected"),
    [
        ("h200_sxm", "Qwen/Qwen3-8B", "calibrated"),
        ("a100_sxm", "Qwen/Qwen3-8B", "own tables"),
        ("h20", "Qwen/Qwen3-8B", "donor"),
        ("mi300", "Qwen/Qwen3-8B", "roofline"),
        ("a100_sxm", "Qwen/Qwen3-32B-FP8", "roofline"),
    ],
)
def test_an_answer_is_told_by_where_it_comes_from(auto, facts, sku, model, expected):
    answer, fault, cause = answer_of(auto, EngineSpec(facts(model), GPUS[sku], "vllm", Parallelism(), "bf16"))
    assert (answer, fault) == (expected, "")
    assert bool(cause) == (expected in ("donor", "roofline"))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"source": "guessed"}, "label 'guessed'"),
        ({"host_ms": float("nan")}, "host's time nan"),
        ({"decode_band": Band(1.1, 2.0)}, "band"),
        ({"prefill_ms": lambda *_: np.array([1.0, np.nan])}, "prefill is not finite"),
        ({"decode_ms": lambda *_: np.array([[2.0], [1.0]])}, "decode falls along axis 0"),
    ],
)
def test_every_kind_of_fault_is_named(facts, change, fault):
    class Changed:
        def __init__(self, times):
            self._times = times

        def __getattr__(self, name):
            return change[name] if name in change else getattr(self._times, name)

    spec = EngineSpec(facts("Qwen/Qwen3-8B"), GPUS["h200_sxm"], "vllm", Parallelism(), "bf16")
    times = RooflineEstimator().engine(spec)
    assert fault_of(times) == fault_of(replace(times)) == ""
    assert fault_of(Changed(times)).startswith(fault)


@cache
def bundled_facts():
    return [resolve_model(name, offline=True) for name in bundled_models()]


@pytest.mark.parametrize(
    "sku", [pytest.param(s, marks=[] if s in ("h200_sxm", "t4") else [pytest.mark.slow]) for s in GPUS]
)
def test_without_tables_every_model_and_engine_has_a_sound_answer(sku, monkeypatch):
    """What is behind every other answer. With tables, and in minutes: `benchmarks/scorecard.py --engines`."""
    models = bundled_facts()
    assert len(models) > 200
    monkeypatch.setattr(library, "_PACKAGE", "a_package_that_is_not_installed")
    auto, part = AutoEstimator(), GPUS[sku]
    for facts in models:
        for backend in BACKENDS:
            kv_dtype = default_kv_dtype(facts, part.has_fp8)
            times = auto.engine(EngineSpec(facts, part, backend, Parallelism(), kv_dtype))
            assert (times.source, fault_of(times)) == ("estimated", ""), (facts.name, backend)


def test_equal_causes_count_together():
    heads = 'context attention data missing for ContextKey {{ fmha_quant: "bfloat16", n_kv: {} }}'
    assert cause_of(heads.format(4)) == cause_of(heads.format(8)) == "context attention data missing"
    assert cause_of("there are no measured tables for h20") == "there are no measured tables"
    assert cause_of("GEMM perf data missing for quant 'fp8_block'") == (
        "GEMM perf data missing for quant 'fp8_block'"
    )


@pytest.mark.timeout(120)
def test_the_report_covers_all_that_is_asked_of_it():
    lines = list(report(("l40s", "l40", "t4"), ("Qwen/Qwen3-0.6B", "google/gemma-2-2b")))
    assert [line.split()[3] for line in lines[:3]].count("l40s:") == 1
    rows = {tuple(line.split()[:2]): line.split()[2:6] for line in lines if line.split()[1:2] == ["vllm"]}
    assert set(rows) == {("l40s", "vllm"), ("l40", "vllm"), ("t4", "vllm")}
    assert all(sum(map(int, counts)) == 2 for counts in rows.values())
    assert dict(zip(ANSWERS, rows["l40s", "vllm"], strict=True)) == {
        "calibrated": "0",
        "own tables": "1",
        "donor": "0",
        "roofline": "1",
    }
    assert rows["l40", "vllm"][2:] == ["1", "1"]
    assert lines[-1].startswith("18 engines, 0 faults")
