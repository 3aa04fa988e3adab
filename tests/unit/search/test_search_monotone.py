"""What must hold whatever the numbers: more GPUs, looser targets and lighter loads never make a plan worse."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_ask import request_for
from search_fakes import FormulaEstimator, FormulaTimes, dense_facts, inventory, moe_facts, pool

from armature.model.memory import fit
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec
from armature.perf.queueing import MAX_UTILISATION
from armature.perf.roofline import RooflineEstimator
from armature.search.candidates import Swept
from armature.search.operating import CHUNK_TOKENS, Engine, prefill_ms
from armature.search.pick import EQUAL
from armature.search.placement import pair_counts, worker_slots
from armature.search.profile import Candidate
from armature.search.question import question_of
from armature.search.rapid import profile_of
from armature.search.surface import Surface, agg_surface, disagg_surface, sender
from armature.search.sweep import points
from armature.search.vary import Ask, pick_of
from armature.workload.shape import Sla, Workload

FACTS = {"dense": dense_facts(), "moe": moe_facts()}
ESTIMATORS = {"formula": FormulaEstimator(), "roofline": RooflineEstimator()}
ASK = {name: Ask(estimator) for name, estimator in ESTIMATORS.items()}
SPACES = st.tuples(st.sampled_from(sorted(FACTS)), st.sampled_from(sorted(ESTIMATORS)))
LENGTHS = st.tuples(st.sampled_from([1, 100, 2000, 10_000, 30_000]), st.sampled_from([1, 2, 16, 400]))
RATES = st.sampled_from([0.02, 0.5, 3.0, 12.0, 40.0, 300.0])
some = settings(max_examples=25, deadline=None)


def pick(
    space: tuple[str, str], gpus: int, lengths: tuple[int, int], asked: str = "{}", second: int = 0
) -> Candidate:
    """asked: JSON of `sla` and `load`. second: GPUs of another SKU."""
    return pick_of(swept(space, gpus, lengths, asked, second))


@cache
def swept(space: tuple[str, str], gpus: int, lengths: tuple[int, int], asked: str, second: int) -> Swept:
    facts, estimator = space
    spec = json.loads(asked)
    request = request_for(
        model=FACTS[facts].name,
        backend="trtllm",
        workload={"isl": lengths[0], "osl": lengths[1], **spec.get("load", {})},
        sla=spec.get("sla", {}),
    )
    pools = inventory(pool(gpus, 8), *([pool(second, 4, "a100_sxm")] if second else []))
    return ASK[estimator](question_of(request, pools, FACTS[facts]))


def not_worse(new: Candidate, old: Candidate, load: bool, latency: bool) -> None:
    """By the rule of the pick, with the 1 % that counts as equal."""
    assert new.meets_sla >= old.meets_sla
    if not old.meets_sla:
        return
    if latency:
        assert new.e2e_ms.value <= (1 + EQUAL) * old.e2e_ms.value
    elif load:
        assert new.gpus <= old.gpus
    else:
        assert new.tokens_per_s >= old.tokens_per_s / (1 + EQUAL)


@some
@given(
    SPACES,
    LENGTHS,
    st.sampled_from([1, 2, 3, 7, 8, 12]),
    st.sampled_from([1, 4, 8]),
    st.none() | RATES,
    st.booleans(),
)
def test_more_gpus_never_make_a_plan_worse(space, lengths, gpus, more, rate, latency):
    sla = {"ttft": 3000, "itl": 60, "optimizationType": "latency" if latency else "throughput"}
    asked = json.dumps({"sla": sla, "load": {} if rate is None else {"requestRate": rate}})
    old, new = (pick(space, n, lengths, asked) for n in (gpus, gpus + more))
    not_worse(new, old, rate is not None, latency)


@some
@given(
    SPACES,
    LENGTHS,
    st.sampled_from([1, 4, 8]),
    st.sampled_from([(0, 1), (0, 4), (1, 2), (2, 3), (3, 4), (4, 8)]),
    st.none() | RATES,
    st.booleans(),
)
def test_gpus_of_another_kind_never_make_a_plan_worse(space, lengths, gpus, second, rate, latency):
    sla = {"ttft": 3000, "itl": 60, "optimizationType": "latency" if latency else "throughput"}
    asked = json.dumps({"sla": sla, "load": {} if rate is None else {"requestRate": rate}})
    old, new = (pick(space, gpus, lengths, asked, n) for n in second)
    not_worse(new, old, rate is not None, latency)


@some
@given(
    SPACES,
    LENGTHS,
    st.sampled_from([0, 1, 4]),
    st.sampled_from([{}, {"ttft": 900, "itl": 25}, {"e2eLatency": 6000}]),
    st.sampled_from([{}, {"requestRate": 4}, {"concurrency": 60}]),
    st.booleans(),
)
def test_no_pick_is_dominated_by_what_meets_the_sla(space, lengths, second, sla, load, latency):
    """Nothing of no more GPUs and stages has the goal by more than the 1 % that counts as equal, nothing with the same
    goal fewer GPUs; and where anything meets the SLA, so does the pick."""
    asked = json.dumps(
        {"sla": sla | {"optimizationType": "latency" if latency else "throughput"}, "load": load}
    )
    made = profile_of(swept(space, 8, lengths, asked, second))
    good = [c for c in made.candidates if c.meets_sla]
    assert made.picked.meets_sla or not good

    def cost(c: Candidate) -> float:
        return c.e2e_ms.value if latency or load else 1 / c.tokens_per_s

    fewest = bool(load) and not latency
    for other in good:
        assert not (fewest and other.gpus < made.picked.gpus)
        assert cost(other) >= cost(made.picked) / (1 + EQUAL) or (fewest and other.gpus > made.picked.gpus)
        assert other.gpus >= made.picked.gpus or cost(other) > cost(made.picked)


@some
@given(
    SPACES,
    LENGTHS,
    st.sampled_from(["ttft", "itl", "e2eLatency"]),
    st.sampled_from([3, 20, 150, 900, 6000]),
    st.sampled_from([1.1, 2, 10]),
    st.sampled_from([{}, {"requestRate": 4}, {"concurrency": 60}]),
    st.booleans(),
    st.sampled_from([0, 0, 3]),
)
def test_a_looser_target_never_makes_a_plan_worse(
    space, lengths, target, value, factor, load, latency, second
):
    kind = {"optimizationType": "latency" if latency else "throughput"}
    old, new = (
        pick(space, 8, lengths, json.dumps({"sla": {target: v, **kind}, "load": load}), second)
        for v in (value, value * factor)
    )
    not_worse(new, old, bool(load), latency)


@some
@given(
    SPACES,
    LENGTHS,
    st.sampled_from(["requestRate", "concurrency"]),
    RATES,
    st.sampled_from([1.05, 1.5, 10]),
    st.booleans(),
)
def test_a_lighter_load_never_makes_a_plan_worse(space, lengths, kind, load, factor, latency):
    sla = {"ttft": 4000, "itl": 80, "optimizationType": "latency" if latency else "throughput"}
    old, new = (
        pick(space, 12, lengths, json.dumps({"load": {kind: n}, "sla": sla})) for n in (load * factor, load)
    )
    not_worse(new, old, True, latency)


def engine(space: tuple[str, str], tokens: int) -> Engine:
    facts, gpus = FACTS[space[0]], pool(8)
    shape = Parallelism(tp=2, moe_tp=2) if facts.is_moe else Parallelism(tp=2)
    times = ESTIMATORS[space[1]].engine(EngineSpec(facts, gpus.gpu, "vllm", shape))
    room = fit(
        facts,
        shape,
        vram_bytes=gpus.gpu.vram_bytes,
        sequence_tokens=tokens,
        prefill_tokens=CHUNK_TOKENS,
        kv_dtype="bf16",
    )
    return Engine("vllm", gpus, shape, "bf16", times, room)


def split_surface(e: Engine, w: Workload, facts) -> Surface:
    """Disaggregated layouts of one engine in both roles."""
    slots = worker_slots(e.pool)
    return disagg_surface(
        [(sender(0, e, w, facts), pair_counts(slots, e.gpus, slots, e.gpus, shared=True))], 0, e, w
    )


@some
@given(
    SPACES, st.integers(1, 30_000), st.integers(1, 10_000), st.sampled_from([1, 2, 16, 400]), st.booleans()
)
def test_a_longer_prompt_never_has_a_sooner_first_token(space, isl, more, osl, disaggregated):
    """The same layout at the same rate, the longer prompts' capacity permitting."""
    found = []
    for tokens in (isl, isl + more):
        w = Workload(isl=tokens, osl=osl, request_rate=0.5)
        e = engine(space, tokens + osl)
        surface = agg_surface(0, e, w)
        if disaggregated:
            surface = split_surface(e, w, FACTS[space[0]])
        found.append(points(surface, w, Sla()))
    short, long = found
    carried = long.served >= 1
    assert (short.served >= long.served - 1e-9).all()
    assert (short.ttft_ms <= long.ttft_ms * (1 + 1e-9))[carried].all()
    assert (short.unloaded_ttft_ms <= long.unloaded_ttft_ms * (1 + 1e-9)).all()


