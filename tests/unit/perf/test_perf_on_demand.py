"""Step times on demand are those of the estimator behind them, which is asked once, and only for engines in use."""

from __future__ import annotations

import numpy as np
import pytest

from armature.hardware.catalog import gpu
from armature.model.parallelism import Parallelism
from armature.model.resolve import resolve_model
from armature.perf.estimate import EngineSpec
from armature.perf.on_demand import OnDemandEstimator
from armature.perf.roofline import RooflineEstimator

SPEC = EngineSpec(resolve_model("Qwen/Qwen3-0.6B", offline=True), gpu("h200_sxm"), "vllm", Parallelism())


class Counting(RooflineEstimator):
    def __init__(self):
        super().__init__()
        self.asked = 0

    def engine(self, spec):
        self.asked += 1
        return super().engine(spec)


def test_nothing_is_asked_before_it_is_used_and_then_once():
    behind = Counting()
    lazy = OnDemandEstimator(behind)
    assert lazy.name == behind.name
    times = [lazy.engine(SPEC) for _ in range(3)]
    assert behind.asked == 0
    for _ in range(2):
        times[1].decode_ms(1, 100)
    assert behind.asked == 1


def test_every_answer_is_that_of_the_estimator_behind():
    plain, lazy = RooflineEstimator().engine(SPEC), OnDemandEstimator(RooflineEstimator()).engine(SPEC)
    for name in ("source", "prefill_band", "decode_band", "notes"):
        assert getattr(lazy, name) == getattr(plain, name)
    batch = np.array([1.0, 8.0, 64.0])
    assert np.array_equal(lazy.prefill_ms(1000, batch, 50), plain.prefill_ms(1000, batch, 50))
    assert np.array_equal(lazy.decode_ms(batch, 1000), plain.decode_ms(batch, 1000))
    assert np.array_equal(lazy.mixed_ms(500, batch, 1000), plain.mixed_ms(500, batch, 1000))


def test_what_the_estimator_raises_comes_when_it_is_asked():
    class Refusing(RooflineEstimator):
        def engine(self, spec):
            raise LookupError("no tables")

    times = OnDemandEstimator(Refusing()).engine(SPEC)
    with pytest.raises(LookupError, match="no tables"):
        times.decode_ms(1, 1)
