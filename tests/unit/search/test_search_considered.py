"""What was considered, in words and in numbers that add up; what may hand over to what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from search_fakes import FormulaEstimator, dense_facts, inventory, moe_facts, pool

from armature.errors import NothingFits
from armature.model.facts import Quantisation
from armature.search.considered import considered, considered_text
from armature.search.engines import engines_for
from armature.search.question import Question
from armature.search.rapid import profile_of, sweep
from armature.workload.shape import Sla, Workload


def asked(facts, *pools, **changes) -> Question:
    return Question("test", facts.name, facts, inventory(*pools), **changes)


def counted(question: Question) -> dict[str, int]:
    swept = sweep(question, engines_for(question, FormulaEstimator()))
    return considered(question, swept.engines, swept.verdicts)


def test_the_counts_in_words():
    counts = {
        "layouts": 1412,
        "do_not_fit": 96,
        "cross_nodes_without_rdma": 1,
        "miss_itl_ms": 0,
        "meet_everything": 1315,
    }
    assert considered_text(counts) == (
        "1,412 layouts: 96 do not fit, 1 crosses a node without RDMA, 1,315 meet everything"
    )
    assert considered_text({"layouts": 1, "miss_ttft_ms": 1}) == "1 layout: 1 misses TTFT"


def test_each_layout_is_counted_once():
    sla = Sla(ttft_ms=400, itl_ms=12)
    found = counted(
        asked(dense_facts(), pool(4), sla=sla, workload=Workload(request_rate=2), backends=("vllm",))
    )
    assert found["layouts"] == sum(n for name, n in found.items() if name != "layouts")
    # tp1, tp2, tp4, tp1pp2, tp2pp2, tp1pp4: 4 + 2 + 1 + 2 + 1 + 1 aggregated, of which five pipelines
    pairs = {(1, 1): 6, (1, 2): 2, (2, 1): 2, (2, 2): 1}
    sizes = {1: ["tp1"], 2: ["tp2", "pp2"], 4: ["tp4", "tp2pp2", "pp4"]}
    every = sum(n * len(sizes[a]) * len(sizes[b]) for (a, b), n in pairs.items())
    assert found["layouts"] == 4 + 2 * 2 + 3 * 1 + every
    plain = sum(pairs.values())  # without pipelines, which vLLM does not hand over
    assert found["cannot_hand_over"] == every - plain


@pytest.mark.parametrize(
    ("stated", "both", "crossing"), [(True, False, 0), (False, True, 0), (False, False, 1)]
)
def test_pools_pair_over_rdma_or_when_nobody_says_there_is_none(stated, both, crossing):
    """`rdma: false` in the request leaves pools without RDMA apart; one with it is not enough."""
    pools = pool(2, 2, "h200_sxm", rdma=True), pool(2, 2, "h100_sxm", rdma=both)
    question = asked(dense_facts(), *pools, backends=("trtllm",), assume_rdma=stated)
    mixed = [
        c
        for c in profile_of(sweep(question, engines_for(question, FormulaEstimator()))).candidates
        if c.mode == "disagg" and len({g.sku for g in c.groups}) == 2
    ]
    assert bool(mixed) != bool(crossing)
    assert bool(counted(question)["cross_nodes_without_rdma"]) == bool(crossing)
    assert all(c.groups[0].pool != c.groups[1].pool for c in mixed)


def test_kv_caches_of_unequal_dtype_are_not_handed_over():
    """An fp8 cache on H100 and a bf16 one on A100."""
    facts = replace(dense_facts(), quantisation=Quantisation(kv="fp8"))
    pools = pool(2, 2, "h100_sxm"), pool(2, 2, "a100_sxm")
    same = counted(asked(dense_facts(), *pools, backends=("trtllm",)))
    unequal = counted(asked(facts, *pools, backends=("trtllm",)))
    assert same["cannot_hand_over"] == 0 < unequal["cannot_hand_over"]
    assert same["layouts"] == unequal["layouts"]


def test_experts_over_nodes_without_rdma_are_the_last_resort():
    roomy = asked(moe_facts(), pool(16, 8, rdma=False), backends=("sglang",), assume_rdma=False)
    assert max(e.gpus for e in engines_for(roomy, FormulaEstimator()).mains) == 8
    assert counted(roomy)["cross_nodes_without_rdma"] > 0
    tight = asked(moe_facts(), pool(16, 2, "a30", rdma=False), backends=("sglang",), assume_rdma=False)
    engines = engines_for(tight, FormulaEstimator())
    assert min(e.gpus for e in engines.mains) > 2
    assert any("RDMA between them" in note for note in profile_of(sweep(tight, engines)).notes)


def test_wider_than_four_nodes_only_where_those_do_not_hold_the_model():
    """GAP-10: 61 GB of weights on GPUs of 16 GB, two a node."""
    question = asked(moe_facts(), pool(32, 1, "t4"), backends=("sglang",))
    assert {e.gpus for e in engines_for(question, FormulaEstimator()).mains} == {8}
    with pytest.raises(NothingFits, match="4 x t4"):
        engines_for(asked(moe_facts(), pool(4, 1, "t4"), backends=("sglang",)), FormulaEstimator())
