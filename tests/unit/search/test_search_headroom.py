"""Capacity is the rate at which the pick breaks its SLA: it holds there, and not a little above."""

from __future__ import annotations

from dataclasses import replace

import pytest
from search_ask import question
from search_fakes import FormulaEstimator, pool

from armature.search.engines import engines_for
from armature.search.pick import best_first
from armature.search.rapid import profile_of, sweep

ASKED = 3.0


@pytest.mark.parametrize(
    "sla", [{"ttft_ms": 400.0}, {"itl_ms": 12.0}, {"e2e_ms": 3000.0}, {"ttft_ms": 900.0, "itl_ms": 20.0}]
)
def test_the_pick_holds_at_its_capacity_and_not_above(sla):
    asked = question(pool(4), request_rate=ASKED, sla=sla)
    engines = engines_for(asked, FormulaEstimator())
    swept = sweep(asked, engines)
    pick = profile_of(swept).picked
    assert pick.meets_sla
    assert pick.carries_load
    assert pick.capacity >= ASKED
    assert pick.headroom == pytest.approx(pick.capacity / ASKED)

    row = int(best_first(swept.points, asked.workload, asked.sla)[0])
    layout = tuple(
        int(getattr(swept.points, n)[row]) for n in ("main", "prefill", "main_count", "prefill_count")
    )

    def holds(rate):
        there = replace(asked, workload=replace(asked.workload, request_rate=rate))
        points = sweep(there, engines).points
        found = next(
            i
            for i in range(len(points))
            if layout == (points.main[i], points.prefill[i], points.main_count[i], points.prefill_count[i])
        )
        met = [getattr(points, name)[found] <= target for name, target in asked.sla.targets.items()]
        return all(met) and points.served[found] >= 1 - 1e-9

    assert holds(pick.capacity)
    assert not holds(1.05 * pick.capacity)


def test_a_plan_that_misses_has_no_headroom():
    asked = question(pool(1), request_rate=ASKED, sla={"itl_ms": 1.0})
    pick = profile_of(sweep(asked, engines_for(asked, FormulaEstimator()))).picked
    assert not pick.meets_sla
    assert pick.capacity == 0.0
    assert pick.headroom == 0.0
