"""What a trace contained, in the few numbers that the plan prints and the Profile keeps."""

from __future__ import annotations

import msgspec

__all__ = ["Spread", "TraceSummary"]


class Spread(msgspec.Struct, frozen=True):
    """A distribution of token counts, over every request of the file."""

    mean: float
    p50: float
    p95: float
    max: float


class TraceSummary(msgspec.Struct, frozen=True):
    """source: the file's name. requests, duration_s, rate_per_s, peak_rate_per_s (mean of the busiest minute), isl,
    osl: of every request with a prompt and an answer.

    kept: requests that the search computes with, in one piece of the stream. Of these: gap_cv, coefficient of variation
    of the gaps between arrivals (1 for a Poisson stream, more for bursts); prefix_share, share of prompt tokens that a
    prefix cache without limits would hold, None where the trace says nothing of prefixes.
    """

    source: str
    requests: int
    kept: int
    duration_s: float
    rate_per_s: float
    peak_rate_per_s: float
    gap_cv: float
    isl: Spread
    osl: Spread
    prefix_share: float | None = None
