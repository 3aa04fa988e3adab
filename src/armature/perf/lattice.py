"""Step times kept on a lattice: the arithmetic that `silicon` and `steptable` share.

Measured step times are piecewise linear in tokens, batch and context, with kinks where a kernel starts a new
tile, so values are kept on roughly logarithmic axes that hold those kinks and are interpolated *linearly*
between nodes. A multilinear interpolation of values that rise along every axis rises too: making the lattice
monotone once makes every answer monotone, whatever is asked and in whatever order. Beyond the last node the
last segment goes on as a straight line (to `REACH` times the node, then flat), so every answer is finite.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from armature.perf.estimate import Band, FloatLike, Floats, Source

__all__ = [
    "BATCHES",
    "CHUNKS",
    "CONTEXTS",
    "CONTEXT_BATCHES",
    "PRIORS",
    "TOKENS",
    "LatticeTimes",
    "context_part",
    "distinct",
    "extended",
    "grid_at",
    "grid_at_3d",
    "rising",
]

REACH = 32.0
_Number = TypeVar("_Number", np.float64, np.int64, np.intp)


def _steps(*last: int) -> tuple[int, ...]:
    """Each of `last` and the number after it: time jumps between the two, where a kernel starts one tile more."""
    return tuple(n for edge in last for n in (edge, edge + 1))


# The nodes of the silicon tables, so that a straight line between two of ours is what the tables say: GEMMs are
# measured at 1-17 rows and at both sides of each tile, mixtures of experts at 1, 2, 4, ... and some between.
_SMALL = (
    *range(1, 19),
    *(20, 24, 28, 31, *_steps(32), 40, *_steps(48, 64, 80, 96, 112, 128), 144),
    *(*_steps(160, 192, 224), 255, *_steps(256)),
)
# Requests decoded in one step, per attention-DP rank.
BATCHES: tuple[int, ...] = (*_SMALL, 320, 384, 448, *_steps(512), 640, *_steps(768), 896, *_steps(1024))
# Of these, where attention over the requests' contexts is measured. Attention is measured at powers of two, as far as
# the caches fit; beyond, the library goes on from the batch before, and jumps where the next one starts.
CONTEXT_BATCHES: tuple[int, ...] = (
    *(1, 2, 4, 8, 12, 16, *_steps(31), 48, 64, 96, 128, 192, *_steps(255), 384, 512, 1024),
)
# Tokens of one prefill step. Beyond the tables of GEMMs (4,352 rows) attention bends the line.
TOKENS: tuple[int, ...] = (
    *BATCHES,
    *_steps(*range(1280, 4353, 256)),
    *(4864, 5376, 6144, 7168, 8192, 9216, 10240, 12288, 14336, 16384, 18432, 20480, 24576, 28672),
    *(*_steps(32768), 36864, 40960, 49152, 57344, 65536, 81920, 98304, 114688, 131072),
)
# Tokens in the cache of a request that decodes.
CONTEXTS: tuple[int, ...] = (
    *(1, 2, 8, 32, 64, 128, 256, 512, 1024, 1536, 2048, 4096, 6144, 8192, 12288, 16384, 24576, 32768),
    *(49152, 65536, 131072),
)
# New tokens of a chunk, and tokens of the same prompt before it.
# fmt: off
CHUNKS: tuple[int, ...] = (
    1, 64, 128, 192, 256, 512, 1024, 2048, 3072, 4096, 5120, 6144, 8192, 16384, 32768,
)
PRIORS: tuple[int, ...] = (
    0, 64, 128, 256, 384, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 10240, 12288, 16384, 24576, 32768, 65536,
    131072,
)
# fmt: on


def rising(values: Floats) -> Floats:
    """The smallest array that is nowhere below `values` and falls along no axis."""
    for axis in range(values.ndim):
        values = np.maximum.accumulate(values, axis=axis)
    return values


def distinct(values: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """The values in order, each once: np.unique, which would load numpy's masked arrays (20 ms) to ask whether these
    are some."""
    ordered = np.sort(values, axis=None)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def extended(axes: tuple[Floats, ...], values: Floats) -> tuple[tuple[Floats, ...], Floats]:
    """The lattice with one far node per axis, where the last segment goes on in a straight line (never down)."""
    wider: list[Floats] = []
    for dim, axis in enumerate(axes):
        last = np.take(values, -1, axis=dim)
        slope = np.zeros_like(last)
        if len(axis) > 1:
            slope = np.maximum(last - np.take(values, -2, axis=dim), 0.0) / (axis[-1] - axis[-2])
        far = max(axis[-1], 1.0) * REACH
        values = np.concatenate([values, np.expand_dims(last + slope * (far - axis[-1]), dim)], axis=dim)
        wider.append(np.append(axis, far))
    return tuple(wider), values


def _place(axis: Floats, x: Floats) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.intp]], Floats]:
    """Index of the node at or below `x` and the fraction of the way to the next; clipped to the axis."""
    x = np.minimum(np.maximum(x, axis[0]), axis[-1])  # a third of the time of np.clip on short arrays
    index = np.minimum(np.searchsorted(axis, x, side="right") - 1, len(axis) - 2)
    low = axis[index]
    return index, (x - low) / (axis[index + 1] - low)


def grid_at(axes: tuple[Floats, ...], values: Floats, x: Floats, y: Floats) -> Floats:
    """Bilinear interpolation of `values[x, y]`; arguments broadcast, and are clipped to the axes."""
    (i, fx), (j, fy) = _place(axes[0], x), _place(axes[1], y)  # each on its own shape
    low = values[i, j] * (1 - fy) + values[i, j + 1] * fy
    high = values[i + 1, j] * (1 - fy) + values[i + 1, j + 1] * fy
    return np.asarray(low * (1 - fx) + high * fx, dtype=np.float64)


def grid_at_3d(axes: tuple[Floats, ...], values: Floats, x: Floats, y: Floats, z: Floats) -> Floats:
    """Trilinear interpolation of `values[x, y, z]`; arguments broadcast, and are clipped to the axes."""
    (i, fx), (j, fy), (k, fz) = _place(axes[0], x), _place(axes[1], y), _place(axes[2], z)

    def face(row: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Floats:
        low = values[row, j, k] * (1 - fz) + values[row, j, k + 1] * fz
        high = values[row, j + 1, k] * (1 - fz) + values[row, j + 1, k + 1] * fz
        return np.asarray(low * (1 - fy) + high * fy, dtype=np.float64)

    return np.asarray(face(i) * (1 - fx) + face(i + 1) * fx, dtype=np.float64)


def context_part(decode: Floats) -> Floats:
    """What the requests' contexts add to a decode step (rows batch, columns context), beyond empty ones."""
    return rising(decode - decode[:, :1])


