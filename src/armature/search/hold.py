"""When no worker holds the model: the smallest hardware that would, and the longest request.

Memory alone decides how many GPUs that is, so many SKUs can be looked at; what is then said is run through the search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from armature.errors import ArmatureError, NothingFits
from armature.hardware.catalog import GPUS, Gpu
from armature.hardware.inventory import Pool
from armature.search.engines import worker_fit
from armature.search.question import Question
from armature.search.space import reaches
from armature.search.vary import Ask, pool_of, with_gpus, with_pool

__all__ = ["FARTHEST_GPUS", "MOST_SKUS", "with_what_holds"]

FARTHEST_GPUS = 1024
MOST_SKUS = 2
"""Other SKUs that are named."""


def with_what_holds(
    error: NothingFits, question: Question, ask: Ask, catalogue: Iterable[Gpu] = tuple(GPUS.values())
) -> NothingFits:
    """The error with what would hold the model in place of its general advice, where anything does."""
    said = list(_what_holds(question, ask, catalogue))
    if not said:
        return error
    wide = question.facts.quantisation.linear in ("bf16", "fp16")
    quantised = " Or take a quantised checkpoint." if wide else ""
    return NothingFits(error.message, f"It would fit on {', or '.join(said)}.{quantised}")


def _what_holds(question: Question, ask: Ask, catalogue: Iterable[Gpu]) -> Iterator[str]:
    for index, pool in enumerate(question.inventory.pools):

        def more(gpus: int, index: int = index) -> Pool:
            return with_gpus(question, index, gpus).inventory.pools[index]

        fewest = _fewest(more, question, pool.gpus)
        if fewest is not None and _works(ask, with_gpus(question, index, fewest)):
            yield f"{fewest} {pool.gpu.sku} instead of {pool.gpus}"
    named = 0
    for gpu, gpus in _others(question, catalogue):
        if named < MOST_SKUS and _works(ask, with_pool(question, pool_of(gpu, gpus))):
            named += 1
            yield f"{gpus} {gpu.sku}"
    tokens = _longest(question)
    if tokens is not None and _works(ask, _shorter(question, tokens)):
        yield f"these GPUs with requests of at most {tokens:,} tokens"


def _others(question: Question, catalogue: Iterable[Gpu]) -> list[tuple[Gpu, int]]:
    """Other SKUs whose memory would do with no more GPUs than there are or a node has, and how many: those with a price
    first, then by GPUs and memory. Only those of the same vendor, unless priced."""
    used = {pool.gpu.sku for pool in question.inventory.pools}
    vendors = {pool.gpu.vendor for pool in question.inventory.pools}
    found = []
    for gpu in catalogue:
        priced = gpu.sku in question.prices
        if gpu.sku in used or gpu.estimated or not (priced or gpu.vendor in vendors):
            continue
        gpus = _fewest(lambda count, gpu=gpu: pool_of(gpu, count), question, 0)  # type: ignore[misc]
        if gpus is not None and gpus <= max(question.inventory.total_gpus, gpu.gpus_per_node):
            found.append((not priced, gpus, gpu.vram_bytes, gpu.sku, gpu))
    return [(gpu, gpus) for _, gpus, _, _, gpu in sorted(found, key=lambda each: each[:4])]


def _fewest(pool_with: Callable[[int], Pool], question: Question, fails: int) -> int | None:
    """The fewest GPUs above `fails` at which some worker holds a whole request; None up to FARTHEST_GPUS."""
    fails = max(fails, question.facts.weight_bytes // pool_with(1 + fails).gpu.vram_bytes)
    does = max(1, 2 * fails)
    while does <= FARTHEST_GPUS and not _holds(question, pool_with(does)):
        fails, does = does, 2 * does
    if does > FARTHEST_GPUS:
        return None
    while does - fails > 1:
        middle = (fails + does) // 2
        fails, does = (fails, middle) if _holds(question, pool_with(middle)) else (middle, does)
    return does


def _longest(question: Question) -> int | None:
    """The most tokens of a request that some worker holds, its answer as long as asked; None when none does, or when a
    trace says how long requests are."""
    workload = question.workload
    if workload.requests is not None:
        return None

    def held(isl: int) -> bool:
        shorter = replace(question, workload=replace(workload, isl=isl))
        return any(_holds(shorter, pool) for pool in question.inventory.pools)

    does, fails = 1, workload.isl
    if fails <= 1 or not held(does):
        return None
    while fails - does > max(1, does // 100):
        middle = (fails + does) // 2
        does, fails = (middle, fails) if held(middle) else (does, middle)
    return does + workload.osl


def _shorter(question: Question, tokens: int) -> Question:
    workload = question.workload
    return replace(question, workload=replace(workload, isl=tokens - workload.osl))


def _holds(question: Question, pool: Pool) -> bool:
    return any(
        worker_fit(question, shape, pool).fits for shapes in reaches(question.facts, pool) for shape in shapes
    )


def _works(ask: Ask, question: Question) -> bool:
    """Whether the search has an answer to it: of one engine, for what one holds all do."""
    try:
        return len(ask(replace(question, backends=question.backends[:1])).points) > 0
    except ArmatureError:
        return False
