"""The prefix cache of a trace, against a cache that is simply run."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.workload.requests import Requests

BLOCK = 4


def made(prompts, osl=1, rate=1.0):
    """Requests of prompts given as lists of block numbers, one a second."""
    isl = np.array([len(p) * BLOCK for p in prompts], dtype=np.int64)
    return Requests(
        isl=isl,
        osl=np.broadcast_to(np.asarray(osl, dtype=np.int64), isl.shape),
        gap_s=np.array([0.0] + [1 / rate] * (len(prompts) - 1)),
        block_ids=np.array([b for p in prompts for b in p], dtype=np.int64),
        block_ends=np.cumsum([len(p) for p in prompts]),
        block_tokens=BLOCK,
    )


def simply_run(requests, servers, room_blocks):
    """LRU caches of whole blocks, run request by request."""
    caches = [OrderedDict() for _ in range(servers)]
    found = []
    starts = np.concatenate(([0], requests.block_ends[:-1]))
    for i, (start, end) in enumerate(zip(starts, requests.block_ends, strict=True)):
        cache, blocks = caches[i % servers], requests.block_ids[start:end].tolist()
        hits = 0
        while hits < len(blocks) and blocks[hits] in cache:
            hits += 1
        found.append(min(hits * BLOCK, int(requests.isl[i]) - 1))
        answer = [(i, n) for n in range(int(requests.osl[i]) // BLOCK)]
        for block in reversed(blocks + answer):
            cache[block] = None
            cache.move_to_end(block)
        while len(cache) > room_blocks:
            cache.popitem(last=False)
    return found


@st.composite
def conversations(draw):
    """Prompts that go on from earlier ones: block numbers that are chains, as in a trace."""
    prompts, fresh = [], 0
    for _ in range(draw(st.integers(1, 25))):
        base = draw(st.sampled_from(prompts)) if prompts and draw(st.booleans()) else []
        kept = draw(st.integers(0, len(base)))
        new = draw(st.integers(0 if kept else 1, 4))
        prompts.append([*base[:kept], *range(fresh, fresh + new)])
        fresh += new
    answers = [BLOCK * draw(st.integers(1, 3)) for _ in prompts]
    return made(prompts, answers)


@settings(max_examples=60)
@given(conversations(), st.integers(1, 4), st.integers(0, 40))
def test_cached_tokens_are_those_of_a_cache_that_is_run(requests, servers, room):
    assert requests.cached_tokens(servers, room * BLOCK).tolist() == simply_run(requests, servers, room)


@settings(max_examples=40)
@given(conversations(), st.integers(1, 4), st.floats(0, 200), st.floats(0, 200))
def test_more_room_never_finds_less(requests, servers, one, other):
    less, more = sorted([one, other])
    assert (requests.cached_tokens(servers, less) <= requests.cached_tokens(servers, more)).all()


def test_numbers_that_are_no_chain_of_prefixes_are_found_no_sooner_than_what_they_follow():
    requests = made([[1, 5, 6], [2], [1, 2]])  # 2 was used after 1, yet follows it here
    assert requests.cached_tokens(1, 2 * BLOCK).tolist() == [0, 0, 0]
    assert requests.cached_tokens(1, 9 * BLOCK).tolist() == [0, 0, 7]


def test_a_block_behind_a_new_one_is_not_found_before_it():
    requests = made([[1, 2], [9, 2], [1, 8, 2]])
    assert requests.cached_tokens(1, 99 * BLOCK).tolist() == [0, 0, 4]


def test_without_numbers_nothing_is_cached():
    plain = Requests(np.array([5, 6]), np.array([1, 1]), np.array([0.0, 2.0]))
    assert not plain.has_prefixes
    assert plain.cached_tokens(1, 1e9).tolist() == [0, 0]


def test_a_rate_stretches_the_gaps_and_keeps_what_is_known_of_prefixes():
    requests = made([[1], [1], [1]], rate=2.0)
    before = requests.cached_tokens(1, 100)
    scaled = requests.scaled(8.0)
    assert scaled.rate_per_s == 8.0 and scaled.duration_s == 0.25
    assert scaled._reuse is requests._reuse and (scaled.cached_tokens(1, 100) == before).all()


def test_requests_that_come_at_once_have_no_rate():
    requests = made([[1], [1]], rate=np.inf)
    assert requests.rate_per_s == 0.0 and requests.scaled(3.0) is requests
