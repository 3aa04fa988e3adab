"""Predict every layout at its operating point: arrays in, arrays out.

A layout is a kind of worker and a count (aggregated), or a prefill and a decode kind with a count each. A `Surface`
holds what a set of layouts does at each batch; `Points` holds one row per layout at the operating point: where the
asked load puts it, or, when none is asked, every batch that could be best. No Python object exists per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from armature.model.facts import ModelFacts
from armature.model.memory import kv_bytes_per_sequence
from armature.perf.estimate import Floats, host_ms
from armature.perf.queueing import MAX_UTILISATION, round_robin_wait_ms
from armature.search.operating import Engine, agg_curve, decode_curve, moved_ms, prefill_ms
from armature.search.placement import Counts, worker_counts, worker_slots
from armature.workload.shape import Sla, Workload

__all__ = [
    "Ints",
    "Points",
    "Sender",
    "Surface",
    "Verdicts",
    "agg_surface",
    "concatenate",
    "disagg_surface",
    "judged_points",
    "points",
    "sender",
    "worst_ratio",
]

Ints = npt.NDArray[np.int64]
LEAST_UTILISATION = 0.1
"""Without an asked load nobody wants a layout that is idle more than nine tenths of the time."""


@dataclass(frozen=True, slots=True)
class Surface:
    """What each of L layouts with one aggregated or decode engine does at each of B batches.

    Shape (L,): prefill (index of the prefill engine, -1 when aggregated; equal ones stand together), stages (pipeline
    stages of the longest worker), gpus, main_count, prefill_count, in_node (whether one node holds the layout),
    rate_limit (requests/s where its prefill reaches MAX_UTILISATION), servers (what the stream of requests is dealt
    to). batch: (B,), first 0, which stands for an empty server.
    Shape (L, B), of the whole layout: rate (requests/s), itl_ms, own_ms (time to the first token without a wait),
    service_ms (what the wait is a multiple of), busy (share of prefill's capacity in use, not capped).
    """

    main: int
    prefill: Ints
    stages: Ints
    gpus: Ints
    main_count: Ints
    prefill_count: Ints
    in_node: npt.NDArray[np.bool_]
    rate_limit: Floats
    batch: Floats
    rate: Floats
    own_ms: Floats
    service_ms: Floats
    busy: Floats
    servers: Floats
    itl_ms: Floats

    def take(self, kept: npt.NDArray[np.bool_]) -> Surface:
        """The layouts where `kept` (L,) is true."""
        own = (f.name for f in fields(self) if f.name not in ("main", "batch"))
        return replace(self, **{name: getattr(self, name)[kept] for name in own})

    @property
    def ttft_ms(self) -> Floats:
        """(L, B)."""
        return self.own_ms + round_robin_wait_ms(self.service_ms, self.busy, self.servers[:, None])


@dataclass(frozen=True, slots=True)
class Sender:
    """A prefill engine as every layout with it sees it: its index, a prompt alone on it, and a prompt's KV bytes on
    each GPU that serves it."""

    index: int
    engine: Engine
    prompt_ms: float
    kv_bytes_per_gpu: float


@dataclass(frozen=True, slots=True)
class Points:
    """Columns of equal length, one row per layout and operating point.

    main: index of the aggregated or decode engine; prefill: index of the prefill engine, -1 when aggregated. stages:
    pipeline stages of the longest worker.
    batch: requests in flight per lane. rate (requests/s) and concurrency (requests) are of the whole layout. served:
    share of the asked load that is carried (1 when all of it or none was asked).
    """

    main: Ints
    prefill: Ints
    stages: Ints
    main_count: Ints
    prefill_count: Ints
    gpus: Ints
    batch: Floats
    rate: Floats
    concurrency: Floats
    ttft_ms: Floats
    itl_ms: Floats
    e2e_ms: Floats
    unloaded_ttft_ms: Floats
    unloaded_itl_ms: Floats
    served: Floats

    def __len__(self) -> int:
        return len(self.batch)

    def take(self, rows: npt.NDArray[np.intp]) -> Points:
        return Points(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Verdicts:
    """How many layouts meet everything, and how many miss what: each under what it misses by the largest factor at the
    operating point that comes closest."""

    meet_everything: int = 0
    miss_itl_ms: int = 0
    miss_ttft_ms: int = 0
    miss_e2e_ms: int = 0
    carry_too_little: int = 0

    def __add__(self, other: Verdicts) -> Verdicts:
        return Verdicts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def concatenate(parts: Sequence[Points]) -> Points:
    """All rows of `parts`, in order; at least one part."""
    return Points(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Points)))


def worst_ratio(points: Points, sla: Sla) -> Floats:
    """Largest predicted / target over the stated targets and asked / carried load; <= 1 means all is met."""
    return _worst(sla, points.served, points.ttft_ms, points.itl_ms, points.e2e_ms)


def agg_surface(index: int, engine: Engine, workload: Workload) -> Surface:
    """Aggregated layouts of one engine: 1, 2, ... replicas, as many as the pool holds; L may be 0."""
    slots = worker_slots(engine.pool)
    counts = worker_counts(slots, engine.gpus)
    replicas = counts.astype(np.float64)
    curve = agg_curve(engine, workload)
    prompt, decode = prefill_ms(engine, workload), _unloaded_itl_ms(engine, workload)
    # A request comes in the middle of a step of the others, then waits for prompts ahead of it.
    residual = 0.5 * curve.itl_ms * np.maximum(curve.batch - 1.0, 0.0) / curve.batch
    service = np.concatenate(([prompt], curve.service_ms))
    limit = float(np.interp(MAX_UTILISATION, curve.busy, curve.rate, right=np.inf))
    if workload.concurrency is not None:
        # A fixed number in flight is no Poisson stream: a request's lifetime already holds all the others' prompts.
        service, limit = np.zeros_like(service), np.inf
    rate: Floats = replicas[:, None] * np.concatenate(([0.0], curve.rate))

    def every(values: Floats) -> Floats:
        return np.broadcast_to(values, rate.shape)

    return Surface(
        main=index,
        prefill=np.full_like(counts, -1),
        stages=np.full_like(counts, engine.parallelism.pp),
        gpus=counts * engine.gpus,
        main_count=counts,
        prefill_count=np.zeros_like(counts),
        in_node=counts * engine.gpus <= slots.size,
        rate_limit=replicas * limit,
        batch=np.concatenate(([0.0], curve.batch)),
        rate=rate,
        own_ms=every(np.concatenate(([prompt], curve.prefill_ms + residual)) + host_ms(engine.times)),
        service_ms=every(service),
        busy=every(np.concatenate(([0.0], curve.busy))),
        servers=replicas * engine.lanes,
        itl_ms=every(np.concatenate(([decode], curve.itl_ms))),
    )


def sender(index: int, engine: Engine, workload: Workload, facts: ModelFacts) -> Sender:
    """What layouts need to know of a prefill engine, worked out once."""
    held = kv_bytes_per_sequence(facts, engine.parallelism, workload.isl, engine.kv_dtype)
    return Sender(index, engine, prefill_ms(engine, workload), float(held))


def disagg_surface(
    sides: Sequence[tuple[Sender, Counts]], decode_index: int, decode: Engine, workload: Workload
) -> Surface:
    """Disaggregated layouts of one decode engine with several prefill engines, each with the counts of both.

    A prefill rank works on one prompt at a time; the client's first token comes from prefill, and the KV transfer
    delays the second. It goes over the node's own link where one node holds the layout, else between adapters.
    """
    sizes = [len(counts) for _, counts in sides]

    def each(values: Sequence[float]) -> Floats:
        return np.repeat(np.array(values, dtype=np.float64), sizes)

    p, d, total = (
        np.concatenate([getattr(counts, name) for _, counts in sides])
        for name in ("prefill", "decode", "gpus")
    )
    in_node = np.concatenate([counts.in_node for _, counts in sides])
    near, far = (
        each([moved_ms(s.kv_bytes_per_gpu, s.engine, decode, within_node=within) for s, _ in sides])
        for within in (True, False)
    )
    transfer = np.where(in_node, near, far)[:, None]

    curve = decode_curve(decode, workload)
    tokens = max(workload.osl - 1, 1)
    itl = np.concatenate(([_unloaded_itl_ms(decode, workload)], curve.itl_ms)) + transfer / tokens
    life = np.concatenate(([0.0], curve.life_ms)) + transfer
    batch = np.concatenate(([0.0], curve.batch))
    rate = 1000.0 * d[:, None] * decode.lanes * batch / life
    prompt = each([s.prompt_ms for s, _ in sides])
    servers = p * each([s.engine.parallelism.dp for s, _ in sides])
    capacity = 1000.0 * servers / prompt
    pp = np.array([s.engine.parallelism.pp for s, _ in sides])
    alone = np.broadcast_to(prompt[:, None], rate.shape)
    return Surface(
        main=decode_index,
        prefill=np.repeat(np.array([s.index for s, _ in sides]), sizes),
        stages=np.repeat(np.maximum(pp, decode.parallelism.pp), sizes),
        gpus=total,
        main_count=d,
        prefill_count=p,
        in_node=in_node,
        rate_limit=MAX_UTILISATION * capacity,
        batch=batch,
        rate=rate,
        own_ms=alone + each([host_ms(s.engine.times) for s, _ in sides])[:, None],
        service_ms=alone,
        busy=rate / capacity[:, None],
        servers=servers,
        itl_ms=itl,
    )


def points(surface: Surface, workload: Workload, sla: Sla) -> Points:
    """Operating points of a surface: one per layout under an asked load, else the batches that could be picked."""
    return judged_points(surface, workload, sla)[0]


def judged_points(surface: Surface, workload: Workload, sla: Sla) -> tuple[Points, Verdicts]:
    """`points`, and how many of the layouts meet everything or miss what."""
    if workload.request_rate is None and workload.concurrency is None:
        return _points_without_load(surface, workload, sla)
    if workload.request_rate is not None:
        asked, carried = workload.request_rate, surface.rate
    else:
        e2e = surface.ttft_ms + max(workload.osl - 1, 0) * surface.itl_ms
        asked, carried = float(workload.concurrency or 0.0), surface.rate * e2e / 1000.0
    position = np.minimum(_position(carried, asked), _position(surface.rate, surface.rate_limit))
    layout = np.arange(len(surface.gpus))
    served = np.minimum(_at(carried, layout, position) / asked, 1.0)
    found = _rows(surface, workload, layout, position, np.where(served > 1.0 - 1e-9, 1.0, served))
    return found, _verdicts(sla, found.served, found.ttft_ms, found.itl_ms, found.e2e_ms)


def _points_without_load(surface: Surface, workload: Workload, sla: Sla) -> tuple[Points, Verdicts]:
    """What could be picked: for each batch and prefill engine the layout with the highest rate among those that meet
    the SLA, or the closest where none does. Where latency is all that counts, every layout at its best batch too.

    Layouts of one prefill engine (within a node, or not) have equal ITL at a batch, so no other is on the front.
    Less than one request in flight is looked at where one is too many for a layout's prefill or its targets, and where
    latency is all that counts.
    """
    layouts, one = len(surface.gpus), int(np.searchsorted(surface.batch, 1.0))
    if not layouts:
        nothing = np.empty(0, dtype=np.intp)
        return _rows(surface, workload, nothing, nothing.astype(np.float64), np.empty(0)), Verdicts()
    ttft = surface.ttft_ms
    e2e = ttft + max(workload.osl - 1, 0) * surface.itl_ms
    worst = _worst(sla, 1.0, ttft, surface.itl_ms, e2e)
    usable: npt.NDArray[np.bool_] = surface.rate <= surface.rate_limit[:, None]
    enough = usable[:, one] & (worst[:, one] <= 1.0) & (sla.optimize != "latency")
    usable[:, :one] &= ~enough[:, None] & (surface.busy[:, :one] >= LEAST_UTILISATION)
    meets: npt.NDArray[np.bool_] = usable & (worst <= 1.0)
    missed = np.where(usable, worst, np.inf)
    # Equal rates: the fewer GPUs. What meets nothing comes after everything that does, the closest first.
    score = np.where(meets, surface.rate * (1.0 - 1e-12 * surface.gpus[:, None]), -missed)
    layout, column = _best_of_each(surface, score)
    if sla.optimize == "latency":
        own = np.where(meets, 1.0 / e2e, -missed).argmax(axis=1)
        layout = np.concatenate([layout, np.arange(layouts)])
        column = np.concatenate([column, own])
    kept = usable[layout, column]
    _, unique = np.unique(layout[kept] * len(surface.batch) + column[kept], return_index=True)
    layout, column = layout[kept][unique], column[kept][unique]
    found = _rows(surface, workload, layout, column.astype(np.float64), np.ones(len(layout)))
    good = meets.any(axis=1)
    row = np.flatnonzero(~good)
    at = missed[row].argmin(axis=1)
    served = np.asarray(
        usable[row, at], dtype=np.float64
    )  # prefill is too slow for any point: none is carried
    verdicts = _verdicts(sla, served, ttft[row, at], surface.itl_ms[row, at], e2e[row, at])
    return found, verdicts + Verdicts(meet_everything=int(good.sum()))


def _best_of_each(surface: Surface, score: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """(layout, column) of the highest score of each column among the layouts of one prefill engine, near or far."""
    kind = 2 * surface.prefill + surface.in_node
    starts = np.concatenate(([0], np.flatnonzero(np.diff(kind)) + 1))
    best = np.maximum.reduceat(score, starts, axis=0)
    is_best = score == np.repeat(best, np.diff(np.append(starts, len(kind))), axis=0)
    row = np.minimum.reduceat(np.where(is_best, np.arange(len(kind))[:, None], len(kind)), starts, axis=0)
    return row.ravel(), np.tile(np.arange(score.shape[1]), len(starts))


def _verdicts(sla: Sla, served: Floats, ttft_ms: Floats, itl_ms: Floats, e2e_ms: Floats) -> Verdicts:
    """Each layout's operating point under the target it misses by the largest factor."""
    predicted = {"itl_ms": itl_ms, "ttft_ms": ttft_ms, "e2e_ms": e2e_ms}
    names = [name for name in predicted if name in sla.targets]
    ratios = np.stack([1.0 / np.maximum(served, 1e-9), *(predicted[n] / sla.targets[n] for n in names)])
    missed = ratios.max(axis=0) > 1.0 + 1e-9
    by = np.bincount(ratios.argmax(axis=0)[missed], minlength=len(ratios))
    counts = {f"miss_{name}": int(n) for name, n in zip(names, by[1:], strict=True)}
    return Verdicts(meet_everything=int((~missed).sum()), carry_too_little=int(by[0]), **counts)


def _rows(
    surface: Surface, workload: Workload, layout: npt.NDArray[np.intp], position: Floats, served: Floats
) -> Points:
    """The wait is worked out at the point itself: it grows far too fast to be interpolated between batches."""
    rate, itl, own, service, busy = (
        _at(values, layout, position)
        for values in (surface.rate, surface.itl_ms, surface.own_ms, surface.service_ms, surface.busy)
    )
    ttft = own + round_robin_wait_ms(service, busy, surface.servers[layout])
    e2e = ttft + max(workload.osl - 1, 0) * itl
    return Points(
        main=np.full(len(layout), surface.main),
        prefill=surface.prefill[layout],
        stages=surface.stages[layout],
        main_count=surface.main_count[layout],
        prefill_count=surface.prefill_count[layout],
        gpus=surface.gpus[layout],
        batch=np.interp(position, np.arange(len(surface.batch)), surface.batch),
        rate=rate,
        concurrency=rate * e2e / 1000.0,
        ttft_ms=ttft,
        itl_ms=itl,
        e2e_ms=e2e,
        unloaded_ttft_ms=surface.own_ms[layout, 0],
        unloaded_itl_ms=surface.itl_ms[layout, 0],
        served=served,
    )


def _position(values: Floats, wanted: Floats | float) -> Floats:
    """Fractional column where each non-decreasing row of `values` (L, B) first reaches `wanted`; at most B - 1."""
    target = np.broadcast_to(np.asarray(wanted, dtype=np.float64), values.shape[:1])
    rising = np.maximum.accumulate(values, axis=1)
    above = np.minimum((rising < target[:, None]).sum(axis=1), values.shape[1] - 1)
    below = np.maximum(above - 1, 0)
    layout = np.arange(len(values))
    low, high = rising[layout, below], rising[layout, above]
    share = np.where(
        high > low, (np.minimum(target, high) - low) / np.where(high > low, high - low, 1.0), above - below
    )
    return np.asarray(below + np.clip(share, 0.0, 1.0), dtype=np.float64)


def _at(values: Floats, layout: npt.NDArray[np.intp], position: Floats) -> Floats:
    """`values[layout, position]` with linear interpolation between columns."""
    low = np.floor(position).astype(np.intp)
    high = np.minimum(low + 1, values.shape[1] - 1)
    share = position - low
    return np.asarray(values[layout, low] * (1.0 - share) + values[layout, high] * share, dtype=np.float64)


def _worst(sla: Sla, served: Floats | float, ttft_ms: Floats, itl_ms: Floats, e2e_ms: Floats) -> Floats:
    predicted = {"ttft_ms": ttft_ms, "itl_ms": itl_ms, "e2e_ms": e2e_ms}
    worst = 1.0 / np.maximum(served, 1e-9) * np.ones_like(ttft_ms)
    for name, target in sla.targets.items():
        worst = np.maximum(worst, predicted[name] / target)
    return worst


def _unloaded_itl_ms(engine: Engine, workload: Workload) -> float:
    return float(engine.times.decode_ms(1.0, workload.mean_context))
