"""The mathematics of waiting, against exact results and simulated queues."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armature.perf.queueing import (
    batch_queue,
    delayed_share,
    gamma_cdf,
    gamma_mean_below,
    mixture_quantile,
    renewals,
    round_robin_wait_ms,
    wait_shape,
)

RHO = st.floats(0.01, 0.97)
SERVERS = st.sampled_from([1, 2, 3, 8, 64])


def waits(rho: float, servers: int, jobs: int = 200_000) -> np.ndarray:
    """Waits at one of `servers` queues that a Poisson stream is dealt to, service 1: Lindley's recursion."""
    gaps = np.random.default_rng(7).gamma(servers, 1 / (rho * servers), jobs)
    done = np.cumsum(np.ones(jobs))
    arrive = np.cumsum(gaps)
    return done + np.maximum.accumulate(arrive - (done - 1)) - 1 - arrive


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("servers", [1, 2, 4])
def test_the_mean_wait_is_that_of_a_simulated_queue(rho, servers):
    """Krämer and Langenbach-Belz's correction is off by 4 % of a service time at most."""
    simulated = waits(rho, servers)
    assert round_robin_wait_ms(1.0, rho, servers) == pytest.approx(simulated.mean(), rel=0.1, abs=0.04)
    assert delayed_share(rho, servers) == pytest.approx((simulated > 1e-9).mean(), abs=0.06)


@pytest.mark.parametrize("rho", [0.5, 0.7, 0.85])
def test_percentiles_of_an_m_d_1_queue(rho):
    simulated = waits(rho, 1)
    mean = float(round_robin_wait_ms(1.0, rho, 1))
    for q in (0.5, 0.95):
        found = mixture_quantile(
            q,
            idle_ms=np.zeros(1),
            delayed=delayed_share(rho, 1)[None],
            mean_ms=np.array([mean / rho]),
            shape=wait_shape(rho)[None],
        )
        assert 1 + found[0] == pytest.approx(1 + np.quantile(simulated, q), rel=0.05)


def test_one_server_is_exact():
    for rho in (0.1, 0.5, 0.9):
        assert round_robin_wait_ms(8.0, rho, 1) == pytest.approx(rho / (1 - rho) / 2 * 8.0)
        assert delayed_share(rho, 1) == pytest.approx(rho)
    assert renewals(3.0, 1) == 3.0


def batch_times(
    rho: float, servers: int, alone: float, most: int, jobs: int = 60_000
) -> tuple[np.ndarray, float]:
    """(time to the end of each request's batch, its mean gap) at a server that takes all that wait, up to `most`: a
    batch of m lasts from `alone` to 1 when full."""
    gap = 1.0 / (rho * most)
    arrive = np.cumsum(np.random.default_rng(3).gamma(servers, gap / servers, jobs)).tolist()
    ends, now, i = np.empty(jobs), 0.0, 0
    while i < jobs:
        now, j = max(now, arrive[i]), i + 1
        while j < jobs and j - i < most and arrive[j] <= now:
            j += 1
        now += alone + (1.0 - alone) * (j - i - 1) / max(most - 1, 1)
        ends[i:j] = now
        i = j
    return ends - np.array(arrive), gap


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.7, 0.85, 0.94])
@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize(("alone", "most"), [(0.35, 4), (0.6, 4), (0.2, 8), (1.0, 4), (0.15, 20)])
def test_the_mean_of_a_bulk_queue_is_that_of_a_simulated_one(rho, servers, alone, most):
    took, gap = batch_times(rho, servers, alone, most)
    found = batch_queue(
        np.array([1.0 / gap]),
        np.array([float(servers)]),
        alone_ms=np.array([alone]),
        each_ms=np.array([(1.0 - alone) / (most - 1)]),
        full_ms=np.array([1.0 / most]),
        most=np.array([float(most)]),
    )
    assert alone + found.delay_ms[0] == pytest.approx(took.mean(), rel=0.13)
    assert found.working[0] == pytest.approx((took > alone + 1e-9).mean(), abs=0.06)


@given(RHO, st.floats(1.0, 1.3), st.sampled_from([1, 2]), st.floats(0.1, 1.0), st.sampled_from([2, 4, 16]))
def test_more_at_a_bulk_queue_never_wait_less(rho, factor, servers, alone, most):
    alone = max(alone, 1.0 / most)
    waits = [
        float(
            batch_queue(
                np.array([share * most]),
                np.array([float(servers)]),
                alone_ms=np.array([alone]),
                each_ms=np.array([(1.0 - alone) / (most - 1)]),
                full_ms=np.array([1.0 / most]),
                most=np.array([float(most)]),
            ).delay_ms[0]
        )
        for share in (rho, rho * factor)
    ]
    assert np.isfinite(waits).all() and 0.0 <= waits[0] * 0.98 <= waits[1] + 1e-3


@given(RHO, st.floats(1.0, 1.3), SERVERS)
def test_a_higher_utilisation_never_waits_less(rho, factor, servers):
    for of in (delayed_share, lambda r, k: round_robin_wait_ms(5.0, r, k)):
        low, high = of(rho, servers), of(rho * factor, servers)
        assert np.isfinite(high) and high >= low - 1e-12


@given(st.floats(0.0, 1e6), SERVERS)
def test_a_more_regular_stream_never_brings_more(expected, servers):
    """Within half of a request: of the gaps' own variation no more is left."""
    found = float(renewals(expected, servers))
    assert max(expected - 0.5, 0.0) - 1e-6 <= found <= expected + 1.0


@given(st.floats(0.0, 50.0), st.floats(0.1, 10.0), st.floats(0.5, 100.0))
def test_the_gamma_cdf_is_one(x, mean, shape):
    low, high = gamma_cdf(x, mean, shape), gamma_cdf(x + 1.0, mean, shape)
    assert 0.0 <= low <= high <= 1.0
    assert gamma_cdf(1e6 * mean, mean, shape) == pytest.approx(1.0)


def test_the_gamma_cdf_of_shape_one_is_the_exponential():
    for x in (0.1, 0.7, 2.0, 4.0):
        assert gamma_cdf(x, 1.0, 1.0) == pytest.approx(1 - math.exp(-x), abs=0.01)


@given(st.floats(0.01, 10.0), st.floats(0.5, 50.0), st.floats(0.01, 20.0))
def test_a_cut_mean_is_below_both(mean, shape, most):
    found = float(gamma_mean_below(np.array(mean), np.array(shape), np.array(most)))
    assert 0.0 <= found <= min(mean, most) * 1.02


@given(st.floats(0.01, 0.99), st.floats(0.0, 20.0), st.floats(0.01, 50.0), st.floats(0.5, 30.0))
def test_quantiles_rise(delayed, idle, mean, shape):
    found = [
        float(
            mixture_quantile(
                q,
                idle_ms=np.array([idle]),
                delayed=np.array([delayed]),
                mean_ms=np.array([mean]),
                shape=np.array([shape]),
            )[0]
        )
        for q in (0.1, 0.5, 0.95)
    ]
    assert 0.0 <= found[0] <= found[1] + 1e-9 and found[1] <= found[2] + 1e-9
