"""Leave one GPU out: the step times of a measured GPU from the tables of its nearest other one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from armature.errors import ArmatureError
from armature.hardware.catalog import GPUS
from armature.model.memory import default_kv_dtype
from armature.model.parallelism import Parallelism
from armature.model.resolve import resolve_model
from armature.perf.calibration import CALIBRATED_SKUS
from armature.perf.donor import OTHERS, donors_for, scaled
from armature.perf.estimate import EngineSpec, StepTimes
from armature.perf.roofline import RooflineTimes
from armature.search.space import BACKENDS

__all__ = ["Transfer", "transfers"]

ENGINES = (
    ("Qwen/Qwen3-32B-FP8", Parallelism()),
    ("meta-llama/Meta-Llama-3.1-70B", Parallelism(tp=4)),
    ("Qwen/Qwen3-30B-A3B", Parallelism(tp=4, moe_tp=4)),
    ("deepseek-ai/DeepSeek-R1", Parallelism(tp=8, moe_ep=8)),
)
TOKENS = np.array([128.0, 512.0, 2048.0, 8192.0])
BATCHES = np.array([1.0, 8.0, 32.0, 128.0])[:, None]
CONTEXTS = np.array([512.0, 2048.0, 8192.0])


@dataclass(frozen=True, slots=True)
class Transfer:
    """log(tables / transferred) and log(tables / roofline) of one engine, at prefill and decode points. used: whether
    the estimates would take that donor."""

    target: str
    donor: str
    backend: str
    used: bool
    prefill: np.ndarray
    decode: np.ndarray
    roofline_prefill: np.ndarray
    roofline_decode: np.ndarray


def transfers(step_times: Callable[[EngineSpec], StepTimes]) -> list[Transfer]:
    """Every engine of `ENGINES` on every measured GPU and engine, where both GPUs have tables."""
    found = []
    for sku in (*sorted(CALIBRATED_SKUS), *OTHERS):
        within = donors_for(GPUS[sku])
        donor = within[0] if within else donors_for(GPUS[sku], across=True)[0]
        for model, layout in ENGINES:
            facts = resolve_model(model, offline=True)
            kv_dtype = default_kv_dtype(facts, GPUS[sku].has_fp8)
            for backend in BACKENDS:
                target = EngineSpec(facts, GPUS[sku], backend, layout, kv_dtype)
                giver = EngineSpec(facts, donor, backend, layout, kv_dtype)
                try:
                    own, tables = step_times(target), step_times(giver)
                except ArmatureError:
                    continue
                given, plain = scaled(tables, giver, target), RooflineTimes(target)
                found.append(
                    Transfer(
                        sku,
                        donor.sku,
                        backend,
                        bool(within),
                        *_logs(own, given),
                        *_logs(own, plain),
                    )
                )
    return found


def _logs(truth: StepTimes, guess: StepTimes) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.log(truth.prefill_ms(TOKENS) / guess.prefill_ms(TOKENS)),
        np.log(truth.decode_ms(BATCHES, CONTEXTS) / guess.decode_ms(BATCHES, CONTEXTS)).ravel(),
    )
