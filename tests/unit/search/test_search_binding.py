"""What is said to bind does bind, and the numbers between the modes are those of the sweep (issue: Reasons)."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from search_ask import ask, question
from search_fakes import pool

from armature.perf.queueing import MAX_UTILISATION
from armature.search.binding import NEAR, binding, prefill_busy
from armature.search.operating import prefill_ms
from armature.search.pick import best_first
from armature.search.rapid import profile_of
from armature.search.vary import pick_of, with_targets


def swept_order(asked):
    swept = ask(asked)
    return swept, best_first(swept.points, asked.workload, asked.sla)


def test_a_target_that_binds_gives_more_when_it_is_loosened():
    asked = question(sla={"itl_ms": 12.0, "ttft_ms": 9000.0})
    swept, order = swept_order(asked)
    assert binding(swept, order).kind == "itl_ms"
    tight = pick_of(swept)
    assert pick_of(ask(with_targets(asked, itl_ms=14.0))).tokens_per_s > 1.01 * tight.tokens_per_s
    assert pick_of(ask(with_targets(asked, ttft_ms=12000.0))).tokens_per_s < 1.01 * tight.tokens_per_s
    assert any(text.startswith("ITL binds: ") for text in profile_of(swept).reasons)


def test_memory_binds_when_the_cache_is_full_before_any_target_is_near():
    """A small GPU and long answers: the KV cache fills first."""
    asked = question(pool(1, 1, "l4"), isl=4000, osl=500, sla={"itl_ms": 500.0})
    swept, order = swept_order(asked)
    found = binding(swept, order)
    main = swept.engines.mains[int(swept.points.main[order[0]])]
    assert found.kind == "memory"
    assert found.requests == main.max_batch * main.lanes < 1024
    said = next(text for text in profile_of(swept).reasons if text.startswith("KV memory binds"))
    assert f"at most {found.requests} requests of 4,500 tokens" in said


@pytest.mark.parametrize("rate", [3.0, 20.0, 50.0])
def test_with_a_load_what_binds_is_what_the_best_on_fewer_gpus_misses(rate):
    asked = question(sla={"itl_ms": 12.0, "ttft_ms": 400.0}, request_rate=rate)
    swept, order = swept_order(asked)
    pick, found = pick_of(swept), binding(swept, order)
    assert pick.meets_sla
    if pick.gpus == swept.points.gpus.min():
        assert found.kind == "none"
        return
    assert found.smaller is not None
    assert found.smaller.gpus < pick.gpus
    assert not found.smaller.meets_sla
    ratios = {m.name: m.ratio for m in found.smaller.margins} | {"load": rate / found.smaller.request_rate}
    assert ratios[found.kind] == pytest.approx(max(ratios.values()))
    fewer = swept.points.gpus < pick.gpus
    worst = np.maximum(1 / swept.points.served, swept.points.itl_ms / 12.0)
    worst = np.maximum(worst, swept.points.ttft_ms / 400.0)
    assert (worst[fewer] > 1).all(), "else the pick had too many GPUs"


def test_a_missed_sla_names_the_worst_miss():
    asked = question(sla={"itl_ms": 1.0, "ttft_ms": 5000.0})
    swept, order = swept_order(asked)
    assert binding(swept, order).kind == "itl_ms"


def test_prefill_busy_is_rate_over_capacity():
    asked = question(sla={"itl_ms": 12.0})
    swept = ask(asked)
    points = swept.points
    for row in np.flatnonzero(points.prefill >= 0)[:: max(1, len(points) // 40)]:
        engine = swept.engines.prefills[points.prefill[row]]
        ranks = points.prefill_count[row] * engine.parallelism.dp
        capacity = 1000.0 * ranks / prefill_ms(engine, asked.workload)
        assert prefill_busy(swept, int(row)) == pytest.approx(points.rate[row] / capacity)
        assert prefill_busy(swept, int(row)) <= MAX_UTILISATION * (1 + 1e-9)
    assert NEAR < 1


@pytest.mark.parametrize("target", [8.0, 12.0, 30.0])
def test_each_number_between_the_modes_is_that_of_its_layout(target):
    """The sentence on the mode that lost says the contrast's numbers, and these follow from step times."""
    asked = question(sla={"itl_ms": target})
    swept = ask(asked)
    found = profile_of(swept)
    modes = found.modes
    agg, disagg = found.candidate(modes.agg), found.candidate(modes.disagg)
    assert {agg.mode, disagg.mode} == {"agg", "disagg"}
    assert found.pick in (agg.id, disagg.id)
    main = next(
        e
        for e in swept.engines.mains
        if (e.backend, e.parallelism) == (agg.backend, agg.groups[0].parallelism)
    )
    lone = float(main.times.decode_ms(agg.concurrency / agg.groups[0].replicas, asked.workload.mean_context))
    assert modes.interference_itl_ms == pytest.approx(agg.itl_ms.value - lone, rel=0.15, abs=0.1)
    assert modes.transfer_itl_ms == pytest.approx(modes.transfer_ms / 199)
    assert modes.prefill_gpus == disagg.group("prefill").gpus
    said = next(text for text in found.reasons if " lost: " in text)
    numbers = re.findall(r"[\d,.]*\d", said.split(". ", 1)[1])
    shown = {float(n.replace(",", "")) for n in numbers}
    for value in (100 * modes.prefill_busy, modes.transfer_ms, modes.interference_itl_ms, agg.itl_ms.value):
        assert any(abs(value - n) <= max(0.006 * abs(value), 0.51 if value > 20 else 0.006) for n in shown), (
            value
        )


def test_osl_of_one_has_no_mode_to_compare():
    found = profile_of(ask(replace(question(), workload=replace(question().workload, osl=1))))
    assert found.modes is None
    assert not any("lost" in text for text in found.reasons)
