"""The arithmetic of an aggregated worker against the mocker's engine, stepped through with a fixed number in flight.

Two rooms that do not know each other must agree: the plan predicts what the mocker then does. Output lengths vary by
half, as requests do; with equal ones a closed loop marches in step.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import pytest
from search_fakes import dense_facts, pool

from armature.model.memory import fit
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec
from armature.perf.roofline import RooflineEstimator
from armature.perf.steptable import TableTimes, sample
from armature.search.operating import CHUNK_TOKENS, Engine, agg_curve
from armature.serving.mocker.engine import Engine as MockerEngine
from armature.serving.mocker.engine import EngineLimits, Sequence
from armature.workload.shape import Workload

H100 = pool(1, sku="h100_sxm")
FACTS = dense_facts()
TIMES = RooflineEstimator().engine(EngineSpec(FACTS, H100.gpu, "vllm", Parallelism(), "bf16"))
TABLE = TableTimes(sample(TIMES, max_isl=32768, max_batch=1024, max_context=32768, max_chunk=CHUNK_TOKENS))


@dataclass(frozen=True)
class Measured:
    rate: float
    itl_ms: float


def stepped(isl: int, osl: int, in_flight: int, requests: int = 2000) -> Measured:
    """Requests per second and mean ITL of the last four fifths of `requests`."""
    engine = MockerEngine(EngineLimits(max_num_seqs=1024, num_gpu_blocks=100_000), TABLE)
    rng = random.Random(1)
    lengths = [round(osl * rng.uniform(0.5, 1.5)) for _ in range(requests + in_flight)]
    now, ended, started = 0.0, 0, 0
    first: dict[int, float] = {}
    itls: list[float] = []
    warm: float | None = None
    for started in range(in_flight):
        engine.add(Sequence(started, isl, lengths[started]))
    while ended < requests:
        step = engine.plan_step(now)
        now += step.duration_ms
        for sequence in engine.finish_step(step):
            first.setdefault(sequence.key, now)
            if not sequence.done:
                continue
            ended += 1
            if ended == requests // 5:
                warm = now
            elif warm is not None:
                itls.append((now - first[sequence.key]) / (lengths[sequence.key] - 1))
            started += 1
            if started < len(lengths):
                engine.add(Sequence(started, isl, lengths[started]))
    return Measured(1000.0 * len(itls) / (now - warm), float(np.mean(itls)))


@pytest.mark.parametrize(
    ("isl", "osl", "in_flight"),
    [
        (100, 16, 4),
        (100, 16, 32),
        (100, 16, 256),  # prefill bounds it, many prompts a step
        (500, 100, 128),
        (1500, 24, 16),
        (1500, 24, 64),
        (3000, 50, 32),
        (4000, 200, 8),
        (20000, 100, 8),  # three chunks a prompt
    ],
)
def test_rate_and_itl_agree(isl, osl, in_flight):
    room = fit(
        FACTS,
        Parallelism(),
        vram_bytes=H100.gpu.vram_bytes,
        sequence_tokens=isl + osl,
        prefill_tokens=CHUNK_TOKENS,
        kv_dtype="bf16",
    )
    curve = agg_curve(Engine("vllm", H100, Parallelism(), "bf16", TIMES, room), Workload(isl, osl))
    measured = stepped(isl, osl, in_flight)
    assert np.interp(in_flight, curve.batch, curve.rate) == pytest.approx(measured.rate, rel=0.12)
    assert np.interp(in_flight, curve.batch, curve.itl_ms) == pytest.approx(measured.itl_ms, rel=0.12)
