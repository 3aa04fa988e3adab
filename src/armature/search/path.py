"""Latency of the requests of a trace on one layout: their own arrivals and lengths, one after the other.

No formula of means knows bursts, or prompts of 100 tokens between prompts of 100,000. Here each lane's prompts queue in
order (the Lindley recursion, in closed form: a cumulative sum and a running maximum), and what is decoded beside them
goes on at the pace that this leaves: a clock of decode steps that runs one step per `decode_ms(in flight)` between
prompts and one per chunk within them. A request's last token comes when that clock has gone its number of tokens
further. Everything is arrays; the number in flight, which sets the pace, is settled in a few rounds.

Lindley 1952, "The theory of queues with a single server".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from armature.perf.estimate import Floats
from armature.perf.lattice import distinct
from armature.search.operating import CHUNK_TOKENS, Engine, prefill_ms
from armature.search.space import batch_grid
from armature.search.traced import Prompts
from armature.workload.requests import Requests
from armature.workload.shape import Workload

__all__ = [
    "GOLDEN",
    "Pace",
    "Path",
    "added_behind",
    "agg_path",
    "first_tokens",
    "lane_service",
    "prompt_scale",
    "settled",
    "split_path",
]

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]

ROUNDS = 4
WARM_UP = 0.1
"""Share of the requests left out at the beginning: the deployment is still filling up."""
IDLE_MS = 1e-3
"""A wait that is no longer is rounding: nobody was there."""
GOLDEN = 0.6180339887498949
"""Its multiples, modulo 1, stand for moments within a step: spread evenly, and the same every time."""


@dataclass(frozen=True, slots=True)
class Path:
    """TTFT of every request and ITL of those with two tokens or more, milliseconds, in order of arrival. rate: requests
    per second, where a fixed number in flight and not the arrivals decides."""

    ttft_ms: Floats
    itl_ms: Floats
    rate: float | None = None

    @property
    def figures(self) -> tuple[float, ...]:
        """Mean, p50, p95 of TTFT, then of ITL; ITL 0 when no request has two tokens."""
        found: list[float] = []
        for values in (self.ttft_ms, self.itl_ms):
            some = values if len(values) else np.zeros(1)
            found += [float(some.mean()), *np.quantile(some, (0.5, 0.95)).tolist()]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Pace:
    """Decode steps by the number in flight."""

    batch: Floats
    step_ms: Floats

    @classmethod
    def of(cls, engine: Engine, requests: Requests) -> Pace:
        tokens = np.maximum(requests.osl - 1.0, 0.0)
        context = float((tokens * (requests.isl + tokens / 2)).sum() / max(tokens.sum(), 1.0))
        batch = distinct(np.maximum(batch_grid(engine.max_batch), 1.0))
        return cls(batch, engine.times.decode_ms(batch, max(context, 1.0)))

    def at(self, in_flight: Floats) -> Floats:
        return np.asarray(np.interp(in_flight, self.batch, self.step_ms), dtype=np.float64)

    def by_number(self, most: int) -> list[float]:
        """Of 0, 1, ... most + 1 requests."""
        return [float(step) for step in self.at(np.arange(most + 2.0))]


def agg_path(
    engine: Engine, requests: Requests, servers: int, in_flight: float, prompts: Prompts | None = None
) -> Path:
    """Aggregated: prompts and decoding in the same lanes. servers: lanes that the requests are dealt to in turn;
    in_flight: a first guess of the mean number in a lane."""
    cost, new = (prompts or Prompts.of(engine, requests)).ms(servers)
    pace = Pace.of(engine, requests)
    chunks, service = lane_service(engine, requests, cost, new, in_flight, pace)
    tokens = np.asarray(requests.osl - 1.0, dtype=np.float64)
    order, lane = _dealt(np.arange(len(requests)), servers)
    t, s, owed, computed = (
        np.cumsum(requests.gap_s)[order] * 1000.0,
        service[order],
        tokens[order],
        new[order],
    )
    t = t + lane * _apart(t, s, owed, pace)
    finish = _finish(t, s)
    last, step = _decoded(finish, s, chunks[order], owed, lane, pace, in_flight)
    idle = finish - s - t <= IDLE_MS
    moment = np.modf(order // servers * GOLDEN)[0]
    ttft, itl = np.zeros(len(requests)), np.zeros(len(requests))
    behind = added_behind(t, s, finish, computed, lane)
    ttft[order] = finish - t + behind + np.where(idle, moment * step, 0.0)
    itl[order] = (last - finish) / np.maximum(owed, 1.0)
    return settled(ttft, itl, tokens, int(WARM_UP * len(ttft)))


def lane_service(
    engine: Engine, requests: Requests, cost: Floats, new: Floats, in_flight: float, pace: Pace
) -> tuple[Floats, Floats]:
    """(steps, milliseconds) of each prompt beside `in_flight` requests that decode; cost, new: milliseconds alone, and
    tokens that are computed."""
    chunks = np.maximum(np.ceil(new / CHUNK_TOKENS), 1.0)
    usual, context = float(np.clip(new.mean(), 1.0, CHUNK_TOKENS)), float(requests.isl.mean())
    beside = float(
        engine.times.mixed_ms(usual, in_flight, context) - engine.times.mixed_ms(usual, 0.0, context)
    )
    return chunks, np.maximum(cost + chunks * max(beside, 0.0), chunks * pace.step_ms[0])


def prompt_scale(prompts: Prompts, engine: Engine, workload: Workload, servers: Floats | Ints) -> Floats:
    """Time of a trace's mean prompt, what is cached left out, over that of a prompt of mean length: (L, 1)."""
    mean_ms = prompts.costs(servers.astype(np.int64)).mean_ms
    return np.asarray(mean_ms / prefill_ms(engine, workload), dtype=np.float64)[:, None]


