"""Predict every layout at its operating point: arrays in, arrays out.

A `Surface` holds what a set of layouts does at each batch; `Points` holds one row per layout at the operating point:
where the asked load puts it, or, when none is asked, every batch that could be best. No Python object exists per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from armature.perf.estimate import Floats
from armature.search.surface import Ints, Surface
from armature.workload.shape import Sla, Workload

__all__ = [
    "TOLERANCE",
    "Points",
    "Verdicts",
    "concatenate",
    "judged_points",
    "most_rate",
    "points",
    "verdicts",
    "worst_ratio",
]

TOLERANCE = 1e-9
"""A target missed by less is met."""


@dataclass(frozen=True, slots=True)
class Points:
    """Columns of equal length, one row per layout and operating point.

    main: index of the aggregated or decode engine; prefill: index of the prefill engine, -1 when aggregated. stages:
    pipeline stages of the longest worker.
    batch: what a request finds in flight in its lane, itself included. rate (requests/s) and concurrency (requests) are
    of the whole layout. served: share of the asked load that is carried (1 when all of it or none was asked).
    surface, layout, column: where the row lies, the number of its surface in the sweep first; None where there is no
    surface and only means are known. traced: (rows, 4), p50 and p95 of TTFT, then of ITL, of a trace's own requests;
    zeros where none was followed
    (`follow`).
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
    surface: Ints | None = None
    layout: Ints | None = None
    column: Floats | None = None
    traced: Floats | None = None

    def numbered(self, surface: int) -> Points:
        """The points as those of the sweep's surface of this number."""
        return replace(self, surface=np.full(len(self), surface))

    def __len__(self) -> int:
        return len(self.batch)

    def take(self, rows: npt.NDArray[np.intp]) -> Points:
        columns = (getattr(self, f.name) for f in fields(self))
        whole: list[Any] = [column if column is None else column[rows] for column in columns]
        return Points(*whole)


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
    columns = ([getattr(part, f.name) for part in parts] for f in fields(Points))
    whole: list[Any] = [None if column[0] is None else np.concatenate(column) for column in columns]
    return Points(*whole)


def worst_ratio(points: Points, sla: Sla) -> Floats:
    """Largest predicted / target over the stated targets and asked / carried load; <= 1 means all is met."""
    return _worst(sla, points.served, points.ttft_ms, points.itl_ms, points.e2e_ms)


def points(surface: Surface, workload: Workload, sla: Sla) -> Points:
    """Operating points of a surface: one per layout under an asked load, else the batches that could be picked."""
    return judged_points(surface, workload, sla)[0]


def judged_points(
    surface: Surface, workload: Workload, sla: Sla, *, request_rate: Floats | None = None
) -> tuple[Points, Verdicts]:
    """`points`, and how many of the layouts meet everything or miss what. request_rate: asked of each layout, (L,),
    instead of the workload's."""
    if workload.request_rate is None and workload.concurrency is None:
        return _points_without_load(surface, workload, sla)
    asked: Floats | float
    if workload.request_rate is not None:
        asked, carried = workload.request_rate if request_rate is None else request_rate, surface.rate
    else:
        ttft, itl = surface.means()
        e2e = ttft + max(workload.osl - 1, 0) * itl
        asked, carried = float(workload.concurrency or 0.0), surface.rate * e2e / 1000.0
    position = np.minimum(_position(carried, asked), _position(surface.rate, surface.rate_limit))
    layout = np.arange(len(surface.gpus))
    served = np.minimum(_at(carried, layout, position) / asked, 1.0)
    served, spots = np.where(served > 1.0 - TOLERANCE, 1.0, served), surface.at(layout, position)
    found = _rows(surface, workload, layout, position, served, spots.rate, *spots.means())
    if (
        workload.request_rate is None
    ):  # what is in flight goes by the latency, which is that of the point itself
        exact = np.minimum(found.concurrency / asked, 1.0)
        found = replace(found, served=np.where(found.served < 1.0, exact, 1.0))
    return found, verdicts(found, sla)


def most_rate(surface: Surface, sla: Sla, tokens: float) -> Floats:
    """No less than the highest rate at which each layout meets the targets when no load is asked, (L,): what its
    prefill and its ITL alone allow. tokens: those of a request after its first."""
    longest = min(sla.itl_ms or np.inf, sla.e2e_ms / tokens if sla.e2e_ms and tokens else np.inf)
    allowed = surface.rate <= surface.rate_limit[:, None]
    if surface.itl_ms is not None:
        allowed &= surface.itl_ms <= longest * (1.0 + TOLERANCE)
    return np.asarray(np.where(allowed, surface.rate, 0.0).max(axis=1, initial=0.0), dtype=np.float64)


def verdicts(points: Points, sla: Sla) -> Verdicts:
    """What becomes of layouts of one point each."""
    return _verdicts(sla, points.served, points.ttft_ms, points.itl_ms, points.e2e_ms)


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
        return _rows(surface, workload, nothing, np.empty(0), *(np.empty(0) for _ in range(4))), Verdicts()
    usable = surface.usable
    ttft, itl = surface.usable_means()
    e2e = ttft + max(workload.osl - 1, 0) * itl
    worst = _worst(sla, 1.0, ttft, itl, e2e)
    enough = usable[:, one] & (worst[:, one] <= 1.0) & (sla.optimize != "latency")
    usable[:, :one] &= ~enough[:, None]
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
    at = layout, column
    found = _rows(
        surface,
        workload,
        layout,
        column.astype(np.float64),
        np.ones(len(layout)),
        surface.rate[at],
        ttft[at],
        itl[at],
    )
    good = meets.any(axis=1)
    row = np.flatnonzero(~good)
    closest = row, missed[row].argmin(axis=1)
    served = np.asarray(
        usable[closest], dtype=np.float64
    )  # prefill is too slow for any point: none is carried
    missing = _verdicts(sla, served, ttft[closest], itl[closest], e2e[closest])
    return found, missing + Verdicts(meet_everything=int(good.sum()))


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
    missed = ratios.max(axis=0) > 1.0 + TOLERANCE
    by = np.bincount(ratios.argmax(axis=0)[missed], minlength=len(ratios))
    counts = {f"miss_{name}": int(n) for name, n in zip(names, by[1:], strict=True)}
    return Verdicts(meet_everything=int((~missed).sum()), carry_too_little=int(by[0]), **counts)


def _rows(
    surface: Surface,
    workload: Workload,
    layout: npt.NDArray[np.intp],
    position: Floats,
    served: Floats,
    rate: Floats,
    ttft_ms: Floats,
    itl_ms: Floats,
) -> Points:
    e2e = ttft_ms + max(workload.osl - 1, 0) * itl_ms
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
        ttft_ms=ttft_ms,
        itl_ms=itl_ms,
        e2e_ms=e2e,
        unloaded_ttft_ms=surface.unloaded_ms[layout],
        unloaded_itl_ms=surface.unloaded_itl_ms[layout],
        served=served,
        surface=np.zeros(len(layout), dtype=np.int64),
        layout=layout,
        column=position,
        traced=np.zeros((len(layout), 4)),
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
