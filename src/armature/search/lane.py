"""What steps cost in one lane of an engine, and how prompts and decoding share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from armature.perf.estimate import Floats
from armature.perf.queueing import HIGHEST, TINY

__all__ = ["Lane", "Steps", "held_up", "steps_of"]

ROUNDS = 4
"""Rounds of the fixed point of the step time; it changes by less than 1 % after them below 90 % of capacity."""


@dataclass(frozen=True, slots=True)
class Lane:
    """What steps cost in one lane (an attention-DP rank or a pipeline stage of it). Arrays of one shape S.

    own_ms: a prompt alone in its steps, beside the requests that decode. decode_ms: a step without a prompt (0 for a
    prefill worker); slope_ms: what one more request in flight adds to it. counts: (G,) prompts per step, from 1 to what
    a chunk holds; shared_ms: (G, *S) time of a step with so many. longest_ms: the longest step that can be. chunks:
    steps of one prompt; before_ms: those before its last, whose chunk has room for spare_ms of the next prompt. ranks:
    lanes that step together, each waiting for the slowest: a *group*. Where a prompt takes one step, a group is one
    server, whose step takes a prompt of every rank in the time of one; rates, servers and numbers in flight below are
    a group's.
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
        """Prompts that one step of one rank holds."""
        return float(self.counts[-1])

    @property
    def one_by_one(self) -> bool:
        """Whether prompts queue for a rank each: they take several steps, or a step of the whole group holds one."""
        return self.chunks > 1.0 or (self.room <= 1.0 and bool(np.all(self.ranks <= 1.0)))

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


class Steps(msgspec.Struct, frozen=True):
    """marginal_ms: one more prompt in a step; fixed_ms: a step with prompts, without them; interference_ms: what a
    prompt costs those that decode, on average; mean_ms: a step; filled: steps with prompts per prompt."""

    marginal_ms: Floats
    fixed_ms: Floats
    interference_ms: Floats
    mean_ms: Floats
    filled: Floats | float


def steps_of(lane: Lane, rate: Floats, servers: Floats) -> Steps:
    """The mean step: `decode_ms` and what prompts add. Fixed point, for the prompts of a step come during one. rate:
    of a group, per millisecond; servers: groups that the stream is dealt to."""
    decode = lane.decode_ms
    if lane.one_by_one:
        interference = np.maximum(lane.own_ms - lane.chunks * decode, 0.0)
        felt = held_up(lane, rate)
        mean = np.minimum(decode / (1.0 - np.minimum(felt * interference, HIGHEST)), lane.longest_ms)
        return Steps(lane.own_ms, np.zeros_like(lane.own_ms), interference, mean, 1.0)
    ca2, most, alone = 1.0 / servers, lane.room * lane.ranks, not np.any(decode)
    mean = (lane.own_ms if alone else decode) + 0.0 * rate
    # A step without prompts is followed by one with some in the share `after` of cases.
    share = after = 1.0 - np.exp(-rate * decode)
    for _ in range(ROUNDS):
        come = rate * mean
        marginal = _marginal_ms(
            lane, 1.0 + ca2 + come * (1.0 if alone else 1.0 + ca2)
        )  # in a step that one finds
        if alone:  # a step has the prompts that came during the last one, or the next to come
            none = np.exp(-come)
            mean = np.minimum(lane.own_ms - marginal + marginal * (none + come), lane.longest_ms)
            continue
        many = np.clip(come / np.maximum(share, TINY), 1.0, most)
        full = np.minimum(lane.own_ms + marginal * (many - 1.0), lane.longest_ms)
        share = after / np.maximum(after + np.exp(-rate * full), TINY)
        mean = decode + share * (full - decode)
    fixed = lane.own_ms - marginal
    if alone:
        filled = np.clip((1.0 - none) / np.maximum(come, TINY), 1.0 / most, 1.0)
        return Steps(marginal, fixed, np.maximum(marginal + fixed * filled, 0.0), mean, filled)
    each = marginal
    if np.any(lane.ranks > 1.0):  # a step that one finds is fuller than most, and its fullest rank longer
        each = _marginal_ms(lane, many)
        full = np.minimum(lane.own_ms + each * (many - 1.0), lane.longest_ms)
        share = after / np.maximum(after + np.exp(-rate * full), TINY)
        mean = decode + share * (full - decode)
    interference = np.maximum(each + (lane.own_ms - each - decode) / many, 0.0)
    return Steps(marginal, fixed, interference, mean, 1.0 / many)


