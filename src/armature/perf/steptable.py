"""A small table of step times: what goes into the Profile and what mockers and the twin read.

No worker loads an estimator: `sample` asks one for a lattice (a JSON of some 35 kB at most), and `TableTimes`
answers from it by linear interpolation between roughly logarithmic nodes (see `lattice`), for arrays and, fast,
for the single steps of a mocker.

How a prompt longer than a chunk is charged, the same in the search (`chunked_prefill_ms`) and in the mocker
(`TableTimes.step_ms`): the sum of its chunks, where a chunk of `n` tokens after `p` earlier ones costs
`prefill_ms(n, 1, p)`: the step for `n` tokens, and their attention to the `p` tokens before them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np

from armature.perf.estimate import Band, FloatLike, Floats, Source, StepTimes, host_ms
from armature.perf.lattice import (
    BATCHES,
    CHUNKS,
    CONTEXT_BATCHES,
    CONTEXTS,
    PRIORS,
    TOKENS,
    LatticeTimes,
    extended,
    grid_at_3d,
    rising,
)

__all__ = ["StepTable", "TableTimes", "chunked_prefill_ms", "sample"]


class StepTable(msgspec.Struct, frozen=True):
    """Step times of one engine on a lattice.

    prefill_ms over `isl` (one prompt); decode_ms rows over `context`, columns over `batch`; mixed_ms over
    `chunk` x `context` x `mixed_batch` (where that is empty, `batch`); prior_ms rows over `prior_chunk`, columns over
    `prior`: what a chunk costs more for the tokens of its prompt before it. Milliseconds; batches per attention-DP
    rank. Bands are ratios (low, high) of truth to estimate. host_ms: what a request takes before its first token
    beside its steps.
    """

    source: str
    isl: tuple[float, ...]
    prefill_ms: tuple[float, ...]
    batch: tuple[float, ...]
    context: tuple[float, ...]
    chunk: tuple[float, ...]
    decode_ms: tuple[tuple[float, ...], ...]
    mixed_ms: tuple[tuple[tuple[float, ...], ...], ...]
    prior_chunk: tuple[float, ...] = (1.0,)
    prior: tuple[float, ...] = (0.0,)
    prior_ms: tuple[tuple[float, ...], ...] = ((0.0,),)
    prefill_band: tuple[float, float] = (0.5, 2.0)
    decode_band: tuple[float, float] = (0.5, 2.0)
    notes: tuple[str, ...] = ()
    host_ms: float = 0.0
    mixed_batch: tuple[float, ...] = ()


# Nodes of the mixed table. `TableTimes` interpolates only what the decoding requests add to a prefill step of as
# many tokens, which is smooth: few nodes do.
_MIXED_CHUNKS = (1.0, 32.0, 128.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0)
_POWERS_OF_TEN = np.array([float(f"1e{n}") for n in range(23)])


def sample(
    times: StepTimes, *, max_isl: float, max_batch: float, max_context: float, max_chunk: float
) -> StepTable:
    """`times` on a lattice up to the given sizes, prompts to a full chunk at least: several short ones share a step
    with all who decode. Beyond the sizes the table goes on in straight lines."""
    isl, batch = _nodes(TOKENS, max(max_isl, max_chunk + max_batch)), _nodes(BATCHES, max_batch)
    context, chunk = _nodes(CONTEXTS, max_context), _nodes(_MIXED_CHUNKS, max_chunk)
    mixed_batch = _nodes(CONTEXT_BATCHES, max_batch)
    prior_chunk, prior = _nodes(CHUNKS, max_chunk), _nodes(PRIORS, max(max_isl, max_context))
    decode = times.decode_ms(batch[None, :], context[:, None])
    mixed = times.mixed_ms(chunk[:, None, None], mixed_batch, context[:, None])
    fresh = times.prefill_ms(prior_chunk)
    extra = times.prefill_ms(prior_chunk[:, None], 1.0, prior) - fresh[:, None]
    return StepTable(
        source=times.source,
        isl=_row(isl),
        prefill_ms=_row(rising(times.prefill_ms(isl))),
        batch=_row(batch),
        context=_row(context),
        chunk=_row(chunk),
        decode_ms=_rows(rising(decode)),
        mixed_ms=_faces(rising(mixed)),
        prior_chunk=_row(prior_chunk),
        prior=_row(prior),
        prior_ms=_rows(rising(np.maximum(extra, 0.0))),
        prefill_band=(times.prefill_band.low, times.prefill_band.high),
        decode_band=(times.decode_band.low, times.decode_band.high),
        notes=times.notes,
        host_ms=host_ms(times),
        mixed_batch=_row(mixed_batch),
    )


def chunked_prefill_ms(times: StepTimes, isl: FloatLike, chunk: float) -> Floats:
    """One prompt of each `isl` tokens prefilled in steps of at most `chunk`, with nothing else in them."""
    tokens = np.maximum(np.asarray(isl, dtype=np.float64), 1.0)[..., None]
    done = np.arange(0.0, tokens.max(), max(chunk, 1.0))
    steps = np.minimum(chunk, tokens - done)
    taken = np.where(steps > 0.0, times.prefill_ms(steps, 1.0, done), 0.0)
    return np.asarray(taken.sum(axis=-1), dtype=np.float64)


class TableTimes:
    """`StepTimes` from a `StepTable`, and `step_ms`, the same numbers for one step in a few microseconds."""

    def __init__(self, table: StepTable) -> None:
        self._table = table
        decode = rising(_array(table.decode_ms).T)
        self._lattice = LatticeTimes(
            source=cast(Source, table.source),
            prefill_band=Band(*table.prefill_band),
            decode_band=Band(*table.decode_band),
            notes=table.notes,
            tokens=_array(table.isl),
            prefill=rising(_array(table.prefill_ms)),
            chunk=_array(table.prior_chunk),
            prior=_array(table.prior),
            prior_extra=rising(_array(table.prior_ms)),
            batch=_array(table.batch),
            context=_array(table.context),
            decode=decode,
        )
        axes = (_array(table.chunk), _array(table.mixed_batch or table.batch), _array(table.context))
        mixed = _array(table.mixed_ms).transpose(0, 2, 1)
        together = self._lattice.prefill_ms(axes[0][:, None] + axes[1])
        # What the requests' caches add, per (chunk, batch, context); rising in the last two, so that the whole is.
        self._mixed_axes, added = extended(axes, mixed - together[:, :, None])
        self._added = np.maximum.accumulate(np.maximum.accumulate(added, axis=1), axis=2)
        self._prefill_curve = _Curve(*self._lattice.table("prefill"))
        self._decode_sheet = _Sheet(*self._lattice.table("decode"))
        self._prior_sheet = _Sheet(*self._lattice.table("prior"))
        self._mixed_chunks = self._mixed_axes[0].tolist()
        self._added_sheets = [_Sheet(self._mixed_axes[1:], face) for face in self._added]

    @property
    def source(self) -> Source:
        return self._lattice.source

    @property
    def prefill_band(self) -> Band:
        return self._lattice.prefill_band

    @property
    def decode_band(self) -> Band:
        return self._lattice.decode_band

    @property
    def notes(self) -> tuple[str, ...]:
        return self._lattice.notes

    @property
    def host_ms(self) -> float:
        return self._table.host_ms

    def prefill_ms(self, isl: FloatLike, batch: FloatLike = 1.0, prior: FloatLike = 0.0) -> Floats:
        return self._lattice.prefill_ms(isl, batch, prior)

    def decode_ms(self, batch: FloatLike, context: FloatLike) -> Floats:
        return self._lattice.decode_ms(batch, context)

    def mixed_ms(self, prefill_tokens: FloatLike, batch: FloatLike, context: FloatLike) -> Floats:
        n, b, c = np.broadcast_arrays(
            np.asarray(prefill_tokens, np.float64), np.maximum(np.asarray(batch, np.float64), 0.0), context
        )
        alone = self._lattice.prefill_ms(n)
        decode = self._lattice.decode_ms(b, c)
        added = grid_at_3d(self._mixed_axes, self._added, n, b, np.asarray(c, np.float64))
        both = np.maximum(np.maximum(self._lattice.prefill_ms(n + b) + added, alone), decode)
        both = alone + np.minimum(b, 1.0) * (both - alone)
        return np.asarray(np.where(n > 0, both, decode), dtype=np.float64)

    def step_ms(self, prefill_tokens: float, batch: float, context: float, prior: float = 0.0) -> float:
        """One step: a chunk of `prefill_tokens` after `prior` tokens of its prompt, and `batch` requests that
        decode at `context` (their mean). With `batch` 0 it is a pure prefill chunk."""
        if prefill_tokens <= 0:
            return self._decode_sheet.at(batch, context)
        time = self._prefill_curve.at(prefill_tokens)
        if batch > 0:
            time += min(batch, 1.0) * (self._both_ms(prefill_tokens, batch, context, time) - time)
        if prior > 0:
            time += self._prior_sheet.at(prefill_tokens, prior)
        return time

    def chunks_ms(self, chunks: Sequence[tuple[float, float]], batch: float, context: float) -> float:
        """A step with chunks of several prompts, each (tokens, prior): one chunk of all their tokens, and for each
        its attention to what came before it."""
        tokens = sum(n for n, _ in chunks)
        extra = sum(self._prior_sheet.at(n, prior) for n, prior in chunks if prior > 0)
        return self.step_ms(tokens, batch, context) + extra

    def _both_ms(self, tokens: float, batch: float, context: float, alone: float) -> float:
        index, share = _find(self._mixed_chunks, tokens)
        low = self._added_sheets[index].at(batch, context)
        high = self._added_sheets[index + 1].at(batch, context)
        both = self._prefill_curve.at(tokens + batch) + low + share * (high - low)
        return max(both, alone, self._decode_sheet.at(batch, context))


class _Curve:
    """Linear interpolation of one scalar; plain lists, since numpy is slow on scalars."""

    def __init__(self, axes: tuple[Floats, ...], values: Floats) -> None:
        self._axis: list[float] = axes[0].tolist()
        self._values: list[float] = values.tolist()

    def at(self, x: float) -> float:
        index, share = _find(self._axis, x)
        low = self._values[index]
        return low + share * (self._values[index + 1] - low)


class _Sheet:
    """Bilinear interpolation of one pair of scalars."""

    def __init__(self, axes: tuple[Floats, ...], values: Floats) -> None:
        self._x: list[float] = axes[0].tolist()
        self._y: list[float] = axes[1].tolist()
        self._rows: list[list[float]] = values.tolist()

    def at(self, x: float, y: float) -> float:
        i, fx = _find(self._x, x)
        j, fy = _find(self._y, y)
        first, second = self._rows[i], self._rows[i + 1]
        low = first[j] + fy * (first[j + 1] - first[j])
        high = second[j] + fy * (second[j + 1] - second[j])
        return low + fx * (high - low)


def _find(axis: list[float], x: float) -> tuple[int, float]:
    """Index of the node at or below `x` and the fraction of the way to the next; clipped to the axis."""
    if x <= axis[0]:
        return 0, 0.0
    if x >= axis[-1]:
        return len(axis) - 2, 1.0
    index = bisect_right(axis, x) - 1
    return index, (x - axis[index]) / (axis[index + 1] - axis[index])


def _nodes(axis: tuple[float, ...], top: float) -> Floats:
    """The nodes below `top`, and `top`; at least one."""
    return np.array([*(node for node in axis if node < top), max(top, axis[0])], dtype=np.float64)


def _row(values: Floats) -> tuple[float, ...]:
    return tuple(_rounded(values).tolist())


def _rows(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in _rounded(values).tolist())


def _faces(values: Floats) -> tuple[tuple[tuple[float, ...], ...], ...]:
    return tuple(tuple(tuple(row) for row in face) for face in _rounded(values).tolist())


def _rounded(values: Floats) -> Floats:
    """Five significant digits: far below any estimate's error, and half the bytes."""
    digits = 4 - np.floor(np.log10(np.maximum(np.abs(values), 1e-18))).astype(int)
    up, down = _POWERS_OF_TEN[np.maximum(digits, 0)], _POWERS_OF_TEN[np.maximum(-digits, 0)]
    return np.asarray(np.round(values * up / down) / up * down, dtype=np.float64)


def _array(values: Sequence[object]) -> Floats:
    return np.array(values, dtype=np.float64)
