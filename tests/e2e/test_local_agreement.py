"""Mocker and plan agree over HTTP: a small run of `benchmarks/mocker_vs_plan.py`, which has the whole table."""

from __future__ import annotations

import pytest
from mocker_vs_plan import LAYOUTS, UNLOADED_LIMIT, measure, table

pytestmark = pytest.mark.e2e


def test_an_aggregated_layout_does_what_its_plan_says():
    """Slowed to half, so that what a busy machine adds stays small beside what the mockers take."""
    chosen = [layout for layout in LAYOUTS if layout.name == "agg TP4x2"]
    rows = measure(chosen, requests=24, slower=2.0)
    assert [row.what for row in rows] == ["TTFT p50, unloaded", "ITL p50, unloaded", "ITL mean, loaded"]
    assert all(row.ok for row in rows if row.limit == UNLOADED_LIMIT), table(rows)
    assert all(row.requests >= 24 and row.measured_ms > 0 for row in rows)


def test_the_table_marks_what_misses_its_limit():
    from dataclasses import replace

    from mocker_vs_plan import Row

    good = Row("agg", "id", "TTFT p50, unloaded", 100.0, 109.0, 0.10, 300, 1, 1.0)
    bad = replace(good, measured_ms=111.0)
    assert (good.ok, bad.ok) == (True, False)
    lines = table([good, bad]).splitlines()
    assert "+9.0%" in lines[1]
    assert "MISSED" not in lines[1]
    assert "+11.0%" in lines[2]
    assert "10% MISSED" in lines[2]
