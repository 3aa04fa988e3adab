"""What a trace does to a plan, from end to end, and against the layouts themselves run on it (issue 4 §3)."""

from __future__ import annotations

import io
import lzma
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from search_fakes import dense_facts, inventory, pool

from armature.perf.roofline import RooflineEstimator
from armature.search.engines import engines_for
from armature.search.question import Question
from armature.search.rapid import profile_of, sweep
from armature.search.select import engines_of, selected
from armature.simulation.layout import deployment_of
from armature.simulation.replay import Stream, replay
from armature.workload.requests import Requests
from armature.workload.shape import Sla, Workload
from armature.workload.trace import trace_of

TRACES = Path(__file__).parents[2] / "data" / "traces"
FACTS, ESTIMATOR = dense_facts(max_context=262_144), RooflineEstimator()


def first(name, count):
    with lzma.open(TRACES / f"mooncake_{name}.jsonl.xz") as file:
        lines = [next(file) for _ in range(count)]
    return trace_of(io.BytesIO(b"".join(lines)), name).requests


CONVERSATIONS, SYNTHETIC = first("conversation_trace_first5000", 1500), first("synthetic_trace", 1200)


def plan(requests, rate=None, *, gpus=8, sla=None, **workload):
    asked = Workload.of(requests, request_rate=rate, **workload)
    question = Question(
        name="t", model="m", facts=FACTS, inventory=inventory(pool(gpus)), workload=asked,
        sla=sla or Sla(ttft_ms=20_000, itl_ms=100), backends=("vllm",),
    )  # fmt: skip
    return profile_of(sweep(question, engines_for(question, ESTIMATOR)))


def without_prefixes(requests):
    none = np.empty(0, dtype=np.int64)
    return replace(requests, block_ids=none, block_ends=none, _reuse={})


def of_mean_length(requests):
    """As many requests at the same moments, all of mean length."""
    n = len(requests)
    return Requests(
        np.full(n, round(requests.mean_isl)), np.full(n, round(requests.mean_osl)), requests.gap_s,
        longest_isl=requests.longest_isl, longest_tokens=requests.longest_tokens,
    )  # fmt: skip


def evenly(requests):
    gap = requests.duration_s / (len(requests) - 1)
    return replace(requests, gap_s=np.r_[0.0, np.full(len(requests) - 1, gap)])


def ttft_by_layout(profile):
    return {
        (c.mode, *((g.role, g.replicas, g.parallelism.label) for g in c.groups)): c.ttft_ms.value
        for c in profile.candidates
        if c.carries_load
    }


def test_prefix_hits_shorten_the_time_to_first_token():
    hits, other = (ttft_by_layout(plan(r, 2.0)) for r in (SYNTHETIC, without_prefixes(SYNTHETIC)))
    both = hits.keys() & other.keys()
    assert len(both) >= 5
    ratios = np.array([hits[key] / other[key] for key in both])
    assert (ratios < 1.0).all() and ratios.min() < 0.85


def test_the_spread_of_lengths_and_bursts_lengthen_it():
    plain = without_prefixes(CONVERSATIONS)
    real, even_lengths, even_gaps = (
        ttft_by_layout(plan(r, 2.0)) for r in (plain, of_mean_length(plain), evenly(plain))
    )
    for other in (even_lengths, even_gaps):
        both = real.keys() & other.keys()
        assert len(both) >= 5
        assert all(real[key] > other[key] for key in both)
        assert max(real[key] / other[key] for key in both) > 1.3


def test_a_fixed_number_in_flight_needs_no_arrivals():
    found = plan(CONVERSATIONS, None, concurrency=8)
    assert found.picked.carries_load and np.isfinite(found.picked.ttft_ms.value)


@pytest.mark.parametrize(
    ("requests", "rate", "gpus"),
    [(CONVERSATIONS, 4.0, 4), (SYNTHETIC, 4.0, 4), (CONVERSATIONS, 2.0, 2)],
    ids=["conversations", "synthetic", "light"],
)
def test_the_plan_is_what_its_layout_does_when_it_is_run_on_the_trace(requests, rate, gpus):
    """The aim: p50 within 15 %, p95 within 25 %."""
    found = plan(requests, rate, gpus=gpus)
    # The mockers have no pipeline stages.
    pick = next(c for c in found.candidates if c.carries_load and all(group.pp == 1 for group in c.groups))
    found = selected(found, pick.id, engines_of(found, pick, FACTS, ESTIMATOR), FACTS)
    r = Workload.of(requests, request_rate=rate).requests
    ends, ids = r.block_ends.tolist(), r.block_ids.tolist()
    hashes = [ids[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    stream = Stream(1000.0 * np.cumsum(r.gap_s), r.isl, r.osl, hashes, r.block_tokens)
    run = replay(deployment_of(pick, found.step_tables, max_model_len=FACTS.max_context), stream)
    p50, p95 = np.quantile(run.ttft_ms, (0.5, 0.95))
    assert pick.ttft_p50_ms.value == pytest.approx(p50, rel=0.15)
    assert pick.ttft_p95_ms.value == pytest.approx(p95, rel=0.25)
    assert pick.ttft_ms.value == pytest.approx(run.ttft_ms.mean(), rel=0.15)
    caches = pick.groups[0].replicas * pick.groups[0].dp
    ours = r.cached_tokens(caches, pick.groups[0].kv_room_tokens).sum() / r.isl.sum()
    assert ours == pytest.approx(run.cached_tokens.sum() / r.isl.sum(), abs=0.02)
