"""How long one step takes: the only place where the mocker's engine meets step times.

The engine knows what a step does; a `StepClock` knows what that costs. In production that is
`perf.steptable.TableTimes`; `LinearClock` is the one for tests and for a mocker without a model of its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = ["Chunk", "LinearClock", "StepClock"]


class Chunk(NamedTuple):
    """Part of a prompt computed in one step: `tokens` of them, after `prior` that are in the cache already."""

    tokens: int
    prior: int


class StepClock(Protocol):
    """Duration of one step of one attention-DP rank, milliseconds, finite and not negative."""

    def chunks_ms(self, chunks: Sequence[tuple[float, float]], batch: float, context: float) -> float:
        """A step that prefills `chunks`, each (tokens, prior), and decodes `batch` requests of `context` tokens
        each on average. No chunks: pure decode; batch 0: pure prefill."""
        ...


@dataclass(frozen=True, slots=True)
class LinearClock:
    """`base_ms` per step, and so much per prefilled and per decoded token."""

    base_ms: float = 1.0
    prefill_token_ms: float = 0.0
    decode_token_ms: float = 0.0

    def chunks_ms(self, chunks: Sequence[tuple[float, float]], batch: float, context: float) -> float:
        tokens = sum(tokens for tokens, _ in chunks)
        return self.base_ms + self.prefill_token_ms * tokens + self.decode_token_ms * batch