@pytest.mark.parametrize("osl", [1, 2, 300])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9])
def test_the_wait_of_light_and_heavy_loads_is_kingmans_at_that_load(share, osl):
    """Between an empty server and one request in flight lies all of prefill's capacity when answers are short."""
    e = engine(("dense", "formula"), 8000 + osl)
    alone = prefill_ms(e, Workload(isl=8000, osl=osl))
    w = Workload(isl=8000, osl=osl, request_rate=share * 1000 / alone)
    wait = share / (1 - share) / 2 * alone
    if osl > 1:
        split = points(split_surface(e, w, FACTS["dense"]), w, Sla())
        one = (split.prefill_count == 1) & (split.served >= 1)
        assert one.any()
        assert split.ttft_ms[one] == pytest.approx(np.full(one.sum(), alone + wait))
    else:
        whole = points(agg_surface(0, e, w), w, Sla())
        assert whole.ttft_ms[0] == pytest.approx(alone + wait, rel=0.01)  # 192 tokens of a chunk are to spare


@pytest.mark.parametrize("osl", [1, 2, 16])
def test_short_answers_are_planned_for_below_one_request_in_flight(osl):
    """Prefill is all the work: a server that is never idle has no bounded wait, one that is now and then has."""
    asked = {"sla": {"ttft": 1500}}
    found = pick(("dense", "roofline"), 8, (30_000, osl), json.dumps(asked))
    assert found.meets_sla
    assert found.ttft_ms.value > 1.1 * found.unloaded_ttft_ms, "some of the target is spent on waiting"


