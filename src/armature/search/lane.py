"""What steps cost in one lane of an engine, and how prompts and decoding share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from armature.perf.estimate import Floats
from armature.perf.queueing import TINY

__all__ = ["HIGHEST", "Lane", "Steps", "steps_of", "times_felt"]

HIGHEST = 0.98
"""Utilisations are clipped here; points above MAX_UTILISATION are marked overloaded by the sweep."""
ROUNDS = 4
"""Rounds of the fixed point of the step time; it changes by less than 1 % after them below 90 % of capacity."""


@dataclass(frozen=True, slots=True)
class Lane:
    """What steps cost in one lane (an attention-DP rank or a pipeline stage of it). Arrays of one shape S.

    own_ms: a prompt alone in its steps, beside the requests that decode. decode_ms: a step without a prompt (0 for a
    prefill worker); slope_ms: what one more request in flight adds to it. counts: (G,) prompts per step, from 1 to what
    a chunk holds; shared_ms: (G, *S) time of a step with so many. longest_ms: the longest step that can be. chunks:
    steps of one prompt; before_ms: those before its last, whose chunk has room for spare_ms of the next prompt. ranks:
    lanes that step together, each waiting for the slowest.
    """

    own_ms: Floats
    decode_ms: Floats
    slope_ms: Floats
    counts: Floats
    shared_ms: Floats
    longest_ms: Floats
    chunks: float
    ranks: Floats
    spare_ms: Floats
    before_ms: Floats

    @property
    def room(self) -> float:
        """Prompts that one step holds."""
        return float(self.counts[-1])

    def map(self, change: Callable[[Floats], Floats]) -> Lane:
        """The lane with every array of shape S (or (G, *S)) changed."""
        return Lane(
            own_ms=change(self.own_ms),
            decode_ms=change(self.decode_ms),
            slope_ms=change(self.slope_ms),
            counts=self.counts,
            shared_ms=change(self.shared_ms),
            longest_ms=change(self.longest_ms),
            chunks=self.chunks,
            ranks=change(self.ranks),
            spare_ms=change(self.spare_ms),
            before_ms=change(self.before_ms),
        )


@dataclass(frozen=True, slots=True)
class Steps:
    """marginal_ms: one more prompt in a step; fixed_ms: a step with prompts, without them; interference_ms: what a
    prompt costs those that decode, on average; mean_ms: a step; filled: steps with prompts per prompt."""

    marginal_ms: Floats
    fixed_ms: Floats
    interference_ms: Floats
    mean_ms: Floats
    filled: Floats | float


def steps_of(lane: Lane, rate: Floats, servers: Floats) -> Steps:
    """The mean step: `decode_ms` and what prompts add. Fixed point, for the prompts of a step come during one."""
    decode = lane.decode_ms
    if lane.room <= 1.0:
        interference = np.maximum(lane.own_ms - lane.chunks * decode, 0.0)
        felt = rate * times_felt(rate * lane.own_ms, lane.ranks)
        mean = np.minimum(decode / (1.0 - np.minimum(felt * interference, HIGHEST)), lane.longest_ms)
        return Steps(lane.own_ms, np.zeros_like(lane.own_ms), interference, mean, 1.0)
    ca2 = 1.0 / servers
    mean = np.where(decode > 0.0, decode, lane.own_ms) + 0.0 * rate
    for _ in range(ROUNDS):
        come = rate * mean
        none = np.exp(-come)
        marginal = _marginal_ms(lane, 1.0 + ca2 + come * (1.0 + ca2 * (decode > 0.0)))
        fixed = lane.own_ms - marginal
        filled = np.maximum((1.0 - none) / np.maximum(come, TINY), 1.0 / lane.room)
        interference = np.maximum(marginal + (fixed - decode) * filled, 0.0)
        felt = rate * times_felt(come, lane.ranks)
        beside = decode / (1.0 - np.minimum(felt * interference, HIGHEST))
        # Without requests that decode, a step has the prompts that came during the last one, or the next to come.
        mean = np.minimum(np.where(decode > 0.0, beside, fixed + marginal * (none + come)), lane.longest_ms)
    return Steps(marginal, fixed, interference, mean, filled)


def times_felt(come: Floats, ranks: Floats) -> Floats | float:
    """How many times a rank's own prompts its steps are held up: by any rank's, though several may prefill at once."""
    if np.all(ranks <= 1.0):
        return 1.0
    return np.asarray((1.0 - np.exp(-ranks * come)) / np.maximum(1.0 - np.exp(-come), TINY), dtype=np.float64)


def _marginal_ms(lane: Lane, prompts: Floats) -> Floats:
    """Mean cost of each prompt after the first in a step of so many, between the counts by their logarithm."""
    chords = (lane.shared_ms[1:] - lane.shared_ms[:1]) / (lane.counts[1:] - 1.0).reshape(
        -1, *([1] * (lane.shared_ms.ndim - 1))
    )
    chords = np.broadcast_to(chords, (len(chords), *np.broadcast_shapes(chords.shape[1:], prompts.shape)))
    nodes = np.log2(lane.counts[1:])
    if len(nodes) == 1:
        return np.asarray(chords[0], dtype=np.float64)
    x = np.log2(np.clip(prompts, lane.counts[1], lane.counts[-1]))
    x = np.broadcast_to(x, chords.shape[1:])
    low = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
    share = (x - nodes[low]) / (nodes[low + 1] - nodes[low])
    lower = np.take_along_axis(chords, low[None], axis=0)[0]
    upper = np.take_along_axis(chords, low[None] + 1, axis=0)[0]
    return np.asarray(lower * (1.0 - share) + upper * share, dtype=np.float64)
