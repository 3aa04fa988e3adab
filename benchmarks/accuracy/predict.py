"""Our answer to a row: the library's measured step times, our continuous batching, the row's fixed concurrency.

Aggregated rows go through `search.operating.agg_curve`, disaggregated ones through decode steps, `prefill_ms` and
`transfer_ms`, as the search does it. What the search leaves to its operating point is worked out here: with `C`
requests always in flight, the decode side holds what prefill lets through, and what no slot holds waits (Little's law).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from accuracy.models import facts_of
from accuracy.rows import Row
from armature.hardware.catalog import gpu
from armature.hardware.inventory import Pool
from armature.model.facts import ModelFacts
from armature.model.memory import Fit, default_kv_dtype, fit
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec, Estimator, Source, StepTimes
from armature.perf.speculative import Speculation, SpeculativeTimes
from armature.search.operating import (
    CHUNK_TOKENS,
    MAX_BATCH,
    Engine,
    agg_curve,
    prefill_ms,
    transfer_ms,
)
from armature.search.space import batch_grid
from armature.workload.shape import Workload

__all__ = ["Answer", "Engines", "answer", "answer_with", "prompt_ms"]

FABRIC_GPUS = {"gb200": 72, "gb300": 72}
"""GPUs of one NVLink domain in the measured systems; elsewhere a node."""
ACCEPTANCE = 0.8
"""Of a guessed token, given that those before it were right. DeepSeek-V3's report says 0.85-0.9 for the first one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Prediction for one row. source: the weaker one of the engines asked."""

    ttft_ms: float
    tpot_ms: float
    source: Source


class Engines:
    """Step times of a row's engines. `folder` keeps them between runs, for work on the correction itself."""

    def __init__(self, estimator: Estimator, folder: Path | None = None) -> None:
        self._estimator, self._folder = estimator, folder
        self._kept: dict[EngineSpec, StepTimes] = {}

    def spec(self, row: Row, parallelism: Parallelism) -> EngineSpec:
        facts = facts_of(row.family, row.precision, row.gemm)
        if facts is None:
            raise LookupError("no bundled model stands for it")
        part = gpu(row.system)
        return EngineSpec(facts, part, row.backend, parallelism, default_kv_dtype(facts, part.has_fp8))

    def times(self, spec: EngineSpec) -> StepTimes:
        found = self._kept.get(spec)
        if found is None:
            found = self._kept[spec] = self._from_disk(spec)
        return found

    def _from_disk(self, spec: EngineSpec) -> StepTimes:
        if self._folder is None:
            return self._estimator.engine(spec)
        named = replace(spec, facts=replace(spec.facts, config_dir=None, tokenizer_dir=None))
        path = self._folder / f"x-{sha256(repr(named).encode()).hexdigest()[:20]}.pickle"
        if path.is_file():
            return pickle.loads(path.read_bytes())  # our own file
        times = self._estimator.engine(spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(times))
        return times


def engine_of(row: Row, spec: EngineSpec, times: StepTimes, *, osl: int | None = None) -> Engine:
    """The row's engine with the room it has for requests."""
    tokens = row.isl + (row.osl if osl is None else osl)
    room = fit(
        spec.facts,
        spec.parallelism,
        vram_bytes=spec.gpu.vram_bytes,
        sequence_tokens=tokens,
        prefill_tokens=CHUNK_TOKENS,
        kv_dtype=spec.kv_dtype,
    )
    if room.max_sequences < 1:  # it ran, so it fitted, and nothing says how many requests at once
        room = Fit(
            True,
            room.weight_bytes_per_gpu,
            room.reserve_bytes_per_gpu,
            0,
            0,
            MAX_BATCH,
            spec.parallelism.gpus,
            "",
        )
    per_node = FABRIC_GPUS.get(row.system, spec.gpu.gpus_per_node)
    pool = Pool(gpu=spec.gpu, gpus=max(per_node, spec.parallelism.gpus), gpus_per_node=per_node, nodes=1)
    return Engine(spec.backend, pool, spec.parallelism, spec.kv_dtype, times, room)


def answer(row: Row, engines: Engines) -> Answer:
    """Predicted TTFT and TPOT of a row. Raises LookupError or ArmatureError where there is none."""
    return answer_with(row, engines, lambda times, spec: times)


