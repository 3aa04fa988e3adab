"""A trace's own requests on a layout, against a replay of the engines (issue 4 §2, §3)."""

from __future__ import annotations

import numpy as np
import pytest
from search_fakes import dense_facts, inventory, pool

from armature.perf.roofline import RooflineEstimator
from armature.search.closed import closed_agg_path
from armature.search.engines import engines_for
from armature.search.path import agg_path, first_tokens, split_path
from armature.search.question import Question
from armature.simulation.compare import Layout, predicted
from armature.simulation.replay import Stream
from armature.workload.requests import Requests
from armature.workload.shape import Sla, Workload

FACTS = dense_facts()


def requests(count=900, seed=5) -> Requests:
    """Bursty arrivals, prompts of 100 to 30,000 tokens and short and long answers."""
    rng = np.random.default_rng(seed)
    gaps = rng.gamma(0.4, 1 / 0.4, count)
    gaps[0] = 0.0
    isl = np.clip(rng.lognormal(8.0, 1.2, count), 100, 30_000).astype(np.int64)
    osl = np.clip(rng.lognormal(3.5, 1.0, count), 1, 400).astype(np.int64)
    return Requests(isl, osl, gaps)


TRACE = requests()
ASKED = Question(
    "path", FACTS.name, FACTS, inventory(pool(8, 8, "h100_sxm")),
    Workload.of(TRACE, request_rate=2.0), Sla(2000.0, 40.0), ("vllm",),
)  # fmt: skip
ENGINES = engines_for(ASKED, RooflineEstimator())


@pytest.mark.parametrize(("name", "rate"), [("2xtp1", 3.0), ("1xtp4", 4.0), ("2xtp1:1xtp1", 3.0)])
def test_the_path_is_that_of_the_engines(name, rate):
    layout, scaled = Layout.of(name, ENGINES), TRACE.scaled(rate)
    plan = predicted(ASKED, ENGINES, layout, rate)
    stream = Stream(np.cumsum(scaled.gap_s) * 1000, scaled.isl, scaled.osl)
    outcome = layout.replayed(ASKED, ENGINES, stream, rate).after(len(stream) // 10)
    for said, met, limit in (
        (plan.ttft_ms, outcome.ttft_ms.mean(), 0.15),
        (plan.ttft_p50_ms, np.median(outcome.ttft_ms), 0.15),
        (plan.ttft_p95_ms, np.quantile(outcome.ttft_ms, 0.95), 0.25),
        (plan.itl_p50_ms, np.median(outcome.itl_ms), 0.15),
        (plan.itl_p95_ms, np.quantile(outcome.itl_ms, 0.95), 0.25),
    ):
        assert said.value == pytest.approx(met, rel=limit)


@pytest.mark.parametrize(("name", "in_flight"), [("1xtp4", 6), ("2xtp1", 8), ("2xtp1:1xtp1", 8)])
def test_the_closed_path_is_that_of_the_engines(name, in_flight):
    layout = Layout.of(name, ENGINES)
    plan = predicted(ASKED, ENGINES, layout, 1.0, in_flight)
    stream = Stream(np.cumsum(TRACE.gap_s) * 1000, TRACE.isl, TRACE.osl)
    outcome = layout.replayed(ASKED, ENGINES, stream, 1.0, in_flight).after(len(stream) // 10)
    rate = 1000.0 * (len(outcome.arrive_ms) - 1) / (outcome.arrive_ms[-1] - outcome.arrive_ms[0])
    assert plan.concurrency == in_flight
    for said, met, limit in (
        (plan.request_rate, rate, 0.1),
        (plan.ttft_ms.value, outcome.ttft_ms.mean(), 0.15),
        (plan.ttft_p50_ms.value, np.median(outcome.ttft_ms), 0.15),
        (plan.ttft_p95_ms.value, np.quantile(outcome.ttft_ms, 0.95), 0.25),
        (plan.itl_p50_ms.value, np.median(outcome.itl_ms), 0.15),
        (plan.itl_p95_ms.value, np.quantile(outcome.itl_ms, 0.95), 0.25),
    ):
        assert said == pytest.approx(met, rel=limit)


def test_more_in_flight_never_answer_fewer_nor_sooner():
    engine = next(e for e in ENGINES.mains if e.parallelism.label == "tp2")
    paths = [closed_agg_path(engine, TRACE, 2, n) for n in (1, 2, 4, 8, 16, 32)]
    rates, e2e = [p.rate for p in paths], [p.itl_ms.mean() for p in paths]
    assert (np.diff(rates) >= -0.02 * np.array(rates[:-1])).all() and (
        np.diff(e2e) >= -0.02 * np.array(e2e[:-1])
    ).all()


def test_a_higher_rate_never_lowers_a_latency():
    engine = next(e for e in ENGINES.mains if e.parallelism.label == "tp2")
    figures = []
    for rate in np.linspace(0.2, 6.0, 12):
        scaled = TRACE.scaled(rate)
        split = split_path(engine, scaled, first_tokens(engine, scaled, 2), 1, 0.001)
        figures.append((*agg_path(engine, scaled, 2, 4.0).figures, *split.figures))
    assert (np.diff(np.array(figures), axis=0) >= -0.02 * np.array(figures)[:-1]).all()


def test_answers_of_one_token_have_no_time_between_tokens():
    single = Requests(TRACE.isl, np.ones(len(TRACE), dtype=np.int64), TRACE.gap_s)
    engine = ENGINES.mains[0]
    path = agg_path(engine, single, 1, 1.0)
    assert len(path.itl_ms) == 0 and path.figures[3:] == (0.0, 0.0, 0.0)
    assert (path.ttft_ms > 0).all()
