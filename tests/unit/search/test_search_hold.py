"""What is said to hold a model that does not fit does, by the search, and nothing smaller does."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from search_ask import ask, question
from search_fakes import dense_facts, pool

from armature.errors import NothingFits
from armature.hardware.catalog import GPUS
from armature.search.hold import with_what_holds
from armature.search.vary import pick_of, pool_of, with_gpus, with_pool

BIG = dense_facts(
    name="test/dense-70b", layers=80, hidden=8192, intermediate=28672, linear_params=68_000_000_000,
    other_params=2_100_000_000, active_params=70_000_000_000, weight_bytes=141_000_000_000,
)  # fmt: skip


def refused(asked) -> NothingFits:
    with pytest.raises(NothingFits) as caught:
        ask(asked)
    return with_what_holds(
        caught.value, asked, ask, catalogue=[GPUS[s] for s in ("h100_sxm", "l4", "l40s", "mi300")]
    )


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_fewest_gpus_and_skus_that_hold_it(gpus):
    asked = question(pool(gpus, sku="l40s"), facts=BIG)
    mend = refused(asked).mend
    more = int(re.search(r"It would fit on (\d+) l40s instead of", mend)[1])
    assert pick_of(ask(with_gpus(asked, 0, more))).gpus <= more
    with pytest.raises(NothingFits):
        ask(with_gpus(asked, 0, more - 1))
    others = re.findall(r"or (\d+) (\w+)", mend)
    assert [sku for _, sku in others] == ["h100_sxm"], "l4 takes more than a node, mi300 is another vendor's"
    for count, sku in others:
        assert pick_of(ask(with_pool(asked, pool_of(GPUS[sku], int(count)))))
        with pytest.raises(NothingFits):
            ask(with_pool(asked, pool_of(GPUS[sku], int(count) - 1)))


def test_a_shorter_request_that_would_fit():
    asked = question(pool(1, sku="l4"), isl=100_000)
    tokens = int(re.search(r"requests of at most ([\d,]+) tokens", refused(asked).mend)[1].replace(",", ""))
    assert pick_of(ask(replace(asked, workload=replace(asked.workload, isl=tokens - 200))))
    with pytest.raises(NothingFits):
        ask(replace(asked, workload=replace(asked.workload, isl=int(1.03 * tokens) - 200)))


def test_what_nothing_would_hold_keeps_its_message():
    asked = question(pool(1, sku="l4"), facts=replace(BIG, weight_bytes=10**16))
    with pytest.raises(NothingFits) as caught:
        ask(asked)
    assert with_what_holds(caught.value, asked, ask) is caught.value
