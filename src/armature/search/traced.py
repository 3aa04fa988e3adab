"""Prompts of a trace in front of one kind of worker: how long each takes, with what the prefix cache has of it, and how
long it waits for those before it.

A mean length and a Poisson stream say too little of a real load: time is not linear in length, a cached prefix is not
computed, and a queue grows with the variation of gaps and service times, bursts most of all. So the trace's own prompts
go through a queue: one server per lane, in order, dealt in turn, each taking the time it would take alone, stretched by
what decodes beside it. That is Lindley's recursion (Lindley 1952, "The theory of queues with a single server"), which
is a running minimum of sums: a few microseconds per thousand requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from armature.perf.estimate import Floats, StepTimes
from armature.workload.requests import Requests

__all__ = ["FirstTokens", "Prompts", "waits_ms"]

_NODES = 24
_CACHES = np.array([*range(1, 9), 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96, 128, 192, 256])
"""Numbers of caches that hits are worked out for; another one takes those of the nearest above it."""


@dataclass(frozen=True, slots=True)
class FirstTokens:
    """Times to first token over the trace, milliseconds: mean, the least, and their variance (ms squared)."""

    mean_ms: float
    least_ms: float
    variance: float


@dataclass(slots=True)
class Prompts:
    """The prompts of `requests` on workers with step times `times`, whose ranks hold `room_tokens` of KV cache each.

    chunk_tokens: of a step. stages: lanes that share a rank's cache (pipeline stages).
    A prompt with n new tokens after p cached ones takes F(n) + k n p: F the chunks of a prompt of its own, sampled and
    interpolated; k what attention to earlier tokens costs, which is a product of both lengths.
    """

    requests: Requests
    times: StepTimes
    room_tokens: float
    chunk_tokens: float
    stages: int = 1
    _alone: dict[int, Floats] = field(default_factory=dict, repr=False)
    _found: dict[tuple[float, ...], FirstTokens] = field(default_factory=dict, repr=False)
    _curve: tuple[Floats, Floats, float] | None = field(default=None, repr=False)

    def alone_ms(self, servers: float) -> Floats:
        """Each prompt alone in its steps, when requests are dealt to so many lanes; (N,)."""
        caches = max(1, round(servers / self.stages))
        node = int(_CACHES[min(int(np.searchsorted(_CACHES, caches)), len(_CACHES) - 1)])
        node = node if self.requests.has_prefixes else 1
        if node not in self._alone:
            cached = self.requests.cached_tokens(node, self.room_tokens)
            new = self.requests.isl - cached
            tokens, own, extra = self._curves()
            self._alone[node] = np.asarray(
                np.interp(new, tokens, own) + extra * new * cached, dtype=np.float64
            )
        return self._alone[node]

    def stretch(self, servers: Floats) -> Floats:
        """Mean time of a prompt of the trace over that of a prompt of mean length without a cache; of `servers`'
        shape."""
        tokens, own, _ = self._curves()
        mean = float(np.interp(self.requests.mean_isl, tokens, own))
        return np.array(
            [float(self.alone_ms(count).mean()) / mean for count in servers.tolist()], dtype=np.float64
        )

    def first_tokens(
        self, servers: float, rate_per_s: float, slower: float, shared: float, step_ms: float
    ) -> FirstTokens:
        """Times to first token at this rate over all lanes.

        slower: times as long a prompt takes as alone, for what decodes beside it. shared: share of that which the next
        prompt waits for, below 1 where a step holds several prompts. step_ms: of a step that runs when a prompt
        comes to an idle queue: half of it is waited for.
        """
        key = (round(servers), *(float(f"{value:.3g}") for value in (rate_per_s, slower, shared, step_ms)))
        if key not in self._found:
            alone = slower * self.alone_ms(servers)
            own_rate = self.requests.rate_per_s
            gaps = 1000.0 * self.requests.gap_s * (own_rate / rate_per_s if rate_per_s > 0 else 1.0)
            wait = waits_ms(gaps, shared * alone, round(servers))
            ttft = alone + np.where(wait > 0.0, wait, step_ms / 2.0)
            self._found[key] = FirstTokens(float(ttft.mean()), float(ttft.min()), float(ttft.var()))
        return self._found[key]

    def _curves(self) -> tuple[Floats, Floats, float]:
        """(new tokens, milliseconds of a prompt of its own; milliseconds per pair of a new and a cached token)."""
        if self._curve is None:
            most, chunk = float(self.requests.isl.max()), self.chunk_tokens
            tokens = np.concatenate((np.geomspace(1.0, most, _NODES), np.arange(chunk, most, chunk)[:_NODES]))
            tokens = np.unique(tokens)
            half = np.array([max(self.requests.mean_isl / 2.0, 1.0)])
            more = self._chunked(half, half) - self._chunked(half, np.zeros(1))
            own = self._chunked(tokens, np.zeros_like(tokens))
            self._curve = tokens, own, float(max(more[0], 0.0) / half[0] ** 2)
        return self._curve

    def _chunked(self, tokens: Floats, prior: Floats) -> Floats:
        """Prompts of `tokens` new tokens after `prior` ones, each alone in its steps; of `tokens`' shape."""
        steps = np.arange(0.0, float(tokens.max()), self.chunk_tokens)
        done = np.minimum(steps[:, None], tokens)
        parts = np.minimum(tokens - done, self.chunk_tokens)
        cost = self.times.prefill_ms(np.maximum(parts, 1.0), 1.0, prior + done)
        return np.asarray(np.where(parts > 0, cost, 0.0).sum(axis=0), dtype=np.float64)


def waits_ms(gaps_ms: Floats, service_ms: Floats, servers: int) -> Floats:
    """Wait of each request of a stream dealt in turn to `servers` queues, each served in order; (N,).

    gaps_ms: since the request before it. With x the sums of service less gaps of one queue, the wait of the n-th is
    x_n - min(x_1 ... x_n).
    """
    count, servers = len(gaps_ms), max(1, min(servers, len(gaps_ms)))
    turns = -(-count // servers)
    empty = turns * servers - count
    arrive = np.cumsum(gaps_ms)
    arrive = np.concatenate((arrive, np.full(empty, arrive[-1]))).reshape(turns, servers)
    service = np.concatenate((service_ms, np.zeros(empty))).reshape(turns, servers)
    drift = np.cumsum(service[:-1] - np.diff(arrive, axis=0), axis=0)
    sums = np.concatenate((np.zeros((1, servers)), drift))
    waits = sums - np.minimum.accumulate(sums, axis=0)
    return np.asarray(waits.ravel()[:count], dtype=np.float64)
