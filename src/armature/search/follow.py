"""The requests of a trace on the layouts where it matters: those that may be the pick, and those that are shown.

A trace takes milliseconds on each of thousands of layouts. Most cannot be the pick, whatever bursts do: others carry
the load on fewer GPUs, or a prompt alone takes longer than the target. Points are of means (`sweep`) until they are
followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from armature.perf.lattice import distinct
from armature.search.pick import best_first
from armature.search.surface import MakeSurface
from armature.search.sweep import Points
from armature.workload.shape import Sla, Workload

__all__ = ["followed", "followed_to_the_pick", "is_traced"]

Rows = npt.NDArray[np.intp]
Keep = Callable[[Points], Sequence[int] | Rows]
AFTER_WARM_UP = 0.8
"""No less than this share of the mean prompt's time is that of the prompts after the first tenth, which is left out."""

MOST_FOLLOWED = 32
"""Layouts that are followed for what they might be at best, and then as many for what their means promise."""


def is_traced(workload: Workload) -> bool:
    """Whether the workload is a trace under a load; without a load it counts by its means."""
    return workload.requests is not None and (
        workload.request_rate is not None or workload.concurrency is not None
    )


def followed(points: Points, makers: Sequence[MakeSurface], workload: Workload, rows: Rows) -> Points:
    """The points, `rows` of them with the latencies of the trace's own requests, arriving at each point's rate, or with
    as many in flight as each point has. makers: of the points' surfaces, by number."""
    requests = workload.requests
    if requests is None or points.surface is None or points.layout is None or points.traced is None:
        return points
    columns = points.rate, points.concurrency, points.ttft_ms, points.itl_ms, points.e2e_ms, points.traced
    rate, concurrency, ttft, itl, e2e, traced = (column.copy() for column in columns)
    for number in distinct(points.surface[rows]):
        surface = makers[number]()
        for row in rows[points.surface[rows] == number].tolist():
            layout, batch = int(points.layout[row]), float(points.batch[row])
            closed, arriving = None, requests
            if workload.request_rate is None:
                asked = workload.concurrency if points.served[row] >= 1.0 else concurrency[row]
                concurrency[row] = closed = max(1, round(float(asked or 1.0)))
            elif not _equal(
                float(rate[row]), requests.rate_per_s
            ):  # else layouts share what the requests cost
                arriving = requests.scaled(float(rate[row]))
            found = surface.followed(layout, arriving, batch, closed)
            if found is None:
                continue
            traced[row] = *found.ttft_ms[1:], *found.itl_ms[1:]
            ttft[row], itl[row] = found.ttft_ms[0], found.itl_ms[0] or itl[row]
            e2e[row] = ttft[row] + max(workload.osl - 1, 0) * itl[row]
            rate[row] = rate[row] if found.rate is None else found.rate
            if workload.request_rate is not None:
                concurrency[row] = rate[row] * e2e[row] / 1000.0
    return replace(
        points, rate=rate, concurrency=concurrency, ttft_ms=ttft, itl_ms=itl, e2e_ms=e2e, traced=traced
    )


def followed_to_the_pick(
    points: Points, makers: Sequence[MakeSurface], workload: Workload, sla: Sla, shown: Keep | None = None
) -> Points:
    """The points, with what may be the pick followed, and `shown`, rows of points, until all of them are.

    A layout that is not followed may be no better than its prompts and steps alone; the best of all, were each as good
    as that, is followed until it is one that has been. Where that takes too many, since none meets the targets, the
    rest are judged by their means.
    """
    if not is_traced(workload):
        return points
    compared, left = False, 2 * MOST_FOLLOWED
    while True:
        best = best_first(_at_best(points, workload) if left > MOST_FOLLOWED else points, workload, sla)
        rows = best[:1]
        if left and len(rows) and not _known(points)[rows[0]]:
            points = followed(points, makers, workload, rows)
            left -= 1
            continue
        if shown is not None:
            kept = np.asarray(shown(points), dtype=np.intp)
            rows = kept[~_known(points)[kept]]
            if len(rows):
                means, points = points, followed(points, makers, workload, rows)
                points = points if compared else _as_those(points, means, rows, workload)
                compared = True
                continue
        return points


def _known(points: Points) -> npt.NDArray[np.bool_]:
    return np.zeros(len(points), dtype=np.bool_) if points.traced is None else points.traced[:, 0] > 0.0


def _as_those(points: Points, means: Points, rows: Rows, workload: Workload) -> Points:
    """The points, those that are not followed as far from their means as `rows` are in the median: aggregated or not,
    carrying the load or not."""
    known, kind = _known(points), 2 * (points.prefill >= 0) + (points.served >= 1.0)
    ttft, itl, rate = points.ttft_ms.copy(), points.itl_ms.copy(), points.rate.copy()
    for each in distinct(kind[rows]):
        alike, others = rows[kind[rows] == each], ~known & (kind == each)
        for values, before in ((ttft, means.ttft_ms), (itl, means.itl_ms), (rate, means.rate)):
            values[others] *= np.median(values[alike] / before[alike])
    e2e = ttft + max(workload.osl - 1, 0) * itl
    return replace(points, ttft_ms=ttft, itl_ms=itl, e2e_ms=e2e, rate=rate)


def _at_best(points: Points, workload: Workload) -> Points:
    known = _known(points)
    ttft = np.where(known, points.ttft_ms, AFTER_WARM_UP * points.unloaded_ttft_ms)
    itl = np.where(known, points.itl_ms, points.unloaded_itl_ms)
    return replace(points, ttft_ms=ttft, itl_ms=itl, e2e_ms=ttft + max(workload.osl - 1, 0) * itl)


def _equal(rate: float, other: float) -> bool:
    return abs(rate - other) <= 1e-9 * other
