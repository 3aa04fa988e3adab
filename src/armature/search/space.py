"""Every kind of worker that can exist: parallelism by architecture and engine, within the nodes there are.

The rules are ENUM-01..ENUM-06: MLA + MoE runs TEP or DEP, GQA + MoE also TP, dense models TP and PP; an MoE worker
spans at most four nodes, a dense one a single node; where that holds no model, whole nodes are joined (GAP-10).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np

from armature.hardware.inventory import Pool
from armature.model.facts import ModelFacts
from armature.model.parallelism import Parallelism
from armature.model.splits import splits
from armature.perf.estimate import Backend, Floats
from armature.perf.lattice import distinct
from armature.search.placement import worker_slots

__all__ = [
    "BACKENDS",
    "MAX_MOE_NODES",
    "PARTIAL",
    "batch_grid",
    "can_hand_over",
    "parallelisms",
    "reaches",
    "runs",
]

BACKENDS: tuple[Backend, ...] = ("vllm", "sglang", "trtllm")
MAX_MOE_NODES = 4  # ENUM-04
MAX_STAGES = 4
PARTIAL = np.concatenate([np.geomspace(1 / 1024, 0.4, 26), np.arange(0.5, 0.94, 0.05), [0.94]])
"""Mean requests in flight below one."""


def parallelisms(facts: ModelFacts, pool: Pool) -> tuple[Parallelism, ...]:
    """Every parallelism of one worker of this model within the usual limits that the pool could place, smallest first.

    Degrees are powers of two that the model's shape allows (`model.splits`). Memory is not judged here.
    """
    return next(reaches(facts, pool))


def reaches(facts: ModelFacts, pool: Pool) -> Iterator[tuple[Parallelism, ...]]:
    """Sets of parallelisms that reach ever further; each is for models that nothing in the sets before it holds.

    First those within the limits of ENUM-04. Then dense models get pipelines of two to four whole nodes, and beyond
    that every model twice as many nodes each time, to the end of the pool (GAP-10).
    """
    node, nodes = pool.gpus_per_node, pool.gpus // pool.gpus_per_node
    if facts.is_moe:
        within = _mixtures(facts, node, 1, min(pool.gpus, MAX_MOE_NODES * node))
        yield _placeable(facts, pool, within)
        widest = 1 << (MAX_MOE_NODES * node).bit_length() - 1
        while (widest := 2 * widest) <= pool.gpus:
            yield _placeable(facts, pool, _mixtures(facts, node, widest, widest))
        return
    yield _placeable(facts, pool, _dense(pool))
    tp = max((t for t in _powers(1, node) if facts.attention.heads % t == 0), default=1)
    stages = range(2, MAX_STAGES + 1)
    while stages.start <= nodes:
        yield _placeable(facts, pool, (Parallelism(tp=tp, pp=pp) for pp in stages))
        stages = range(stages.stop, 2 * stages.stop - 1)


def runs(backend: Backend, p: Parallelism) -> bool:
    """Whether the engine has this parallelism.

    vLLM splits experts by expert over all ranks or not at all (`--enable-expert-parallel`); TensorRT-LLM's attention
    DP covers all ranks (`enable_attention_dp`); SGLang takes every divisor (`--dp-size`, `--ep-size` of `--tp-size`).
    """
    if backend == "vllm":
        return p.moe_tp == 1 or p.moe_ep == 1
    return backend != "trtllm" or p.tp == 1 or p.dp == 1


def can_hand_over(backend: Backend, prefill: Parallelism, decode: Parallelism) -> bool:
    """Whether a backend's engines move KV cache between these two: pipelines are where they differ.

    vLLM's NixlConnector refuses a pipelined engine on either side (vllm issue 52913: `does not support
    PP-disaggregated KV transfer`). SGLang asserts that decode has one stage or as many as prefill (sglang pull 14265).
    """
    if backend == "vllm":
        return prefill.pp == decode.pp == 1
    return backend != "sglang" or decode.pp in (1, prefill.pp)


@lru_cache(maxsize=1024)
def batch_grid(largest: int) -> Floats:
    """Batch sizes to evaluate: every size to 16, then about 9 % apart, the largest included; before them shares of
    one request: where one request at a time already keeps prefill busy, less than one is the load. Not to be written
    to."""
    top = max(1, largest)
    steps = distinct(np.round(np.geomspace(16, max(16, top), 48)).astype(np.int64))
    sizes = np.concatenate([np.arange(1, 17), steps])
    return np.concatenate([PARTIAL, distinct(np.append(sizes[sizes <= top], top))])


def _dense(pool: Pool) -> Iterator[Parallelism]:
    """ENUM-03, and pipelines, within a node."""
    node = pool.gpus_per_node
    for tp in _powers(1, node):
        for pp in _powers(1, min(node // tp, MAX_STAGES)):
            yield Parallelism(tp=tp, pp=pp)


def _mixtures(facts: ModelFacts, node: int, least: int, most: int) -> Iterator[Parallelism]:
    """Workers of mixtures of experts on `least` to `most` GPUs: attention TP, DP and what lies between; experts EP, TP
    and, with pure attention TP or DP, what lies between. Plain TP is for GQA alone (ENUM-01, ENUM-02).

    What is split by tensor sends after every layer, so it stays within a node; TP and TEP alone are tried beyond
    (ENUM-04).
    """
    for width in _powers(least, most):
        if facts.attention.kind != "mla":
            yield Parallelism(tp=width, moe_tp=width)
        for tp in _powers(1, width):
            if tp <= node or tp == width:
                yield Parallelism(tp=tp, dp=width // tp, moe_ep=width)
            if tp < width <= node:
                yield Parallelism(tp=tp, dp=width // tp, moe_tp=width)
        for moe_tp in _powers(2, min(width // 2, node // 2) if width <= node else 1):
            yield Parallelism(tp=width, moe_tp=moe_tp, moe_ep=width // moe_tp)
            yield Parallelism(dp=width, moe_tp=moe_tp, moe_ep=width // moe_tp)


def _placeable(facts: ModelFacts, pool: Pool, shapes: Iterable[Parallelism]) -> tuple[Parallelism, ...]:
    slots = worker_slots(pool)
    found = {p for p in shapes if splits(facts, p) and _whole_nodes(p, pool) and slots.workers(p.gpus)}
    return tuple(sorted(found, key=lambda p: (p.gpus, p.pp, p.dp, p.tp, p.moe_ep)))


def _whole_nodes(p: Parallelism, pool: Pool) -> bool:
    return p.gpus <= pool.gpus_per_node or p.gpus % pool.gpus_per_node == 0


def _powers(least: int, most: int) -> Iterator[int]:
    """Powers of two from `least`, itself one, to `most`."""
    value = least
    while value <= most:
        yield value
        value *= 2
