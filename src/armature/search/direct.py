"""A layout without a search: the smallest worker that holds the model with room for the workload, or what a user fixes.

What a search would weigh is not weighed (RAPID-04, GAP-07): the worker is the first, by GPUs, whose memory holds the
weights, one prefill step and `ROOM_REQUESTS` requests of the asked length (GAP-11: the least TP that holds the weights
alone starts, and runs out of memory later); the replicas are as many as the load needs, one without a load. The one
layout is then predicted as any other: same workers, same sweep, same Profile. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from armature.api import v1beta1
from armature.errors import InvalidInput, NothingFits, Problem
from armature.hardware.inventory import Inventory
from armature.model.facts import ModelFacts
from armature.model.parallelism import Parallelism
from armature.perf.estimate import Estimator
from armature.perf.on_demand import OnDemandEstimator
from armature.search.engines import Engines, engines_for
from armature.search.operating import Engine
from armature.search.pick import TOLERANCE
from armature.search.placement import worker_slots
from armature.search.profile import Profile
from armature.search.question import Question, question_of
from armature.search.rapid import profile_of, request_document, sweep
from armature.search.select import misses
from armature.search.space import can_hand_over
from armature.search.surface import Surface
from armature.workload.shape import Sla

if TYPE_CHECKING:  # a reader of files, which a search without one does not need
    from armature.workload.trace import Trace

__all__ = ["ROOM_REQUESTS", "Side", "Wanted", "direct_profile"]

ROOM_REQUESTS = 8
"""Requests of the asked length that a worker holds at once before it counts as having room. Our choice: with less,
even a light load queues for memory."""


@dataclass(frozen=True, slots=True)
class Side:
    """Prefill or decode of a disaggregated layout: how many workers, and which (`tp4`, `dep8`); None leaves it open."""

    workers: int
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user fixes of a layout; None leaves it open.

    tp, pp, dp, ep: degrees of every worker (dp: attention-DP ranks, ep: expert parallelism). replicas: of an aggregated
    layout. disagg: prefill and decode of a disaggregated one.
    """

    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: int | None = None
    replicas: int | None = None
    disagg: tuple[Side, Side] | None = None

    def allows(self, p: Parallelism, side: Side | None = None) -> bool:
        degrees = ((self.tp, p.tp), (self.pp, p.pp), (self.dp, p.dp), (self.ep, p.moe_ep))
        named = side is None or side.label is None or side.label == p.label
        return named and all(asked is None or asked == has for asked, has in degrees)

    def __str__(self) -> str:
        degrees = {"tp": self.tp, "pp": self.pp, "dp": self.dp, "ep": self.ep}
        said = [f"{name} {value}" for name, value in degrees.items() if value is not None]
        said += [side.label for side in self.disagg or () if side.label]
        return " and ".join(dict.fromkeys(said))


