"""Layouts, counts, pick and front of 200 random spaces of up to 16 GPUs equal plain loops over everything that exists.

The loops here enumerate degrees of parallelism, put workers on nodes one by one, and judge every layout at every
batch. What one layout does at one batch is taken from the sweep's own arrays, built for that layout alone;
`test_search_bruteforce` and `test_search_against_engine` hold that arithmetic.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pytest
from search_fakes import FormulaEstimator, dense_facts, inventory, mla_facts, moe_facts, placed, pool

from armature.errors import NothingFits
from armature.model.facts import Quantisation
from armature.model.memory import fit
from armature.model.parallelism import Parallelism
from armature.model.splits import splits
from armature.perf.estimate import EngineSpec
from armature.search import known, operating
from armature.search.considered import considered
from armature.search.engines import engines_for
from armature.search.operating import CHUNK_TOKENS, Engine
from armature.search.pareto import pareto_front
from armature.search.pick import best_first
from armature.search.placement import Counts
from armature.search.question import Question
from armature.search.rapid import sweep
from armature.search.surface import Surface, agg_surface, disagg_surface, sender
from armature.search.sweep import points, worst_ratio
from armature.workload.shape import Sla, Workload

DEGREES = (1, 2, 4, 8, 16)
GRID = np.array([0.005, 0.03, 0.1, 0.3, 0.6, 0.9, 1, 2, 4, 9, 20, 48, 120, 300])


def coarse_grid(largest: int):
    """The shape of `batch_grid` with a seventh of its batches, for the loops' sake."""
    return np.append(GRID[largest > GRID], largest)


class Row(NamedTuple):
    """A layout at one operating point; `miss` is its worst ratio of predicted to target or asked to carried load."""

    gpus: int
    disaggregated: bool
    stages: int
    rate: float
    ttft_ms: float
    itl_ms: float
    e2e_ms: float
    miss: float
    why: str


def judged(sla: Sla, ttft_ms: float, itl_ms: float, e2e_ms: float, served: float = 1.0) -> tuple[float, str]:
    """(worst ratio, what it is of)."""
    worst, why = 1 / max(served, 1e-9), "carry_too_little"
    for name, predicted, target in (
        ("miss_itl_ms", itl_ms, sla.itl_ms),
        ("miss_ttft_ms", ttft_ms, sla.ttft_ms),
        ("miss_e2e_ms", e2e_ms, sla.e2e_ms),
    ):
        if target is not None and predicted / target > worst:
            worst, why = predicted / target, name
    return worst, why


# --- what exists


def shapes(facts, gpus) -> Iterator[list[Parallelism]]:
    """Sets of parallelisms: the usual ones, then pipelines over two to four nodes, then over up to eight."""
    node = gpus.gpus_per_node
    if not facts.is_moe:
        two = itertools.product(DEGREES, (1, 2, 4))
        yield [Parallelism(tp=tp, pp=pp) for tp, pp in two if tp * pp <= node]
        tp = max(t for t in DEGREES if t <= node and facts.attention.heads % t == 0)
        for stages in ((2, 3, 4), (5, 6, 7, 8), range(9, 17)):
            yield [Parallelism(tp=tp, pp=pp) for pp in stages]
        return
    found = set()
    for tp, dp, etp, ep in itertools.product(DEGREES, repeat=4):
        width = tp * dp
        if width != etp * ep or width > 16:
            continue
        by_expert = ep == width and (tp <= node or dp == 1)
        by_tensor = etp == width and (facts.attention.kind != "mla" if dp == 1 else width <= node)
        mixed = etp > 1 and ep > 1 and 1 in (tp, dp) and width <= node
        if by_expert or by_tensor or mixed:
            found.add(Parallelism(tp=tp, dp=dp, moe_tp=etp, moe_ep=ep))
    for nodes in (4, 8, 16):
        yield [
            p
            for p in found
            if (nodes == 4 and p.gpus <= 4 * node) or nodes / 2 * node < p.gpus <= nodes * node
        ]


