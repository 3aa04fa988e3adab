"""How many workers the nodes hold: counts of one kind, and of two kinds beside each other. Pure.

Workers of up to a node share nodes; a wider one takes whole nodes. Counts are exact to 64 of a kind.
"""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

from armature.hardware.inventory import Pool
from armature.perf.lattice import distinct

__all__ = ["Counts", "Slots", "count_grid", "pair_counts", "worker_counts", "worker_slots"]

Ints = npt.NDArray[np.int64]


class Slots(msgspec.Struct, frozen=True):
    """How many workers fit a pool: `full` whole nodes of `size` GPUs and one part node of `rest` GPUs."""

    full: int
    size: int
    rest: int

    def workers(self, gpus: int) -> int:
        """Workers of `gpus` GPUs each that fit when nothing else runs; more than a node means whole nodes."""
        if gpus > self.size:
            return self.full // (gpus // self.size)
        return self.full * (self.size // gpus) + self.rest // gpus

    def fits_beside(self, big: int, big_count: Ints, small: int, small_count: Ints) -> npt.NDArray[np.bool_]:
        """Mask: do `big_count` workers of `big` GPUs and `small_count` of `small` fit together (big >= small)?

        Counts broadcast. Big workers fill whole nodes first, small ones take what is left.
        """
        if big > self.size:
            left = self.full - big_count * (big // self.size)
            if small > self.size:
                return np.asarray((left >= 0) & (small_count * (small // self.size) <= left))
            return np.asarray((left >= 0) & (small_count <= left * (self.size // small) + self.rest // small))
        per_node = self.size // big
        in_full = np.minimum(big_count, self.full * per_node)
        in_rest = big_count - in_full
        packed, odd = np.divmod(in_full, per_node)
        free = packed * ((self.size - per_node * big) // small)
        free = free + np.where(odd > 0, (self.size - odd * big) // small, 0)
        free = free + (self.full - packed - (odd > 0)) * (self.size // small)
        free = free + np.maximum(self.rest - in_rest * big, 0) // small
        return np.asarray((in_rest * big <= self.rest) & (small_count <= free))


class Counts(msgspec.Struct, frozen=True):
    """Every placeable pair of counts of two kinds of worker, one per row. gpus: of both; in_node: whether one node
    holds them all."""

    prefill: Ints
    decode: Ints
    gpus: Ints
    in_node: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.gpus)

    def within_a_node(self) -> Counts:
        keep = self.in_node
        return Counts(self.prefill[keep], self.decode[keep], self.gpus[keep], keep[keep])


def worker_slots(pool: Pool) -> Slots:
    """The pool's usable GPUs as whole nodes and a part node."""
    full, rest = divmod(pool.gpus, pool.gpus_per_node)
    return Slots(full=full, size=pool.gpus_per_node, rest=rest)


def count_grid(most: int) -> Ints:
    """Counts of workers to evaluate: every one to 64, then about 5 % apart, the most included; 0 gives none."""
    steps = np.round(np.geomspace(64, max(most, 64), 1 + max(0, round(20 * math.log(max(most, 64) / 64)))))
    counts = distinct(np.concatenate([np.arange(1, 65), steps, [most]])).astype(np.int64)
    return counts[(counts >= 1) & (counts <= most)]


@lru_cache(maxsize=4096)
def worker_counts(slots: Slots, gpus: int) -> Ints:
    """Counts of one kind of worker of `gpus` GPUs that the slots hold; not to be written to."""
    return count_grid(slots.workers(gpus))


@lru_cache(maxsize=1024)
def pair_counts(
    prefill: Slots, prefill_gpus: int, decode: Slots, decode_gpus: int, *, shared: bool
) -> Counts:
    """Counts of prefill workers beside decode workers; `shared`: both of one pool, else each has its pool to itself.
    Not to be written to."""
    p, d = (
        counts.ravel()
        for counts in np.meshgrid(
            worker_counts(prefill, prefill_gpus), worker_counts(decode, decode_gpus), indexing="ij"
        )
    )
    total = p * prefill_gpus + d * decode_gpus
    if not shared:
        return Counts(p, d, total, np.zeros(len(total), dtype=np.bool_))
    if prefill_gpus >= decode_gpus:
        placed = prefill.fits_beside(prefill_gpus, p, decode_gpus, d)
    else:
        placed = prefill.fits_beside(decode_gpus, d, prefill_gpus, p)
    p, d, total = p[placed], d[placed], total[placed]
    return Counts(p, d, total, np.asarray(total <= prefill.size))
