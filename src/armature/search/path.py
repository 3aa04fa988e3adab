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

from armature.perf.estimate import Floats
from armature.perf.lattice import distinct
from armature.search.operating import CHUNK_TOKENS, Engine, prefill_ms
from armature.search.space import batch_grid
from armature.search.traced import prompt_costs, prompt_ms
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

ROUNDS = 4
WARM_UP = 0.1
"""Share of the requests left out at the beginning: the deployment is still filling up."""
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


def agg_path(engine: Engine, requests: Requests, servers: int, in_flight: float) -> Path:
    """Aggregated: prompts and decoding in the same lanes. servers: lanes that the requests are dealt to in turn;
    in_flight: a first guess of the mean number in a lane."""
    cost, new = prompt_ms(engine.times, requests, servers, engine.fit.kv_room_tokens, CHUNK_TOKENS)
    pace, arrive = Pace.of(engine, requests), np.cumsum(requests.gap_s) * 1000.0
    chunks, service = lane_service(engine, requests, cost, new, in_flight, pace)
    tokens = np.asarray(requests.osl - 1.0, dtype=np.float64)
    ttft, itl = np.zeros(len(requests)), np.zeros(len(requests))
    for lane in range(min(servers, len(requests))):
        mine = slice(lane, None, servers)
        t, s = arrive[mine], service[mine]
        finish = _finish(t, s)
        last, step = _decoded(finish, s, chunks[mine], tokens[mine], pace, in_flight)
        idle = finish - s - t <= 0.0
        moment = np.modf(np.arange(len(t)) * GOLDEN)[0]
        own = finish - t + added_behind(t, s, finish, new[mine]) + np.where(idle, moment * step, 0.0)
        ttft[mine] = own
        itl[mine] = (last - finish) / np.maximum(tokens[mine], 1.0)
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


def prompt_scale(engine: Engine, workload: Workload, servers: Floats) -> Floats | None:
    """Time of a trace's mean prompt, what is cached left out, over that of a prompt of mean length: (L, 1)."""
    if workload.requests is None or not len(servers):
        return None
    room, whole = float(engine.fit.kv_room_tokens), servers.astype(np.int64)
    costs = prompt_costs(engine.times, workload.requests, whole, room, CHUNK_TOKENS)
    return np.asarray(costs.mean_ms / prefill_ms(engine, workload), dtype=np.float64)[:, None]


def first_tokens(engine: Engine, requests: Requests, servers: int) -> Floats:
    """When each request's first token leaves the prefill workers, milliseconds; `servers` ranks take one prompt at a
    time."""
    cost, _ = prompt_ms(engine.times, requests, servers, engine.fit.kv_room_tokens, CHUNK_TOKENS)
    arrive, finish = np.cumsum(requests.gap_s) * 1000.0, np.zeros(len(requests))
    for rank in range(min(servers, len(requests))):
        mine = slice(rank, None, servers)
        finish[mine] = _finish(arrive[mine], cost[mine])
    return finish


def split_path(
    decode: Engine, requests: Requests, first_ms: Floats, lanes: int, transfer_ms_per_token: float
) -> Path:
    """Disaggregated: `first_ms` from prefill workers, then decoding in `lanes` that take requests in turn."""
    arrive, tokens = np.cumsum(requests.gap_s) * 1000.0, np.asarray(requests.osl - 1.0, dtype=np.float64)
    pace, itl = Pace.of(decode, requests), np.zeros(len(requests))
    order = np.argsort(first_ms, kind="stable")
    order = order[tokens[order] > 0]
    for lane in range(min(lanes, max(len(order), 1))):
        mine = order[lane::lanes]
        if len(mine) < 2:
            continue
        begin, moved, owed = first_ms[mine], transfer_ms_per_token * requests.isl[mine], tokens[mine]
        count = np.ones(len(mine))
        joined = begin + moved
        for _ in range(ROUNDS):
            step = pace.at(count)
            steps = np.concatenate(([0.0], np.cumsum(np.diff(begin) / step[:-1])))
            full = step / 2.0 + np.maximum(step, moved + step / 2.0)
            joined = begin + np.where(count > 1.5, full, moved)
            last = _when(_steps_at(joined, begin, steps, step[-1]) + owed, begin, steps, step[-1])
            middle = begin + np.append(np.diff(begin) / 2.0, 0.0)
            inside = np.arange(1, len(mine) + 1) - np.searchsorted(np.sort(last), middle, side="right")
            count = (count + np.maximum(inside, 1.0)) / 2.0
        itl[mine] = (last - begin) / owed
    return settled(first_ms - arrive, itl, tokens, int(WARM_UP * len(itl)))


def settled(ttft: Floats, itl: Floats, tokens: Floats, first: int) -> Path:
    """The requests from `first` on; those of one token have no time between tokens."""
    return Path(ttft[first:], itl[first:][tokens[first:] > 0])


def _finish(arrive: Floats, service: Floats) -> Floats:
    """When a single server has done each job in turn: Lindley's recursion, max-plus."""
    done = np.cumsum(service)
    return np.asarray(done + np.maximum.accumulate(arrive - (done - service)), dtype=np.float64)


def added_behind(arrive: Floats, service: Floats, finish: Floats, new: Floats) -> Floats:
    """What prompts that came later, but before a prompt's last step began, add to that step: up to its chunk."""
    total = np.cumsum(new)
    starts = np.where(finish - service - arrive <= 0.0, total - new, 0.0)
    position = total - np.maximum.accumulate(starts)
    spare = -position % CHUNK_TOKENS
    in_last = np.minimum(new, CHUNK_TOKENS - spare)
    per_token = float(service.sum() / new.sum())
    came = np.searchsorted(arrive, finish - per_token * in_last, side="left")
    later = np.where(came > 0, total[np.maximum(came, 1) - 1], 0.0) - total
    return np.asarray(per_token * np.clip(later, 0.0, spare), dtype=np.float64)


def _decoded(
    finish: Floats, service: Floats, chunks: Floats, tokens: Floats, pace: Pace, in_flight: float
) -> tuple[Floats, Floats]:
    """(when each request's last token comes, the decode step around its first)."""
    when = np.stack((finish - service, finish), axis=1).ravel()
    count = np.full(len(finish), max(in_flight, 1.0))
    last, step = finish, pace.at(count)
    gaps = np.append(when[2::2] - when[1:-1:2], 0.0)
    middle = finish + gaps / 2.0
    for _ in range(ROUNDS):
        step = pace.at(count)
        moves = np.stack((chunks, gaps / step), axis=1).ravel()[:-1]
        steps = np.concatenate(([0.0], np.cumsum(moves)))
        last = _when(steps[1::2] + tokens, when, steps, step[-1])
        inside = np.arange(1, len(finish) + 1) - np.searchsorted(np.sort(last), middle, side="right")
        count = (count + np.maximum(inside, 1.0)) / 2.0
    return last, step


def _when(wanted: Floats, when: Floats, steps: Floats, step_ms: float) -> Floats:
    """The moment at which the clock shows `wanted` steps; after its last node it goes on at `step_ms`."""
    beyond = np.maximum(wanted - steps[-1], 0.0) * step_ms
    return np.asarray(np.interp(wanted, steps, when) + beyond, dtype=np.float64)


def _steps_at(moment: Floats, when: Floats, steps: Floats, step_ms: float) -> Floats:
    beyond = np.maximum(moment - when[-1], 0.0) / step_ms
    return np.asarray(np.interp(moment, when, steps) + beyond, dtype=np.float64)