def has(backend: str, p: Parallelism) -> bool:
    if backend == "vllm":
        return not (p.moe_tp > 1 and p.moe_ep > 1)
    return not (backend == "trtllm" and p.tp > 1 and p.dp > 1)


def hands_over(backend: str, p: Parallelism, d: Parallelism) -> bool:
    if backend == "vllm":
        return p.pp == 1 and d.pp == 1
    return backend == "trtllm" or d.pp == 1 or d.pp == p.pp


def placeable(gpus, workers: list[int]) -> bool:
    return placed(gpus.gpus, gpus.gpus_per_node, tuple(workers))


@dataclass(frozen=True)
class Worker:
    engine: Engine
    fits: bool
    fits_prompt: bool
    linked: bool


def workers(question: Question, estimator) -> list[Worker]:
    facts, w, found = question.facts, question.workload, []
    for gpus in question.inventory.pools:
        kv = "fp8" if facts.quantisation.kv == "fp8" and "fp8" in gpus.gpu.flops else "bf16"

        def room(p, tokens, gpus=gpus, kv=kv):
            size = {"sequence_tokens": tokens, "prefill_tokens": CHUNK_TOKENS}
            return fit(facts, p, vram_bytes=gpus.gpu.vram_bytes, kv_dtype=kv, **size)

        here: list[Parallelism] = []
        for more in shapes(facts, gpus):
            here += [p for p in more if splits(facts, p) and placeable(gpus, [p.gpus])]
            if any(room(p, w.isl + w.osl).fits for p in here):
                break
        in_node = any(room(p, w.isl + w.osl).fits and p.gpus <= gpus.gpus_per_node for p in here)
        for p, backend in itertools.product(here, question.backends):
            if has(backend, p):
                whole, prompt = room(p, w.isl + w.osl), room(p, w.isl + 1)
                times = estimator.engine(EngineSpec(facts, gpus.gpu, backend, p, kv))
                lonely = p.gpus > gpus.gpus_per_node and in_node and not (gpus.rdma or question.assume_rdma)
                engine = Engine(backend, gpus, p, kv, times, whole if whole.fits else prompt)
                found.append(Worker(engine, whole.fits, prompt.fits, not lonely))
    return found


def counts_held(a: Engine, b: Engine | None) -> Iterator[tuple[int, int]]:
    """Counts of a (and of b beside it) that can be placed."""
    for n in range(1, 17):
        if not placeable(a.pool, [a.gpus] * n):
            return
        if b is None:
            yield n, 0
            continue
        for m in range(1, 17):
            together = [a.gpus] * n + [b.gpus] * m
            if not (placeable(a.pool, together) if a.pool is b.pool else placeable(b.pool, [b.gpus] * m)):
                break
            yield n, m


# --- what each layout does


def rows_of(layouts: Surface, question: Question) -> Iterator[list[Row]]:
    """For each layout of the surface, its operating points."""
    w, sla, split = question.workload, question.sla, bool(layouts.prefill[0] >= 0)
    if question.loaded:
        at = points(layouts, w, sla)
        for i in range(len(at)):
            rate, ttft, itl, e2e, served = (
                float(getattr(at, n)[i]) for n in ("rate", "ttft_ms", "itl_ms", "e2e_ms", "served")
            )
            fixed = int(at.gpus[i]), split, int(at.stages[i])
            yield [Row(*fixed, rate, ttft, itl, e2e, *judged(sla, ttft, itl, e2e, served))]
        return
    table = [a.tolist() for a in (layouts.rate, *layouts.means(), layouts.busy)]
    one = layouts.batch.tolist().index(1.0)
    for i, limit in enumerate(layouts.rate_limit.tolist()):
        fixed = int(layouts.gpus[i]), split, int(layouts.stages[i])
        made, fine = [], False
        for at, (rate, ttft, itl, busy) in reversed(
            list(enumerate(zip(*(c[i] for c in table), strict=True)))
        ):
            if rate <= limit and (at >= one or (not fine and busy >= 0.1)):
                e2e = ttft + (w.osl - 1) * itl
                made.append(Row(*fixed, rate, ttft, itl, e2e, *judged(sla, ttft, itl, e2e)))
                fine |= at == one and made[-1].miss <= 1 and sla.optimize == "throughput"
        yield made


