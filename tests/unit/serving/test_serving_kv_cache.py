"""Paged KV bookkeeping: blocks are conserved, shared and evicted in the right order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from armature.serving.mocker.kv_cache import KvCache, block_hashes, chain


def test_only_full_blocks_have_a_hash_and_it_covers_everything_before():
    tokens = list(range(10))
    hashes = block_hashes(tokens, 4)
    assert hashes == [chain(0, [0, 1, 2, 3]), chain(chain(0, [0, 1, 2, 3]), [4, 5, 6, 7])]
    assert block_hashes([9, *tokens[1:]], 4)[1] != hashes[1]


def test_a_published_block_is_shared_then_kept_idle_and_evicted_oldest_first():
    cache = KvCache(3, 16)
    assert cache.take(2)
    assert cache.publish(1)
    assert cache.publish(2)
    assert cache.admit([1], 1)  # a second user of block 1, and a private block
    assert cache.free == 0
    cache.release([1, 2], 0)
    assert cache.free == 1  # block 2 is idle; block 1 has its second user
    cache.release([1], 1)
    assert (cache.free, cache.match([1, 2], 9)) == (3, 2)
    assert cache.take(2)  # one never used, then the longest idle: block 2
    assert cache.match([1, 2], 9) == 1
    assert cache.evictions == 1


def test_a_chain_is_evicted_from_its_end():
    cache = KvCache(2, 16)
    cache.take(2)
    cache.publish(1)
    cache.publish(2)
    cache.release([1, 2], 0)
    cache.take(1)
    assert cache.match([1, 2], 9) == 1


def test_content_that_is_here_already_stays_private():
    cache = KvCache(4, 16)
    cache.take(2)
    assert cache.publish(7)
    assert not cache.publish(7)
    cache.release([7], 1)
    assert (cache.private, cache.cached_blocks, cache.free) == (0, 1, 4)


def test_a_refused_admission_changes_nothing():
    cache = KvCache(2, 16)
    cache.take(1)
    cache.publish(5)
    cache.release([5], 0)
    assert not cache.admit([5], 2)
    assert (cache.free, cache.match([5], 9)) == (2, 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), max_size=60), st.integers(4, 12))
def test_blocks_are_conserved(moves, blocks):
    """Whatever sequences come and go, nothing leaks and nothing is held twice."""
    cache = KvCache(blocks, 1)
    held: list[tuple[list[int], int]] = []
    for count, prefix in moves:
        wanted = [chain(prefix, [i]) for i in range(count)]
        hits = cache.match(wanted, count)
        if cache.admit(wanted[:hits], count - hits):
            private, shared = count - hits, wanted[:hits]
            for block in wanted[hits:]:
                if cache.publish(block):
                    private, shared = private - 1, [*shared, block]
            held.append((shared, private))
        elif held:
            cache.release(*held.pop(0))
        assert 0 <= cache.free <= blocks
        assert cache.private + cache.cached_blocks <= blocks
    for shared, private in held:
        cache.release(shared, private)
    assert (cache.free, cache.private, cache.usage) == (blocks, 0, 0.0)
