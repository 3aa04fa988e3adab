"""The workers a search may use: every kind that fits its GPUs, with its step times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from armature.errors import NothingFits
from armature.hardware.inventory import Pool
from armature.model.memory import Fit, default_kv_dtype, fit
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec, Estimator
from armature.search.operating import CHUNK_TOKENS, Engine
from armature.search.question import Question
from armature.search.space import parallelisms, stages_that_may_fit

__all__ = ["Engines", "engines_for"]


@dataclass(frozen=True, slots=True)
class Engines:
    """mains: hold whole requests, so aggregate or decode; prefills: hold at least a prompt. unfit: kinds that do not
    fit."""

    mains: Sequence[Engine]
    prefills: Sequence[Engine]
    unfit: int


def engines_for(question: Question, estimator: Estimator) -> Engines:
    """Every kind of worker that holds the model. Raises NothingFits when there is none."""
    mains: list[Engine] = []
    prefills: list[Engine] = []
    unfit = 0
    facts, backends = question.facts, question.backends
    for pool in question.inventory.pools:
        kv_dtype = default_kv_dtype(facts, pool.gpu.has_fp8)
        shapes = parallelisms(facts, pool)
        if not any(_fit(question, p, pool, kv_dtype).fits for p in shapes):
            shapes = stages_that_may_fit(facts, pool)
        for p in shapes:
            whole = _fit(question, p, pool, kv_dtype)
            prompt = _fit(question, p, pool, kv_dtype, prompts_only=True)
            unfit += len(backends) * (not whole.fits)
            for backend in backends:
                if not prompt.fits:
                    continue
                times = estimator.engine(EngineSpec(facts, pool.gpu, backend, p, kv_dtype))
                prefills.append(Engine(backend, pool, p, kv_dtype, times, prompt))
                if whole.fits:
                    mains.append(Engine(backend, pool, p, kv_dtype, times, whole))
    if not mains:
        raise _nothing_fits(question)
    return Engines(mains, prefills, unfit)


def _fit(question: Question, p: Parallelism, pool: Pool, kv_dtype: str, *, prompts_only: bool = False) -> Fit:
    """Whether a worker holds the longest request, or its prompt alone; `max_sequences` counts those of mean length."""
    workload = question.workload
    longest = workload.longest_isl + 1 if prompts_only else workload.longest_tokens
    mean = workload.isl + (1 if prompts_only else workload.osl)

    def of(tokens: int) -> Fit:
        return fit(
            question.facts,
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
        widest = max(parallelisms(question.facts, pool), key=lambda p: p.gpus, default=Parallelism())
        answer = _fit(question, widest, pool, default_kv_dtype(question.facts, pool.gpu.has_fp8))
        lines.append(f"{pool.gpus} x {pool.gpu.sku}: {answer.reason}.")
    tokens = question.workload.longest_tokens
    return NothingFits(
        f"{question.facts.name} with one request of {tokens:,} tokens does not fit.\n  " + "\n  ".join(lines),
        "Give more or larger GPUs (--hardware), a quantised checkpoint, or a shorter workload.",
    )
