"""The correction of measured tables: what it changes, what it keeps, and that the shipped coefficients are sane."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.hardware.catalog import GPUS
from armature.model.parallelism import Parallelism
from armature.model.resolve import resolve_model
from armature.perf.calibration import CALIBRATED_SKUS, Calibration, band, calibrated, coefficients
from armature.perf.choose import estimator_for
from armature.perf.estimate import Band, EngineSpec, bands, host_ms
from armature.perf.roofline import RooflineEstimator
from armature.perf.silicon import SiliconEstimator
from armature.perf.steptable import TableTimes, sample

pytest.importorskip("aiconfigurator_core")

AUTO = estimator_for("auto")
ENGINES = ("vllm", "sglang", "trtllm")


@pytest.fixture(scope="module")
def silicon():
    return SiliconEstimator()


@pytest.fixture
def spec(facts):
    def make(gpu="h200_sxm", backend="vllm"):
        return EngineSpec(facts("Qwen/Qwen3-32B-FP8"), GPUS[gpu], backend, Parallelism(tp=2), "bf16")

    return make


def test_every_engine_has_a_factor_and_a_host_time():
    fit = coefficients()
    assert set(fit.step_factor) == set(fit.host_ms) == set(ENGINES)
    assert all(0.7 < factor < 1.4 for factor in fit.step_factor.values())
    assert all(0 <= host < 500 for host in fit.host_ms.values())
    assert fit.fitted["measurements"] > 3000


@pytest.mark.parametrize("backend", ENGINES)
def test_steps_are_the_tables_times_a_factor_and_the_first_token_waits_for_the_host(silicon, spec, backend):
    """CAL: the correction is one factor and one constant, so what rises in the tables rises here."""
    raw = silicon.engine(spec(backend=backend))
    times = calibrated(raw, spec(backend=backend))
    fit, batch = coefficients(), np.array([1.0, 7, 64, 300])
    assert (raw.source, times.source) == ("silicon", "calibrated")
    factor = fit.step_factor[backend]
    assert times.decode_ms(batch, 3000.0) == pytest.approx(raw.decode_ms(batch, 3000.0) * factor)
    assert times.prefill_ms(batch * 50, 1.0, 4096.0) == pytest.approx(
        raw.prefill_ms(batch * 50, 1.0, 4096.0) * factor
    )
    assert times.mixed_ms(2000.0, batch, 3000.0) == pytest.approx(
        raw.mixed_ms(2000.0, batch, 3000.0) * factor
    )
    assert host_ms(raw) == 0
    assert host_ms(times) == fit.host_ms[backend]


def test_silicon_alone_stays_raw(silicon, spec):
    times = estimator_for("silicon").engine(spec())
    assert times.source == "silicon"
    assert times.decode_ms(8, 1000) == pytest.approx(silicon.engine(spec()).decode_ms(8, 1000))


def test_tables_without_deployments_to_check_them_keep_label_and_times(silicon, spec, facts):
    assert not {"a100_sxm", "l40s"} & CALIBRATED_SKUS
    asked = EngineSpec(facts("Qwen/Qwen3-8B"), GPUS["a100_sxm"], "vllm", Parallelism(), "bf16")
    raw = silicon.engine(asked)
    times = calibrated(raw, asked)
    assert times.source == "estimated"
    assert times.decode_ms(8, 1000) == pytest.approx(raw.decode_ms(8, 1000))
    assert (times.decode_band.low, times.decode_band.high) == (raw.decode_band.low, raw.decode_band.high)
    assert host_ms(times) == coefficients().host_ms["vllm"]


def test_estimated_bands_are_wider_than_calibrated_ones(spec, facts):
    """Every engine of a GPU without end-to-end runs is less certain than the same engine of one with them."""
    known = AUTO.engine(spec())
    for gpu in ("a100_pcie", "h100_pcie"):
        other = AUTO.engine(EngineSpec(facts("Qwen/Qwen3-8B"), GPUS[gpu], "vllm", Parallelism(), "bf16"))
        assert other.source == "estimated"
        for name in ("prefill_band", "decode_band"):
            for ratio in (1.0, 3.0, 100.0):
                wide, narrow = getattr(other, name).above(ratio), getattr(known, name).above(ratio)
                assert wide.high / wide.low > narrow.high / narrow.low


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("dp", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_bands_hold_their_estimate(backend, dp, split):
    for fit in (coefficients().ttft, coefficients().itl):
        found = band(fit, backend, dp, split=split)
        assert 0.1 < found.low < 1 < found.high < 10
        assert 0 < found.fall < 1


@given(
    low=st.floats(0.01, 1),
    high=st.floats(1, 20),
    fall=st.floats(0, 1),
    ratio=st.floats(0.1, 1e4),
    more=st.floats(1, 100),
)
def test_a_band_widens_as_load_lifts_the_estimate_and_its_lower_end_rises_all_the_same(
    low, high, fall, ratio, more
):
    idle = Band(low, high, fall)
    some, most = idle.above(ratio), idle.above(ratio * more)
    assert 0 < most.low <= some.low <= idle.low
    assert some.high == most.high == high
    assert max(ratio, 1) * some.low <= max(ratio * more, 1) * most.low * (1 + 1e-9)
    assert idle.above(1.0) == idle.above(0.5)


def test_a_disaggregated_layout_has_bands_of_its_own(silicon, spec):
    times = calibrated(silicon.engine(spec()), spec())
    assert bands(times, times, split=False) == (times.prefill_band, times.decode_band)
    assert bands(times, times, split=True) == times.split_bands
    plain = RooflineEstimator().engine(spec())
    assert bands(plain, plain, split=True) == (plain.prefill_band, plain.decode_band)


def test_a_step_table_carries_the_hosts_share(silicon, spec):
    times = calibrated(silicon.engine(spec()), spec())
    table = sample(times, max_isl=4096, max_batch=64, max_context=8192, max_chunk=8192)
    assert table.source == "calibrated"
    assert TableTimes(table).host_ms == table.host_ms == host_ms(times) > 0


@settings(max_examples=30, deadline=None)
@given(
    batch=st.floats(1, 500), more=st.floats(0, 400), context=st.floats(1, 60000), longer=st.floats(0, 60000)
)
def test_a_calibrated_step_never_falls_as_it_grows(batch, more, context, longer):
    times = _ranks()
    assert times.decode_ms(batch + more, context + longer) >= times.decode_ms(batch, context) - 1e-9
    assert times.prefill_ms(context + longer) >= times.prefill_ms(context) - 1e-9
    assert times.mixed_ms(context, batch + more, longer) >= times.mixed_ms(context, batch, longer) - 1e-9


@cache
def _ranks():
    facts = resolve_model("deepseek-ai/DeepSeek-R1", offline=True)
    return AUTO.engine(EngineSpec(facts, GPUS["h200_sxm"], "sglang", Parallelism(dp=8, moe_ep=8), "bf16"))


def test_coefficients_are_read_strictly():
    with pytest.raises(msgspec.ValidationError, match="step_factor"):
        msgspec.json.decode(b'{"host_ms": {}}', type=Calibration)
