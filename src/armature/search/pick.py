"""Which point to deploy: the best that meets every stated target, or the closest to meeting them.

With a load (`requestRate`, `concurrency`): the fewest GPUs that carry it within the SLA. Without one: the most tokens
per second from the GPUs there are. `optimizationType: latency`: the lowest end-to-end latency. Targets bind the mean
estimate; TTFT and ITL both bind, planner on or off. When nothing meets them, the point whose worst ratio of predicted
to target (or of asked to carried load) is smallest.

Throughputs, latencies and misses within 1 % of the best count as equal, for no estimate is better than that. Then
fewer GPUs win, then aggregated layouts, then fewer pipeline stages, which both have fewer parts, then lower latency.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from armature.perf.estimate import Floats
from armature.search.surface import Ints
from armature.search.sweep import TOLERANCE, Points, worst_ratio
from armature.workload.shape import Sla, Workload

__all__ = ["EQUAL", "TOLERANCE", "best_first", "layout_keys"]

EQUAL = 0.01


def best_first(points: Points, workload: Workload, sla: Sla) -> npt.NDArray[np.intp]:
    """All rows, best first by the module's rule; the last ties go to the lower latency, then the earlier row."""
    ratio = worst_ratio(points, sla)
    missed = ratio > 1.0 + TOLERANCE
    miss = np.where(missed, _steps_from_best(ratio, np.ones_like(missed)), -1.0)
    contends = miss == miss.min(initial=np.inf)
    loaded = workload.request_rate is not None or workload.concurrency is not None
    gpus = points.gpus.astype(np.float64)
    if sla.optimize == "latency":
        goal = [_steps_from_best(points.e2e_ms, contends), gpus]
    elif loaded:
        goal = [gpus, _steps_from_best(points.e2e_ms, contends, points.gpus)]
    else:
        goal = [_steps_from_best(1.0 / points.rate, contends), gpus]
    goal += [
        np.asarray(points.prefill >= 0, dtype=np.float64),
        points.stages.astype(np.float64),
        points.e2e_ms,
    ]
    return np.lexsort((np.arange(len(points)), *reversed([miss, *goal])))


def _steps_from_best(cost: Floats, contends: npt.NDArray[np.bool_], group: Ints | None = None) -> Floats:
    """How many times 1 % each cost lies above the least contender's of its group (default: one group)."""
    groups = np.zeros(len(cost), dtype=np.int64) if group is None else group
    least = np.full(int(groups.max(initial=0)) + 1, np.inf)
    np.minimum.at(least, groups, np.where(contends, cost, np.inf))
    least = np.where(np.isfinite(least), least, cost.min(initial=np.inf))
    return np.asarray(np.floor(np.log(cost / least[groups]) / np.log1p(EQUAL) + TOLERANCE), dtype=np.float64)


def layout_keys(points: Points) -> npt.NDArray[np.int64]:
    """One integer per kind of layout: equal rows differ only in counts and batch."""
    return np.asarray(points.main * (points.prefill.max(initial=0) + 2) + points.prefill + 1)
