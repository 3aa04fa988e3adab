"""How the rows of measured deployments are read, and that the fit is judged on what it has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from accuracy.fit import ENGINES, Sample, fit, split, under
from accuracy.predict import Answer
from accuracy.rows import Deployment, Row, read_rows
from accuracy.score import (
    ENOUGH,
    beside_constant,
    by_engine,
    constant_width,
    interval_score,
    order_share,
    predictions,
    summary,
)

from armature.model.parallelism import Parallelism

pytest.importorskip("aiconfigurator_core")


@pytest.fixture(scope="module")
def rows():
    return {row.id: row for row in read_rows()}


def test_every_row_is_laid_out_or_says_why_not(rows):
    assert len(rows) == 5221
    assert all((row.deployment is None) == bool(row.cause) for row in rows.values())
    for row in rows.values():
        if row.deployment is not None:
            assert row.concurrency > 0
            assert row.deployment.main.gpus >= 1
            assert (row.deployment.prefill is None) == (row.mode == "agg")


def test_degrees_are_what_the_rows_name_says(rows):
    """`tp 64, moe 8 x 8` is TP 8 with EP 8; `tp 4, attention-DP 4, EP 16` is four ranks with EP 4."""
    sglang = rows["2026_04_06_deepseek_r1_b200_sxm_sglang_fp4_agg_1024x1024_c64_tp8_ep8_1038"]
    assert sglang.deployment.main == Parallelism(tp=8, moe_ep=8)
    vllm = rows["2026_04_06_kimi_k2_5_b200_sxm_vllm_fp4_agg_8192x1024_c4_tp4_ep4_1301"]
    assert vllm.deployment.main == Parallelism(dp=4, moe_ep=4)


def test_a_dense_rows_replicas_are_its_concurrency_over_its_batch(rows):
    """416 in flight, 13 to a batch, of a model without ranks: 32 workers."""
    row = rows[
        "nvidia_qwen3_32b_nvfp4_nvidia_qwen3_32b_nvfp4_b200_sxm_trtllm_agg_15000x500_c416_tp2_0_epnone_2"
    ]
    assert (row.deployment.count, row.deployment.main) == (32, Parallelism(tp=2))


def test_one_run_under_two_names_is_one_measurement_of_one_group(rows):
    stated = rows["dsr1_b200_trtllm_fp8_disagg_8192x1024_c256_cfg549"]
    unstated = rows["2026_03_25_deepseek_r1_b200_sxm_trtllm_fp8_disagg_8192x1024_c256_tp8_0_ep8_0_729"]
    assert stated.model != unstated.model
    assert stated.run == unstated.run
    assert stated.group == unstated.group == ("DeepSeek-R1", "b200_sxm")
    assert stated.deployment == unstated.deployment
    assert (stated.deployment.count, stated.deployment.prefill_count) == (1, 1)


def test_speculating_runs_are_not_taken_for_plain_ones(rows):
    """Two TPOTs of one configuration and load: the lower one speculated."""
    plain = rows["2026_03_25_deepseek_r1_h200_sxm_trtllm_fp8_disagg_8192x1024_c48_tp8_0_ep8_0_357"]
    other = rows["2026_03_25_deepseek_r1_h200_sxm_trtllm_fp8_disagg_8192x1024_c48_tp8_0_ep8_0_652"]
    assert plain.tpot_ms > 2 * other.tpot_ms
    assert plain.deployment is not None
    assert plain.deployment.drafts == 0
    assert other.deployment is None or other.deployment.drafts > 0


def test_a_split_keeps_groups_whole(rows):
    several = list(rows.values())
    for seed in ("", "1"):
        mine = split(several, seed)
        assert 0.2 < mine.mean() < 0.8
        for group in {row.group for row in several}:
            assert len({bool(m) for m, row in zip(mine, several, strict=True) if row.group == group}) == 1


def made(
    factor: dict[str, float], host: dict[str, float], noise: float, count: int = 600, queue: float = 1.5
) -> Sample:
    """Measurements that obey the correction exactly, but for lognormal noise. queue: the most of a TTFT over an empty
    server's."""
    rng, rows, raw = np.random.default_rng(3), [], []
    prompt, ahead = rng.uniform(20, 600, count), rng.uniform(0, 40, count)
    for i in range(count):
        engine = ENGINES[i % 3]
        steps, itl = prompt[i] * rng.uniform(1, queue), rng.uniform(5, 40)
        ttft = steps * factor[engine] + host[engine] + 0.06 * ahead[i] * prompt[i] * factor[engine]
        shape = Deployment(Parallelism())
        measured = [value * float(np.exp(noise * rng.normal())) for value in (ttft, itl * factor[engine])]
        model = f"m{i % 20}"
        rows.append(
            Row(
                id=str(i), run=(str(i),), mode="agg", model=model, family=model, precision="fp8", gemm="",
                system="h200_sxm", backend=engine, version="", isl=1000, osl=100, concurrency=8.0,
                ttft_ms=measured[0], tpot_ms=measured[1], deployment=shape,
            )
        )  # fmt: skip
        raw.append(Answer(float(steps), float(itl), "silicon"))
    return Sample(rows, raw, prompt, ahead, np.zeros(count, dtype=bool))


