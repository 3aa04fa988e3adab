"""Latency of the requests of a trace with a fixed number in flight: the next comes when one ends.

No arrivals are given here, so `path`'s closed forms do not hold: when a request comes depends on all that went before.
The same lanes are followed from one end to the next instead. A lane has a clock of decode steps, which runs one step
per `decode_ms(in flight)` between prompts and one per chunk within them; a request's last token comes when the clock
has gone its number of tokens further. Requests are dealt to lanes in turn, as the frontend does it.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop, heappush
from math import inf

import numpy as np
import numpy.typing as npt

from armature.perf.estimate import Floats
from armature.search.operating import Engine
from armature.search.path import GOLDEN, Pace, Path, added_behind, lane_service, settled
from armature.search.traced import Prompts
from armature.workload.requests import Requests

__all__ = ["closed_agg_path", "closed_split_path"]

MOST_REQUESTS = 5000
"""Requests of the trace that are followed, evenly from all of it; ten times as many as are in flight where that is
more."""


class _Lanes:
    """Requests that decode together, in lanes with a clock of steps each.

    ends: a heap for each lane of (steps on its clock, request); at_ms, steps: the moment to which a lane is known, and
    its clock then; due_ms: its next end, if no prompt comes before; certain: a heap of (when, request) of what no
    prompt can delay any more.
    """

    __slots__ = ("at_ms", "certain", "due_ms", "ends", "pace", "steps")

    def __init__(self, lanes: int, pace: list[float]) -> None:
        self.pace = pace
        self.at_ms, self.steps = [0.0] * lanes, [0.0] * lanes
        self.due_ms = [inf] * lanes
        self.ends: list[list[tuple[float, int]]] = [[] for _ in range(lanes)]
        self.certain: list[tuple[float, int]] = []

    def advance(self, lane: int, now_ms: float) -> None:
        elapsed = now_ms - self.at_ms[lane]
        if elapsed > 0.0:
            self.steps[lane] += elapsed / self.pace[len(self.ends[lane])]
            self.at_ms[lane] = now_ms

    def join(self, lane: int, request: int, tokens: float) -> None:
        """Decodes from now on, for so many steps."""
        ends, at, steps = self.ends[lane], self.at_ms[lane], self.steps[lane]
        heappush(ends, (steps + tokens, request))
        self.due_ms[lane] = at + max(ends[0][0] - steps, 0.0) * self.pace[len(ends)]

    def compute(self, lane: int, service_ms: float, chunks: float) -> None:
        """A prompt in the next `chunks` steps; requests that end meanwhile do so for certain."""
        ends, at, steps = self.ends[lane], self.at_ms[lane], self.steps[lane]
        while ends and ends[0][0] <= steps + chunks:
            end, request = heappop(ends)
            heappush(self.certain, (at + max(end - steps, 0.0) / chunks * service_ms, request))
        self.at_ms[lane] = at = at + service_ms
        self.steps[lane] = steps = steps + chunks
        self.due_ms[lane] = at + max(ends[0][0] - steps, 0.0) * self.pace[len(ends)] if ends else inf

    def pop(self) -> tuple[float, int, int] | None:
        """(when, request, its lane: -1 when it was certain) of what happens next; None when nothing is left."""
        due_ms, certain = self.due_ms, self.certain
        when = min(due_ms)
        if certain and certain[0][0] <= when:
            when, request = heappop(certain)
            return when, request, -1
        if when == inf:
            return None
        lane = due_ms.index(when)
        ends = self.ends[lane]
        steps, request = heappop(ends)
        self.steps[lane], self.at_ms[lane] = steps, when
        due_ms[lane] = when + max(ends[0][0] - steps, 0.0) * self.pace[len(ends)] if ends else inf
        return when, request, lane


def closed_agg_path(
    engine: Engine, requests: Requests, servers: int, in_flight: int, prompts: Prompts | None = None
) -> Path:
    """Latencies and rate of aggregated lanes, `servers` of them, with `in_flight` requests in all."""
    some = _followed(requests, in_flight)
    followed = len(some)
    cost, new = (prompts or Prompts.of(engine, requests)).ms(servers)
    pace = Pace.of(engine, requests)
    chunks, service = lane_service(engine, requests, cost, new, in_flight / servers, pace)
    chunks, service, new = chunks[some], service[some], new[some]
    tokens = np.asarray(requests.osl[some] - 1.0, dtype=np.float64)
    lanes = _Lanes(servers, pace.by_number(in_flight))
    arrive, finish, last, rest = ([0.0] * followed for _ in range(4))
    asked = zip(service.tolist(), chunks.tolist(), tokens.tolist(), strict=True)
    for k, (service_ms, steps, owed) in enumerate(asked):
        now, came = 0.0, -1
        if k >= in_flight and (event := lanes.pop()):
            now, ended, came = event
            last[ended] = now
        mine = k % servers
        if came != mine and lanes.ends[mine] and lanes.at_ms[mine] <= now:  # comes within a step
            rest[k] = k * GOLDEN % 1.0 * lanes.pace[len(lanes.ends[mine])]
        lanes.advance(mine, now)
        lanes.compute(mine, service_ms, steps)
        arrive[k], finish[k] = now, lanes.at_ms[mine]
        if owed:
            lanes.join(mine, k, owed)
        else:
            heappush(lanes.certain, (finish[k], k))
    while event := lanes.pop():
        now, ended, _ = event
        last[ended] = now
    came_ms, first_ms, last_ms = np.array(arrive), np.array(finish), np.array(last)
    ttft = first_ms - came_ms + np.array(rest)
    for mine in range(min(servers, followed)):
        own = slice(mine, None, servers)
        one = np.zeros(len(ttft[own]), dtype=np.int64)
        ttft[own] += added_behind(came_ms[own], service[own], first_ms[own], new[own], one)
    return _outcome(came_ms, ttft, (last_ms - first_ms) / np.maximum(tokens, 1.0), tokens, in_flight)


def closed_split_path(
    prefill: Engine,
    decode: Engine,
    requests: Requests,
    servers: int,
    decoders: int,
    transfer_ms_per_token: float,
    in_flight: int,
    prompts: Prompts | None = None,
) -> Path:
    """Latencies and rate of `servers` prefill ranks and `decoders` lanes, `in_flight` requests in all."""
    some = _followed(requests, in_flight)
    followed = len(some)
    cost, _ = (prompts or Prompts.of(prefill, requests)).ms(servers)
    tokens = np.asarray(requests.osl[some] - 1.0, dtype=np.float64)
    cost_ms, owed = cost[some].tolist(), tokens.tolist()
    moved = (transfer_ms_per_token * requests.isl[some]).tolist()
    lanes = _Lanes(decoders, Pace.of(decode, requests).by_number(in_flight))
    pace, certain, free, joined = lanes.pace, lanes.certain, [0.0] * servers, 0
    arrive, finish, last = ([0.0] * followed for _ in range(3))
    k = min(in_flight, followed)
    for first in range(k):
        free[first % servers] = finish[first] = free[first % servers] + cost_ms[first]
        heappush(certain, (finish[first], first))
    while event := lanes.pop():
        now, request, came = event
        if came < 0 and owed[request]:  # its prompt is computed
            lane = joined % decoders
            lanes.advance(lane, now)
            beside = len(lanes.ends[lane])
            step = pace[beside + 1]
            wait = step / 2.0 + max(step, moved[request] + step / 2.0) if beside else moved[request]
            lanes.join(lane, request, wait / step + owed[request])
            joined += 1
            continue
        last[request] = now
        if k < followed:
            rank = k % servers
            free[rank] = end = max(free[rank], now) + cost_ms[k]
            arrive[k], finish[k] = now, end
            heappush(certain, (end, k))
            k += 1
    came_ms, first_ms, last_ms = np.array(arrive), np.array(finish), np.array(last)
    itl = (last_ms - first_ms) / np.maximum(tokens, 1.0)
    return _outcome(came_ms, first_ms - came_ms, itl, tokens, in_flight)


def _followed(requests: Requests, in_flight: int) -> npt.NDArray[np.intp]:
    most = min(len(requests), max(MOST_REQUESTS, 10 * in_flight))
    return np.linspace(0, len(requests) - 1, most).round().astype(np.intp)


def _outcome(arrive: Floats, ttft: Floats, itl: Floats, tokens: Floats, in_flight: int) -> Path:
    """The latencies without those of the beginning, and the rate at which requests came after it."""
    first = min(max(len(arrive) // 10, in_flight), len(arrive) - 1)
    spent = float(arrive[-1] - arrive[first])
    rate = 1000.0 * (len(arrive) - 1 - first) / spent if spent > 0 else 0.0
    return replace(settled(ttft, itl, tokens, first), rate=rate)