@dataclass(frozen=True, slots=True)
class LatticeTimes:
    """`StepTimes` from three small tables, each rising along every axis (`rising`).

    prefill: ms over `tokens`, one prompt. prior_extra: ms that a chunk (rows) costs more for the tokens of its
    prompt before it (columns). decode: ms over `batch` (rows) and `context` (columns).

    A mixed step is composed as `prefill(chunk + batch) + (decode(batch, context) - decode(batch, empty))`: every
    token goes through the same matrix multiplications, and each decoding request also reads its cache. It is
    never cheaper than its prefill or its decode alone.
    """

    source: Source
    prefill_band: Band
    decode_band: Band
    notes: tuple[str, ...]
    tokens: Floats
    prefill: Floats
    chunk: Floats
    prior: Floats
    prior_extra: Floats
    batch: Floats
    context: Floats
    decode: Floats
    host_ms: float = 0.0
    split_bands: tuple[Band, Band] | None = None
    moe_a2a: str = ""
    _tables: dict[str, tuple[tuple[Floats, ...], Floats]] = field(
        init=False, repr=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for name, axes, values in (
            ("prefill", (self.tokens,), self.prefill),
            ("prior", (self.chunk, self.prior), self.prior_extra),
            ("decode", (self.batch, self.context), self.decode),
            ("context", (self.batch, self.context), context_part(self.decode)),
        ):
            wider, longer = extended(axes, values)
            self._tables[name] = wider, rising(longer)

    def table(
        self, name: Literal["prefill", "prior", "decode", "context"]
    ) -> tuple[tuple[Floats, ...], Floats]:
        """Axes and values of one table, with the far nodes."""
        return self._tables[name]

    def prefill_ms(self, isl: FloatLike, batch: FloatLike = 1.0, prior: FloatLike = 0.0) -> Floats:
        """Prompts batched in one step cost one prompt of all their tokens, less the attention between them:
        the chunk-after-prior cost that they do not pay (linear in the prior, so taken at its mean)."""
        n = np.maximum(np.asarray(isl, np.float64), 1.0)
        b = np.maximum(np.asarray(batch, np.float64), 1.0)
        p = np.maximum(np.asarray(prior, np.float64), 0.0)
        together = self._prefill(n * b)
        saved = b * self._prior(n, (b - 1) * n / 2)
        return np.maximum(together - saved, self._prefill(n)) + b * self._prior(n, p)

    def decode_ms(self, batch: FloatLike, context: FloatLike) -> Floats:
        axes, values = self._tables["decode"]
        return grid_at(axes, values, np.asarray(batch, np.float64), np.asarray(context, np.float64))

    def mixed_ms(self, prefill_tokens: FloatLike, batch: FloatLike, context: FloatLike) -> Floats:
        n = np.asarray(prefill_tokens, np.float64)
        b, c = np.maximum(np.asarray(batch, np.float64), 0.0), np.asarray(context, np.float64)
        axes, values = self._tables["context"]
        alone, decode = self._prefill(np.maximum(n, 1.0)), self.decode_ms(b, c)
        cache = grid_at(axes, values, b, c) * np.minimum(b, 1.0)
        mixed = np.maximum(self._prefill(np.maximum(n, 1.0) + b) + cache, alone)
        mixed = np.where(b >= 1.0, np.maximum(mixed, decode), mixed)
        return np.asarray(np.where(n > 0, mixed, decode), dtype=np.float64)

    def _prefill(self, tokens: Floats) -> Floats:
        (axis,), values = self._tables["prefill"]
        return np.asarray(np.interp(tokens, axis, values), dtype=np.float64)

    def _prior(self, chunk: Floats, prior: Floats) -> Floats:
        axes, values = self._tables["prior"]
        return grid_at(axes, values, chunk, prior)
