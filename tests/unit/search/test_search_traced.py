"""Prompts of a trace in front of a worker: each computed by itself, and the queue run request by request."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fakes import dense_facts

from armature.hardware.catalog import GPUS
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec
from armature.perf.roofline import RooflineEstimator
from armature.search.traced import Prompts, waits_ms
from armature.workload.requests import Requests
from armature.workload.trace import trace_of

TRACES = Path(__file__).parents[2] / "data" / "traces"
TIMES = RooflineEstimator().engine(
    EngineSpec(dense_facts(), GPUS["h200_sxm"], "vllm", Parallelism(tp=2), "bf16")
)
CHUNK = 8192


def requests_of(name):
    with lzma.open(TRACES / f"mooncake_{name}.jsonl.xz") as file:
        return trace_of(file, name).requests


CONVERSATIONS, SYNTHETIC = requests_of("conversation_trace_first5000"), requests_of("synthetic_trace")


def prompts(requests, room=0.0, stages=1):
    return Prompts(requests, TIMES, room, CHUNK, stages)


def stream(gaps, isl=None):
    isl = np.full(len(gaps), 1000) if isl is None else np.asarray(isl)
    return Requests(isl, np.full(len(gaps), 10), np.asarray(gaps, dtype=float))


def alone_ms(isl, cached):
    """One prompt, chunk after chunk, without any of the module's shortcuts."""
    done = np.arange(cached, isl, CHUNK)
    return float(np.sum(TIMES.prefill_ms(np.minimum(CHUNK, isl - done), 1.0, done)))


@pytest.mark.parametrize("requests", [CONVERSATIONS, SYNTHETIC], ids=["conversations", "synthetic"])
@pytest.mark.parametrize("room", [0.0, 3e6])
def test_prompts_take_what_they_take_one_by_one(requests, room):
    found = prompts(requests, room).alone_ms(2)
    cached = requests.cached_tokens(2, room)
    pairs = list(zip(requests.isl.tolist(), cached.tolist(), strict=True))[::3]
    each = np.array([alone_ms(*pair) for pair in pairs])
    assert found[::3].mean() == pytest.approx(each.mean(), rel=0.02)
    assert found[::3].std() == pytest.approx(each.std(), rel=0.03)
    assert np.quantile(found[::3], 0.95) == pytest.approx(np.quantile(each, 0.95), rel=0.03)


def test_a_cache_shortens_prompts_and_more_caches_share_less():
    counts = np.array([1.0, 2.0, 5.0, 8.0, 500.0])
    none, some, all_of_it = (prompts(SYNTHETIC, room).stretch(counts) for room in (0.0, 5e6, 1e12))
    assert (some < none).all() and np.ptp(none) < 1e-9
    assert none[0] > 1.0, "a long prompt costs more than its share: attention"
    assert (np.diff(all_of_it) >= 0).all() and all_of_it[0] < 0.5 * none[0]


def test_stages_of_a_pipeline_share_a_cache():
    assert (prompts(SYNTHETIC, 5e6, stages=4).alone_ms(8) == prompts(SYNTHETIC, 5e6).alone_ms(2)).all()


def test_equal_prompts_are_what_their_mean_is():
    assert prompts(stream(np.ones(9))).stretch(np.array([1.0, 3.0])) == pytest.approx([1.0, 1.0])


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 80)), min_size=1, max_size=40),
    st.integers(1, 6),
)
def test_waits_are_those_of_servers_that_are_run(pairs, servers):
    gaps, service = (np.array(column) for column in zip(*pairs, strict=True))
    free, now, waits = [0.0] * servers, 0.0, []
    for n, (gap, need) in enumerate(pairs):
        now += gap if n else 0.0
        start = max(now, free[n % servers])
        free[n % servers] = start + need
        waits.append(start - now)
    assert waits_ms(np.r_[0.0, gaps[1:]], service, servers) == pytest.approx(waits, abs=1e-6)


def test_the_wait_of_a_poisson_stream_is_what_theory_says():
    """M/D/1 at 70 %: rho / (1 - rho) / 2 services (Pollaczek-Khinchine)."""
    gaps = np.random.default_rng(5).exponential(1.0 / 0.7, 400_000)
    assert waits_ms(gaps, np.ones(len(gaps)), 1).mean() == pytest.approx(0.7 / 0.3 / 2, rel=0.05)


@settings(max_examples=30)
@given(st.floats(0.1, 20), st.floats(1.0, 1.5), st.integers(1, 16))
def test_more_load_fewer_servers_and_slower_steps_never_shorten_first_tokens(rate, more, servers):
    queue = prompts(CONVERSATIONS, 2e6)

    def mean(servers=servers, rate=rate, slower=1.0):
        return queue.first_tokens(servers, rate, slower, 1.0, 0.0).mean_ms

    assert mean(rate=rate * more) >= mean() * (1 - 0.02)  # keys are rounded to three digits
    assert mean(slower=more) >= mean() * (1 - 1e-9)


def test_at_no_load_a_first_token_takes_the_prompt_and_half_a_step():
    found = prompts(SYNTHETIC).first_tokens(4, 1e-3, 2.0, 1.0, 30.0)
    alone = 2.0 * prompts(SYNTHETIC).alone_ms(4)
    assert found.mean_ms == pytest.approx(alone.mean() + 15.0, rel=0.02)
    assert found.least_ms == pytest.approx(alone.min() + 15.0)


def test_bursts_and_spread_make_prompts_wait():
    even = stream(np.full(900, 0.2), np.full(900, 4000))
    bursts = stream(np.where(np.arange(900) % 9 == 0, 1.8, 0.0), np.full(900, 4000))
    spread = stream(np.full(900, 0.2), np.where(np.arange(900) % 10 == 0, 31_000, 1000))
    ttft = [prompts(r).first_tokens(1, 5.0, 1.0, 1.0, 0.0).mean_ms for r in (even, bursts, spread)]
    assert ttft[1] > 2 * ttft[0] and ttft[2] > 2 * ttft[0]