def first_tokens(engine: Engine, requests: Requests, servers: int, prompts: Prompts | None = None) -> Floats:
    """When each request's first token leaves the prefill workers, milliseconds; `servers` ranks take one prompt at a
    time."""
    cost, _ = (prompts or Prompts.of(engine, requests)).ms(servers)
    order, rank = _dealt(np.arange(len(requests)), servers)
    arrive, finish = np.cumsum(requests.gap_s)[order] * 1000.0, np.zeros(len(requests))
    apart = rank * (arrive.max() + cost.sum() + 1.0)
    finish[order] = _finish(arrive + apart, cost[order]) - apart
    return finish


def split_path(
    decode: Engine, requests: Requests, first_ms: Floats, lanes: int, transfer_ms_per_token: float
) -> Path:
    """Disaggregated: `first_ms` from prefill workers, then decoding in `lanes` that take requests in turn."""
    arrive, tokens = np.cumsum(requests.gap_s) * 1000.0, np.asarray(requests.osl - 1.0, dtype=np.float64)
    pace, itl = Pace.of(decode, requests), np.zeros(len(requests))
    order = np.argsort(first_ms, kind="stable")
    order, lane = _dealt(order[tokens[order] > 0], lanes)
    if len(order):
        moved = np.asarray(transfer_ms_per_token * requests.isl[order], dtype=np.float64)
        begin, owed = first_ms[order], tokens[order]
        begin = begin + lane * _apart(begin, moved, owed + 2.0, pace)
        itl[order] = (_joined(begin, moved, owed, lane, pace) - begin) / owed
    return settled(first_ms - arrive, itl, tokens, int(WARM_UP * len(itl)))


def _joined(begin: Floats, moved: Floats, owed: Floats, lane: Ints, pace: Pace) -> Floats:
    """When each request's last token comes. begin: of its transfer, which takes `moved`."""
    count, gaps = np.ones(len(begin)), np.diff(begin)
    middle = begin + np.append(np.where(np.diff(lane) > 0, 0.0, gaps / 2.0), 0.0)
    place = np.arange(1, len(begin) + 1)
    last = begin
    for _ in range(ROUNDS):
        step = pace.at(count)
        steps = np.concatenate(([0.0], np.cumsum(gaps / step[:-1])))
        full = step / 2.0 + np.maximum(step, moved + step / 2.0)
        joined = begin + np.where(count > 1.5, full, moved)
        last = _when(_steps_at(joined, begin, steps, step[-1]) + owed, begin, steps, step[-1])
        inside = place - np.searchsorted(np.sort(last), middle, side="right")
        count = (count + np.maximum(inside, 1.0)) / 2.0
    return last