def direct_profile(
    request: v1beta1.DynamoGraphDeploymentRequest,
    inventory: Inventory,
    facts: ModelFacts,
    estimator: Estimator,
    wanted: Wanted,
    *,
    prices: Mapping[str, float] | None = None,
    trace: Trace | None = None,
) -> Profile:
    """The profile of one layout, predicted at the request's load. `request` has its defaults filled; of backend auto
    the first is taken.

    Raises NothingFits when no such layout fits the inventory, InvalidInput when the wishes exclude each other.
    """
    if wanted.replicas is not None and wanted.disagg is not None:
        mend = "--disagg P:D counts its own workers"
        raise InvalidInput(
            "the layout", [Problem("--replicas", "cannot be combined with --disagg", mend, wanted.replicas)]
        )
    asked = question_of(request, inventory, facts, prices=prices, trace=trace)
    if wanted.disagg is not None and asked.workload.osl < 2:
        rule = f"leaves nothing to decode at osl {asked.workload.osl}"
        raise InvalidInput("the layout", [Problem("--disagg", rule, "leave it out")])
    question = replace(asked, backends=asked.backends[:1])
    engines = engines_for(question, OnDemandEstimator(estimator))
    chosen, why = _disagg(question, engines, wanted) if wanted.disagg else _agg(question, engines, wanted)
    prefills, decodes = chosen.counts
    swept = sweep(question, chosen.engines, keep=lambda s: _is(s, prefills, decodes))
    made = profile_of(swept)
    notes = [f"Not optimised: {why}. `armature plan` searches for the best."]
    if len(asked.backends) > 1:
        notes.append(f"backend auto: {question.backends[0]} is taken; `armature plan` compares all.")
    return structs.replace(
        made,
        backend_asked=asked.backend_asked,
        request=request_document(request),
        estimator=estimator.name,
        reasons=(*notes, *misses(made.picked)),
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The engines of a layout and its (prefill, main) workers."""

    engines: Engines
    counts: tuple[int, int]


def _is(surface: Surface, prefills: int, mains: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray((surface.prefill_count == prefills) & (surface.main_count == mains))


def _agg(question: Question, engines: Engines, wanted: Wanted) -> tuple[_Chosen, str]:
    workers = _with_room(_matching(engines.mains, wanted, None, question), question)
    worker, count = workers[0], wanted.replicas or 1
    what = (
        "the smallest worker" if _held(worker) >= _asked_room(question) else "the worker with the most room"
    )
    what += f" of {wanted}" if str(wanted) else ""
    if question.loaded and wanted.replicas is None:
        worker, count, served = _carrying(question, workers)
        enough = served >= 1.0 - TOLERANCE
        what += " that carries the load" if enough else ", of those too small for the load the strongest"
    most = worker_slots(worker.pool).workers(worker.gpus)
    if count > most:
        raise _too_many(f"{count} workers of {worker.parallelism.label}", f"at most {most} fit", worker)
    alone = Engines([worker], [], [])
    return _Chosen(
        alone, (0, count)
    ), f"{count}×{worker.parallelism.label}, {what}, {_room(worker, question)}"


def _disagg(question: Question, engines: Engines, wanted: Wanted) -> tuple[_Chosen, str]:
    assert wanted.disagg is not None
    before, after = wanted.disagg
    decode = _with_room(_matching(engines.mains, wanted, after, question), question)[0]
    partners = [
        e
        for e in engines.prefills
        if e.pool == decode.pool and can_hand_over(e.backend, e.parallelism, decode.parallelism)
    ]
    prefill = _matching(partners, wanted, before, question)[0]
    label = f"{before.workers}×{prefill.parallelism.label} → {after.workers}×{decode.parallelism.label}"
    pair = Engines([decode], [prefill], [])
    untargeted = replace(question, sla=Sla())
    if not len(sweep(untargeted, pair, keep=lambda s: _is(s, before.workers, after.workers)).points):
        raise _too_many(label, "they do not fit beside each other", decode)
    return _Chosen(
        pair, (before.workers, after.workers)
    ), f"{label}, the smallest workers, decode {_room(decode, question)}"


def _with_room(engines: Sequence[Engine], question: Question) -> Sequence[Engine]:
    """The engines with room for the requests, smallest first; the one with the most room where none has enough."""
    room = _asked_room(question)
    return [engine for engine in engines if _held(engine) >= room] or [max(engines, key=_held)]


def _asked_room(question: Question) -> float:
    asked = question.workload.concurrency
    return ROOM_REQUESTS if asked is None else min(ROOM_REQUESTS, asked)


def _room(engine: Engine, question: Question) -> str:
    held, tokens = _held(engine), question.workload.isl + question.workload.osl
    return f"with room for {held:,} request{'' if held == 1 else 's'} of {tokens:,} tokens"


def _matching(
    engines: Iterable[Engine], wanted: Wanted, side: Side | None, question: Question
) -> list[Engine]:
    """The engines that the wishes allow, smallest first. Raises NothingFits when there is none."""
    fitting = sorted(engines, key=lambda e: (e.gpus, e.parallelism.pp))
    found = [engine for engine in fitting if wanted.allows(engine.parallelism, side)]
    if not found:
        labels = ", ".join(dict.fromkeys(engine.parallelism.label for engine in fitting)) or "none"
        raise NothingFits(
            f"No worker of {wanted} holds {question.facts.name} on these GPUs.",
            f"These do: {labels}. Choose one of them, or leave it open.",
        )
    return found


def _held(engine: Engine) -> int:
    """Requests of the asked length that one worker holds at once."""
    return engine.fit.max_sequences * engine.parallelism.dp


def _carrying(question: Question, workers: Sequence[Engine]) -> tuple[Engine, int, float]:
    """(worker, how many of it, share of the load) of the first that carries it, or of the one that carries most."""
    best: tuple[Engine, int, float] | None = None
    for worker in workers:
        found = (worker, *_replicas(question, worker))
        if best is None or found[2] > best[2]:
            best = found
        if best[2] >= 1.0 - TOLERANCE:
            break
    assert best is not None
    return best


def _replicas(question: Question, worker: Engine) -> tuple[int, float]:
    """(the fewest workers that carry the load, or all that fit; the share of the load that they carry)."""
    points = sweep(replace(question, sla=Sla()), Engines([worker], [], [])).points
    best = np.flatnonzero(points.served >= min(1.0 - TOLERANCE, points.served.max()))
    row = best[points.main_count[best].argmin()]
    return int(points.main_count[row]), float(points.served[row])


def _too_many(what: str, rule: str, worker: Engine) -> NothingFits:
    pool = worker.pool
    return NothingFits(
        f"{what} on {pool.gpus} x {pool.gpu.sku}: {rule}.", "Ask for fewer, or give more GPUs."
    )
