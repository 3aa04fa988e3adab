"""The rapid search: request, inventory and model facts in, Profile out, by prediction alone. Pure.

`profile` is three steps that others take one by one: `question_of` reads the request, `engines_for` makes the workers
that fit, `sweep` predicts every layout of them. Another target or load is another question on the same engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from msgspec import structs

import armature
from armature import api
from armature.api import v1beta1
from armature.hardware.inventory import Inventory, Pool
from armature.model.facts import ModelFacts
from armature.perf.estimate import Estimator
from armature.perf.speculative import SpeculativeTimes
from armature.perf.steptable import StepTable, sample
from armature.search.binding import Binding, binding
from armature.search.candidates import Swept, kept_rows
from armature.search.considered import considered, surface_makers
from armature.search.contrast import contrast
from armature.search.curves import curves
from armature.search.engines import Engines, engines_for
from armature.search.explain import reasons
from armature.search.follow import followed_to_the_pick, is_traced
from armature.search.operating import CHUNK_TOKENS, Engine
from armature.search.pick import EQUAL, best_first, layout_keys
from armature.search.profile import PROFILE_VERSION, Candidate, InventoryPool, Profile, Role
from armature.search.question import Question, question_of
from armature.search.surface import MakeSurface, Surface, work_out_usable
from armature.search.sweep import (
    TOLERANCE,
    Points,
    Verdicts,
    concatenate,
    judged_points,
    most_rate,
    points,
    verdicts,
    worst_ratio,
)
from armature.workload.shape import Sla

if TYPE_CHECKING:  # a reader of files, which a search without one does not need
    from armature.workload.trace import Trace

__all__ = [
    "contenders",
    "contenders_again",
    "profile",
    "profile_for",
    "profile_of",
    "request_document",
    "step_table",
    "sweep",
    "sweep_again",
]

LESS = (1.0 + EQUAL) ** 2
"""A rate this many times below the best is not equal to it."""
CELLS_AT_ONCE = 24_000
"""Layouts times batches whose means are worked out together, within a core's cache."""
MOST_CELLS = 300_000
"""Layouts times batches whose surfaces are kept, at about 100 bytes each; the others are made again when needed."""


def profile(
    request: v1beta1.DynamoGraphDeploymentRequest,
    inventory: Inventory,
    facts: ModelFacts,
    estimator: Estimator,
    *,
    prices: Mapping[str, float] | None = None,
    trace: Trace | None = None,
) -> Profile:
    """Predict every layout of the request and pick one. `request` has its defaults filled; `prices` are per
    GPU-hour by SKU; `trace` is what the request's `traceRef` refers to.

    Raises NothingFits when no layout of the model fits the inventory.
    """
    question = question_of(request, inventory, facts, prices=prices, trace=trace)
    return profile_for(request, sweep(question, engines_for(question, estimator)), estimator)


def profile_for(
    request: v1beta1.DynamoGraphDeploymentRequest,
    swept: Swept,
    estimator: Estimator,
    tell: Callable[[str], None] | None = None,
) -> Profile:
    """The profile of the sweep that a request led to: with the request, and with what its trace did to the choice."""
    found = structs.replace(
        profile_of(swept, tell=tell), request=request_document(request), estimator=estimator.name
    )
    if swept.question.trace is None:
        return found
    plain = swept.question.with_means_only()
    by_means = profile_of(sweep(plain, engines_for(plain, estimator))).picked
    return structs.replace(found, means_choice=by_means)


def sweep(
    question: Question, engines: Engines, *, keep: Callable[[Surface], npt.NDArray[np.bool_]] | None = None
) -> Swept:
    """Every layout of the engines at its operating point. keep: which of a surface's to predict; default all."""
    makers = surface_makers(question, engines)
    swept = _swept(question, engines, makers if keep is None else (partial(_cut, m, keep) for m in makers))
    return followed_as_shown(swept)


