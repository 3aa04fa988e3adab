"""`--why-not` agrees with the sweep: what it says was considered was, what it calls impossible is in no surface."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_ask import ESTIMATOR, ask, question
from search_fakes import FormulaEstimator, dense_facts, moe_facts, pool

from armature.errors import ArmatureError, InvalidInput
from armature.model.facts import Attention
from armature.model.parallelism import Parallelism
from armature.search.candidates import Swept
from armature.search.considered import surfaces
from armature.search.engines import worker_fit
from armature.search.explain import layout_key
from armature.search.impossible import Place
from armature.search.pick import best_first, layout_keys
from armature.search.rapid import profile_of
from armature.search.selector import parse_selectors
from armature.search.vary import Ask, pick_of
from armature.search.why_not import why_not, why_not_in


def selector(text: str):
    return parse_selectors([text])[0]


def answer(text: str, asked):
    return why_not(selector(text), ask(asked), ESTIMATOR)


QUESTIONS = {
    "dense": question(pool(8), backends=("vllm", "sglang"), sla={"itl_ms": 12.0}),
    "loaded": question(pool(16), backends=("vllm", "sglang"), sla={"itl_ms": 12.0}, request_rate=30.0),
    "no rdma": question(pool(12, rdma=False), backends=("vllm", "trtllm"), rdma=False),
    "moe": question(pool(8), facts=moe_facts(), backends=("vllm", "sglang")),
    "small": question(pool(4, sku="l4"), backends=("vllm",), request_rate=1.0),
    "two pools": question(pool(4, 4, "h200_sxm"), pool(4, 4, "l40s"), backends=("sglang",), request_rate=2.0),
}
DEGREES = st.dictionaries(
    st.sampled_from(["tp", "pp", "dp", "moe_tp", "moe_ep", "tep", "dep"]), st.sampled_from([1, 2, 3, 4, 8, 16]),
    max_size=2,
)  # fmt: skip


@cache
def swept_of(name: str) -> Swept:
    return ask(QUESTIONS[name])


@st.composite
def texts(draw) -> str:
    said = {key: str(value) for key, value in draw(DEGREES).items()}
    if draw(st.booleans()):
        said["backend"] = draw(st.sampled_from(["vllm", "sglang", "trtllm"]))
    mode = draw(st.sampled_from([None, "agg", "disagg"]))
    if mode == "agg":
        said["replicas"] = str(draw(st.sampled_from([1, 2, 5, 16])))
    elif mode == "disagg":
        said["mode"] = "disagg"
        for key, values in (
            ("p", [1, 2, 7]),
            ("d", [1, 3]),
            ("prefill.tp", [1, 2, 8]),
            ("decode.pp", [1, 2]),
        ):
            if draw(st.booleans()):
                said[key] = str(draw(st.sampled_from(values)))
    if draw(st.integers(0, 9)) == 0:
        said["sku"] = "l40s"
    return ",".join(f"{key}={value}" for key, value in said.items()) or "mode=agg"


def in_a_surface(wanted, swept) -> bool:
    """Looked up one by one, not as the answer does it."""
    for surface in surfaces(swept.question, swept.engines):
        main = swept.engines.mains[surface.main]
        if wanted.backend not in (None, main.backend):
            continue
        for prefill, d, p in zip(surface.prefill, surface.main_count, surface.prefill_count, strict=True):
            sides = [(wanted.agg, main, d)]
            if prefill >= 0:
                sides = [(wanted.decode, main, d), (wanted.prefill, swept.engines.prefills[prefill], p)]
            if all(
                side is not None
                and all(getattr(e.parallelism, name) == n for name, n in side.degrees.items())
                and side.sku in (None, e.pool.gpu.sku)
                and side.replicas in (None, count)
                for side, e, count in sides
            ):
                return True
    return False


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(QUESTIONS)), texts())
def test_considered_is_in_the_sweep_and_impossible_is_not(name, text):
    try:
        wanted = selector(text)
    except InvalidInput:
        return  # contradictions such as tep=8,tp=2
    swept = swept_of(name)
    found = why_not(wanted, swept, ESTIMATOR)
    assert found.text.endswith(".")
    if wanted.backend is not None and wanted.backend not in swept.question.backends:
        assert (found.verdict, found.rule) == ("impossible", "backend")
        return
    assert (found.verdict in ("considered", "picked")) == in_a_surface(wanted, swept), found.text
    if found.verdict == "impossible":
        assert found.rule not in ("", "search"), "every layout that does not exist has a reason"
        assert found.text.startswith("Impossible: ")
    elif found.rank is not None:
        assert 1 <= found.rank <= found.kinds if found.kinds else found.rank == 1
    assert (found.bytes_short > 0) == (found.rule == "memory")


@pytest.mark.parametrize("name", ["dense", "loaded", "moe"])
def test_each_kind_of_layout_has_the_rank_of_its_best_point(name):
    swept = swept_of(name)
    asked = swept.question
    order = best_first(swept.points, asked.workload, asked.sla)
    _, first = np.unique(layout_keys(swept.points)[order], return_index=True)
    by_rank = order[np.sort(first)]
    for rank in (1, 2, 3, len(by_rank)):
        best = swept.candidate(int(by_rank[rank - 1]))
        found = why_not(selector(exactly(best, counts=False)), swept, ESTIMATOR)
        assert found.rank == rank
        assert found.verdict == ("picked" if rank == 1 else "considered")
        assert found.outcome.gpus == best.gpus
        assert found.outcome.e2e_ms == pytest.approx(best.e2e_ms.value)


@pytest.mark.parametrize("name", ["small", "two pools"])
def test_what_is_said_of_a_layout_with_other_counts_than_the_best(name):
    pick = pick_of(swept_of(name))
    (group,) = pick.groups
    asked = f"agg.tp={group.tp},replicas={group.replicas + 1},backend={pick.backend}"
    more = why_not(selector(asked), swept_of(name), ESTIMATOR)
    assert more.verdict == "considered"
    assert "the choice is of this kind, with other counts" in more.text
    assert more.outcome.gpus == pick.gpus + group.tp


SHORT = dense_facts(attention=Attention("gqa", heads=28, kv_heads=4, head_dim=128, full_layers=32))
MLA = replace(
    moe_facts(),
    attention=Attention(
        "mla", heads=128, kv_heads=128, head_dim=128, full_layers=48, kv_lora_rank=512, rope_head_dim=64
    ),
)


@pytest.mark.parametrize(
    ("text", "asked", "rule", "said"),
    [
        ("tp=3", question(), "heads", "tp 3 does not divide its 32 attention heads"),
        ("tp=8", question(facts=SHORT), "heads", "tp 8 does not divide its 28 attention heads"),
        ("dp=2", question(), "ENUM-03", "a dense model runs TP and PP"),
        ("ep=4", question(), "experts", "has no experts"),
        ("ep=3", question(facts=moe_facts()), "experts", "moe_ep 3 does not divide its 128 experts"),
        ("tp=4,dp=2,ep=2,moe_tp=2", question(facts=moe_facts()), "shape", "ENUM-06"),
        ("tp=4,dp=1,ep=1", question(facts=MLA), "ENUM-01", "MLA runs TEP and DEP"),
        ("pp=2", question(facts=moe_facts()), "ENUM-02", "not by pipeline stages"),
        ("tp=16", question(pool(16)), "node", "needs 16 GPUs, and a worker spans one node of 8 (ENUM-04)"),
        ("tp=16", question(pool(8)), "gpus", "needs 16 GPUs; there are 8 h200_sxm"),
        ("tp=4,replicas=3", question(), "gpus", "3 x tp4 need 12 GPUs; there are 8 h200_sxm"),
        ("tp=4,replicas=3", question(pool(12, 6)), "counts", "12 h200_sxm on nodes of 6 cannot place them"),
        ("p=5,d=4,tp=1", question(), "gpus", "need 9 GPUs; there are 8 h200_sxm"),
        ("prefill.pp=2", question(), "hand_over", "vllm cannot hand over"),
        ("decode.pp=2,prefill.pp=1", question(backends=("sglang",)), "hand_over", "sglang cannot hand over"),
        ("tp=8,mode=disagg", question(pool(16, rdma=False), rdma=False), "rdma", "do not cross nodes without RDMA"),
        ("mode=disagg", question(osl=1), "mode", "nothing to decode"),
        ("sku=l40s", question(), "sku", "there is no l40s among the GPUs: 8 h200_sxm"),
        ("tp=1,pp=1", question(pool(2, sku="l4"), isl=60_000), "memory", "bytes"),
        ("replicas=70,tp=1", question(pool(128)), "grid", "between the counts that are looked at"),
        ("moe_tp=2,moe_ep=2", question(facts=moe_facts()), "engine", "vllm cannot run"),
    ],
)  # fmt: skip
def test_what_cannot_exist_is_told_by_its_rule(text, asked, rule, said):
    found = answer(text, asked)
    assert (found.verdict, found.rule) == ("impossible", rule)
    assert said in found.text


def test_missing_bytes_are_those_of_the_memory_model():
    """GAP-11: exactly so many bytes more on each GPU, and it fits."""
    asked = question(pool(1, sku="l4"), isl=20_000, facts=dense_facts())
    wide = replace(asked, inventory=replace(asked.inventory, pools=(pool(8, sku="l4"),)))
    long = replace(wide, workload=replace(wide.workload, isl=60_000))
    found = answer("tp=1,pp=1", long)
    place = long.inventory.pools[0]
    assert found.rule == "memory"
    assert f"{found.bytes_short:,} bytes" in found.text
    room = worker_fit(long, Parallelism(), place)
    more = -(-found.bytes_short * 10 // 9) + 1
    enough = replace(place, gpu=place.gpu.with_vram(place.gpu.vram_bytes + more))
    nearly = replace(place, gpu=place.gpu.with_vram(place.gpu.vram_bytes + more - 10))
    assert not room.fits
    assert worker_fit(long, Parallelism(), enough).fits
    assert not worker_fit(long, Parallelism(), nearly).fits
    assert Place(long, place).barrier(Parallelism(), ("vllm",)).bytes_short == found.bytes_short


def test_a_backend_that_was_not_asked_for_is_tried_all_the_same():
    found = answer("backend=sglang,tp=2", question())
    assert (found.verdict, found.rule) == ("impossible", "backend")
    assert (
        "sglang was not asked for (backend: vllm). If it were: Aggregated sglang, 4×tp2: considered, "
        in found.text
    )
    both = answer("backend=sglang,tp=2", question(backends=("vllm", "sglang")))
    assert both.outcome == found.outcome


def test_a_backend_that_the_estimator_does_not_know_is_said_so():
    class Partial(FormulaEstimator):
        def engine(self, spec):
            if spec.backend == "trtllm":
                raise ArmatureError("no silicon data for h200_sxm/trtllm")
            return super().engine(spec)

    asked = question()
    found = why_not(selector("backend=trtllm"), Ask(Partial())(asked), Partial())
    assert found.rule == "estimator"
    assert "and could not be: no silicon data for h200_sxm/trtllm." in found.text


def exactly(candidate, *, counts: bool = True) -> str:
    """The text that means this layout and no other."""
    said = [f"backend={candidate.backend}", f"mode={candidate.mode}"]
    for g in candidate.groups:
        degrees = {"tp": g.tp, "pp": g.pp, "dp": g.dp, "moe_tp": g.moe_tp, "moe_ep": g.moe_ep}
        degrees |= {"replicas": g.replicas} if counts else {}
        said += [f"{g.role}.{key}={value}" for key, value in degrees.items()]
    return ",".join(said)


def test_a_profile_alone_answers_for_what_it_keeps():
    found = profile_of(swept_of("loaded"))
    for candidate in found.candidates[:8]:
        told = why_not_in(selector(exactly(candidate)), found)
        same = layout_key(candidate) == layout_key(found.picked)
        assert told.verdict == ("picked" if same else "considered")
        assert told.outcome.gpus == candidate.gpus
    unknown = why_not_in(selector("tp=64"), found)
    assert unknown.verdict == "not_kept"
    assert "`armature explain` of the request" in unknown.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tpp=8", "tpp is not a key (got 'tpp=8'); did you mean tp?"),
        ("backend=vlm", "is not a backend (got 'backend=vlm'); did you mean vllm?"),
        ("sku=h20_sxm", "is not a GPU SKU (got 'sku=h20_sxm'); did you mean h200_sxm?"),
        ("mode=dis", "is not a mode"),
        ("tp=0", "tp must be a whole number from 1 to 100,000 (got 'tp=0')"),
        ("tp=٣", "tp must be a whole number"),
        ("tp=99999999999", "tp must be a whole number"),
        ("tp", "is not KEY=VALUE (got 'tp')"),
        ("", "names no layout (got '')"),
        ("tp=8,tp=4", "says tp twice"),
        ("tep=8,dp=2", "says dp twice"),
        ("replicas=2,p=3", "replicas counts aggregated workers"),
        ("mode=agg,decode.tp=2", "decode.tp cannot be in mode=agg"),
    ],
)
def test_a_malformed_layout_is_one_clear_error(text, said):
    with pytest.raises(InvalidInput, match=re.escape(said)) as caught:
        selector(text)
    assert len(caught.value.problems) == 1


def test_all_problems_at_once():
    with pytest.raises(InvalidInput) as caught:
        parse_selectors(["tpp=8,backend=vlm", "tp=1", "replicas=0"])
    assert len(caught.value.problems) == 3


@given(st.text(max_size=30))
def test_any_text_is_a_layout_or_an_error(text):
    with contextlib.suppress(InvalidInput):
        assert selector(text).text == text


def test_the_answer_is_plain_data():
    import msgspec

    data = msgspec.to_builtins(answer("tp=8", question()))
    assert json.loads(json.dumps(data))["verdict"] in ("considered", "picked")
