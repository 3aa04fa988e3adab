"""From batches of rows to a trace in bounded memory: sums and counts over all of it, and one piece of it as it was.

Arrivals and shared prefixes live in the order of the stream, so what is kept is not a sample of requests but a window:
WINDOW requests that follow one another, with everything in between. A longer stream is cut into windows and one of them
drawn, each as likely as any other (reservoir sampling with a fixed seed, so that a file always gives the same one).
Lengths are counted exactly, for every request.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from armature.workload.requests import Requests
from armature.workload.rows import Batch, Hashes
from armature.workload.summary import Spread, TraceSummary

__all__ = ["WINDOW", "Collector"]

WINDOW = 20_000
"""Requests kept at most, or a little more: a batch is not cut."""
_WINDOW_BLOCKS = 1_000_000
_MINUTES = 100_000
Ints = npt.NDArray[np.int64]


class Collector:
    """Takes batches in the order of the file; then `requests` and `summary` say what there was."""

    def __init__(self) -> None:
        self.requests_read = 0
        self.without_tokens = 0
        self.out_of_order = 0
        self._isl, self._osl = _Lengths(), _Lengths()
        self._longest = 0
        self._first = self._last = self._previous = 0.0
        self._minutes: dict[int, int] = {}
        self._busiest = 0
        self._open = _Window()
        self._drawn: _Window | None = None
        self._windows = 0
        self._rng = random.Random(0)

    def add(self, batch: Batch) -> None:
        real = (batch.isl > 0) & (batch.osl > 0)
        self.without_tokens += int(len(real) - real.sum())
        if not real.any():
            return
        time, isl, osl = batch.time_s[real], batch.isl[real], batch.osl[real]
        hashes = None
        if batch.hashes is not None:
            hashes = [row for row, kept in zip(batch.hashes, real.tolist(), strict=True) if kept]
        if not self.requests_read:
            self._first = self._last = self._previous = float(time[0])
        self.out_of_order += int((np.diff(time, prepend=self._previous) < 0).sum())
        self._previous = float(time[-1])
        self._count_minutes(time)
        self._first, self._last = min(self._first, float(time.min())), max(self._last, float(time.max()))
        self.requests_read += len(time)
        self._isl.add(isl)
        self._osl.add(osl)
        self._longest = max(self._longest, int((isl + osl).max()))
        self._open.add(time, isl, osl, hashes)
        if self._open.full:
            self._draw()

    def requests(self) -> Requests:
        """The kept requests at the rate of the whole trace. At least one must have been read."""
        window = self._drawn if self._windows else self._open
        if self._windows and self._open.count > WINDOW // 2:
            self._draw()
            window = self._drawn
        assert window is not None
        requests = window.requests(self._isl.longest, self._longest)
        return requests.scaled(self._rate) if self._rate > 0 else requests

    def summary(self, source: str, requests: Requests) -> TraceSummary:
        minute_rate = max(self._busiest, *self._minutes.values()) / 60.0
        long = self._last - self._first >= 60.0
        return TraceSummary(
            source=source,
            requests=self.requests_read,
            kept=len(requests),
            duration_s=self._last - self._first,
            rate_per_s=self._rate,
            peak_rate_per_s=max(minute_rate, self._rate) if long else self._rate,
            gap_cv=_variation(requests.gap_s[1:]),
            isl=self._isl.spread(),
            osl=self._osl.spread(),
            prefix_share=prefix_share(requests),
        )

    @property
    def _rate(self) -> float:
        duration = self._last - self._first
        return (self.requests_read - 1) / duration if duration > 0 else 0.0

    def _draw(self) -> None:
        self._windows += 1
        if self._rng.random() < 1.0 / self._windows:
            self._drawn = self._open
        self._open = _Window()

    def _count_minutes(self, time: npt.NDArray[np.float64]) -> None:
        minutes, counts = np.unique(np.floor((time - self._first) / 60.0), return_counts=True)
        for minute, count in zip(minutes.tolist(), counts.tolist(), strict=True):
            self._minutes[int(minute)] = self._minutes.get(int(minute), 0) + count
        if len(self._minutes) > _MINUTES:  # months: minutes long past get no more requests
            kept = dict(sorted(self._minutes.items())[_MINUTES // 2 :])
            self._busiest = max(self._busiest, *self._minutes.values())
            self._minutes = kept


def prefix_share(requests: Requests) -> float | None:
    """Share of prompt tokens that one prefix cache without limits would hold; None when nothing is known of it."""
    if not requests.has_prefixes:
        return None
    return float(requests.cached_tokens(1, 1e18).sum() / requests.isl.sum())


@dataclass(slots=True)
class _Window:
    """Rows of one stretch of the file. With `ids` None nothing is known of prefixes."""

    time: list[npt.NDArray[np.float64]] = field(default_factory=list)
    isl: list[Ints] = field(default_factory=list)
    osl: list[Ints] = field(default_factory=list)
    ids: list[Ints] = field(default_factory=list)
    lengths: list[Ints] = field(default_factory=list)
    count: int = 0
    blocks: int = 0

    def add(
        self, time: npt.NDArray[np.float64], isl: Ints, osl: Ints, hashes: Sequence[Hashes] | None
    ) -> None:
        self.time.append(time)
        self.isl.append(isl)
        self.osl.append(osl)
        self.count += len(time)
        if hashes is not None:
            ids = np.array([_number(item) for row in hashes for item in row], dtype=np.int64)
            self.ids.append(ids)
            self.lengths.append(np.array([len(row) for row in hashes], dtype=np.int64))
            self.blocks += len(ids)

    @property
    def full(self) -> bool:
        return self.count >= WINDOW or self.blocks >= _WINDOW_BLOCKS

    def requests(self, longest_isl: int, longest_tokens: int) -> Requests:
        """In order of arrival; requests of one instant stay in the file's order."""
        time = np.concatenate(self.time)
        order = np.argsort(time, kind="stable")
        time, isl, osl = time[order], np.concatenate(self.isl)[order], np.concatenate(self.osl)[order]
        columns: dict[str, Any] = {}
        if self.blocks:
            ids, lengths = np.concatenate(self.ids), np.concatenate(self.lengths)
            starts = (np.cumsum(lengths) - lengths)[order]
            lengths = lengths[order]
            ends = np.cumsum(lengths)
            within = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
            columns = {
                "block_ids": ids[np.repeat(starts, lengths) + within],
                "block_ends": ends,
                "block_tokens": _block_tokens(isl, lengths),
            }
        return Requests(
            isl=isl,
            osl=osl,
            gap_s=np.diff(time, prepend=time[0]),
            longest_isl=longest_isl,
            longest_tokens=longest_tokens,
            **columns,
        )


