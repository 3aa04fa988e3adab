"""How far interpolated step times are from the estimator library's own, at random points.

    python benchmarks/interpolation.py [--points 1000] [--seed 0] [--all]

For each engine: decode steps (batch to 512, context to 64k), prefill of a whole prompt (to 64k tokens) and of a chunk
(to 8k, as engines do) after a part of its prompt, log-uniform. `lattice`: the library's answers at our nodes,
interpolated; the error is interpolation alone. `mended`: what the guards made of them, which the search reads; it
differs from the library where a table is broken (an FP8 step slower than bf16's, a step that gets faster as it grows).
--all: engines of twelve layouts of eleven models on every measured GPU and backend, the worst of them and a summary.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armature.hardware.catalog import GPUS
from armature.model.memory import default_kv_dtype
from armature.model.parallelism import Parallelism
from armature.model.resolve import resolve_model
from armature.perf.estimate import EngineSpec
from armature.perf.lattice import grid_at
from armature.perf.silicon import NoSiliconData, SiliconEstimator, library
from armature.perf.silicon.measure import attention_of, compiled, sampled
from armature.search.space import BACKENDS

ENGINES = (
    ("Qwen/Qwen3-32B-FP8", "h200_sxm", "vllm", Parallelism(tp=2), "fp8"),
    ("Qwen/Qwen3-32B", "h200_sxm", "vllm", Parallelism(tp=2), "bf16"),
    ("meta-llama/Meta-Llama-3.1-70B", "h100_sxm", "trtllm", Parallelism(tp=4), "bf16"),
    ("deepseek-ai/DeepSeek-R1", "h200_sxm", "sglang", Parallelism(tp=8, moe_ep=8), "fp8"),
    ("deepseek-ai/DeepSeek-R1", "h200_sxm", "sglang", Parallelism(dp=16, moe_ep=16), "fp8"),
    ("Qwen/Qwen3-30B-A3B", "h200_sxm", "vllm", Parallelism(tp=2, moe_ep=2), "bf16"),
    ("Qwen/Qwen3-30B-A3B", "h200_sxm", "vllm", Parallelism(dp=4, moe_ep=4), "bf16"),
    ("Qwen/Qwen3-32B", "b200_sxm", "trtllm", Parallelism(), "bf16"),
    ("Qwen/Qwen3-8B", "a100_sxm", "vllm", Parallelism(), "bf16"),
)
SPARSE = "deepseek-ai/DeepSeek-V3.2"
"""Its tables of sparse attention fall and jump along every axis: in a row of its own."""
LAYOUTS = (
    ("Qwen/Qwen3-8B", Parallelism()),
    ("Qwen/Qwen3-32B", Parallelism(tp=2)),
    ("Qwen/Qwen3-32B-FP8", Parallelism(tp=4)),
    ("meta-llama/Meta-Llama-3.1-70B", Parallelism(tp=8)),
    ("Qwen/Qwen3-30B-A3B", Parallelism(tp=2, moe_ep=2)),
    ("Qwen/Qwen3-235B-A22B-FP8", Parallelism(dp=4, moe_ep=4)),
    ("deepseek-ai/DeepSeek-R1", Parallelism(tp=8, moe_ep=8)),
    ("deepseek-ai/DeepSeek-R1", Parallelism(dp=16, moe_ep=16)),
    (SPARSE, Parallelism(dp=8, moe_ep=8)),
    ("openai/gpt-oss-120b", Parallelism(tp=2, moe_ep=2)),
    ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", Parallelism(tp=2, moe_ep=2)),
    ("Qwen/Qwen3.5-35B-A3B", Parallelism(tp=2, moe_ep=2)),
)
SYSTEMS = (
    *("h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200", "gb300", "a100_sxm", "l40s", "rtx_pro_6000"),
)
STEPS = ("decode", "prefill", "chunk")


@dataclass(frozen=True)
class Errors:
    """Relative errors of one kind of step: of the interpolation, and of what the search reads."""

    step: str
    lattice: np.ndarray
    mended: np.ndarray


def errors_of(spec: EngineSpec, points: int, seed: int) -> Iterator[Errors]:
    """Of `points` random steps of each kind. Raises NoSiliconData."""
    times = SiliconEstimator().engine(spec)
    with library.quiet():
        handle, _, _ = compiled(spec)
        raw = sampled(handle, attention_of(handle))
        rng = np.random.default_rng(seed)

        def random(low: float, high: float) -> np.ndarray:
            return np.exp(rng.uniform(np.log(low), np.log(high), points)).astype(int)

        def fresh(tokens: np.ndarray) -> np.ndarray:
            return np.interp(tokens, raw.tokens, raw.prefill)

        batch, context = random(1, 513), random(1, 65536)
        own = np.array([handle.decode_ms(b, c) for b, c in zip(batch, context, strict=True)])
        lattice = grid_at((times.batch, times.context), raw.decode, batch, context)
        yield Errors("decode", lattice / own - 1, times.decode_ms(batch, context) / own - 1)
        tokens = random(1, 65536)
        own = np.array([handle.prefill_ms(n) for n in tokens])
        yield Errors("prefill", fresh(tokens) / own - 1, times.prefill_ms(tokens) / own - 1)
        chunk, prior = random(64, 8193), random(64, 65536)
        own = np.array([handle.prefill_ms(n, p) for n, p in zip(chunk, prior, strict=True)])
        lattice = fresh(chunk) + grid_at((times.chunk, times.prior), raw.prior_extra, chunk, prior)
        yield Errors("chunk", lattice / own - 1, times.prefill_ms(chunk, 1, prior) / own - 1)


def figures(errors: np.ndarray) -> np.ndarray:
    """Median, 95th percentile and largest, in %."""
    return 100 * np.percentile(np.abs(errors), (50, 95, 100))


def row(errors: np.ndarray) -> str:
    median, high, worst = figures(errors)
    return f"{median:>6.2f} {high:>6.2f} {worst:>6.1f}"


def everywhere(points: int, seed: int) -> Iterator[str]:
    """By GPU: of each kind of step, the worst 95th percentile and the largest error that one of its engines has."""
    yield f"{'GPU':<13} {'engines':>7}" + "".join(f"  {step:>8}: p95    max" for step in STEPS)
    over: list[str] = []
    sparse: dict[str, list[np.ndarray]] = {step: [] for step in STEPS}
    for sku in SYSTEMS:
        found: dict[str, list[np.ndarray]] = {step: [] for step in STEPS}
        for backend in BACKENDS:
            for model, parallelism in LAYOUTS:
                facts = resolve_model(model, offline=True)
                kv_dtype = default_kv_dtype(facts, GPUS[sku].has_fp8)
                spec = EngineSpec(facts, GPUS[sku], backend, parallelism, kv_dtype)
                try:
                    errors = list(errors_of(spec, points, seed))
                except NoSiliconData:
                    continue
                for each in errors:
                    (sparse if model == SPARSE else found)[each.step].append(figures(each.lattice))
                    if figures(each.lattice)[1] > 1:
                        over.append(f"{_name(spec)} {each.step}: {row(each.lattice)}")
        yield _worst(sku, found)
    yield _worst(SPARSE.split("/")[1], sparse)
    yield f"{len(over)} above 1 % at the 95th percentile"
    yield from over


def _worst(name: str, found: Mapping[str, Sequence[np.ndarray]]) -> str:
    worst = [np.max(found[step], axis=0) for step in STEPS]
    return f"{name:<13} {len(found['decode']):>7}" + "".join(
        f"{p95:>14.2f} {top:>6.1f}" for _, p95, top in worst
    )


def _name(spec: EngineSpec) -> str:
    model = spec.facts.name.split("/")[1]
    return f"{model} {spec.gpu.sku.split('_')[0]} {spec.backend} {spec.parallelism.label}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=1000, help="random steps of each kind and engine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="every measured GPU and backend")
    asked = parser.parse_args()
    print(f"relative error in %, {asked.points} random steps each; p50, p95, largest")
    if asked.all:
        for line in everywhere(asked.points, asked.seed):
            print(line, flush=True)
        return
    print(
        f"{'engine':<46} {'step':<8} {'lattice':>6} {'p95':>6} {'max':>6}   {'mended':>6} {'p95':>6} {'max':>6}"
    )
    for model, sku, backend, parallelism, kv_dtype in ENGINES:
        spec = EngineSpec(resolve_model(model, offline=True), GPUS[sku], backend, parallelism, kv_dtype)
        for found in errors_of(spec, asked.points, asked.seed):
            print(f"{_name(spec):<46} {found.step:<8} {row(found.lattice)}   {row(found.mended)}")


if __name__ == "__main__":
    main()
