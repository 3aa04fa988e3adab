"""The workers a search may use: every kind that could exist, and those that fit their GPUs with their step times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from armature.errors import NothingFits
from armature.hardware.inventory import Pool
from armature.model.memory import Fit, default_kv_dtype, fit
from armature.model.parallelism import Parallelism
from armature.perf.estimate import Backend, EngineSpec, Estimator
from armature.perf.speculative import drafting
from armature.search.known import Known
from armature.search.operating import CHUNK_TOKENS, Engine
from armature.search.question import Question
from armature.search.space import reaches, runs

__all__ = ["Engines", "Kind", "engines_for", "worker_fit"]


class Kind(msgspec.Struct, frozen=True):
    """One kind of worker that an engine has and a pool could place.

    fits: holds a whole request, so aggregates or decodes; fits_prompt: holds a prompt, so prefills. linked: False where
    it spans nodes without RDMA while others fit within one.
    """

    backend: Backend
    pool: Pool
    parallelism: Parallelism
    kv_dtype: str
    fits: bool
    fits_prompt: bool
    linked: bool = True


@dataclass(frozen=True, slots=True)
class Engines:
    """kinds: all of them. mains: engines of those that fit and are linked; prefills: of those that hold a prompt.
    known: what has been worked out of the engines."""

    mains: Sequence[Engine]
    prefills: Sequence[Engine]
    kinds: Sequence[Kind]
    known: Known = field(default_factory=Known, repr=False, compare=False)


def engines_for(question: Question, estimator: Estimator, known: Known | None = None) -> Engines:
    """Every kind of worker, and engines of those that hold the model. Raises NothingFits when none does.

    known: what another sweep of the same estimator's engines worked out.
    """
    mains: list[Engine] = []
    prefills: list[Engine] = []
    kinds: list[Kind] = []
    facts, estimator = question.facts, drafting(estimator, question.speculation)
    for pool in question.inventory.pools:
        kv_dtype = default_kv_dtype(facts, pool.gpu.has_fp8)
        found = _reached(question, pool, kv_dtype)
        small = any(whole.fits and p.gpus <= pool.gpus_per_node for p, whole, _ in found)
        for p, whole, prompt in found:
            linked = pool.rdma or question.assume_rdma or p.gpus <= pool.gpus_per_node or not small
            for backend in question.backends:
                if not runs(backend, p) or (question.speculation is not None and p.pp > 1):
                    continue  # no engine drafts across pipeline stages
                kinds.append(Kind(backend, pool, p, kv_dtype, whole.fits, prompt.fits, linked))
                if not (prompt.fits and linked):
                    continue
                times = estimator.engine(EngineSpec(facts, pool.gpu, backend, p, kv_dtype))
                prefills.append(Engine(backend, pool, p, kv_dtype, times, prompt))
                if whole.fits:
                    mains.append(Engine(backend, pool, p, kv_dtype, times, whole))
    if not mains:
        raise _nothing_fits(question)
    return Engines(mains, prefills, kinds, known or Known())


def _reached(question: Question, pool: Pool, kv_dtype: str) -> list[tuple[Parallelism, Fit, Fit]]:
    """(parallelism, fit of a whole request, fit of a prompt) of every kind that was looked at: ever larger ones until
    one holds the model."""
    found: list[tuple[Parallelism, Fit, Fit]] = []
    for shapes in reaches(question.facts, pool):
        found += _fits(question, shapes, pool, kv_dtype)
        if any(whole.fits for _, whole, _ in found):
            break
    return found


def _fits(
    question: Question, shapes: Sequence[Parallelism], pool: Pool, kv_dtype: str
) -> Iterator[tuple[Parallelism, Fit, Fit]]:
    for p in shapes:
        whole = _fit(question, p, pool, kv_dtype)
        yield p, whole, _fit(question, p, pool, kv_dtype, prompts_only=True)


def worker_fit(question: Question, p: Parallelism, pool: Pool, *, prompts_only: bool = False) -> Fit:
    """How one worker's memory is used in this pool; one that only prefills holds prompts alone."""
    kv_dtype = default_kv_dtype(question.facts, pool.gpu.has_fp8)
    return _fit(question, p, pool, kv_dtype, prompts_only=prompts_only)


def _fit(question: Question, p: Parallelism, pool: Pool, kv_dtype: str, *, prompts_only: bool = False) -> Fit:
    """Whether a worker holds the longest request, or its prompt alone; `max_sequences` counts those of mean length."""
    workload = question.workload
    longest = workload.longest_isl + 1 if prompts_only else workload.longest_tokens
    mean = workload.isl + (1 if prompts_only else workload.osl)

    def of(tokens: int) -> Fit:
        return fit(
            question.stored_facts,
            p,
            vram_bytes=pool.gpu.vram_bytes,
            sequence_tokens=tokens,
            prefill_tokens=CHUNK_TOKENS,
            kv_dtype=kv_dtype,
        )

    answer = of(longest)
    return of(mean) if answer.fits and mean != longest else answer


def _nothing_fits(question: Question) -> NothingFits:
    """Says of each pool why its widest worker does not hold the model, and what would."""
    lines = []
    for pool in question.inventory.pools:
        shapes = [p for shapes in reaches(question.facts, pool) for p in shapes]
        widest = max(shapes, key=lambda p: p.gpus, default=Parallelism())
        answer = _fit(question, widest, pool, default_kv_dtype(question.facts, pool.gpu.has_fp8))
        lines.append(f"{pool.gpus} x {pool.gpu.sku}: {answer.reason}.")
    tokens = question.workload.longest_tokens
    return NothingFits(
        f"{question.facts.name} with one request of {tokens:,} tokens does not fit.\n  " + "\n  ".join(lines),
        "Give more or larger GPUs (--hardware), a quantised checkpoint, or a shorter workload.",
    )
