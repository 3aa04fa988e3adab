"""Latency of the requests of a trace with a fixed number in flight: the next comes when one ends.

No arrivals are given here, so `path`'s closed forms do not hold: when a request comes depends on all that went before.
The same lanes are followed from one end to the next instead. A lane has a clock of decode steps, which runs one step
per `decode_ms(in flight)` between prompts and one per chunk within them; a request's last token comes when the clock
has gone its number of tokens further. Requests are dealt to lanes in turn, as the frontend does it.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop, heappush
from itertools import count

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


class _Lane:
    """Requests that decode together, by a clock of steps. at_ms, steps: the moment to which it is known."""

    __slots__ = ("at_ms", "ends", "pace", "steps", "version")

    def __init__(self, pace: list[float]) -> None:
        self.pace = pace
        self.at_ms = self.steps = 0.0
        self.ends: list[tuple[float, int]] = []
        self.version = 0

    @property
    def step_ms(self) -> float:
        return self.pace[len(self.ends)]

    def advance(self, now_ms: float) -> None:
        if now_ms > self.at_ms:
            self.steps += (now_ms - self.at_ms) / self.step_ms
            self.at_ms = now_ms

    def compute(self, service_ms: float, chunks: float) -> list[tuple[float, int]]:
        """A prompt in the next `chunks` steps; (when, request) of those that end meanwhile."""
        ended = []
        while self.ends and self.ends[0][0] <= self.steps + chunks:
            steps, request = heappop(self.ends)
            ended.append((self.at_ms + max(steps - self.steps, 0.0) / chunks * service_ms, request))
        self.at_ms += service_ms
        self.steps += chunks
        return ended

    def next_end(self) -> tuple[float, int] | None:
        """(when, request) of the next end, if no prompt comes before."""
        if not self.ends:
            return None
        steps, request = self.ends[0]
        return self.at_ms + max(steps - self.steps, 0.0) * self.step_ms, request


class _Events:
    """What happens next, in order of time: ends that are certain, and those that a prompt may still delay."""

    def __init__(self, lanes: list[_Lane]) -> None:
        self.lanes = lanes
        self.heap: list[tuple[float, int, int, int, int]] = []
        self.order = count()

    def push(self, when: float, request: int, lane: int = -1, version: int = 0) -> None:
        heappush(self.heap, (when, next(self.order), request, lane, version))

    def expect(self, lane: int) -> None:
        """The lane's next end, in place of what was expected of it."""
        at = self.lanes[lane]
        at.version += 1
        end = at.next_end()
        if end is not None:
            self.push(*end, lane, at.version)

    def pop(self) -> tuple[float, int, int] | None:
        """(when, request, its lane: -1 when the end was certain); None when nothing is left."""
        while self.heap:
            when, _, request, lane, version = heappop(self.heap)
            if lane < 0:
                return when, request, -1
            at = self.lanes[lane]
            if version == at.version:
                at.steps, at.at_ms = at.ends[0][0], when
                heappop(at.ends)
                self.expect(lane)
                return when, request, lane
        return None


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
    service_ms, steps, owed = service.tolist(), chunks.tolist(), tokens.tolist()
    lanes = [_Lane(pace.by_number(in_flight)) for _ in range(servers)]
    events = _Events(lanes)
    arrive, finish, last, rest = np.zeros((4, followed))
    for k in range(followed):
        now, came = 0.0, -1
        if k >= in_flight and (event := events.pop()):
            now, ended, came = event
            last[ended] = now
        mine = k % servers
        lane = lanes[mine]
        if lane.at_ms <= now and came != mine:  # comes within a step
            rest[k] = k * GOLDEN % 1.0 * lane.step_ms if lane.ends else 0.0
        lane.advance(now)
        for when, request in lane.compute(service_ms[k], steps[k]):
            events.push(when, request)
        arrive[k], finish[k] = now, lane.at_ms
        if owed[k]:
            heappush(lane.ends, (lane.steps + owed[k], k))
        else:
            events.push(lane.at_ms, k)
        events.expect(mine)
    while event := events.pop():
        now, ended, _ = event
        last[ended] = now
    ttft = finish - arrive + rest
    for mine in range(min(servers, followed)):
        own = slice(mine, None, servers)
        one = np.zeros(len(arrive[own]), dtype=np.int64)
        ttft[own] += added_behind(arrive[own], service[own], finish[own], new[own], one)
    return _outcome(arrive, ttft, (last - finish) / np.maximum(tokens, 1.0), tokens, in_flight)


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
    lanes = [_Lane(Pace.of(decode, requests).by_number(in_flight)) for _ in range(decoders)]
    events, free, joined = _Events(lanes), [0.0] * servers, 0
    arrive, finish, last = np.zeros((3, followed))
    decoding = np.zeros(followed, dtype=np.bool_)
    k = 0

    def send(now: float) -> None:
        nonlocal k
        free[k % servers] = max(free[k % servers], now) + cost_ms[k]
        arrive[k], finish[k] = now, free[k % servers]
        events.push(finish[k], k)
        k += 1

    while k < min(in_flight, followed):
        send(0.0)
    while event := events.pop():
        now, request, came = event
        if came < 0 and owed[request] and not decoding[request]:
            decoding[request] = True
            lane = lanes[joined % decoders]
            lane.advance(now)
            step = lane.pace[len(lane.ends) + 1]
            wait = step / 2.0 + max(step, moved[request] + step / 2.0) if lane.ends else moved[request]
            heappush(lane.ends, (lane.steps + wait / step + owed[request], request))
            events.expect(joined % decoders)
            joined += 1
            continue
        last[request] = now
        if k < followed:
            send(now)
    return _outcome(arrive, finish - arrive, (last - finish) / np.maximum(tokens, 1.0), tokens, in_flight)


def _followed(requests: Requests, in_flight: int) -> npt.NDArray[np.intp]:
    most = min(len(requests), max(MOST_REQUESTS, 10 * in_flight))
    return np.linspace(0, len(requests) - 1, most).round().astype(np.intp)


def _outcome(arrive: Floats, ttft: Floats, itl: Floats, tokens: Floats, in_flight: int) -> Path:
    """The latencies without those of the beginning, and the rate at which requests came after it."""
    first = min(max(len(arrive) // 10, in_flight), len(arrive) - 1)
    spent = float(arrive[-1] - arrive[first])
    rate = 1000.0 * (len(arrive) - 1 - first) / spent if spent > 0 else 0.0
    return replace(settled(ttft, itl, tokens, first), rate=rate)
