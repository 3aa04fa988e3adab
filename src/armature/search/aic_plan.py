"""`--objective aic`: the Profile of what AIConfigurator 0.12 would choose (`aic`), for the same request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from msgspec import structs

from armature.api import v1beta1
from armature.errors import InvalidInput, NothingFits, Problem
from armature.hardware.inventory import Inventory, Pool
from armature.model.facts import ModelFacts
from armature.model.parallelism import Parallelism
from armature.perf.estimate import Backend, EngineSpec, Estimator, StepTimes
from armature.search.aic import Row, StepsOf, aic_rows
from armature.search.candidates import Swept
from armature.search.engines import Engines, worker_fit
from armature.search.operating import Engine, prefill_ms
from armature.search.profile import Profile
from armature.search.question import Question, question_of
from armature.search.rapid import profile_of, request_document
from armature.search.sweep import Points, Verdicts
from armature.workload.trace import Trace

__all__ = ["TimesAsSteps", "aic_profile"]

MOST_ROWS = 400
DEFAULT_TTFT_MS, DEFAULT_TPOT_MS = 2000.0, 30.0
_NOTE = (
    "Chosen as AIConfigurator 0.12 does (--objective aic): its formulas and rules on {steps}. docs/search.md says "
    "where they differ from ours."
)


class TimesAsSteps:
    """Any step times as AIConfigurator asks for them, for GPUs of which the library has no tables."""

    def __init__(self, times: StepTimes) -> None:
        self._times = times

    def context_ms(self, batch: int, isl: int) -> float:
        return float(self._times.prefill_ms(isl, batch))

    def generation_ms(self, batch: int, isl: int, osl: int) -> float:
        return (osl - 1) * self.decode_ms(batch, isl, osl)

    def mixed_ms(self, context_tokens: int, decoding: int, isl: int, osl: int) -> float:
        return float(self._times.mixed_ms(context_tokens, decoding, isl + osl // 2 + 1))

    def decode_ms(self, batch: int, isl: int, osl: int) -> float:
        return float(self._times.decode_ms(batch, isl + osl // 2 + 1))


def aic_profile(
    request: v1beta1.DynamoGraphDeploymentRequest,
    inventory: Inventory,
    facts: ModelFacts,
    trace: Trace | None,
    estimator: Estimator,
    steps_of: StepsOf | None = None,
    *,
    prices: Mapping[str, float] | None = None,
) -> Profile:
    """What AIConfigurator would choose. steps_of: step times to choose by; the estimator's where None.

    Each pool and backend is searched on its own, as that command line does, and the one with the most tokens/s wins.
    Raises InvalidInput for what it cannot be asked, NothingFits where it finds nothing.
    """
    question = question_of(request, inventory, facts, prices=prices, trace=trace)
    _require_known(question)
    own = steps_of or (lambda spec: TimesAsSteps(estimator.engine(spec)))
    found = sorted(_all_rows(question, own), key=lambda each: (not each[3], -each[2].cluster * each[0].gpus))
    if not found:
        raise NothingFits(
            f"AIConfigurator's rules find no layout of {facts.name} within TTFT "
            f"{question.sla.ttft_ms or DEFAULT_TTFT_MS:g} ms that it has tables for.",
            "Leave --objective out, or loosen the target.",
        )
    swept = _swept(question, estimator, [(pool, backend, row) for pool, backend, row, _ in found[:MOST_ROWS]])
    made = profile_of(swept, np.arange(len(swept.points)))
    steps = "the library's step times, unmended" if steps_of else f"the step times of {estimator.name}"
    notes = (_NOTE.format(steps=steps), *_assumed(question), *made.notes)
    return structs.replace(made, notes=notes, request=request_document(request), estimator=estimator.name)


def _require_known(question: Question) -> None:
    """Raises InvalidInput for what AIConfigurator's default command has no word for."""
    w, sla = question.workload, question.sla
    asked = {
        "spec.workload.requestRate": w.request_rate,
        "spec.workload.concurrency": w.concurrency,
        "spec.workload.traceRef": question.trace,
        "spec.speculation": question.speculation,
        "spec.sla.optimizationType": sla.optimize if sla.optimize != "throughput" else None,
    }
    mend = "leave it out, or leave --objective out"
    problems = [
        Problem(path, "is nothing that AIConfigurator's default choice takes into account", mend)
        for path, value in asked.items()
        if value is not None
    ]
    if w.osl < 2:
        problems.append(
            Problem("spec.workload.osl", "must be at least 2: it predicts no rate for less", mend)
        )
    if problems:
        raise InvalidInput("--objective aic", problems)


