"""What keeps the pick from being better, read off the sweep that chose it.

With a load the pick has the fewest GPUs that do: what binds is what the best layout on fewer GPUs falls short of.
Without one, more requests in flight would give more tokens/s: what binds is what forbids them. In that order:

    a target    predicted above 90 % of it: the batches looked at lie about 9 % apart
    memory      the batch fills the KV cache;  batch: it reaches the largest that is looked at
    prefill     above 90 % of the utilisation that an operating point may have
    gpus        none of these: only more GPUs give more
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from armature.perf.queueing import MAX_UTILISATION
from armature.search.candidates import Swept
from armature.search.operating import MAX_BATCH, prefill_lane
from armature.search.pick import TOLERANCE
from armature.search.profile import Candidate

__all__ = ["NEAR", "Binding", "binding", "prefill_busy"]

NEAR = 0.9


class Binding(msgspec.Struct, frozen=True):
    """kind: as in the module's docstring, `load`, or `none`. smaller: with a load, the best layout on fewer GPUs than
    the pick's. requests: of the memory or batch limit, per worker. busy: of prefill, a share."""

    kind: str
    smaller: Candidate | None = None
    requests: int = 0
    busy: float = 0.0


def binding(swept: Swept, order: npt.NDArray[np.intp]) -> Binding:
    """What binds the first of `order`; the worst miss when it meets not everything."""
    question, points, row = swept.question, swept.points, int(order[0])
    pick = swept.candidate(row)
    if not (pick.meets_sla and pick.carries_load):
        return Binding(_worst_miss(pick, swept, row))
    if question.sla.optimize == "latency":
        return Binding("none")
    if question.loaded:
        fewer = order[points.gpus[order] < pick.gpus]
        if not len(fewer):
            return Binding("none")
        smaller = swept.candidate(int(fewer[0]))
        return Binding(_worst_miss(smaller, swept, int(fewer[0])), smaller)
    nearest = max(pick.margins, key=lambda margin: margin.ratio, default=None)
    if nearest is not None and nearest.ratio >= NEAR:
        return Binding(nearest.name)
    engine = swept.engines.mains[int(points.main[row])]
    if points.batch[row] >= engine.max_batch * (1.0 - TOLERANCE):
        at_limit = engine.max_batch == MAX_BATCH
        return Binding("batch" if at_limit else "memory", requests=engine.max_batch * engine.lanes)
    busy = prefill_busy(swept, row)
    if busy >= NEAR * MAX_UTILISATION:
        return Binding("prefill", busy=busy)
    return Binding("gpus")


def prefill_busy(swept: Swept, row: int) -> float:
    """Share of the time that a disaggregated layout's prefill workers work; 0 for an aggregated one."""
    points = swept.points
    if points.prefill[row] < 0:
        return 0.0
    engine = swept.engines.prefills[int(points.prefill[row])]
    ranks = int(points.prefill_count[row]) * engine.parallelism.dp
    lane = prefill_lane(engine, swept.question.workload)
    full_ms = float(lane.shared_ms[-1, 0, 0]) / lane.room  # of each prompt in a full step
    return float(points.rate[row]) * full_ms / 1000.0 / ranks


def _worst_miss(candidate: Candidate, swept: Swept, row: int) -> str:
    ratios = {margin.name: margin.ratio for margin in candidate.margins}
    if swept.question.loaded:
        ratios["load"] = 1.0 / max(float(swept.points.served[row]), 1e-9)
    return max(ratios, key=ratios.__getitem__, default="none")