def followed_as_shown(swept: Swept) -> Swept:
    """The sweep with the requests of a trace followed where its profile shows them."""
    question = swept.question
    if not is_traced(question.workload):
        return swept

    def shown(points: Points) -> list[int]:
        now = replace(swept, points=points)
        order = best_first(points, question.workload, question.sla)
        fewer = order[points.gpus[order] < points.gpus[order[0]]]  # what binds is said of the best of these
        return [*kept_rows(now, order)[0], *fewer[:1].tolist()]

    found = followed_to_the_pick(swept.points, swept.surfaces, question.workload, question.sla, shown)
    return replace(swept, points=found, verdicts=verdicts(found, question.sla))


def followed_to_pick(swept: Swept) -> Swept:
    """The sweep with the requests of a trace followed as far as the pick depends on them."""
    question = swept.question
    found = followed_to_the_pick(swept.points, swept.surfaces, question.workload, question.sla)
    return replace(swept, points=found)


def sweep_again(swept: Swept, sla: Sla) -> Swept:
    """The sweep under other targets, on the same surfaces: what layouts do at each batch stays as it is."""
    return _swept(replace(swept.question, sla=sla), swept.engines, swept.surfaces)


def _swept(question: Question, engines: Engines, makers: Iterable[MakeSurface]) -> Swept:
    total, parts = Verdicts(), []
    again: list[MakeSurface] = []
    cells = 0
    for block in _blocks(makers, CELLS_AT_ONCE):
        if not question.loaded:
            work_out_usable([surface for _, surface in block])
        for make, surface in block:
            found, judged = judged_points(surface, question.workload, question.sla)
            parts.append(found.numbered(len(again)))
            total += judged
            cells += surface.cells
            again.append(make if cells > MOST_CELLS else partial(_same, surface))
    found = concatenate(parts)
    if len(found) and not question.loaded and not total.meet_everything and question.sla.targets:
        found = concatenate([found, *_closest(question, found, again)])
    return Swept(question, engines, total, found, tuple(again))


def _blocks(makers: Iterable[MakeSurface], cells: int) -> Iterator[list[tuple[MakeSurface, Surface]]]:
    """What makes each surface, and the surface: as many at a time as have so many cells."""
    block: list[tuple[MakeSurface, Surface]] = []
    for make in makers:
        block.append((make, make()))
        if sum(surface.cells for _, surface in block) > cells:
            yield block
            block = []
    yield block


def contenders(question: Question, engines: Engines) -> Swept:
    """A sweep with the same pick, of which nothing else may be asked: what cannot be the pick is left out."""
    return _contending(question, engines, tuple(surface_makers(question, engines)))


def contenders_again(swept: Swept, sla: Sla) -> Swept:
    """`contenders` under other targets, on the same surfaces."""
    return _contending(replace(swept.question, sla=sla), swept.engines, swept.surfaces)


def _contending(question: Question, engines: Engines, makers: Sequence[MakeSurface]) -> Swept:
    """Where tokens/s decide, a layout whose rate lies more than 1 % below that of one that meets every target is out:
    most layouts are so by their ITL and their prefill alone, before anything is known of their TTFT. What promises
    most is looked at first."""
    workload, sla = question.workload, question.sla
    parts: dict[int, Points] = {}
    best, before = 0.0, 0
    if not question.loaded and sla.optimize != "latency":
        for block in _blocks(makers, MOST_CELLS):
            most = [most_rate(surface, sla, max(workload.osl - 1, 0)) for _, surface in block]
            for index in sorted(range(len(block)), key=lambda index: -most[index].max(initial=0.0)):
                could = most[index] > best / LESS
                if not could.any():
                    break
                found = points(block[index][1].take(could), workload, sla)
                rate = np.where(worst_ratio(found, sla) <= 1.0 + TOLERANCE, found.rate, 0.0)
                best = max(best, float(rate.max(initial=0.0)))
                parts[before + index] = found.take(np.flatnonzero(rate > best / LESS))
            before += len(block)
    if not best:
        return followed_to_pick(_swept(question, engines, makers))
    return Swept(question, engines, Verdicts(), concatenate([parts[number] for number in sorted(parts)]))


