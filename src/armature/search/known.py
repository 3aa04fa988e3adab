"""What follows from one engine and the workload's lengths alone, whatever number of workers, targets or load.

The sweeps of one plan ask for it again and again: each relaxation is the same search with one thing different.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from armature.perf.estimate import Floats, StepTimes
from armature.search.lane import Lane
from armature.search.load import found_in_flight, load_of, rate_at
from armature.search.operating import Engine, agg_lane
from armature.search.space import batch_grid
from armature.workload.shape import Workload

__all__ = ["Known", "OwnStream", "batches", "mixed_lane", "own_stream"]

T = TypeVar("T")


class Known:
    """Results by engine and lengths, each worked out when it is first asked for."""

    def __init__(self) -> None:
        self._results: dict[tuple[object, ...], tuple[StepTimes, Any]] = {}

    def of(self, work_out: Callable[[Engine, Workload], T], engine: Engine, workload: Workload) -> T:
        """`work_out(engine, workload)`, which may look at no more of the two than the key below holds."""
        times, lengths = engine.times, (workload.isl, workload.osl, workload.mean_context)
        key = (work_out, id(times), engine.max_batch, engine.parallelism, lengths)
        if key not in self._results:
            self._results[key] = (
                times,
                work_out(engine, workload),
            )  # times is kept, so that no other takes its id
        result: T = self._results[key][1]
        return result


@dataclass(frozen=True, slots=True)
class OwnStream:
    """An aggregated lane that a Poisson stream of its own reaches, (1, B). in_flight: mean requests there; each:
    requests/s that keep them there."""

    lane: Lane
    in_flight: Floats
    each: Floats
    itl_ms: Floats


def batches(engine: Engine) -> Floats:
    """What is looked at: an empty server, and every size of `batch_grid`."""
    return np.concatenate(([0.0], batch_grid(engine.max_batch)))


def mixed_lane(engine: Engine, workload: Workload) -> Lane:
    """Steps of an aggregated lane with each of `batches` in flight."""
    return agg_lane(engine, workload, batches(engine))


def own_stream(engine: Engine, workload: Workload) -> OwnStream:
    """A lane at the rate that each of `batches` carries."""
    lane, one, tokens = mixed_lane(engine, workload), np.ones((1, 1)), float(max(workload.osl - 1, 0))
    in_flight = found_in_flight(batches(engine), one)
    each = rate_at(lane, one, in_flight, tokens)
    return OwnStream(lane, in_flight, each, load_of(lane, each, one, in_flight, tokens).between.mean_ms)
