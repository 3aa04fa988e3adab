"""The twin against arithmetic that can be done by hand, and against itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.serving.mocker.engine import EngineLimits
from armature.serving.mocker.timing import LinearClock
from armature.simulation.replay import Deployment, Stream, Workers, replay, replay_closed

CLOCK = LinearClock(base_ms=10.0, prefill_token_ms=0.1)


def stream(times, isl=100, osl=5, **more) -> Stream:
    n = len(times)
    return Stream(np.array(times, dtype=float), np.full(n, isl), np.full(n, osl), **more)


def workers(replicas=1, clock=CLOCK, **limits) -> Workers:
    return Workers(replicas, EngineLimits(**limits), clock)


def test_one_request_alone():
    out = replay(Deployment(workers()), stream([7.0]))
    assert out.ttft_ms == pytest.approx([20.0])  # 10 + 100 tokens of 0.1
    assert out.itl_ms == pytest.approx([10.0])
    assert out.e2e_ms == pytest.approx([60.0])


def test_a_prompt_waits_for_the_running_step_and_delays_those_that_decode():
    out = replay(Deployment(workers()), stream([0.0, 25.0]))
    assert out.ttft_ms == pytest.approx([20.0, 25.0])  # until 30 the first one's second token is made
    assert out.itl_ms == pytest.approx([12.5, 10.0])  # one of four steps takes 20


def test_the_host_takes_its_time_before_a_prompt_queues_and_holds_up_nobody():
    out = replay(Deployment(Workers(1, EngineLimits(), CLOCK, host_ms=40.0)), stream([0.0, 25.0]))
    assert out.ttft_ms == pytest.approx([60.0, 65.0])
    assert out.itl_ms == pytest.approx([12.5, 10.0])


def test_requests_go_round_robin():
    together = replay(Deployment(workers(replicas=2)), stream([0.0, 0.0, 0.0]))
    assert together.ttft_ms == pytest.approx([30.0, 20.0, 30.0])


def test_disaggregated_the_transfer_falls_between_the_first_two_tokens():
    split = Deployment(workers(), workers(max_num_seqs=1), transfer_ms_per_token=0.2)
    out = replay(split, stream([0.0]))
    assert out.ttft_ms == pytest.approx([20.0])
    assert out.itl_ms == pytest.approx([(20.0 + 4 * 10.0) / 4])


def test_one_token_answers_never_reach_decode():
    out = replay(Deployment(workers(), workers()), stream([0.0, 5.0], osl=1))
    assert out.outputs.tolist() == [1, 1] and len(out.itl_ms) == 0
    assert out.last_ms == pytest.approx(out.first_ms)


def test_a_shared_prefix_is_computed_once():
    shared = stream([0.0, 300.0], isl=1024, hash_ids=[(1, 2), (1, 3)], hash_tokens=512)
    out = replay(Deployment(workers(block_size=64)), shared)
    assert out.cached_tokens.tolist() == [0, 512]
    assert out.ttft_ms[0] - out.ttft_ms[1] == pytest.approx(51.2)


def test_blocks_that_run_out_are_counted():
    out = replay(Deployment(workers(num_gpu_blocks=16, block_size=16)), stream([0.0, 0.0], osl=60))
    assert out.preemptions > 0
    assert (out.outputs == 60).all()


def test_after_drops_the_first_requests():
    out = replay(Deployment(workers()), stream([0.0, 100.0, 200.0])).after(2)
    assert len(out.ttft_ms) == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 50), min_size=1, max_size=25), st.integers(1, 3), st.booleans())
def test_what_holds_for_every_stream(gaps, replicas, disaggregated):
    """Everything is served, nothing before it could be, and a second replay gives the same."""
    asked = stream(np.cumsum(gaps).tolist())
    prefill = workers(max_num_seqs=1) if disaggregated else None
    first, again = (replay(Deployment(workers(replicas), prefill), asked) for _ in range(2))
    assert (first.outputs == 5).all()
    assert (first.ttft_ms >= 20.0 - 1e-9).all() and (first.itl_ms >= 10.0 - 1e-9).all()
    assert np.array_equal(first.last_ms, again.last_ms)


def test_a_prompt_that_no_engine_holds_is_refused():
    with pytest.raises(ValueError, match="tokens"):
        replay(Deployment(workers(num_gpu_blocks=2)), stream([0.0]))


@pytest.mark.parametrize("prefill", [None, 2])
def test_with_a_fixed_number_in_flight_each_comes_when_one_ends(prefill):
    """And what they meet is what they would have met had they come then by themselves."""
    rng = np.random.default_rng(2)
    asked = Stream(np.zeros(80), rng.integers(1, 3000, 80), rng.integers(1, 60, 80))
    side = None if prefill is None else workers(prefill)
    deployment = Deployment(workers(3), side, transfer_ms_per_token=0.01)
    out = replay_closed(deployment, asked, 7)
    assert (out.arrive_ms[:7] == 0.0).all()
    assert out.arrive_ms[7:] == pytest.approx(np.sort(out.last_ms)[: 80 - 7])
    again = replay(deployment, Stream(out.arrive_ms, asked.isl, asked.osl))
    assert again.last_ms == pytest.approx(out.last_ms) and again.first_ms == pytest.approx(out.first_ms)