def everything(question: Question, estimator) -> tuple[Counter, list[list[Row]]]:
    """(layouts by what removed them, operating points of each of the others)."""
    found, removed, rows = workers(question, estimator), Counter(), []
    w = question.workload
    senders = [sender(0, x.engine, w, question.facts) for x in found]
    for x in found:
        held = list(counts_held(x.engine, None))
        if not x.fits:
            removed["do_not_fit"] += len(held)
        elif not x.linked:
            removed["cross_nodes_without_rdma"] += len(held)
        else:
            whole = agg_surface(0, x.engine, w)
            assert [n for n, _ in held] == whole.main_count.tolist()
            rows += rows_of(whole, question)
    for (x, side), y in itertools.product(zip(found, senders, strict=True), found) if w.osl > 1 else ():
        p, d = x.engine, y.engine
        if p.backend != d.backend:
            continue
        held = list(counts_held(p, d))
        if not x.fits_prompt or not y.fits:
            removed["do_not_fit"] += len(held)
            continue
        if p.kv_dtype != d.kv_dtype or not hands_over(p.backend, p.parallelism, d.parallelism):
            removed["cannot_hand_over"] += len(held)
            continue
        near = [p.pool is d.pool and n * p.gpus + m * d.gpus <= p.pool.gpus_per_node for n, m in held]
        linked = question.assume_rdma or (p.pool.rdma and d.pool.rdma)
        kept = [at for at, close in enumerate(near) if x.linked and y.linked and (linked or close)]
        removed["cross_nodes_without_rdma"] += len(held) - len(kept)
        if kept:
            n, m = np.array([held[at] for at in kept]).T
            layouts = Counts(n, m, n * p.gpus + m * d.gpus, np.array([near[at] for at in kept]))
            rows += rows_of(disagg_surface([(side, layouts)], 0, d, w), question)
    return removed, rows


# --- what is best


def best(rows: list[Row], question: Question) -> tuple[float, ...]:
    """(worst ratio if missed, GPUs, disaggregated?, stages, end-to-end latency) of the pick."""
    met = [row for row in rows if row.miss <= 1 + 1e-9]
    missed = not met
    if missed:
        least = min(row.miss for row in rows)
        met = [row for row in rows if row.miss < least * 1.01]
    if question.loaded and question.sla.optimize == "throughput":
        fewest = min(row.gpus for row in met)
        met = [row for row in met if row.gpus == fewest]
    by_rate = not question.loaded and question.sla.optimize == "throughput"
    cost = (lambda row: 1 / row.rate) if by_rate else (lambda row: row.e2e_ms)
    least = min(map(cost, met))
    near = [row for row in met if cost(row) < least * 1.01]
    row = min(near, key=lambda r: (r.gpus, r.disaggregated, r.stages, r.e2e_ms))
    return (row.miss if missed else 0.0, row.gpus, row.disaggregated, row.stages, row.e2e_ms)


def front(rows: list[Row], question: Question) -> list[tuple[float, float]]:
    """Tokens/s/user and tokens/s/GPU of what meets the targets and nothing else beats, by rising x."""
    total, osl = question.inventory.total_gpus, question.workload.osl
    met = {
        (1000 / row.itl_ms, row.rate * osl / (row.gpus if question.loaded else total))
        for row in rows
        if row.miss <= 1
    }
    kept, highest = [], -math.inf
    for x, y in sorted(met, reverse=True):
        if y > highest:
            kept.append((x, y))
            highest = y
    return kept[::-1]


# --- random spaces


