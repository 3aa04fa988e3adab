"""How far interpolated step times are from the estimator library's own, at random points.

    python benchmarks/interpolation.py [--points 1000] [--seed 0]

For each engine: decode steps (batch to 512, context to 64k), prefill of a whole prompt (to 64k tokens) and of a chunk
(to 8k, as engines do) after a part of its prompt, log-uniform. `sound`: points between nodes that no guard changed,
where the error is interpolation alone. `mended`: the others, where it is mostly what the guards mended on purpose.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from armature.hardware.catalog import GPUS
from armature.model.parallelism import Parallelism
from armature.model.resolve import resolve_model
from armature.perf.estimate import EngineSpec
from armature.perf.lattice import BATCHES, CHUNKS, CONTEXTS, PRIORS, TOKENS
from armature.perf.silicon import SiliconEstimator, library
from armature.perf.silicon.measure import compiled, sampled

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


@dataclass(frozen=True)
class Errors:
    """Relative errors of one kind of step, and which of them no guard had a hand in."""

    step: str
    error: np.ndarray
    sound: np.ndarray


def errors_of(spec: EngineSpec, points: int, seed: int) -> Iterator[Errors]:
    """Of `points` random steps of each kind."""
    times = SiliconEstimator().engine(spec)
    with library.quiet():
        handle, _, _ = compiled(spec)
        raw = sampled(handle)
        rng = np.random.default_rng(seed)

        def random(low: float, high: float) -> np.ndarray:
            return np.exp(rng.uniform(np.log(low), np.log(high), points)).astype(int)

        batch, context = random(1, 513), random(1, 65536)
        own = np.array([handle.decode_ms(b, c) for b, c in zip(batch, context, strict=True)])
        same = np.isclose(raw.decode, times.decode, rtol=1e-9, atol=0)
        yield Errors(
            "decode",
            times.decode_ms(batch, context) / own - 1,
            around(same, (BATCHES, batch), (CONTEXTS, context)),
        )
        tokens = random(1, 65536)
        own = np.array([handle.prefill_ms(n) for n in tokens])
        whole = np.isclose(raw.prefill, times.prefill, rtol=1e-9, atol=0)
        yield Errors("prefill", times.prefill_ms(tokens) / own - 1, around(whole, (TOKENS, tokens)))
        chunk, prior = random(64, 8193), random(64, 65536)
        own = np.array([handle.prefill_ms(n, p) for n, p in zip(chunk, prior, strict=True)])
        extra = np.isclose(raw.prior_extra, times.prior_extra, rtol=1e-9, atol=1e-9)
        sound = around(whole, (TOKENS, chunk)) & around(extra, (CHUNKS, chunk), (PRIORS, prior))
        yield Errors("chunk", times.prefill_ms(chunk, 1, prior) / own - 1, sound)


def around(good: np.ndarray, *axes: tuple[tuple[float, ...], np.ndarray]) -> np.ndarray:
    """Whether all nodes around each point are good."""
    index = [np.clip(np.searchsorted(axis, x, side="right") - 1, 0, len(axis) - 2) for axis, x in axes]
    corners = np.stack(np.meshgrid(*[[0, 1]] * len(axes), indexing="ij"), axis=-1).reshape(-1, len(axes))
    return np.all(
        [good[tuple(i + step for i, step in zip(index, corner, strict=True))] for corner in corners], axis=0
    )


def row(errors: np.ndarray) -> str:
    if not len(errors):
        return f"{'-':>6} {'':>6} {'':>6} {'':>6}"
    median, high, worst = np.percentile(np.abs(errors), (50, 95, 100))
    return f"{len(errors):>6} {100 * median:>6.2f} {100 * high:>6.2f} {100 * worst:>6.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=1000, help="random steps of each kind and engine")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"relative error in %, {asked.points} random steps each; p50, p95, largest")
    print(f"{'engine':<46} {'step':<8} {'sound':>6} {'p50':>6} {'p95':>6} {'max':>6} "
          f"{'mended':>6} {'p50':>6} {'p95':>6} {'max':>6}")  # fmt: skip
    for model, sku, backend, parallelism, kv_dtype in ENGINES:
        spec = EngineSpec(resolve_model(model, offline=True), GPUS[sku], backend, parallelism, kv_dtype)
        name = f"{model.split('/')[1]} {sku.split('_')[0]} {backend} {parallelism.label}"
        for found in errors_of(spec, asked.points, asked.seed):
            print(
                f"{name:<46} {found.step:<8} {row(found.error[found.sound])} {row(found.error[~found.sound])}"
            )


if __name__ == "__main__":
    main()