def held_up(lane: Lane, rate: Floats) -> Floats:
    """How many prompts per millisecond hold a group's steps up: all, but those that several ranks take at once count
    once."""
    if not lane.one_by_one or np.all(lane.ranks <= 1.0):
        return rate
    busy = np.clip(rate / lane.ranks * lane.own_ms, TINY, HIGHEST)
    return np.asarray(rate * (1.0 - (1.0 - busy) ** lane.ranks) / (lane.ranks * busy), dtype=np.float64)


def _marginal_ms(lane: Lane, prompts: Floats) -> Floats:
    """Mean cost of each prompt after the first in a step of so many, between the counts by their logarithm. The first
    of every rank are computed at once."""
    if len(lane.counts) == 1:
        return np.asarray(np.where(lane.ranks > 1.0, 0.0, lane.own_ms), dtype=np.float64)
    beyond: Floats | float = 1.0
    if np.any(lane.ranks > 1.0):
        fullest = _fullest(lane, prompts)
        beyond = np.where(lane.ranks > 1.0, (fullest - 1.0) / np.maximum(prompts - 1.0, TINY), 1.0)
        prompts = np.where(lane.ranks > 1.0, fullest, prompts)
    chords = (lane.shared_ms[1:] - lane.shared_ms[:1]) / (lane.counts[1:] - 1.0).reshape(
        -1, *([1] * (lane.shared_ms.ndim - 1))
    )
    chords = np.broadcast_to(chords, (len(chords), *np.broadcast_shapes(chords.shape[1:], prompts.shape)))
    nodes = np.log2(lane.counts[1:])
    if len(nodes) == 1:
        return np.asarray(chords[0] * beyond, dtype=np.float64)
    x = np.log2(np.clip(prompts, lane.counts[1], lane.counts[-1]))
    x = np.broadcast_to(x, chords.shape[1:])
    low = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
    share = (x - nodes[low]) / (nodes[low + 1] - nodes[low])
    lower = np.take_along_axis(chords, low[None], axis=0)[0]
    upper = np.take_along_axis(chords, low[None] + 1, axis=0)[0]
    return np.asarray((lower * (1.0 - share) + upper * share) * beyond, dtype=np.float64)


def _fullest(lane: Lane, prompts: Floats) -> Floats:
    """Mean number of prompts at the rank that has most of them, at least one.

    A prompt goes to the rank with the fewest requests. Beside requests that decode, that is where one has ended, which
    may be any: the number at each rank is binomial, and the largest of so many is that of normal variables (Blom 1958),
    or of few the chance that two meet. Where nothing decodes, those that wait and those being computed are even
    together, so that those that wait are even but for two roundings: one and another for every `ranks` more.
    """
    ranks = lane.ranks
    mean = prompts / ranks
    share = np.clip((ranks - 0.375) / (ranks + 0.25), 0.5, None)
    normal = np.log(share / (1.0 - share)) / 1.702  # the quantile of the logistic distribution nearest to it
    most = mean + normal * np.sqrt(mean * (1.0 - 1.0 / ranks))
    meet = 2.0 - np.exp(-prompts * (prompts - 1.0) / (2.0 * ranks))
    found = np.where(lane.decode_ms > 0.0, np.maximum(most, meet), 1.0 + (prompts - 1.0) / ranks)
    return np.asarray(np.clip(found, 1.0, np.minimum(prompts, lane.room)), dtype=np.float64)
