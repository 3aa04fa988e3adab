"""What a trace makes of the prompts that reach a worker: how long they take with what the prefix cache has of them.

A mean length does not say: time is not linear in length, and a cached prefix is not computed. How unevenly prompts come
is the business of `path`, which takes the trace's own arrivals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from armature.perf.estimate import Floats, StepTimes
from armature.perf.lattice import distinct
from armature.search.operating import CHUNK_TOKENS, Engine
from armature.workload.requests import Requests

__all__ = ["PromptCosts", "Prompts"]

Ints = npt.NDArray[np.int64]
T = TypeVar("T")
_NODES = 24
_SERVERS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256], dtype=np.int64)
"""Numbers of servers that are worked out; those between are interpolated, in the logarithm."""


@dataclass(frozen=True, slots=True)
class PromptCosts:
    """By number of servers; shape (L,). mean_ms: a prompt alone in its steps; longest_ms: the longest of them; cv2:
    squared coefficient of variation of the time; new_tokens: mean tokens of a prompt that are computed."""

    mean_ms: Floats
    longest_ms: Floats
    cv2: Floats
    new_tokens: Floats


class Prompts:
    """Prompts of a trace on workers of one engine, each server with a prefix cache of the engine's own size.

    A prompt with n new tokens after p cached ones takes F(n) + k n p: F the chunks of a prompt of its own, sampled and
    interpolated; k what attention to earlier tokens costs, which is a product of both lengths. Arrivals do not count,
    so what has been worked out serves the same requests at every rate.
    """

    def __init__(self, times: StepTimes, requests: Requests, room_tokens: float, chunk_tokens: float) -> None:
        """room_tokens: of a server's prefix cache; chunk_tokens: of a step."""
        self._requests, self._room = requests, room_tokens
        self._own = _own_curve(times, requests, chunk_tokens)
        self._extra = _extra_per_pair(times, requests, chunk_tokens)
        self._ms: dict[int, tuple[Floats, Floats]] = {}
        self._moments: dict[int, tuple[float, float, float, float]] = {}
        self._kept: dict[tuple[object, ...], tuple[StepTimes, Any]] = {}

    @classmethod
    def of(cls, engine: Engine, requests: Requests) -> Prompts:
        return cls(engine.times, requests, float(engine.fit.kv_room_tokens), CHUNK_TOKENS)

    def same(self, requests: Requests) -> bool:
        """Whether these are the requests, at whatever rate they come."""
        ours = self._requests
        return requests.isl is ours.isl and requests.block_ids is ours.block_ids

    def once(self, key: tuple[object, ...], times: StepTimes, work_out: Callable[[], T]) -> T:
        """What `work_out` makes of the requests where they decode in these step times, whatever arrivals, targets and
        budgets are asked; kept with the step times, so that no others take their id."""
        key = *key, id(times)
        if key not in self._kept:
            self._kept[key] = times, work_out()
        result: T = self._kept[key][1]
        return result

    def costs(self, servers: Ints) -> PromptCosts:
        """By number of caches that requests are dealt to, (L,), each at least 1."""
        asked = np.maximum(np.asarray(servers, dtype=np.int64), 1)
        nodes = _nodes(asked) if self._requests.has_prefixes else np.array([1])
        rows = np.array([self._moments_of(int(n)) for n in nodes])
        x = np.log(nodes.astype(np.float64))
        columns = [np.interp(np.log(asked.astype(np.float64)), x, column) for column in rows.T]
        return PromptCosts(*(np.asarray(column, dtype=np.float64) for column in columns))

    def ms(self, servers: int) -> tuple[Floats, Floats]:
        """(milliseconds, new tokens) of each prompt alone in its steps, as `costs` has them on average; shape (N,).
        Caches are those of the next lower number of servers that is worked out."""
        caches = int(_SERVERS[max(servers, 1) >= _SERVERS].max()) if self._requests.has_prefixes else 1
        if caches not in self._ms:
            cached = self._requests.cached_tokens(caches, self._room)
            new = np.asarray(self._requests.isl - cached, dtype=np.float64)
            ms = np.asarray(np.interp(new, *self._own) + self._extra * new * cached, dtype=np.float64)
            self._ms[caches] = ms, new
        return self._ms[caches]

    def _moments_of(self, servers: int) -> tuple[float, float, float, float]:
        if servers not in self._moments:
            ms, new = self.ms(servers)
            mean = float(ms.mean())
            cv2 = float(ms.var()) / max(mean * mean, 1e-300)
            self._moments[servers] = mean, float(ms.max()), cv2, float(new.mean())
        return self._moments[servers]


def _nodes(servers: Ints) -> Ints:
    """The numbers to work out: those of the asked that are nodes, and the nodes around the others."""
    high = np.searchsorted(_SERVERS, servers).clip(max=len(_SERVERS) - 1)
    low = np.searchsorted(_SERVERS, servers, side="right") - 1
    return np.asarray(_SERVERS[distinct(np.concatenate((low, high)))])


def _own_curve(times: StepTimes, requests: Requests, chunk: float) -> tuple[Floats, Floats]:
    """(new tokens, milliseconds) of prompts of their own, chunk after chunk."""
    tokens = distinct(np.geomspace(1.0, float(requests.isl.max()), _NODES))
    tokens = distinct(np.concatenate((tokens, np.arange(chunk, tokens[-1], chunk)[:_NODES])))
    return tokens, _chunked(times, tokens, np.zeros_like(tokens), chunk)


def _extra_per_pair(times: StepTimes, requests: Requests, chunk: float) -> float:
    """Milliseconds per pair of a new and a cached token, at half the mean prompt each."""
    half = np.array([max(requests.mean_isl / 2.0, 1.0)])
    more = _chunked(times, half, half, chunk) - _chunked(times, half, np.zeros(1), chunk)
    return float(max(more[0], 0.0) / half[0] ** 2)


def _chunked(times: StepTimes, tokens: Floats, prior: Floats, chunk: float) -> Floats:
    """Prompts of `tokens` new tokens after `prior` ones, each alone in steps of at most `chunk`; shape of `tokens`."""
    steps = np.arange(0.0, float(tokens.max()), chunk)
    done = np.minimum(steps[:, None], tokens)
    parts = np.minimum(tokens - done, chunk)
    cost = times.prefill_ms(np.maximum(parts, 1.0), 1.0, prior + done)
    return np.asarray(np.where(parts > 0, cost, 0.0).sum(axis=0), dtype=np.float64)