def random_question(seed: int) -> tuple[Question, FormulaEstimator]:
    rng = random.Random(seed)
    facts = rng.choice([dense_facts, moe_facts, mla_facts])()
    if rng.random() < 0.2:
        facts = replace(facts, quantisation=Quantisation(kv="fp8"))
    first = rng.randint(1, 16)
    pools = [
        pool(first, rng.choice([2, 4, 8]), rng.choice(["h200_sxm", "h100_sxm"]), rdma=rng.random() < 0.5)
    ]
    if first < 16 and rng.random() < 0.6:
        size = rng.choice([4, 8])
        pools.append(
            pool(rng.randint(1, 16 - first), size, rng.choice(["a100_sxm", "l40s"]), rdma=rng.random() < 0.5)
        )
    load = rng.choice(["none", "none", "rate", "concurrency"])
    w = Workload(
        isl=rng.choice([128, 1000, 4000, 20000]),
        osl=rng.choice([1, 2, 50, 1000]),
        request_rate=rng.uniform(0.1, 40) if load == "rate" else None,
        concurrency=rng.uniform(1, 500) if load == "concurrency" else None,
    )
    target = rng.choice(["none", "both", "both", "e2e"])
    sla = Sla(
        ttft_ms=rng.uniform(20, 1500) if target == "both" else None,
        itl_ms=rng.uniform(3, 60) if target == "both" else None,
        e2e_ms=rng.uniform(200, 30000) if target == "e2e" else None,
        optimize=rng.choice(["throughput", "throughput", "latency"]),
    )
    backends = tuple(rng.sample(["vllm", "sglang", "trtllm"], rng.choice([1, 1, 1, 2])))
    question = Question(
        "random", facts.name, facts, inventory(*pools), w, sla, backends, assume_rdma=rng.random() < 0.6
    )
    return question, FormulaEstimator(rng.uniform(0.5, 3), rng.uniform(0.2, 1.0))


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(at, at + 20), id=str(at), marks=[pytest.mark.slow] if at >= 20 else [])
        for at in range(0, 200, 20)
    ],
)
def test_the_whole_space_equals_loops_over_it(seeds, monkeypatch):
    """Issue 4 §1. Each layout once in the counts; the same pick; the same front of what meets the targets."""
    monkeypatch.setattr(operating, "batch_grid", coarse_grid)
    monkeypatch.setattr(known, "batch_grid", coarse_grid)
    for seed in seeds:
        question, estimator = random_question(seed)
        sla = question.sla
        removed, layouts = everything(question, estimator)
        rows = [row for layout in layouts for row in layout]
        if not rows:
            with pytest.raises(NothingFits):
                engines_for(question, estimator)
            continue
        swept = sweep(question, engines_for(question, estimator))

        for layout in layouts:
            closest = min(
                layout, key=lambda row: row.miss, default=None
            )  # None: prefill is too slow for any point
            good = closest is not None and closest.miss <= 1 + 1e-9
            removed["meet_everything" if good else closest.why if closest else "carry_too_little"] += 1
        found = considered(question, swept.engines, swept.verdicts)
        assert found.pop("layouts") == removed.total(), seed
        assert {k: v for k, v in found.items() if v} == {k: v for k, v in removed.items() if v}, seed

        at = swept.points
        row = int(best_first(at, question.workload, sla)[0])
        ratio = float(worst_ratio(at, sla)[row])
        ours = (at.gpus[row], at.prefill[row] >= 0, at.stages[row], at.e2e_ms[row])
        expected = best(rows, question)
        assert (ratio if ratio > 1 + 1e-9 else 0.0, *ours) == pytest.approx(expected, rel=1e-6), seed

        met = worst_ratio(at, sla) <= 1
        x, y = (values[met] for values in swept.front_xy)
        kept = pareto_front(x, y)
        assert np.allclose(
            np.column_stack([x[kept], y[kept]]), np.array(front(rows, question)).reshape(-1, 2), rtol=1e-9
        ), seed


def test_the_random_spaces_are_of_every_kind():
    asked = [random_question(seed)[0] for seed in range(200)]
    assert sum(len(q.inventory.pools) == 2 for q in asked) > 60
    assert max(q.inventory.total_gpus for q in asked) == 16
    assert {q.facts.attention.kind for q in asked} == {"gqa", "mla"}
    assert sum(q.loaded for q in asked) > 60 and sum(not q.assume_rdma for q in asked) > 40