def _cut(make: MakeSurface, keep: Callable[[Surface], npt.NDArray[np.bool_]]) -> Surface:
    surface = make()
    return surface.take(keep(surface))


def _same(surface: Surface) -> Surface:
    return surface


def _closest(question: Question, found: Points, makers: Iterable[MakeSurface]) -> Iterable[Points]:
    """Where nothing meets the targets: what would meet them, were they as much looser as the least miss asks for."""
    least = (1.0 + EQUAL) * float(worst_ratio(found, question.sla).min())
    sla = question.sla.loosened(least)
    for number, make in enumerate(makers):
        yield points(make(), question.workload, sla).numbered(number)


def profile_of(
    swept: Swept, order: npt.NDArray[np.intp] | None = None, tell: Callable[[str], None] | None = None
) -> Profile:
    """The best of a sweep, the front, and why. order: all rows, best first, by another rule than `pick`'s, which then
    nothing is said of: neither what binds nor what was considered. tell: hears the name of each step."""
    if tell:
        tell("SelectingConfig")
    question = swept.question
    inventory, workload, sla = question.inventory, question.workload, question.sla
    ours = order is None
    order = best_first(swept.points, workload, sla) if order is None else order
    rows, front = kept_rows(swept, order)
    made = _with_unique_ids(dict(zip(rows, swept.candidates(rows), strict=True)))
    keys = layout_keys(swept.points)
    others = order[keys[order] != keys[order[0]]]
    made[int(order[0])] = swept.with_capacity(int(order[0]), made[int(order[0])])
    pick = made[int(order[0])]
    runner_up = made[int(others[0])] if len(others) else None
    disagg = swept.points.prefill[order] >= 0
    lost = order[disagg != disagg[0]]
    other = made[int(lost[0])] if len(lost) else None
    modes = None
    if other is not None and ours:
        first, second = (int(order[0]), int(lost[0])) if pick.mode == "agg" else (int(lost[0]), int(order[0]))
        modes = contrast(swept, first, made[first], second, made[second])
    bound = binding(swept, order) if ours else Binding("none")
    engines = _picked_engines(swept, int(order[0]))
    notes = [*inventory.notes, *question.facts.notes, *pick.notes]
    if question.trace is not None:
        notes = [*question.trace.notes, *notes]
    notes += _speculation_notes(question, engines[pick.groups[-1].role], pick)
    notes += _link_notes(question, engines, pick)
    if tell:
        tell("BuildingCurves")
    return Profile(
        version=PROFILE_VERSION,
        armature=armature.__version__,
        name=question.name,
        model=question.model,
        model_source=question.facts.source,
        model_weight_bytes=question.facts.weight_bytes,
        model_max_context=question.facts.max_context,
        backend_asked=question.backend_asked,
        workload=_set(
            {
                "isl": workload.isl,
                "osl": workload.osl,
                "request_rate": workload.request_rate,
                "concurrency": workload.concurrency,
                "longest_tokens": workload.longest_tokens if workload.requests is not None else None,
            }
        ),
        sla={**sla.targets, "optimize": sla.optimize},
        inventory=tuple(_pool(pool) for pool in inventory.pools),
        inventory_source=inventory.source,
        gpus_budget=inventory.total_gpus,
        candidates=tuple(made[row] for row in rows),
        pareto=tuple(made[row].id for row in front),
        pick=pick.id,
        runner_up=runner_up.id if runner_up else None,
        reasons=reasons(pick, runner_up, other, question, bound, modes),
        considered=considered(question, swept.engines, swept.verdicts) if ours else {},
        notes=tuple(dict.fromkeys(notes)),
        curves=curves(engines[pick.groups[0].role], engines[pick.groups[-1].role], question.facts),
        step_tables={
            role: step_table(engine, question.facts, workload.isl, workload.osl, workload.longest_tokens)
            for role, engine in engines.items()
        },
        speculation=question.speculation,
        trace=question.trace.summary if question.trace is not None else None,
        binding=bound.kind,
        modes=modes,
    )


