"""Every (GPU, bundled model, engine): is there an answer, finite, rising and labelled? Some twenty thousand of them.

One GPU at a time in each of two processes that live no longer, so that no more than three engines' tables are in memory
at once. GPUs with tables come first: what they said is kept in a folder, where GPUs that take theirs find it.
"""

from __future__ import annotations

import re
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from armature.hardware.catalog import GPUS, Gpu
from armature.model.facts import ModelFacts
from armature.model.memory import default_kv_dtype
from armature.model.parallelism import Parallelism
from armature.model.resolve import bundled_models, resolve_model
from armature.model.splits import splits
from armature.perf.choose import AutoEstimator
from armature.perf.estimate import Backend, EngineSpec, StepTimes, host_ms
from armature.perf.silicon import NoSiliconData, StepCache
from armature.perf.silicon.disk import Disk
from armature.perf.silicon.library import SYSTEMS
from armature.search.space import BACKENDS

__all__ = ["ANSWERS", "Found", "answer_of", "cause_of", "fault_of", "report"]

TOKENS = np.array([1.0, 17, 1000, 8192, 100_000])
BATCHES = np.array([1.0, 5, 64, 700])
PROCESSES = 2
KEPT_BYTES = 2**29
ANSWERS = ("calibrated", "own tables", "donor", "roofline")
"""Measured tables that deployments check; those that none does, another GPU's scaled, the roofline: all estimated."""


