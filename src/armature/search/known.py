"""What follows from one engine and the workload's lengths alone, whatever number of workers, targets or load.

The sweeps of one plan ask for it again and again: each relaxation is the same search with one thing different.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import msgspec
import numpy as np

from armature.perf.estimate import Floats, StepTimes
from armature.search.lane import Lane
from armature.search.load import found_in_flight, load_of, rate_at
from armature.search.operating import Engine, agg_lane
from armature.search.space import batch_grid
from armature.search.traced import Prompts
from armature.workload.requests import Requests
from armature.workload.shape import Workload

__all__ = ["Known", "OwnStream", "batches", "joined_lanes", "mixed_lane", "own_streams"]

T = TypeVar("T")


class Known:
    """Results by engine and lengths, each worked out when it is first asked for."""

    def __init__(self) -> None:
        self._results: dict[tuple[object, ...], tuple[StepTimes, Any]] = {}

    def of(self, work_out: Callable[[Engine, Workload], T], engine: Engine, workload: Workload) -> T:
        """`work_out(engine, workload)`, which may look at no more of the two than `_key` does."""
        key = _key(work_out, engine, workload)
        if key not in self._results:
            self._results[key] = engine.times, work_out(engine, workload)
        result: T = self._results[key][1]
        return result

    def of_each(
        self,
        work_out: Callable[[Sequence[Engine], Workload], Sequence[T]],
        engines: Sequence[Engine],
        workload: Workload,
    ) -> list[T]:
        """`work_out(engines, workload)`, of those that are not known yet at once."""
        keys = [_key(work_out, engine, workload) for engine in engines]
        new = {key: engine for key, engine in zip(keys, engines, strict=True) if key not in self._results}
        for key, result in zip(new, work_out(list(new.values()), workload), strict=True):
            self._results[key] = new[key].times, result
        return [self._results[key][1] for key in keys]

    def prompts(self, engine: Engine, requests: Requests) -> Prompts:
        """What the prompts of a trace take on this engine."""
        key = "prompts", id(engine.times), engine.fit.kv_room_tokens
        kept = self._results.get(key)
        if kept is None or not kept[1].same(requests):
            kept = self._results[key] = engine.times, Prompts.of(engine, requests)
        prompts: Prompts = kept[1]
        return prompts


def _key(work_out: object, engine: Engine, workload: Workload) -> tuple[object, ...]:
    """Step times by identity: results are kept with them, so that no others take their id."""
    lengths = workload.isl, workload.osl, workload.mean_context
    return work_out, id(engine.times), engine.max_batch, engine.parallelism, lengths


class OwnStream(msgspec.Struct, frozen=True):
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


def own_streams(engines: Sequence[Engine], workload: Workload) -> list[OwnStream]:
    """Lanes at the rate that each of `batches` carries. Every column stands for itself, so those of several engines are
    worked out side by side."""
    lanes = [mixed_lane(engine, workload) for engine in engines]
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, lane in enumerate(lanes):
        groups.setdefault((engines[index].parallelism.dp > 1, *lane.counts), []).append(index)
    one, tokens = np.ones((1, 1)), float(max(workload.osl - 1, 0))
    found: dict[int, OwnStream] = {}
    for indices in groups.values():
        lane = joined_lanes([lanes[index] for index in indices])
        of_each = [found_in_flight(batches(engines[index]), one) for index in indices]
        in_flight = np.concatenate(of_each, axis=-1)
        each = rate_at(lane, one, in_flight, tokens)
        itl_ms = load_of(lane, each, one, in_flight, tokens).between.mean_ms
        ends = np.cumsum([values.shape[-1] for values in of_each])[:-1]
        parts = zip(*(np.split(values, ends, axis=-1) for values in (in_flight, each, itl_ms)), strict=True)
        found |= {i: OwnStream(lanes[i], *part) for i, part in zip(indices, parts, strict=True)}
    return [found[index] for index in range(len(engines))]


def joined_lanes(lanes: Sequence[Lane]) -> Lane:
    """Side by side in the last axis, over which each lane's arrays are spread; all with the same `counts`."""
    spread = [lane.map(_spread_to(lane.own_ms.shape[-1])) for lane in lanes]

    def column(name: str) -> Any:
        values = [getattr(lane, name) for lane in spread]
        return values[0] if name in ("counts", "chunks") else np.concatenate(values, axis=-1)

    return Lane(**{f.name: column(f.name) for f in fields(Lane)})


def _spread_to(columns: int) -> Callable[[Floats], Floats]:
    return lambda values: np.broadcast_to(values, (*values.shape[:-1], columns))
