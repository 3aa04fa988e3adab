"""Guards on step times from tables that other people measured: pure functions on arrays.

The estimator library's tables have faults that would pick the wrong deployment: the block-FP8 GEMM table of
vLLM says that Qwen3-32B-FP8 at TP2 on H200 decodes one request in 19.7 ms where bf16 takes 10.8, and that batch
1 is slower than batch 16. Three things cannot be, and are mended here, each counted so that the user is told:

- a step with quantised arithmetic is slower than the same step in bf16 (`cheapest_of`): use the bf16 part;
- a step takes less time than its weights need to be read, or its operations to be done (`above_floor`);
- a step gets faster as its batch, tokens or context grow (`never_falling`).

Within `TOLERANCE` a disagreement is noise of measurement: mended, not mentioned.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from armature.perf.estimate import Floats
from armature.perf.lattice import rising

__all__ = ["TOLERANCE", "Mended", "above_floor", "cheapest_of", "never_falling"]

TOLERANCE = 0.05
FLOOR_TOLERANCE = 0.10


class Mended(msgspec.Struct, frozen=True):
    """Mended values, and the share of them (0 to 1) that was off by more than the tolerance."""

    values: Floats
    share: float
    worst: float
    """The largest ratio between the broken and the mended value, at least 1."""


def cheapest_of(own: Floats, variants: Sequence[Floats]) -> Mended:
    """`own`, with each part of the step replaced by its bf16 variant where that is cheaper.

    A variant is the same step with one part (dense layers, or experts) in bf16, so `variant - own` is what that
    part alone gains or loses; parts add up. `own` and each variant have one shape.
    """
    mended = own + sum((np.minimum(variant - own, 0.0) for variant in variants), np.zeros_like(own))
    return _mended(own, mended)


def above_floor(own: Floats, floor: Floats) -> Mended:
    """`own`, raised to the physical floor where it is more than 10 % below: peak figures are rounded."""
    broken = own < floor * (1 - FLOOR_TOLERANCE)
    mended = np.where(broken, floor, own)
    return Mended(mended, float(broken.mean()), float(np.max(mended / own)))


def never_falling(own: Floats) -> Mended:
    """`own` as a running maximum along every axis."""
    return _mended(own, rising(own))


def _mended(own: Floats, mended: Floats) -> Mended:
    ratio = np.maximum(own / mended, mended / own)
    return Mended(mended, float((ratio > 1 + TOLERANCE).mean()), float(ratio.max()))
