"""What is kept between sweeps changes how often something is worked out, never what is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from search_ask import question
from search_fakes import FormulaEstimator, moe_facts, pool

from armature.perf.choose import AutoEstimator
from armature.perf.estimate import EngineSpec
from armature.search import rapid
from armature.search.considered import surfaces
from armature.search.engines import engines_for
from armature.search.known import Known
from armature.search.rapid import profile_of, sweep
from armature.search.relax import relaxations
from armature.search.surface import work_out_usable
from armature.search.vary import Ask, pick_of

TARGETS = {"ttft_ms": 900.0, "itl_ms": 20.0}


class NewEngines(FormulaEstimator):
    """Another object each time: nothing that is known of one is of use for the next."""

    def engine(self, spec):
        return replace(super().engine(spec))


def test_each_engine_and_each_length_is_worked_out_once():
    asked = question(pool(4), sla=TARGETS)
    engine = engines_for(asked, FormulaEstimator()).mains[0]
    longer = replace(asked.workload, osl=asked.workload.osl + 1)
    known, made = Known(), []

    def work_out(engine, workload):
        made.append((engine, workload))
        return len(made)

    faster = replace(engine, times=replace(engine.times))
    asks = [(engine, asked.workload), (replace(engine), asked.workload), (engine, longer), (faster, longer)]
    assert [known.of(work_out, *ask) for ask in asks] == [1, 1, 2, 3]
    assert known.of(lambda *ask: "another", engine, longer) == "another"


@pytest.mark.parametrize("load", [{}, {"request_rate": 3.0}, {"concurrency": 24.0}])
def test_relaxations_are_the_same_with_what_the_first_sweep_knew(load):
    asked, estimator = question(pool(4), sla=TARGETS, **load), FormulaEstimator()
    swept = sweep(asked, engines_for(asked, estimator))
    afresh = relaxations(swept, Ask(NewEngines()))
    assert relaxations(swept, Ask(estimator, swept.engines.known)) == afresh
    assert afresh


@pytest.mark.parametrize("sla", [TARGETS, {"ttft_ms": 1.0, "itl_ms": 1.0}])
@pytest.mark.parametrize("load", [{}, {"request_rate": 3.0}])
def test_surfaces_that_are_too_many_to_keep_are_made_again(monkeypatch, sla, load):
    asked = question(pool(4), sla=sla, **load)
    engines = engines_for(asked, FormulaEstimator())
    kept = sweep(asked, engines)
    monkeypatch.setattr(rapid, "MOST_CELLS", 0)
    again = sweep(asked, engines)
    assert kept.surfaces[0]() is kept.surfaces[0]()
    assert again.surfaces[0]() is not again.surfaces[0]()
    assert profile_of(again) == profile_of(kept)


def test_the_estimator_gives_one_engine_once():
    asked = question(pool(4))
    estimator = AutoEstimator()
    first, second = (engines_for(asked, estimator).mains[0] for _ in range(2))
    assert first.times is second.times
    spec = EngineSpec(asked.facts, first.pool.gpu, first.backend, first.parallelism, "bf16")
    assert estimator.engine(spec) is estimator.engine(replace(spec))


@pytest.mark.parametrize("optimize", ["throughput", "latency"])
@pytest.mark.parametrize("load", [{}, {"request_rate": 3.0}])
@pytest.mark.parametrize(
    "sla",
    [
        {},
        TARGETS,
        {"itl_ms": 9.0},
        {"ttft_ms": 150.0},
        {"e2e_ms": 4000.0},
        {"ttft_ms": 1.0, "itl_ms": 1.0},
        {"ttft_ms": 120.0, "itl_ms": 30.0, "e2e_ms": 9000.0},
    ],
)
def test_contenders_hold_the_pick(sla, load, optimize):
    """The same pick as of the whole sweep, made anew or on its surfaces, whether something meets the targets or not."""
    ask = Ask(FormulaEstimator())
    for gpus in (1, 3, 8):
        asked = question(pool(gpus), sla=sla, backends=("vllm", "sglang"), **load)
        asked = replace(asked, sla=replace(asked.sla, optimize=optimize))
        whole = ask(asked)
        assert pick_of(ask.contenders(asked)) == pick_of(whole)
        other = replace(asked, sla=asked.sla.loosened(1.3))
        assert pick_of(rapid.contenders_again(whole, other.sla)) == pick_of(ask(other))


def test_contenders_are_few():
    asked = question(pool(8), sla=TARGETS)
    ask = Ask(FormulaEstimator())
    assert len(ask.contenders(asked).points) < len(ask(asked).points) / 10


@pytest.mark.parametrize("isl", [500, 6000, 12000])
def test_surfaces_worked_out_together_are_as_each_alone_is(isl):
    """And where they are usable, as the whole of each is: of lanes that step alone and of ranks that step together."""
    asked = question(facts=moe_facts(), backends=("vllm", "sglang"), isl=isl, osl=150)
    engines = engines_for(asked, FormulaEstimator())
    several = list(surfaces(asked, engines))
    work_out_usable(several)
    for together, alone, whole in zip(
        several, surfaces(asked, engines), surfaces(asked, engines), strict=True
    ):
        usable = whole.usable
        assert usable.any() and not usable.all()
        for of_several, of_one, of_all in zip(
            together.usable_means(), alone.usable_means(), whole.means(), strict=True
        ):
            np.testing.assert_allclose(of_several, of_one, rtol=1e-12)
            np.testing.assert_allclose(of_several[usable], of_all[usable], rtol=1e-12)


@pytest.mark.parametrize("isl", [500, 6000, 12000])
def test_percentiles_do_not_depend_on_what_else_is_kept(isl):
    asked = question(facts=moe_facts(), backends=("vllm", "sglang"), isl=isl, osl=150, request_rate=4.0)
    swept = sweep(asked, engines_for(asked, FormulaEstimator()))
    rows = list(range(0, len(swept.points), max(1, len(swept.points) // 40)))
    for row, kept in zip(rows, swept.candidates(rows), strict=True):
        (alone,) = swept.candidates([row])
        for name in ("ttft_p50_ms", "ttft_p95_ms", "itl_p50_ms", "itl_p95_ms"):
            assert getattr(kept, name).value == pytest.approx(getattr(alone, name).value, rel=1e-9)