@pytest.mark.parametrize("osl", [1, 16, 300])
def test_a_fixed_number_in_flight_is_carried_until_memory_is_full(osl):
    e = engine(("dense", "formula"), 8000 + osl)
    for asked in (1.0, 4.0, 0.9 * e.max_batch):
        w = Workload(isl=8000, osl=osl, concurrency=asked)
        one = points(agg_surface(0, e, w), w, Sla())
        assert one.served[0] == 1.0
        assert one.concurrency[0] == pytest.approx(asked, rel=0.02)


def test_prefill_is_never_loaded_beyond_its_limit():
    e = engine(("dense", "formula"), 10_000)
    w = Workload(isl=8000, osl=2, request_rate=1e6)
    split = points(split_surface(e, w, FACTS["dense"]), w, Sla())
    capacity = 1000 * split.prefill_count / prefill_ms(e, w)
    assert (split.rate <= MAX_UTILISATION * capacity * (1 + 1e-9)).all()


@dataclass(frozen=True)
class Hosted(FormulaTimes):
    """Step times of an engine whose host takes its time over each request."""

    host_ms: float = 40.0


@pytest.mark.parametrize("disaggregated", [False, True])
def test_the_hosts_share_is_in_every_first_token_and_in_nothing_else(disaggregated):
    w = Workload(isl=1000, osl=100, request_rate=3.0)
    plain, hosted = (
        replace(engine(("dense", "formula"), 1100), times=times) for times in (FormulaTimes(), Hosted())
    )
    found = [
        points(split_surface(e, w, FACTS["dense"]) if disaggregated else agg_surface(0, e, w), w, Sla())
        for e in (plain, hosted)
    ]
    assert found[1].ttft_ms == pytest.approx(found[0].ttft_ms + 40.0)
    assert found[1].unloaded_ttft_ms == pytest.approx(found[0].unloaded_ttft_ms + 40.0)
    assert found[1].rate == pytest.approx(found[0].rate)
    assert found[1].itl_ms == pytest.approx(found[0].itl_ms)
