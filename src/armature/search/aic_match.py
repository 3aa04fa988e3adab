"""How AIConfigurator 0.12 matches prefill and decode workers to a replica, for `--objective aic` (`sdk/sweep.py`)."""

from __future__ import annotations

from functools import cache

__all__ = ["DECODE_RATE", "PREFILL_RATE", "REPLICA_GPUS", "matched_counts"]

PREFILL_RATE, DECODE_RATE = 0.9, 0.92
"""Shares of a worker's rate that remain when both sides are matched."""
MAX_WORKERS = 32
REPLICA_GPUS = (1, 2, 4, 8, *range(16, 129, 8))
"""Sizes of a replica that it tries; others are never looked at."""
MOST_WIDE_GPUS = 512
"""Where it spreads experts over several nodes it tries every size, up to this."""


def matched_counts(
    budget: int, wide: bool, prefill_rate: float, prefill_gpus: int, decode_rate: float, decode_gpus: int
) -> tuple[int, int] | None:
    """Counts of the replica with the highest rate per GPU, of the sizes that it allows within a budget of GPUs; of
    equal ones the first. Rates in requests/s of a worker. wide: experts may be spread over several nodes."""
    best, found = 0.0, None
    for p, d, gpus in _replicas(budget, wide, prefill_gpus, decode_gpus):
        per_gpu = min(prefill_rate * p * PREFILL_RATE, decode_rate * d * DECODE_RATE) / gpus
        if per_gpu > best:
            best, found = per_gpu, (p, d)
    return found


@cache
def _replicas(most: int, wide: bool, prefill_gpus: int, decode_gpus: int) -> tuple[tuple[int, int, int], ...]:
    """(prefill workers, decode workers, GPUs) of every replica that it tries, in its order."""
    counts = range(1, MAX_WORKERS + 1)
    sizes = {n for n in (range(1, MOST_WIDE_GPUS + 1) if wide else REPLICA_GPUS) if n <= most}
    every = ((p, d, p * prefill_gpus + d * decode_gpus) for d in counts for p in counts)
    return tuple(each for each in every if each[2] in sizes)
