"""The continuous-batching core: SIM-01 scheduling, exact because time is passed in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.serving.mocker.engine import Engine, EngineLimits, Sequence
from armature.serving.mocker.kv_cache import block_hashes
from armature.serving.mocker.timing import LinearClock

CLOCK = LinearClock(base_ms=1.0, prefill_token_ms=0.1, decode_token_ms=0.5)


def engine(**limits) -> Engine:
    return Engine(EngineLimits(**limits), CLOCK)


def run(core: Engine, *, until: int = 10_000) -> list[tuple[float, str, int]]:
    """(time ms, key, tokens out) of every token until nothing is left."""
    now, events = 0.0, []
    for _ in range(until):
        step = core.plan_step(now)
        if step is None:
            if core.next_ready_ms is None:
                return events
            now = core.next_ready_ms
            continue
        now += step.duration_ms
        events += [(round(now, 6), sequence.key, sequence.outputs) for sequence in core.finish_step(step)]
    raise AssertionError("the engine does not come to an end")


def test_one_request_alone_takes_its_prefill_and_then_its_decode_steps():
    core = engine()
    core.add(Sequence("a", 100, 3))
    assert run(core) == [(11.0, "a", 1), (12.5, "a", 2), (14.0, "a", 3)]
    assert (core.running, core.waiting, core.kv_usage) == (0, 0, 0.0)


def test_a_long_prompt_is_computed_in_chunks_and_decodes_go_on_beside_it():
    core = engine(max_num_batched_tokens=64)
    core.add(Sequence("short", 10, 6))
    core.finish_step(core.plan_step(0))
    core.add(Sequence("long", 150, 1))
    chunks = []
    while len(core):
        step = core.plan_step(0)
        chunks.append((step.ranks[0].chunks, step.ranks[0].batch))
        core.finish_step(step)
    assert chunks[:3] == [([(63, 0)], 1), ([(63, 63)], 1), ([(24, 126)], 1)]
    assert chunks[3:] == [([], 1), ([], 1)]


def test_the_batch_is_limited_and_the_queue_is_first_come_first_served():
    core = engine(max_num_seqs=2)
    for key in "abc":
        core.add(Sequence(key, 10, 2))
    order = [(key, outputs) for _, key, outputs in run(core)]
    assert order == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("c", 1), ("c", 2)]


def test_a_shared_prefix_is_computed_once():
    core = engine(block_size=16)
    hashes = block_hashes(list(range(64)), 16)
    core.add(Sequence("first", 64, 1, list(hashes)))
    first = core.plan_step(0)
    core.finish_step(first)
    again = Sequence("again", 64, 1, list(hashes))
    core.add(again)
    second = core.plan_step(0)
    assert first.ranks[0].chunks == [(64, 0)]
    assert second.ranks[0].chunks == [
        (16, 48)
    ]  # the last block is computed: its token must come from somewhere
    assert again.cached_tokens == 48


def test_without_prefix_caching_nothing_is_shared():
    core = engine(block_size=16, enable_prefix_caching=False)
    hashes = block_hashes(list(range(64)), 16)
    for key in "ab":
        core.add(Sequence(key, 64, 1, list(hashes)))
        assert core.plan_step(0).ranks[0].chunks == [(64, 0)] or key == "b"
        run(core)
    assert core.ranks[0].cache.hit_tokens == 0


def test_an_answer_is_found_by_the_next_turn():
    core = engine(block_size=4)
    first = list(range(8))
    answer = [100, 101, 102, 103, 104]
    told = first + answer
    sequence = Sequence("turn 1", 8, 5, block_hashes(first, 4))
    sequence.hash_block = lambda index: block_hashes(told, 4)[index]
    core.add(sequence)
    run(core)
    follow = Sequence("turn 2", 20, 1, block_hashes([*told, *range(7)], 4))
    core.add(follow)
    run(core)
    assert follow.cached_tokens == 12  # two blocks of the question and one of the answer


def test_out_of_blocks_the_youngest_is_preempted_and_recomputed():
    core = engine(block_size=4, num_gpu_blocks=6, enable_prefix_caching=False)
    core.add(Sequence("old", 8, 9))
    core.add(Sequence("young", 8, 9))
    events = run(core)
    assert core.preemptions >= 1
    last = {key: time for time, key, _ in events}
    assert last["old"] < last["young"]
    assert [outputs for _, key, outputs in events if key == "young"] == list(range(1, 10))


def test_ranks_step_together_and_the_slowest_decides():
    core = engine(dp=2)
    core.add(Sequence("long", 1000, 1))
    core.add(Sequence("short", 10, 1))
    step = core.plan_step(0)
    assert [rank.chunks for rank in step.ranks] == [[(1000, 0)], [(10, 0)]]
    assert step.duration_ms == pytest.approx(101.0)


def test_a_prompt_from_elsewhere_waits_for_its_transfer_and_then_decodes():
    """DIS-01: blocks are taken when it is admitted; the first token came with it."""
    core = engine()
    core.add(Sequence("handed over", 100, 3, remote_kv=True, transfer_ms=20.0))
    assert core.plan_step(0) is None
    assert core.next_ready_ms == 20.0
    assert core.kv_usage > 0
    assert run(core) == [(21.5, "handed over", 2), (23.0, "handed over", 3)]


def test_cancelled_requests_give_everything_back_in_every_state():
    core = engine(max_num_seqs=2)
    core.add(Sequence("running", 50, 100))
    core.add(Sequence("transferring", 50, 100, remote_kv=True, transfer_ms=1e9))
    core.add(Sequence("waiting", 50, 100))
    step = core.plan_step(0)
    for key in ("running", "transferring", "waiting", "never seen"):
        core.cancel(key)
    assert core.finish_step(step) == []
    assert (len(core), core.running, core.waiting, core.kv_usage) == (0, 0, 0, 0.0)


def test_what_can_never_run_is_refused_at_once():
    core = engine(block_size=16, num_gpu_blocks=4, max_model_len=1000)
    with pytest.raises(ValueError, match="64 tokens"):
        core.add(Sequence("long", 64, 1))
    with pytest.raises(ValueError, match="at least one"):
        core.add(Sequence("empty", 0, 1))
    core.add(Sequence("tight", 63, 50))
    with pytest.raises(ValueError, match="already"):
        core.add(Sequence("tight", 5, 1))
    assert [outputs for _, _, outputs in run(core)] == [1]  # cut to what fits


requests = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 12), st.integers(0, 2), st.booleans()),
    min_size=1,
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(requests, st.integers(1, 6), st.integers(3, 40), st.integers(20, 40), st.integers(1, 2))
def test_every_request_ends_with_exactly_its_tokens(asked, max_seqs, budget, blocks, dp):
    """Under any pressure: limits kept at each step, each token once and in order, and all blocks back."""
    core = Engine(
        EngineLimits(
            max_num_seqs=max_seqs, max_num_batched_tokens=budget, block_size=4, num_gpu_blocks=blocks, dp=dp
        ),
        CLOCK,
    )
    for key, (prompt, outputs, prefix, remote) in enumerate(asked):
        tokens = [prefix] * prompt
        core.add(
            Sequence(
                key, prompt, outputs + 1, block_hashes(tokens, 4), remote_kv=remote, transfer_ms=7.0 * prompt
            )
        )
    seen: dict[int, int] = {key: int(remote) for key, (_, _, _, remote) in enumerate(asked)}
    now = 0.0
    for _ in range(20_000):
        step = core.plan_step(now)
        if step is None:
            if core.next_ready_ms is None:
                break
            now = core.next_ready_ms
            continue
        for rank in step.ranks:
            if rank is not None:
                assert len(rank.sequences) <= max_seqs
                assert 0 < sum(sequence.pending for sequence in rank.sequences) <= budget
                assert rank.batch + sum(chunk.tokens for chunk in rank.chunks) <= budget
        now += step.duration_ms
        for sequence in core.finish_step(step):
            seen[sequence.key] += 1
            assert sequence.outputs == seen[sequence.key]
    assert len(core) == 0
    assert seen == {key: outputs + 1 for key, (_, outputs, _, _) in enumerate(asked)}
    assert core.kv_usage == 0.0
    assert all(rank.cache.private == 0 for rank in core.ranks)