def answer_with(
    row: Row, engines: Engines, corrected: Callable[[StepTimes, EngineSpec], StepTimes]
) -> Answer:
    """`answer` with step times as `corrected` gives them."""
    deployment = row.deployment
    if deployment is None:
        raise LookupError(row.cause)
    workload = Workload(isl=row.isl, osl=row.osl)
    spec = engines.spec(row, deployment.main)
    main = engine_of(row, spec, corrected(engines.times(spec), spec))
    if deployment.prefill is None:
        return _aggregated(row, main, workload)
    if deployment.drafts:
        speculation = Speculation(deployment.drafts, ACCEPTANCE)
        main = replace(main, times=SpeculativeTimes(main.times, spec, speculation))
    p_spec = engines.spec(row, deployment.prefill)
    prefill = engine_of(row, p_spec, corrected(engines.times(p_spec), p_spec), osl=1)
    return _disaggregated(row, prefill, main, workload, spec.facts)


def prompt_ms(row: Row, engines: Engines) -> tuple[float, float]:
    """One of the row's prompts alone on an engine, and how many requests are in flight beside it per lane."""
    assert row.deployment is not None
    first, count = (
        (row.deployment.main, row.deployment.count)
        if row.deployment.prefill is None
        else (row.deployment.prefill, row.deployment.prefill_count)
    )
    spec = engines.spec(row, first)
    engine = engine_of(row, spec, engines.times(spec), osl=1)
    ahead = row.concurrency / (count * engine.lanes) - 1.0
    return prefill_ms(engine, Workload(isl=row.isl, osl=row.osl)), max(ahead, 0.0)


def _aggregated(row: Row, engine: Engine, workload: Workload) -> Answer:
    assert row.deployment is not None
    lanes = engine.lanes * row.deployment.count
    per_lane = row.concurrency / lanes
    curve = agg_curve(engine, workload)
    held = min(max(per_lane, float(curve.batch[curve.batch >= 1.0][0])), float(curve.batch[-1]))
    itl, own = (float(np.interp(held, curve.batch, values)) for values in (curve.itl_ms, curve.prefill_ms))
    life = float(np.interp(held, curve.batch, curve.life_ms))
    wait = max(per_lane - held, 0.0) / held * life
    residual = 0.5 * itl * max(held - 1.0, 0.0) / held
    times = engine.times
    return Answer(own + residual + wait, itl, times.source)


def _disaggregated(
    row: Row, prefill: Engine, decode: Engine, workload: Workload, facts: ModelFacts
) -> Answer:
    """The point where requests in prefill, in transfer and in decode add up to the row's concurrency."""
    assert row.deployment is not None
    batch = batch_grid(decode.max_batch)
    step_ms = decode.times.decode_ms(np.maximum(batch, 1.0), workload.mean_context)
    steps = max(workload.osl - 1, 1)
    gpus = row.deployment.count * decode.gpus + row.deployment.prefill_count * prefill.gpus
    transfer = transfer_ms(facts, prefill, decode, workload, within_node=gpus <= decode.pool.gpus_per_node)
    lanes = row.deployment.count * decode.lanes
    most = min(row.deployment.slots or decode.max_batch, decode.max_batch)
    servers = row.deployment.prefill_count * prefill.parallelism.dp
    prompt = prefill_ms(prefill, workload)
    capacity = servers / prompt

    def rate_and_ttft(held: float) -> tuple[float, float]:
        life = steps * float(np.interp(held, batch, step_ms)) + transfer
        rate = held * lanes / life
        rho = rate / capacity
        return rate, prompt * (1 + rho / (1 - rho) / (2 * servers)) if rho < 1 else np.inf

    low, high = 1e-6, float(most)
    for _ in range(60):
        held = 0.5 * (low + high)
        rate, ttft = rate_and_ttft(held)
        low, high = (held, high) if held * lanes + rate * ttft < row.concurrency else (low, held)
    held = low
    rate, ttft = rate_and_ttft(held)
    ttft += max(row.concurrency - held * lanes - rate * ttft, 0.0) / rate
    itl = float(np.interp(max(held, 1.0), batch, step_ms)) + transfer / max(row.osl - 1, 1)
    sources = (prefill.times.source, decode.times.source)
    return Answer(ttft, itl, "estimated" if "estimated" in sources else sources[0])
