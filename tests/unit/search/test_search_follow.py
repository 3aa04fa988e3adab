"""A trace is followed on part of the layouts: the answer is that of following all (issue 4 §3, §6)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from search_fakes import dense_facts, inventory, pool

from armature.perf.roofline import RooflineEstimator
from armature.search.candidates import kept_rows
from armature.search.closed import closed_split_path
from armature.search.considered import surface_makers
from armature.search.engines import engines_for
from armature.search.follow import followed, is_traced
from armature.search.pick import best_first
from armature.search.question import Question
from armature.search.rapid import contenders, sweep
from armature.search.sweep import concatenate, judged_points
from armature.workload.requests import Requests
from armature.workload.shape import Sla, Workload

FACTS, ESTIMATOR = dense_facts(max_context=65_536), RooflineEstimator()


def bursty(count=200, seed=3):
    rng = np.random.default_rng(seed)
    isl = np.clip(rng.lognormal(7.5, 1.2, count), 16, 40_000).astype(np.int64)
    return Requests(isl, rng.integers(1, 400, count), np.r_[0.0, rng.gamma(0.3, 1.0, count - 1)])


def question(sla, **load):
    return Question(
        name="t", model="m", facts=FACTS, inventory=inventory(pool(4)),
        workload=Workload.of(bursty(), **load), sla=sla, backends=("vllm",),
    )  # fmt: skip


def all_followed(asked):
    makers = list(surface_makers(asked, engines_for(asked, ESTIMATOR)))
    found = [judged_points(make(), asked.workload, asked.sla)[0].numbered(i) for i, make in enumerate(makers)]
    whole = concatenate(found)
    return followed(whole, makers, asked.workload, np.arange(len(whole)))


LOADS = [{"request_rate": 2.0}, {"request_rate": 9.0}, {"concurrency": 8.0}, {"concurrency": 64.0}]
SLAS = [
    Sla(),
    Sla(ttft_ms=2000, itl_ms=30),
    Sla(ttft_ms=300, itl_ms=12),
    Sla(ttft_ms=1.0),
    Sla(optimize="latency"),
]


@pytest.mark.parametrize("load", LOADS, ids=str)
@pytest.mark.parametrize("sla", SLAS, ids=str)
def test_the_pick_is_that_of_following_every_layout(load, sla):
    asked = question(sla, **load)
    assert is_traced(asked.workload)
    whole = all_followed(asked)
    best = best_first(whole, asked.workload, sla)[0]
    for search in (sweep, contenders):
        points = search(asked, engines_for(asked, ESTIMATOR)).points
        first = best_first(points, asked.workload, sla)[0]
        assert (points.surface[first], points.layout[first]) == (whole.surface[best], whole.layout[best])
        assert points.ttft_ms[first] == pytest.approx(whole.ttft_ms[best])
        assert points.itl_ms[first] == pytest.approx(whole.itl_ms[best])
        assert points.traced[first] == pytest.approx(whole.traced[best])


@pytest.mark.parametrize("load", LOADS[::2], ids=str)
def test_what_is_shown_is_followed_and_not_everything_is(load):
    asked = question(Sla(ttft_ms=2000, itl_ms=30), **load)
    swept = sweep(asked, engines_for(asked, ESTIMATOR))
    rows, _ = kept_rows(swept, best_first(swept.points, asked.workload, asked.sla))
    assert (swept.points.traced[rows] > 0.0).all(axis=1).any()
    assert (swept.points.traced[rows, 0] > 0.0).all()
    whole = all_followed(asked)
    assert swept.points.ttft_ms[rows] == pytest.approx(whole.ttft_ms[rows])
    few = contenders(asked, engines_for(asked, ESTIMATOR)).points
    assert (few.traced[:, 0] > 0.0).sum() < len(few)


@pytest.mark.parametrize(("servers", "lanes", "in_flight"), [(1, 1, 1), (3, 4, 7), (2, 8, 64), (1, 3, 500)])
def test_every_request_with_a_fixed_number_in_flight_ends(servers, lanes, in_flight):
    asked = question(Sla(), concurrency=8.0)
    engine = engines_for(asked, ESTIMATOR).mains[0]
    path = closed_split_path(engine, engine, bursty(), servers, lanes, 0.001, in_flight)
    assert len(path.ttft_ms) and (path.ttft_ms > 0.0).all() and (path.itl_ms > 0.0).all()


def test_without_a_trace_nothing_is_followed():
    asked = question(Sla(), request_rate=2.0)
    plain = replace(asked, workload=replace(asked.workload, requests=None))
    assert not is_traced(plain.workload)
    assert not sweep(plain, engines_for(plain, ESTIMATOR)).points.traced.any()
