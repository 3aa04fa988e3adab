"""Every layout that is looked at, once: the surfaces to predict, and what removed the others.

A layout is one kind of aggregated worker with a count, or a kind of prefill and a kind of decode worker of one backend
with a count each, that the nodes hold. What it can be removed for, in this order: a worker of it does not fit its GPUs;
its engines cannot hand over their KV caches; it crosses a node without RDMA; then what the prediction says of it
(`sweep.Verdicts`). Each layout is counted under the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial

from armature.hardware.inventory import Pool
from armature.perf.estimate import Backend
from armature.search.engines import Engines, Kind
from armature.search.known import own_streams
from armature.search.operating import Engine
from armature.search.placement import Counts, pair_counts, worker_counts, worker_slots
from armature.search.question import Question
from armature.search.space import can_hand_over
from armature.search.surface import MakeSurface, Sender, Surface, agg_surface, disagg_surface, sender
from armature.search.sweep import Verdicts

__all__ = ["considered", "considered_text", "pair_counts_of", "surface_makers", "surfaces"]

ROWS_AT_ONCE = 1024
"""Layouts of one surface: as many as keep its arrays in a core's cache; one pair of kinds may have more."""
WORDS = {
    "do_not_fit": ("does not fit", "do not fit"),
    "cannot_hand_over": ("cannot hand over its KV cache", "cannot hand over their KV cache"),
    "cross_nodes_without_rdma": ("crosses a node without RDMA", "cross a node without RDMA"),
    "miss_itl_ms": ("misses ITL", "miss ITL"),
    "miss_ttft_ms": ("misses TTFT", "miss TTFT"),
    "miss_e2e_ms": ("misses end-to-end latency", "miss end-to-end latency"),
    "carry_too_little": ("carries too little", "carry too little"),
    "meet_everything": ("meets everything", "meet everything"),
}


def surfaces(question: Question, engines: Engines) -> Iterator[Surface]:
    """All that can exist of the engines, aggregated layouts first."""
    return (make() for make in surface_makers(question, engines))


def surface_makers(question: Question, engines: Engines) -> Iterator[MakeSurface]:
    """What makes each of `surfaces`, as often as it is asked."""
    workload = question.workload
    if not question.loaded:  # each will ask for its own; together they take a fraction of the time
        engines.known.of_each(own_streams, engines.mains, workload)
    for index, engine in enumerate(engines.mains):
        yield partial(agg_surface, index, engine, workload, engines.known)
    if workload.osl < 2:
        return  # nothing to decode
    senders = [
        sender(i, engine, workload, question.facts, engines.known)
        for i, engine in enumerate(engines.prefills)
    ]
    for index, decode in enumerate(engines.mains):
        for sides in _in_blocks(question, senders, decode):
            yield partial(disagg_surface, sides, index, decode, workload)


def pair_counts_of(prefill: Engine, decode: Engine) -> Counts:
    """Every pair of counts of two engines that their pools hold."""
    return _counts(prefill.pool, prefill.gpus, decode.pool, decode.gpus)


def considered(question: Question, engines: Engines, verdicts: Verdicts) -> dict[str, int]:
    """Disjoint counts of layouts: `layouts` is the sum of all others."""
    removed = Counter[str]()
    osl = question.workload.osl
    for kind in engines.kinds:
        if not (kind.fits and kind.linked):
            why = "cross_nodes_without_rdma" if kind.fits else "do_not_fit"
            removed[why] += len(worker_counts(worker_slots(kind.pool), kind.parallelism.gpus))
    alike = _alike(engines.kinds) if osl > 1 else []
    for prefill, many in alike:
        for decode, more in alike:
            if prefill.backend == decode.backend:
                for why, layouts in _removed(question, prefill, decode):
                    removed[why] += many * more * layouts
    counts = {"do_not_fit": 0, "cannot_hand_over": 0, "cross_nodes_without_rdma": 0} | dict(removed)
    counts |= asdict(verdicts)
    counts = {name: counts[name] for name in WORDS}
    return {"layouts": sum(counts.values())} | counts


def considered_text(counts: Mapping[str, int]) -> str:
    """`412 layouts: 96 do not fit, 208 miss ITL, 108 meet everything`; what is none is left out."""
    said = [
        f"{counts[name]:,} {one if counts[name] == 1 else many}"
        for name, (one, many) in WORDS.items()
        if counts.get(name)
    ]
    layouts = counts.get("layouts", 0)
    return f"{layouts:,} layout{'' if layouts == 1 else 's'}: {', '.join(said)}"


def _in_blocks(
    question: Question, senders: list[Sender], decode: Engine
) -> Iterator[list[tuple[Sender, Counts]]]:
    """The prefill sides of a decode engine, in blocks of about ROWS_AT_ONCE layouts."""
    block: list[tuple[Sender, Counts]] = []
    rows = 0
    for side in senders:
        prefill = side.engine
        if prefill.backend != decode.backend or not _hand_over(prefill, decode):
            continue
        counts = _counts(prefill.pool, prefill.gpus, decode.pool, decode.gpus)
        if not _linked(question, prefill.pool, decode.pool):
            counts = counts.within_a_node()
        if not len(counts):
            continue
        if block and rows + len(counts) > ROWS_AT_ONCE:
            yield block
            block, rows = [], 0
        block.append((side, counts))
        rows += len(counts)
    if block:
        yield block


def _removed(question: Question, prefill: Kind, decode: Kind) -> Iterator[tuple[str, int]]:
    """(why, layouts) of a pair of kinds that are never predicted."""
    counts = _counts(prefill.pool, prefill.parallelism.gpus, decode.pool, decode.parallelism.gpus)
    if not (prefill.fits_prompt and decode.fits):
        yield "do_not_fit", len(counts)
    elif not _hand_over(prefill, decode):
        yield "cannot_hand_over", len(counts)
    elif not (prefill.linked and decode.linked):
        yield "cross_nodes_without_rdma", len(counts)
    elif not _linked(question, prefill.pool, decode.pool):
        yield "cross_nodes_without_rdma", int((~counts.in_node).sum())


def _alike(kinds: Sequence[Kind]) -> list[tuple[Kind, int]]:
    """One of the kinds that are counted and removed alike, and how many they are."""
    found: dict[tuple[object, ...], list[Kind]] = {}
    for kind in kinds:
        shape = id(kind.pool), kind.parallelism.gpus, kind.parallelism.pp
        key = kind.backend, *shape, kind.fits, kind.fits_prompt, kind.linked
        found.setdefault(key, []).append(kind)
    return [(group[0], len(group)) for group in found.values()]


def _hand_over(prefill: Engine | Kind, decode: Engine | Kind) -> bool:
    backend: Backend = decode.backend
    return prefill.kv_dtype == decode.kv_dtype and can_hand_over(
        backend, prefill.parallelism, decode.parallelism
    )


def _linked(question: Question, prefill: Pool, decode: Pool) -> bool:
    """Whether KV caches may go from node to node: RDMA on both sides, or nobody said that there is none."""
    return question.assume_rdma or (prefill.rdma and decode.rdma)


def _counts(prefill: Pool, prefill_gpus: int, decode: Pool, decode_gpus: int) -> Counts:
    shared = prefill == decode
    return pair_counts(worker_slots(prefill), prefill_gpus, worker_slots(decode), decode_gpus, shared=shared)
