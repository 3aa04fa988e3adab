"""Every layout of one worker that can exist: parallelism by architecture, within the nodes there are.

The rules are ENUM-01..ENUM-06: MLA + MoE runs TEP or DEP, GQA + MoE also TP, dense models TP and PP; an MoE worker
spans at most four nodes, a dense one a single node, or a pipeline of whole nodes where no single node holds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from armature.hardware.inventory import Pool
from armature.model.facts import ModelFacts
from armature.model.parallelism import Parallelism
from armature.model.splits import splits
from armature.perf.estimate import Backend, Floats

__all__ = [
    "BACKENDS",
    "MAX_MOE_NODES",
    "PARTIAL",
    "Slots",
    "batch_grid",
    "can_hand_over",
    "count_grid",
    "parallelisms",
    "stages_that_may_fit",
    "worker_slots",
]

BACKENDS: tuple[Backend, ...] = ("vllm", "sglang", "trtllm")
MAX_MOE_NODES = 4  # ENUM-04
MAX_STAGES = 4
PARTIAL = np.concatenate([np.geomspace(1 / 1024, 0.4, 26), np.arange(0.5, 0.94, 0.05), [0.94]])
"""Mean requests in flight below one."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Slots:
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


def worker_slots(pool: Pool) -> Slots:
    """The pool's usable GPUs as whole nodes and a part node."""
    full, rest = divmod(pool.gpus, pool.gpus_per_node)
    return Slots(full=full, size=pool.gpus_per_node, rest=rest)


def parallelisms(facts: ModelFacts, pool: Pool) -> tuple[Parallelism, ...]:
    """Every parallelism of one worker of this model that the pool could place, smallest first.

    Degrees are powers of two that the model's shape allows (`model.splits`). Memory is not judged here.
    """
    found = {p for p in _by_architecture(facts, pool) if splits(facts, p) and _places(p, pool)}
    return tuple(sorted(found, key=lambda p: (p.gpus, p.pp, p.dp, p.tp, p.moe_ep)))


def stages_that_may_fit(facts: ModelFacts, pool: Pool) -> tuple[Parallelism, ...]:
    """Pipelines over nodes for a dense model that no single node holds; each stage is one whole node."""
    if facts.is_moe:
        return ()
    tp = max((t for t in _powers(pool.gpus_per_node) if facts.attention.heads % t == 0), default=1)
    stages = (Parallelism(tp=tp, pp=pp) for pp in _powers(MAX_STAGES) if pp > 1)
    return tuple(
        p
        for p in stages
        if splits(facts, p) and p.gpus <= pool.gpus and p.pp <= facts.layers and p.pp <= pool.nodes
    )


def count_grid(most: int) -> Ints:
    """Counts of workers to evaluate: every one to 64, then about 5 % apart, the most included; 0 gives none."""
    steps = np.round(np.geomspace(64, max(most, 64), 1 + max(0, round(20 * math.log(max(most, 64) / 64)))))
    counts = np.unique(np.concatenate([np.arange(1, 65), steps, [most]])).astype(np.int64)
    return counts[(counts >= 1) & (counts <= most)]


def can_hand_over(backend: Backend, prefill: Parallelism, decode: Parallelism) -> bool:
    """Whether a backend's engines move KV cache between these two: pipelines are where they differ.

    vLLM's NixlConnector refuses a pipelined engine on either side (vllm issue 52913: `does not support
    PP-disaggregated KV transfer`). SGLang asserts that decode has one stage or as many as prefill (sglang pull 14265).
    """
    if backend == "vllm":
        return prefill.pp == decode.pp == 1
    return backend != "sglang" or decode.pp in (1, prefill.pp)


def batch_grid(largest: int) -> Floats:
    """Batch sizes to evaluate: every size to 16, then about 9 % apart, the largest included; before them shares of
    one request: where one request at a time already keeps prefill busy, less than one is the load."""
    top = max(1, largest)
    steps = np.unique(np.round(np.geomspace(16, max(16, top), 48)).astype(np.int64))
    sizes = np.concatenate([np.arange(1, 17), steps])
    return np.concatenate([PARTIAL, np.unique(np.append(sizes[sizes <= top], top))])


def _by_architecture(facts: ModelFacts, pool: Pool) -> Iterator[Parallelism]:
    node = pool.gpus_per_node
    if not facts.is_moe:  # ENUM-03
        for tp in _powers(node):
            for pp in _powers(min(node // tp, MAX_STAGES)):
                yield Parallelism(tp=tp, pp=pp)
        return
    for width in _powers(min(pool.gpus, MAX_MOE_NODES * node)):  # ENUM-01, ENUM-02
        yield Parallelism(tp=width, moe_ep=width)
        yield Parallelism(dp=width, moe_ep=width)
        if facts.attention.kind != "mla":
            yield Parallelism(tp=width, moe_tp=width)


def _places(p: Parallelism, pool: Pool) -> bool:
    node = pool.gpus_per_node
    if p.gpus <= node:
        return p.gpus <= pool.gpus
    return p.gpus % node == 0 and p.gpus // node <= pool.gpus // node


def _powers(limit: int) -> Iterable[int]:
    value = 1
    while value <= limit:
        yield value
        value *= 2
