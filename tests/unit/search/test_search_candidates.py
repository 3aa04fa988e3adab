"""What a row of the sweep becomes: numbers with bands that know how loaded they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from search_ask import question
from search_fakes import FormulaEstimator

from armature.perf.calibration import SHORT_ITL_MS
from armature.perf.estimate import Band
from armature.search.vary import Ask


class Loaded(FormulaEstimator):
    """Step times whose bands fall as load lifts the estimate."""

    def engine(self, spec):
        times = super().engine(spec)
        return replace(times, prefill_band=Band(0.8, 1.5, fall=0.5), decode_band=Band(0.9, 1.2, fall=0.2))


def picks(*rates):
    for rate in rates:
        found = Ask(Loaded())(question(request_rate=rate, sla={"ttft_ms": 5000.0, "itl_ms": 200.0}))
        yield from found.candidates(range(len(found.points)))


def test_the_low_bound_of_ttft_falls_with_its_load_and_that_of_itl_with_itself():
    ratios = set()
    for pick in picks(0.1, 20.0):
        ratio = pick.ttft_ms.value / pick.unloaded_ttft_ms
        ratios.add(round(ratio, 3))
        assert pick.ttft_ms.low == pytest.approx(pick.ttft_ms.value * 0.8 / max(ratio, 1.0) ** 0.5)
        assert pick.ttft_ms.high == pytest.approx(pick.ttft_ms.value * 1.5)
        above = max(pick.itl_ms.value / SHORT_ITL_MS, 1.0)
        assert pick.itl_ms.low == pytest.approx(pick.itl_ms.value * 0.9 / above**0.2)
        assert pick.itl_ms.high == pytest.approx(pick.itl_ms.value * 1.2)
        assert pick.ttft_p95_ms.low / pick.ttft_p95_ms.value == pytest.approx(
            pick.ttft_ms.low / pick.ttft_ms.value
        )
    assert max(ratios) > 1.2 > 1.05 > min(ratios)