def _all_rows(question: Question, steps_of: StepsOf) -> Iterator[tuple[Pool, Backend, Row, bool]]:
    """(pool, backend, row, whether it meets the targets) of each search's best and everything else it looked at."""
    w, sla, facts = question.workload, question.sla, question.facts
    tpot = sla.itl_ms if sla.itl_ms is not None or sla.e2e_ms is not None else DEFAULT_TPOT_MS
    for pool in question.inventory.pools:
        kv_dtype = _kv_dtype(facts, pool)
        for backend in question.backends:

            def spec(
                p: Parallelism, pool: Pool = pool, backend: Backend = backend, kv: str = kv_dtype
            ) -> EngineSpec:
                return EngineSpec(facts, pool.gpu, backend, p, kv)

            for row in aic_rows(
                facts, backend, spec, steps_of, isl=w.isl, osl=w.osl, gpus=pool.gpus,
                ttft_ms=sla.ttft_ms or DEFAULT_TTFT_MS, tpot_ms=tpot, request_ms=sla.e2e_ms,
            ):  # fmt: skip
                met = row.tpot_ms <= (tpot or np.inf) and row.request_ms <= (sla.e2e_ms or np.inf)
                yield pool, backend, row, bool(met)


def _kv_dtype(facts: ModelFacts, pool: Pool) -> str:
    """It gives every FP8 checkpoint an FP8 cache."""
    return "fp8" if facts.quantisation.linear == "fp8" and pool.gpu.has_fp8 else "bf16"


def _assumed(question: Question) -> tuple[str, ...]:
    sla = question.sla
    assumed = []
    if sla.ttft_ms is None:
        assumed.append(f"TTFT {DEFAULT_TTFT_MS:g} ms")
    if sla.itl_ms is None and sla.e2e_ms is None:
        assumed.append(f"TPOT {DEFAULT_TPOT_MS:g} ms")
    return (f"Targets not stated are AIConfigurator's defaults: {' and '.join(assumed)}.",) if assumed else ()


def _swept(question: Question, estimator: Estimator, found: list[tuple[Pool, Backend, Row]]) -> Swept:
    """The rows as points of our engines, for everything that reads a sweep."""
    engines: dict[tuple[int, Backend, Parallelism], Engine] = {}

    def index(pool: Pool, backend: Backend, p: Parallelism) -> int:
        key = id(pool), backend, p
        if key not in engines:
            kv_dtype = _kv_dtype(question.facts, pool)
            times = estimator.engine(EngineSpec(question.facts, pool.gpu, backend, p, kv_dtype))
            engines[key] = Engine(backend, pool, p, kv_dtype, times, worker_fit(question, p, pool))
        return list(engines).index(key)

    mains = [index(pool, backend, row.main) for pool, backend, row in found]
    prefills = [-1 if r.prefill is None else index(pool, backend, r.prefill) for pool, backend, r in found]
    kept = list(engines.values())
    workload = question.workload
    alone = [prefill_ms(engine, workload) for engine in kept]
    unloaded = [float(engine.times.decode_ms(1.0, workload.mean_context)) for engine in kept]
    rows = [row for _, _, row in found]

    def floats(values: Iterator[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.fromiter(values, dtype=np.float64, count=len(rows))

    def ints(values: Iterator[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.fromiter(values, dtype=np.int64, count=len(rows))

    points = Points(
        main=ints(iter(mains)),
        prefill=ints(iter(prefills)),
        stages=np.ones(len(rows), dtype=np.int64),
        main_count=ints(r.mains * r.replicas for r in rows),
        prefill_count=ints(r.prefills * r.replicas for r in rows),
        gpus=ints(r.gpus * r.replicas for r in rows),
        batch=floats(float(r.batch) for r in rows),
        rate=floats(r.rate * r.replicas for r in rows),
        concurrency=floats(r.concurrency * r.replicas for r in rows),
        ttft_ms=floats(r.ttft_ms for r in rows),
        itl_ms=floats(r.tpot_ms for r in rows),
        e2e_ms=floats(r.request_ms for r in rows),
        unloaded_ttft_ms=floats(alone[m if p < 0 else p] for m, p in zip(mains, prefills, strict=True)),
        unloaded_itl_ms=floats(unloaded[m] for m in mains),
        served=np.ones(len(rows)),
    )
    return Swept(question=question, engines=Engines(kept, kept, ()), verdicts=Verdicts(), points=points)
