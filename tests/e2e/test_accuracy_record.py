"""The recorded accuracy holds: one engine in six is estimated afresh, and no figure is worse than the record's."""

from __future__ import annotations

import json

import pytest
from accuracy.predict import Engines
from accuracy.rows import read_rows
from scorecard import AIMS, RECORD, guard_figures

from armature.perf.silicon import SiliconEstimator

pytest.importorskip("aiconfigurator_core")
pytestmark = pytest.mark.e2e

TOLERANCE = 0.01
"""Of a share: what another machine's floating point and a tie may move. A broken correction moves far more."""


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows():
    return read_rows()


@pytest.fixture(scope="module")
def now(rows):
    return guard_figures(rows, Engines(SiliconEstimator()))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("figure", ["ttft_median", "tpot_median", "tpot_mean"])
def test_no_error_is_worse_than_recorded(record, now, figure):
    assert now["n"] == record["guard"]["n"]
    assert now[figure] <= record["guard"][figure] + TOLERANCE


@pytest.mark.parametrize("figure", ["ttft_order", "tpot_order", "ttft_inside", "tpot_inside"])
def test_order_and_bands_hold_as_recorded(record, now, figure):
    assert now[figure] >= record["guard"][figure] - TOLERANCE


def test_the_bias_is_as_recorded(record, now):
    for figure in ("ttft_bias", "tpot_bias"):
        assert now[figure] == pytest.approx(record["guard"][figure], abs=2 * TOLERANCE)


def test_bands_are_no_wider_than_recorded(record, now):
    """Else any coverage could be bought."""
    for figure in ("ttft_width", "tpot_width"):
        assert now[figure] <= record["guard"][figure] + TOLERANCE


def test_the_record_meets_its_aims_on_the_half_it_held_out(record):
    held = record["held_out"]
    for figure, aim in AIMS.items():
        assert held[figure] >= aim if figure.endswith("order") else held[figure] <= aim
    assert 0.85 <= held["ttft_bias"] <= 1.15


@pytest.mark.parametrize("what", ["ttft", "tpot"])
def test_bands_are_narrower_than_one_constant_ratio_of_equal_coverage(record, what):
    """Though that ratio is chosen in hindsight; and they lose less beyond their bounds."""
    held = record["held_out"]
    assert held[f"{what}_width"] < held[f"{what}_constant"]
    assert held[f"{what}_score"] < held[f"{what}_constant_score"]


@pytest.mark.parametrize("what", ["ttft", "tpot"])
def test_bands_hold_what_they_say_over_other_halves(record, what):
    """One half is luck; the mean over ten is the method."""
    assert record["splits"]["count"] >= 10
    assert 0.75 <= record["splits"][f"{what}_inside"][0] <= 0.88
    assert record["splits"][f"{what}_score / constant"][0] < 1.0


def test_as_many_rows_are_answered_as_recorded(record, rows):
    """At least 70 % of the aggregated and 60 % of the disaggregated rows, the rest counted by cause."""
    for mode, least in (("agg", 0.70), ("disagg", 0.60)):
        of = [row for row in rows if row.mode == mode]
        laid_out = [row for row in of if row.deployment is not None]
        told = record["coverage"][mode]
        assert len(laid_out) / len(of) >= least
        assert len(laid_out) == told["tables"] + told["estimated"]
        assert len(of) - len(laid_out) == sum(told["not"].values())
        assert all(row.cause for row in of if row.deployment is None)