def test_the_fit_finds_a_correction_that_is_there():
    factor = {"vllm": 1.1, "sglang": 0.9, "trtllm": 1.0}
    host = {"vllm": 20.0, "sglang": 200.0, "trtllm": 90.0}
    found = fit(made(factor, host, noise=0.02))
    assert found.step_factor == pytest.approx(factor, rel=0.02)
    assert found.host_ms == pytest.approx(host, rel=0.15)
    assert found.burst == pytest.approx(0.06, rel=0.1)


def test_bands_cover_what_they_say_and_widen_with_the_noise():
    same = dict.fromkeys(ENGINES, 1.0), dict.fromkeys(ENGINES, 50.0)
    figures = []
    for noise in (0.05, 0.3):
        sample = made(*same, noise)
        figures.append(summary(predictions(sample, fit(sample))))
    for of in figures:
        assert 0.72 < of["ttft_inside"] < 0.9
        assert 0.72 < of["tpot_inside"] < 0.9
    assert figures[1]["tpot_width"] > 3 * figures[0]["tpot_width"]


def test_bands_widen_downwards_where_load_makes_the_estimate_miss():
    """Estimates that hold at rest and count twice the queue: the low bound falls with it, the high one does not."""
    sample = made(dict.fromkeys(ENGINES, 1.0), dict.fromkeys(ENGINES, 1.0), noise=0.05, queue=20.0)
    rows = [
        replace(row, ttft_ms=row.ttft_ms * (alone / loaded.ttft_ms) ** (i % 2))
        for i, (row, loaded, alone) in enumerate(zip(sample.rows, sample.raw, sample.prompt_ms, strict=True))
    ]
    mistaken = Sample(rows, sample.raw, sample.prompt_ms, sample.ahead, sample.dp)
    assert fit(mistaken).ttft.fall > 0.4
    assert fit(sample).ttft.fall < 0.1


def test_one_group_that_is_off_widens_the_bands_of_all():
    """Groups are the folds: residuals of a group are no evidence for bands that have seen it."""
    sample = made(dict.fromkeys(ENGINES, 1.0), dict.fromkeys(ENGINES, 50.0), noise=0.1)
    shifted = [
        replace(row, tpot_ms=row.tpot_ms * (2.0 if int(row.family[1:]) % 4 == 0 else 1.0))
        for row in sample.rows
    ]
    off = Sample(shifted, sample.raw, sample.prompt_ms, sample.ahead, sample.dp)
    found = predictions(off, fit(off))
    assert 0.75 < found.inside("tpot").mean() < 0.95
    assert summary(found)["tpot_width"] > 1.5 * summary(predictions(sample, fit(sample)))["tpot_width"]


def test_one_constant_ratio_is_chosen_to_cover_as_much():
    sample = made(dict.fromkeys(ENGINES, 1.0), dict.fromkeys(ENGINES, 50.0), noise=0.2)
    found = predictions(sample, fit(sample))
    beside = beside_constant(found, "tpot")
    inside = np.abs(found.tpot) <= beside["constant"] / 2
    assert inside.mean() == pytest.approx(found.inside("tpot").mean(), abs=0.01)
    for at in by_engine(found).values():
        assert len(at) >= ENOUGH
        assert np.mean(np.abs(found.tpot[at]) <= beside["constant_each"] / 2 + 1e-9) >= beside["least"] - 0.01


def test_the_interval_score_is_width_and_ten_times_what_is_missed():
    log = np.array([0.0, 0.5, -0.3])
    assert interval_score(log, -0.1, 0.2) == pytest.approx(0.3 + 10 * (0.3 + 0.2) / 3)


def test_order_counts_pairs_of_one_model_system_and_workload_that_differ():
    sample = made(dict.fromkeys(ENGINES, 1.0), dict.fromkeys(ENGINES, 50.0), noise=0.0, count=60)
    exact = np.zeros(60)
    share, pairs = order_share(sample.rows, "tpot_ms", exact)
    assert share == 1.0
    assert 0 < pairs < 60 * 59 / 2
    reverse = -2 * np.log(sample.measured("tpot_ms"))
    assert order_share(sample.rows, "tpot_ms", reverse)[0] == 0.0
    assert constant_width(np.log([0.5, 2.0, 4.0]), 1.0) == pytest.approx(2 * np.log(4))


def test_under_applies_the_correction_to_raw_answers():
    sample = made(dict.fromkeys(ENGINES, 1.0), dict.fromkeys(ENGINES, 50.0), noise=0.0)
    ttft, tpot = under(sample, fit(sample))
    assert ttft == pytest.approx(sample.measured("ttft_ms"), rel=0.05)
    assert tpot == pytest.approx(sample.measured("tpot_ms"), rel=0.02)