@dataclass
class Found:
    """What one GPU's engines answer: how many of each of ANSWERS by backend, why the others have no tables of their
    own, and what is wrong."""

    sku: str
    answers: dict[Backend, Counter[str]] = field(default_factory=dict)
    causes: dict[Backend, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_mib: float = 0.0


def report(skus: Sequence[str] = (), models: Sequence[str] = ()) -> Iterator[str]:
    """One line per GPU as it is done, with its faults; then how many answers of each kind, and why no measured ones."""
    started = time.monotonic()
    parts = sorted((GPUS[sku] for sku in skus or GPUS), key=lambda part: part.sku not in SYSTEMS)
    names = tuple(models) or tuple(bundled_models())
    found: dict[str, Found] = {}
    with TemporaryDirectory() as folder:
        for group in (True, False):  # all tables are asked before anyone takes them
            ask = partial(_of, names=names, folder=folder)
            with ProcessPoolExecutor(
                PROCESSES, mp_context=get_context("spawn"), max_tasks_per_child=1
            ) as pool:
                asked = [pool.submit(ask, part) for part in parts if (part.sku in SYSTEMS) == group]
                for done in as_completed(asked):
                    one = done.result()
                    found[one.sku] = one
                    yield (
                        f"[{time.monotonic() - started:4.0f} s] {one.sku}: {_engines([one])} engines in "
                        f"{one.seconds:.0f} s, {one.peak_mib:.0f} MiB, {len(one.faults)} faults"
                    )
                    yield from one.faults
    yield from _table([found[part.sku] for part in parts])


def fault_of(times: StepTimes) -> str:
    """What is wrong with step times; empty when nothing is."""
    if times.source not in ("measured", "calibrated", "silicon", "estimated"):
        return f"label {times.source!r}"
    if not 0 <= host_ms(times) < np.inf:
        return f"host's time {host_ms(times)}"
    for name, found in (
        ("prefill", times.prefill_ms(TOKENS)),
        ("chunks", times.prefill_ms(TOKENS[:, None], 1.0, TOKENS)),
        ("decode", times.decode_ms(BATCHES[:, None], TOKENS)),
        ("mixed", times.mixed_ms(TOKENS[:, None], BATCHES, 1000.0)),
    ):
        if not np.isfinite(found).all() or found.min() <= 0:
            return f"{name} is not finite and positive"
        for axis in range(found.ndim):
            if (np.diff(found, axis=axis) < -1e-9 * found.max()).any():
                return f"{name} falls along axis {axis}"
    for band in (times.prefill_band, times.decode_band):
        if not 0 < band.low <= 1 <= band.high < np.inf:
            return f"band {band}"
    return ""


def answer_of(auto: AutoEstimator, spec: EngineSpec) -> tuple[str, str, str]:
    """Which of ANSWERS an engine gets, what is wrong with it, and why its GPU's own tables have none."""
    times, cause = auto.engine(spec), ""
    if times.source == "calibrated":
        answer = "calibrated"
    else:
        try:
            auto.silicon.engine(spec)
            answer = "own tables"
        except NoSiliconData as error:
            cause = cause_of(error.message)
            answer = "roofline" if any("roofline (" in note for note in times.notes) else "donor"
    fault = fault_of(times)
    if not fault and answer != "calibrated" and times.source != "estimated":
        fault = f"{answer} labelled {times.source}"
    return answer, fault, cause


def cause_of(message: str) -> str:
    """A refusal without what names this one engine, so that equal causes count together."""
    text = re.split(
        r" (?:for|to anchor) (?:\w*Key|query)\b|[{(]|\. |, which| needs | than | for \w+$", message
    )[0]
    return re.sub(r"\b\d[\d.]*\b", "n", text).strip(" :,")[:90]


def _of(part: Gpu, names: tuple[str, ...], folder: str) -> Found:
    """All engines of one GPU, backend by backend."""
    started, found = time.monotonic(), Found(part.sku)
    models = [resolve_model(name, offline=True) for name in names]
    cache = StepCache(Disk(Path(folder), KEPT_BYTES), {})
    for backend in BACKENDS:
        auto = AutoEstimator(cache)
        answers, causes = Counter[str](), Counter[str]()
        for facts in models:
            spec = EngineSpec(facts, part, backend, _layout(facts), default_kv_dtype(facts, part.has_fp8))
            answer, fault, cause = answer_of(auto, spec)
            answers[answer] += 1
            causes.update([cause] if cause else [])
            if fault:
                found.faults.append(f"{part.sku} {facts.name} {backend} {spec.parallelism.label}: {fault}")
        found.answers[backend], found.causes[backend] = answers, causes
    found.seconds = time.monotonic() - started
    found.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def _table(found: Sequence[Found]) -> Iterator[str]:
    yield ""
    yield (
        f"{'GPU':<13} engine  "
        + "".join(f"{answer:>11}" for answer in ANSWERS)
        + "  no tables of its own, because"
    )
    for one in found:
        for backend, answers in one.answers.items():
            (cause, count), *_ = one.causes[backend].most_common(1) or [("", 0)]
            yield (
                f"{one.sku:<13} {backend:<7} "
                + "".join(f"{answers[answer]:>11}" for answer in ANSWERS)
                + (f"  {count} {cause}" if count else "")
            )
    yield ""
    totals = sum((answers for one in found for answers in one.answers.values()), Counter[str]())
    yield ", ".join(f"{totals[answer]} {answer}" for answer in ANSWERS)
    causes = sum((causes for one in found for causes in one.causes.values()), Counter[str]())
    yield from (f"{count:6d} without tables: {cause}" for cause, count in causes.most_common())
    faults = sum(len(one.faults) for one in found)
    yield (
        f"{_engines(found)} engines, {faults} faults; at most {max(one.peak_mib for one in found):.0f} MiB in each of "
        f"{PROCESSES} processes"
    )


def _engines(found: Sequence[Found]) -> int:
    return sum(sum(answers.values()) for one in found for answers in one.answers.values())


def _layout(facts: ModelFacts) -> Parallelism:
    wanted = (
        (Parallelism(tp=8, moe_ep=8), Parallelism(dp=8, moe_ep=8), Parallelism(tp=4, moe_ep=4))
        if facts.is_moe
        else (Parallelism(tp=8), Parallelism(tp=4), Parallelism(tp=2))
    )
    return next((p for p in wanted if splits(facts, p)), Parallelism())
