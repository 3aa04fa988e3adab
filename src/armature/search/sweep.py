"""Predict every layout at its operating point: arrays in, arrays out.

A layout is a kind of worker and a count (aggregated), or a prefill and a decode kind with a count each. A `Surface`
holds what a set of layouts does at each batch; `Points` holds one row per layout at the operating point: where the
asked load puts it, or, when none is asked, every batch that could be best. No Python object exists per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from armature.model.facts import ModelFacts
from armature.perf.estimate import Floats
from armature.perf.queueing import MAX_UTILISATION, round_robin_wait_ms
from armature.search.operating import Engine, agg_curve, decode_curve, prefill_ms, transfer_ms
from armature.search.space import count_grid, worker_slots
from armature.workload.shape import Sla, Workload

__all__ = [
    "Ints",
    "Points",
    "Surface",
    "agg_surface",
    "concatenate",
    "disagg_surface",
    "points",
    "worst_ratio",
]

Ints = npt.NDArray[np.int64]
LEAST_UTILISATION = 0.1
"""Without an asked load nobody wants a layout that is idle more than nine tenths of the time."""


@dataclass(frozen=True, slots=True)
class Surface:
    """What each of L layouts of the same engines does at each of B batches.

    main_count, prefill_count, rate_limit, servers: shape (L,). stages: pipeline stages of the longest worker. batch:
    (B,), first 0, which stands for an empty server. rate (requests/s), itl_ms: (L, B), of the whole layout. rate_limit
    is where its prefill reaches MAX_UTILISATION. own_ms, service_ms: (B,), time to the first token without a wait, and
    what the wait is a multiple of; busy: (L, B), share of prefill's capacity in use, not capped; servers: what the
    stream of requests is dealt to.
    """

    main: int
    prefill: int
    stages: int
    gpus: Ints
    main_count: Ints
    prefill_count: Ints
    rate_limit: Floats
    batch: Floats
    rate: Floats
    own_ms: Floats
    service_ms: Floats
    busy: Floats
    servers: Floats
    itl_ms: Floats

    @property
    def ttft_ms(self) -> Floats:
        """(L, B)."""
        wait = round_robin_wait_ms(self.service_ms, self.busy, self.servers[:, None])
        return np.asarray(self.own_ms + wait, dtype=np.float64)


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


def concatenate(parts: Sequence[Points]) -> Points:
    """All rows of `parts`, in order; at least one part."""
    return Points(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Points)))


def worst_ratio(points: Points, sla: Sla) -> Floats:
    """Largest predicted / target over the stated targets and asked / carried load; <= 1 means all is met."""
    return _worst(sla, points.served, points.ttft_ms, points.itl_ms, points.e2e_ms)


def agg_surface(index: int, engine: Engine, workload: Workload) -> Surface:
    """Aggregated layouts of one engine: 1, 2, ... replicas, as many as the pool holds; L may be 0."""
    counts = count_grid(worker_slots(engine.pool).workers(engine.gpus))
    replicas = counts.astype(np.float64)
    curve = agg_curve(engine, workload)
    prompt, decode = prefill_ms(engine, workload), _unloaded_itl_ms(engine, workload)
    itl = np.concatenate(([decode], curve.itl_ms))
    # A request comes in the middle of a step of the others, then waits for prompts ahead of it.
    residual = 0.5 * curve.itl_ms * np.maximum(curve.batch - 1.0, 0.0) / curve.batch
    service = np.concatenate(([prompt], curve.service_ms))
    limit = float(np.interp(MAX_UTILISATION, curve.busy, curve.rate, right=np.inf))
    if workload.concurrency is not None:
        # A fixed number in flight is no Poisson stream: a request's lifetime already holds all the others' prompts.
        service, limit = np.zeros_like(service), np.inf
    rate: Floats = replicas[:, None] * np.concatenate(([0.0], curve.rate))
    return Surface(
        main=index,
        prefill=-1,
        stages=engine.parallelism.pp,
        gpus=counts * engine.gpus,
        main_count=counts,
        prefill_count=np.zeros_like(counts),
        rate_limit=replicas * limit,
        batch=np.concatenate(([0.0], curve.batch)),
        rate=rate,
        own_ms=np.concatenate(([prompt], curve.prefill_ms + residual)),
        service_ms=service,
        busy=np.broadcast_to(np.concatenate(([0.0], curve.busy)), rate.shape),
        servers=replicas * engine.lanes,
        itl_ms=np.broadcast_to(itl, rate.shape),
    )


def disagg_surface(
    prefill_index: int,
    prefill: Engine,
    decode_index: int,
    decode: Engine,
    workload: Workload,
    facts: ModelFacts,
    *,
    crosses_nodes: bool,
) -> Surface:
    """Disaggregated layouts of two engines of one pool: every pair of counts the pool holds; L may be 0.

    `crosses_nodes` False leaves only layouts within one node, for pools without RDMA. A prefill rank works on one
    prompt at a time; the client's first token comes from prefill, and the KV transfer delays the second.
    """
    slots = worker_slots(prefill.pool)
    p, d = (
        counts.ravel()
        for counts in np.meshgrid(
            count_grid(slots.workers(prefill.gpus)), count_grid(slots.workers(decode.gpus)), indexing="ij"
        )
    )
    if prefill.gpus >= decode.gpus:
        placed = slots.fits_beside(prefill.gpus, p, decode.gpus, d)
    else:
        placed = slots.fits_beside(decode.gpus, d, prefill.gpus, p)
    total = p * prefill.gpus + d * decode.gpus
    if not crosses_nodes:
        placed &= total <= slots.size
    p, d, total = p[placed], d[placed], total[placed]

    curve = decode_curve(decode, workload)
    tokens = max(workload.osl - 1, 1)
    near, far = (
        transfer_ms(facts, prefill, decode, workload, within_node=within) for within in (True, False)
    )
    transfer = np.where(total <= slots.size, near, far)[:, None]
    itl = np.concatenate(([_unloaded_itl_ms(decode, workload)], curve.itl_ms)) + transfer / tokens
    life = np.concatenate(([0.0], curve.life_ms)) + transfer
    batch = np.concatenate(([0.0], curve.batch))
    rate = 1000.0 * d[:, None] * decode.lanes * batch / life
    prompt = prefill_ms(prefill, workload)
    servers = p.astype(np.float64) * prefill.parallelism.dp
    capacity = 1000.0 * servers / prompt
    return Surface(
        main=decode_index,
        prefill=prefill_index,
        stages=max(prefill.parallelism.pp, decode.parallelism.pp),
        gpus=total,
        main_count=d,
        prefill_count=p,
        rate_limit=MAX_UTILISATION * capacity,
        batch=batch,
        rate=rate,
        own_ms=np.full_like(batch, prompt),
        service_ms=np.full_like(batch, prompt),
        busy=rate / capacity[:, None],
        servers=servers,
        itl_ms=itl,
    )


def points(surface: Surface, workload: Workload, sla: Sla) -> Points:
    """Operating points of a surface: one per layout under an asked load, else the batches that could be picked."""
    if workload.request_rate is None and workload.concurrency is None:
        layout, column = _candidates_without_load(surface, workload, sla)
        return _rows(surface, workload, layout, column.astype(np.float64), np.ones(len(layout)))
    if workload.request_rate is not None:
        asked, carried = workload.request_rate, surface.rate
    else:
        e2e = surface.ttft_ms + max(workload.osl - 1, 0) * surface.itl_ms
        asked, carried = float(workload.concurrency or 0.0), surface.rate * e2e / 1000.0
    position = np.minimum(_position(carried, asked), _position(surface.rate, surface.rate_limit))
    layout = np.arange(len(surface.gpus))
    served = np.minimum(_at(carried, layout, position) / asked, 1.0)
    return _rows(surface, workload, layout, position, np.where(served > 1.0 - 1e-9, 1.0, served))


def _candidates_without_load(
    surface: Surface, workload: Workload, sla: Sla
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """(layout, column) indices of what could be picked: for each batch the layout with the highest rate among those
    that meet the SLA, or the closest where none does; and every layout at batch 1, where latency is lowest.

    Less than one request in flight is looked at where one is too many for a layout's prefill or its targets, and where
    latency is all that counts.
    """
    if not len(surface.gpus):
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    ttft = surface.ttft_ms
    e2e = ttft + max(workload.osl - 1, 0) * surface.itl_ms
    worst = _worst(sla, np.ones_like(surface.rate), ttft, surface.itl_ms, e2e)
    one = int(np.searchsorted(surface.batch, 1.0))
    usable: npt.NDArray[np.bool_] = surface.rate <= surface.rate_limit[:, None]
    enough = usable[:, one] & (worst[:, one] <= 1.0) & (sla.optimize != "latency")
    usable[:, :one] &= ~enough[:, None] & (surface.busy[:, :one] >= LEAST_UTILISATION)
    meets: npt.NDArray[np.bool_] = usable & (worst <= 1.0)
    # Equal rates: the fewer GPUs.
    by_rate = np.where(meets, surface.rate * (1.0 - 1e-12 * surface.gpus[:, None]), -np.inf)
    by_miss = np.where(usable, worst, np.inf)
    columns = np.flatnonzero(usable.any(axis=0))
    any_meets = np.asarray(meets.any(axis=0))[columns]
    chosen = np.where(any_meets, by_rate[:, columns].argmax(axis=0), by_miss[:, columns].argmin(axis=0))
    alone = np.flatnonzero(usable[:, one])
    layout = np.concatenate([chosen, alone]).astype(np.intp)
    column = np.concatenate([columns, np.full(len(alone), one)]).astype(np.intp)
    _, unique = np.unique(layout * surface.rate.shape[1] + column, return_index=True)
    return layout[unique], column[unique]


def _rows(
    surface: Surface, workload: Workload, layout: npt.NDArray[np.intp], position: Floats, served: Floats
) -> Points:
    """The wait is worked out at the point itself: it grows far too fast to be interpolated between batches."""
    columns = np.arange(len(surface.batch))
    rate, itl = _at(surface.rate, layout, position), _at(surface.itl_ms, layout, position)
    own, service = (np.interp(position, columns, values) for values in (surface.own_ms, surface.service_ms))
    busy = _at(surface.busy, layout, position)
    ttft = own + round_robin_wait_ms(service, busy, surface.servers[layout])
    e2e = ttft + max(workload.osl - 1, 0) * itl
    rows = len(layout)
    return Points(
        main=np.full(rows, surface.main),
        prefill=np.full(rows, surface.prefill),
        stages=np.full(rows, surface.stages),
        main_count=surface.main_count[layout],
        prefill_count=surface.prefill_count[layout],
        gpus=surface.gpus[layout],
        batch=np.interp(position, columns, surface.batch),
        rate=rate,
        concurrency=rate * e2e / 1000.0,
        ttft_ms=ttft,
        itl_ms=itl,
        e2e_ms=e2e,
        unloaded_ttft_ms=np.full(rows, surface.own_ms[0]),
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


def _worst(sla: Sla, served: Floats, ttft_ms: Floats, itl_ms: Floats, e2e_ms: Floats) -> Floats:
    predicted = {"ttft_ms": ttft_ms, "itl_ms": itl_ms, "e2e_ms": e2e_ms}
    worst = 1.0 / np.maximum(served, 1e-9)
    for name, target in sla.targets.items():
        worst = np.maximum(worst, predicted[name] / target)
    return worst


def _unloaded_itl_ms(engine: Engine, workload: Workload) -> float:
    return float(engine.times.decode_ms(1.0, workload.mean_context))
