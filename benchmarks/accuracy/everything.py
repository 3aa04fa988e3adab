"""Every (GPU, bundled model, engine): is there an answer, finite, rising and labelled? Some ten thousand of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from armature.hardware.catalog import GPUS
from armature.model.facts import ModelFacts
from armature.model.memory import default_kv_dtype
from armature.model.parallelism import Parallelism
from armature.model.resolve import bundled_models, resolve_model
from armature.model.splits import splits
from armature.perf.choose import estimator_for
from armature.perf.estimate import EngineSpec, StepTimes
from armature.search.space import BACKENDS

__all__ = ["fault_of", "report"]

TOKENS = np.array([1.0, 17, 1000, 8192, 100_000])
BATCHES = np.array([1.0, 5, 64, 700])


def report() -> Iterator[str]:
    """One line per fault, then how many answers of each label."""
    labels: Counter[str] = Counter()
    faults = 0
    models = [resolve_model(name, offline=True) for name in bundled_models()]
    for part in GPUS.values():
        auto = estimator_for("auto")  # a fresh one per GPU: kept step times of all would not fit in memory
        for facts in models:
            layout = _layout(facts)
            for backend in BACKENDS:
                spec = EngineSpec(facts, part, backend, layout, default_kv_dtype(facts, part.has_fp8))
                times = auto.engine(spec)
                labels[times.source] += 1
                fault = fault_of(times)
                if fault:
                    faults += 1
                    yield f"{part.sku} {facts.name} {backend} {layout.label}: {fault}"
    yield f"{sum(labels.values())} engines, {faults} faults; {dict(labels)}"


def fault_of(times: StepTimes) -> str:
    """What is wrong with step times; empty when nothing is."""
    if times.source not in ("measured", "calibrated", "silicon", "estimated"):
        return f"label {times.source!r}"
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


def _layout(facts: ModelFacts) -> Parallelism:
    wanted = (
        (Parallelism(tp=8, moe_ep=8), Parallelism(dp=8, moe_ep=8), Parallelism(tp=4, moe_ep=4))
        if facts.is_moe
        else (Parallelism(tp=8), Parallelism(tp=4), Parallelism(tp=2))
    )
    return next((p for p in wanted if splits(facts, p)), Parallelism())