def settled(ttft: Floats, itl: Floats, tokens: Floats, first: int) -> Path:
    """The requests from `first` on; those of one token have no time between tokens."""
    return Path(ttft[first:], itl[first:][tokens[first:] > 0])


def _dealt(requests: Rows, lanes: int) -> tuple[Rows, Ints]:
    """(requests, lane of each), lane after lane, dealt in turn. Lanes are worked out as one that lives through them one
    after the other, `_apart` in time: nothing of one is left when the next begins."""
    lane = np.arange(len(requests)) % lanes
    order = np.argsort(lane, kind="stable")
    return requests[order], lane[order]


def _apart(begin: Floats, service: Floats, tokens: Floats, pace: Pace) -> float:
    """Milliseconds in which every lane has come to rest."""
    return float(begin.max() + service.sum() + tokens.max() * pace.step_ms.max()) + 1.0


def _finish(arrive: Floats, service: Floats) -> Floats:
    """When a single server has done each job in turn: Lindley's recursion, max-plus."""
    done = np.cumsum(service)
    return np.asarray(done + np.maximum.accumulate(arrive - (done - service)), dtype=np.float64)


def added_behind(arrive: Floats, service: Floats, finish: Floats, new: Floats, lane: Ints) -> Floats:
    """What prompts that came later, but before a prompt's last step began, add to that step: up to its chunk."""
    total = np.cumsum(new)
    starts = np.where(finish - service - arrive <= IDLE_MS, total - new, 0.0)
    position = total - np.maximum.accumulate(starts)
    spare = -position % CHUNK_TOKENS
    in_last = np.minimum(new, CHUNK_TOKENS - spare)
    per_token = (np.bincount(lane, service) / np.bincount(lane, new))[lane]
    came = np.searchsorted(arrive, finish - per_token * in_last, side="left")
    later = np.where(came > 0, total[np.maximum(came, 1) - 1], 0.0) - total
    return np.asarray(per_token * np.clip(later, 0.0, spare), dtype=np.float64)


def _decoded(
    finish: Floats, service: Floats, chunks: Floats, tokens: Floats, lane: Ints, pace: Pace, in_flight: float
) -> tuple[Floats, Floats]:
    """(when each request's last token comes, the decode step around its first)."""
    when = np.stack((finish - service, finish), axis=1).ravel()
    count = np.full(len(finish), max(in_flight, 1.0))
    last, step = finish, pace.at(count)
    gaps = np.append(when[2::2] - when[1:-1:2], 0.0)
    middle = finish + np.where(np.diff(lane, append=lane[-1]) > 0, 0.0, gaps / 2.0)
    place = np.arange(1, len(finish) + 1)
    for _ in range(ROUNDS):
        step = pace.at(count)
        moves = np.stack((chunks, gaps / step), axis=1).ravel()[:-1]
        steps = np.concatenate(([0.0], np.cumsum(moves)))
        last = _when(steps[1::2] + tokens, when, steps, step[-1])
        inside = place - np.searchsorted(np.sort(last), middle, side="right")
        count = (count + np.maximum(inside, 1.0)) / 2.0
    return last, step


def _when(wanted: Floats, when: Floats, steps: Floats, step_ms: float) -> Floats:
    """The moment at which the clock shows `wanted` steps; after its last node it goes on at `step_ms`."""
    beyond = np.maximum(wanted - steps[-1], 0.0) * step_ms
    return np.asarray(np.interp(wanted, steps, when) + beyond, dtype=np.float64)


def _steps_at(moment: Floats, when: Floats, steps: Floats, step_ms: float) -> Floats:
    beyond = np.maximum(moment - when[-1], 0.0) / step_ms
    return np.asarray(np.interp(moment, when, steps) + beyond, dtype=np.float64)
