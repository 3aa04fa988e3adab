"""A layout without a search (RAPID-04, GAP-07, GAP-11): it fits with room, is what was asked, is predicted alike."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_ask import request_for
from search_fakes import FormulaEstimator, dense_facts, inventory, moe_facts, pool

from armature.errors import InvalidInput, NothingFits
from armature.search.direct import ROOM_REQUESTS, Side, Wanted, direct_profile
from armature.search.rapid import profile

FACTS = dense_facts()


def request(backend="vllm", sla=None, **workload):
    return request_for(
        model="m", backend=backend, sla=sla or {}, workload={"isl": 2000, "osl": 200, **workload}
    )


def direct(wanted=None, *pools, facts=FACTS, **asked):
    return direct_profile(
        request(**asked), inventory(*(pools or (pool(),))), facts, FormulaEstimator(), wanted or Wanted()
    )


def groups(found):
    return [(g.role, g.replicas, g.parallelism.label) for g in found.picked.groups]


def test_the_smallest_worker_that_holds_the_model_once():
    found = direct()
    assert groups(found) == [("agg", 1, "tp1")]
    assert found.reasons[0].startswith("Not optimised: 1×tp1, the smallest worker, with room for ")
    assert "armature plan" in found.reasons[0]
    assert {c.groups[0].replicas for c in found.candidates} == {1}
    assert found.request["spec"]["model"] == "m"


@given(isl=st.integers(100, 120_000), sku=st.sampled_from(["l4", "l40s", "a100_sxm", "h200_sxm"]))
@settings(max_examples=40, deadline=None)
def test_the_least_parallelism_with_room_and_none_smaller_has_it(isl, sku):
    """GAP-11: long prompts need more than the least TP that holds the weights."""
    try:
        found = direct(None, pool(sku=sku), isl=isl)
    except NothingFits:
        return
    group = found.picked.groups[0]
    held = group.kv_room_tokens // (isl + 200)
    smaller = [2**k for k in range(4) if 2**k < group.tp * group.pp]
    for gpus in smaller:
        for tp in (t for t in (1, 2, 4, 8) if gpus % t == 0):
            try:
                less = direct(Wanted(tp=tp, pp=gpus // tp), pool(sku=sku), isl=isl).picked.groups[0]
            except NothingFits:
                continue
            others = less.kv_room_tokens // (isl + 200)
            assert others < ROOM_REQUESTS if held >= ROOM_REQUESTS else others <= held


def test_a_long_prompt_takes_a_wider_worker():
    short, long = (direct(None, pool(sku="l40s"), isl=isl).picked.groups[0] for isl in (1000, 60_000))
    assert long.gpus_per_worker > short.gpus_per_worker


@given(rate=st.floats(0.1, 200), tp=st.sampled_from([None, 1, 2, 4]))
@settings(max_examples=25, deadline=None)
def test_as_often_as_the_load_needs(rate, tp):
    found = direct(Wanted(tp=tp), requestRate=rate)
    (role, count, _) = groups(found)[0]
    assert role == "agg"
    if not found.picked.carries_load:
        assert any("does not carry the load" in text for text in found.reasons)
        return
    group = found.picked.groups[0]
    if count > 1:
        fewer = direct(Wanted(tp=group.tp, pp=group.pp, replicas=count - 1), requestRate=rate)
        assert not fewer.picked.carries_load


def test_it_predicts_what_a_search_predicts_of_the_same_layout():
    """One path: the search's candidate of that layout has the same figures."""
    found = direct(Wanted(tp=2, replicas=3), requestRate=5.0).picked
    searched = profile(request(requestRate=5.0), inventory(pool()), FACTS, FormulaEstimator())
    kinds = [c for c in searched.candidates if c.mode == "agg" and c.groups[0].tp == 2]
    assert kinds
    alike = direct(Wanted(tp=2, replicas=kinds[0].groups[0].replicas), requestRate=5.0).picked
    assert (alike.ttft_ms, alike.itl_ms, alike.groups) == (
        kinds[0].ttft_ms,
        kinds[0].itl_ms,
        kinds[0].groups,
    )
    assert found.groups[0].replicas == 3


def test_what_a_user_fixes_is_what_there_is():
    assert groups(direct(Wanted(tp=4, replicas=2))) == [("agg", 2, "tp4")]
    assert groups(direct(Wanted(pp=2))) == [("agg", 1, "tp1pp2")]
    pair = Wanted(disagg=(Side(3, "tp1"), Side(1, "tp4")))
    assert groups(direct(pair)) == [("prefill", 3, "tp1"), ("decode", 1, "tp4")]
    assert groups(direct(Wanted(tp=2, disagg=(Side(2), Side(1))))) == [
        ("prefill", 2, "tp2"),
        ("decode", 1, "tp2"),
    ]
    assert groups(direct(Wanted(dp=8, ep=8), facts=moe_facts())) == [("agg", 1, "dep8")]
    assert groups(direct(Wanted(ep=4, dp=1), facts=moe_facts())) == [("agg", 1, "tep4")]


def test_an_sla_binds_the_batch_not_the_layout():
    tight = direct(sla={"itl": 9})
    assert groups(tight) == groups(direct())
    assert tight.picked.meets_sla
    assert tight.picked.concurrency < direct().picked.concurrency
    missed = direct(sla={"itl": 0.1})
    assert any("misses the SLA: itl_ms" in text for text in missed.reasons)


def test_backend_auto_takes_the_first_and_says_so():
    found = direct(backend="auto")
    assert (found.backend_asked, found.picked.backend) == ("auto", "vllm")
    assert any("backend auto: vllm" in text for text in found.reasons)


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        (Wanted(tp=3), NothingFits, "No worker of tp 3 holds .*\n  These do: tp1, tp2"),
        (Wanted(disagg=(Side(1, "dep8"), Side(1))), NothingFits, "No worker of dep8"),
        (Wanted(tp=8, replicas=2), NothingFits, "2 workers of tp8 on 8 x h200_sxm: at most 1 fit"),
        (Wanted(disagg=(Side(8, "tp1"), Side(1, "tp1"))), NothingFits, "do not fit beside each other"),
        (Wanted(replicas=2, disagg=(Side(1), Side(1))), InvalidInput, "--replicas"),
    ],
)
def test_what_cannot_be(wanted, error, said):
    with pytest.raises(error, match=said):
        direct(wanted)


def test_one_token_leaves_nothing_to_decode():
    with pytest.raises(InvalidInput, match="osl 1"):
        direct(Wanted(disagg=(Side(1), Side(1))), osl=1)


def test_vllm_hands_no_cache_over_between_pipelines():
    with pytest.raises(NothingFits):
        direct(Wanted(disagg=(Side(1, "tp1pp2"), Side(1, "tp1"))))