def _speculation_notes(question: Question, engine: Engine, pick: Candidate) -> Iterable[str]:
    """What drafting does to the time per token of the engine that decodes, at the operating point."""
    times = engine.times
    if isinstance(times, SpeculativeTimes):
        at = (pick.groups[-1].batch / engine.parallelism.pp, question.workload.mean_context)
        ratio = float(times.decode_ms(*at)) / float(times.plain.decode_ms(*at))
        drafted, accepted = times.speculation.nextn, times.speculation.acceptance_rate
        yield (
            f"Drafting {drafted} token{'s' if drafted > 1 else ''} of which {accepted:g} hold makes "
            f"{times.speculation.tokens_per_step:.2f} tokens a step. At this batch a token takes {ratio:.2f} times as "
            f"long as without{', so it does not pay' if ratio >= 1 else ''}. Tokens come several at once: ITL is their "
            "mean."
        )


def request_document(request: v1beta1.DynamoGraphDeploymentRequest) -> dict[str, Any]:
    """The request as a user would write it: of its metadata only the name and namespace, and no status."""
    whole = api.to_dict(request)
    metadata = whole.get("metadata", {})
    named = {key: metadata[key] for key in ("name", "namespace") if metadata.get(key)}
    head = {"apiVersion": request.api_version, "kind": request.kind}
    return {**head, "metadata": named, "spec": whole["spec"]}


def _picked_engines(swept: Swept, row: int) -> dict[Role, Engine]:
    main = swept.engines.mains[int(swept.points.main[row])]
    if swept.points.prefill[row] < 0:
        return {"agg": main}
    return {"prefill": swept.engines.prefills[int(swept.points.prefill[row])], "decode": main}


def step_table(engine: Engine, facts: ModelFacts, isl: float, osl: float, longest: float = 0) -> StepTable:
    """Wide enough for what a mocker may be asked: twice the workload's lengths, or its longest request, within the
    model's context. All in tokens."""
    context = min(facts.max_context, max(2 * round(isl + osl), round(longest)))
    return sample(
        engine.times,
        max_isl=context,
        max_batch=engine.max_batch,
        max_context=max(context, 2),
        max_chunk=CHUNK_TOKENS,
    )


def _with_unique_ids(made: dict[int, Candidate]) -> dict[int, Candidate]:
    """Rows of one layout may share a rounded-up batch; later ones get a suffix."""
    seen: dict[str, int] = {}
    unique: dict[int, Candidate] = {}
    for row, candidate in made.items():
        seen[candidate.id] = seen.get(candidate.id, 0) + 1
        number = seen[candidate.id]
        unique[row] = candidate if number == 1 else structs.replace(candidate, id=f"{candidate.id}.{number}")
    return unique


def _link_notes(question: Question, engines: Mapping[Role, Engine], pick: Candidate) -> list[str]:
    """What the numbers of a pick that spans nodes take for granted."""
    pools = [engine.pool for engine in engines.values()]
    one_node = pools[0] == pools[-1] and pick.gpus <= pools[0].gpus_per_node
    apart = pick.mode == "agg" and all(group.nodes_per_worker == 1 for group in pick.groups)
    if one_node or apart or all(pool.rdma for pool in pools):
        return []
    if question.assume_rdma:
        return ["RDMA between nodes is assumed; if there is none, set spec.hardware.rdma: false."]
    return [
        "Nothing smaller than several nodes holds the model. The times take RDMA between them for granted."
    ]


def _set(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None}


def _pool(pool: Pool) -> InventoryPool:
    return InventoryPool(
        sku=pool.gpu.sku,
        gpus=pool.gpus,
        gpus_per_node=pool.gpus_per_node,
        nodes=pool.nodes,
        vram_bytes=pool.gpu.vram_bytes,
        rdma=pool.rdma,
        rdma_resource=pool.rdma_resource,
        product=pool.product,
        estimated=pool.gpu.estimated,
        link=pool.gpu.link,
    )
