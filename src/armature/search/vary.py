"""The same search with one thing different: what relaxations and suggestions are made of.

An estimator keeps the engines it has made, so a variation costs little more than a sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from armature.hardware.catalog import Gpu
from armature.hardware.inventory import Inventory, Pool
from armature.perf.estimate import Estimator
from armature.search.candidates import Swept
from armature.search.engines import engines_for
from armature.search.explain import layout_text
from armature.search.known import Known
from armature.search.pick import best_first
from armature.search.profile import Candidate, Outcome
from armature.search.question import Question
from armature.search.rapid import (
    contenders,
    contenders_again,
    followed_as_shown,
    followed_to_pick,
    sweep,
    sweep_again,
)

__all__ = [
    "Ask",
    "holds",
    "outcome",
    "pick_of",
    "pick_search",
    "pool_of",
    "whole_search",
    "with_gpus",
    "with_load",
    "with_pool",
    "with_targets",
]


@dataclass(frozen=True, slots=True)
class Ask:
    """The search as a function of its question alone. Raises NothingFits as the search does. known: what an earlier
    sweep with the estimator worked out."""

    estimator: Estimator
    known: Known = field(default_factory=Known)

    def __call__(self, question: Question) -> Swept:
        """Every layout."""
        return sweep(question, engines_for(question, self.estimator, self.known))

    def contenders(self, question: Question) -> Swept:
        """What could be the pick."""
        return contenders(question, engines_for(question, self.estimator, self.known))


def whole_search(swept: Swept, ask: Ask) -> Callable[[Question], Swept]:
    """`ask`, but questions that differ from the sweep's in targets alone are asked of what it kept: under a load its
    points, for targets do not move an operating point there; else its surfaces."""

    def answer(question: Question) -> Swept:
        if not _differ_in_targets_alone(question, swept.question):
            return ask(question)
        return (
            followed_as_shown(replace(swept, question=question))
            if question.loaded
            else sweep_again(swept, question.sla)
        )

    return answer


def pick_search(swept: Swept, ask: Ask) -> Callable[[Question], Candidate]:
    """The pick of `whole_search`, for less."""

    def answer(question: Question) -> Candidate:
        if not _differ_in_targets_alone(question, swept.question):
            return pick_of(ask.contenders(question))
        if question.loaded:
            return pick_of(followed_to_pick(replace(swept, question=question)))
        return pick_of(contenders_again(swept, question.sla))

    return answer


def _differ_in_targets_alone(question: Question, other: Question) -> bool:
    return replace(question, sla=other.sla) == other


def pick_of(swept: Swept) -> Candidate:
    """What the search picks."""
    question = swept.question
    return swept.candidate(int(best_first(swept.points, question.workload, question.sla)[0]))


def holds(candidate: Candidate) -> bool:
    """Whether it meets every target and carries the load."""
    return candidate.meets_sla and candidate.carries_load


def outcome(pick: Candidate, beside: Candidate | None = None) -> Outcome:
    """The pick of a variation in short; its layout names the SKU where it is not that of `beside`."""
    return Outcome(
        layout=layout_text(pick, beside),
        mode=pick.mode,
        gpus=pick.gpus,
        request_rate=pick.request_rate,
        concurrency=pick.concurrency,
        ttft_ms=pick.ttft_ms.value,
        itl_ms=pick.itl_ms.value,
        e2e_ms=pick.e2e_ms.value,
        tokens_per_s=pick.tokens_per_s,
        tokens_per_s_per_gpu=pick.tokens_per_s_per_gpu,
        meets_sla=pick.meets_sla,
        carries_load=pick.carries_load,
        cost_per_million_tokens=pick.cost_per_million_tokens,
        joules_per_token=pick.joules_per_token,
    )


def with_targets(question: Question, **targets: float) -> Question:
    """Other targets, in milliseconds, by the names of `Sla.targets`."""
    return replace(question, sla=replace(question.sla, **targets))  # type: ignore[arg-type]


def with_load(question: Question, factor: float) -> Question:
    """`factor` times the load, a trace's arrivals with it; a question without a load stays as it is."""
    load = question.workload
    if load.request_rate is not None:
        rate = load.request_rate * factor
        requests = load.requests.scaled(rate) if load.requests is not None else None
        return replace(question, workload=replace(load, request_rate=rate, requests=requests))
    if load.concurrency is not None:
        return replace(question, workload=replace(load, concurrency=load.concurrency * factor))
    return question


def with_gpus(question: Question, index: int, gpus: int) -> Question:
    """`gpus` GPUs in the pool at `index`; with 0 the pool is gone.

    A single node that is not full of GPUs takes more of them up to the usual number of its SKU; then nodes are added.
    """
    pools = list(question.inventory.pools)
    pool = pools[index]
    per_node, nodes = pool.gpus_per_node, pool.nodes
    if gpus > pool.gpus:
        if nodes == 1:
            per_node = max(per_node, min(gpus, pool.gpu.gpus_per_node))
        nodes = max(nodes, -(-gpus // per_node))
    pools[index : index + 1] = (
        [replace(pool, gpus=gpus, gpus_per_node=per_node, nodes=nodes)] if gpus > 0 else []
    )
    return replace(question, inventory=replace(question.inventory, pools=tuple(pools)))


def pool_of(gpu: Gpu, gpus: int) -> Pool:
    """A pool of `gpus` GPUs on usual nodes of that SKU."""
    per_node = min(gpu.gpus_per_node, gpus)
    return Pool(gpu, gpus, per_node, -(-gpus // per_node))


def with_pool(question: Question, pool: Pool) -> Question:
    """This pool alone, in place of all others."""
    return replace(question, inventory=Inventory((pool,), question.inventory.source))