class _Lengths:
    """Exact counts of token lengths."""

    def __init__(self) -> None:
        self._counts = np.zeros(1, dtype=np.int64)
        self._sum = 0

    def add(self, lengths: Ints) -> None:
        counts = np.bincount(lengths, minlength=len(self._counts))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        self._sum += int(lengths.sum())

    @property
    def longest(self) -> int:
        return len(self._counts) - 1

    def spread(self) -> Spread:
        below = np.cumsum(self._counts)
        p50, p95 = (float(np.searchsorted(below, share * below[-1])) for share in (0.5, 0.95))
        return Spread(mean=self._sum / float(below[-1]), p50=p50, p95=p95, max=float(self.longest))


def _block_tokens(isl: Ints, lengths: Ints) -> int:
    """Tokens of a block: the largest of the usual sizes that no prompt contradicts, each having as many blocks as it
    fills, the last perhaps in part; 512, Mooncake's, when none is."""
    has = lengths > 0
    for size in (512, 1024, 256, 128, 64, 32, 16):
        if (-(-isl[has] // size) == lengths[has]).all() or (isl[has] // size == lengths[has]).all():
            return size
    return 512


def _number(block: int | str) -> int:
    """64 bits that tell blocks apart."""
    value = hash(block) if isinstance(block, str) else block
    return ((value + (1 << 63)) % (1 << 64)) - (1 << 63)


def _variation(gaps: npt.NDArray[np.float64]) -> float:
    """Coefficient of variation; 0 without gaps."""
    mean = float(gaps.mean()) if len(gaps) else 0.0
    return float(gaps.std()) / mean if mean > 0 else 0.0
