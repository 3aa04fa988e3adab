"""Small, exact stand-ins for what search reads: step times by formula, a GPU, a model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from armature.hardware.catalog import GPUS
from armature.hardware.inventory import Inventory, Pool
from armature.model.facts import Attention, ModelFacts, Moe, Quantisation
from armature.perf.estimate import Band, EngineSpec, Floats


@dataclass(frozen=True)
class FormulaTimes:
    """decode = base + batch * (per_request + per_token * context); prefill = base + isl * per_prompt_token."""

    base_ms: float = 5.0
    per_request_ms: float = 0.05
    per_context_token_ms: float = 1e-6
    per_prompt_token_ms: float = 0.02
    source: str = "silicon"
    prefill_band: Band = field(default=Band(0.9, 1.2))
    decode_band: Band = field(default=Band(0.9, 1.1))
    notes: tuple[str, ...] = ()

    def prefill_ms(self, isl, batch=1.0, prior=0.0) -> Floats:
        return np.asarray(self.base_ms + np.asarray(isl) * np.asarray(batch) * self.per_prompt_token_ms)

    def decode_ms(self, batch, context) -> Floats:
        batch, context = np.asarray(batch, dtype=float), np.asarray(context, dtype=float)
        return np.asarray(self.base_ms + batch * (self.per_request_ms + self.per_context_token_ms * context))

    def mixed_ms(self, prefill_tokens, batch, context) -> Floats:
        prompt = np.asarray(prefill_tokens, dtype=float) * self.per_prompt_token_ms
        return np.asarray(self.decode_ms(batch, context) + prompt)


@dataclass(frozen=True)
class FormulaEstimator:
    """Step times that shrink with TP and memory bandwidth and differ a little by backend; for random spaces."""

    scale: float = 1.0
    tp_gain: float = 0.8
    name: str = "formula"

    def engine(self, spec: EngineSpec) -> FormulaTimes:
        p = spec.parallelism
        speed = spec.gpu.bandwidth_bytes_per_s / GPUS["h200_sxm"].bandwidth_bytes_per_s
        faster = self.scale / p.tp**self.tp_gain / speed
        return _times(faster, {"vllm": 1.0, "sglang": 1.03, "trtllm": 0.97}[spec.backend])


@cache
def _times(faster: float, backend: float) -> FormulaTimes:
    """The same object for the same engine, as the estimators of `perf` give."""
    return FormulaTimes(
        base_ms=2.0 + 6.0 * faster * backend,
        per_request_ms=0.08 * faster * backend,
        per_context_token_ms=2e-6 * faster,
        per_prompt_token_ms=0.03 * faster * backend,
    )


def dense_facts(**changes: object) -> ModelFacts:
    """A model of about 8B parameters, shaped like Llama-3.1-8B."""
    values: dict[str, object] = {
        "name": "test/dense-8b",
        "architecture": "LlamaForCausalLM",
        "layers": 32,
        "hidden": 4096,
        "vocab": 128256,
        "intermediate": 14336,
        "attention": Attention("gqa", heads=32, kv_heads=8, head_dim=128, full_layers=32),
        "quantisation": Quantisation(),
        "linear_params": 6_980_000_000,
        "expert_params": 0,
        "other_params": 1_050_000_000,
        "active_params": 8_030_000_000,
        "weight_bytes": 16_060_000_000,
        "max_context": 131072,
        "source": "test",
    }
    return ModelFacts(**{**values, **changes})  # type: ignore[arg-type]


def moe_facts() -> ModelFacts:
    """A mixture of experts of about 30B parameters, shaped like Qwen3-30B-A3B."""
    return dense_facts(
        name="test/moe-30b",
        architecture="Qwen3MoeForCausalLM",
        layers=48,
        hidden=2048,
        vocab=151936,
        intermediate=6144,
        attention=Attention("gqa", heads=32, kv_heads=4, head_dim=128, full_layers=48),
        moe=Moe(experts=128, experts_per_token=8, expert_intermediate=768, shared_intermediate=0, layers=48),
        linear_params=900_000_000,
        expert_params=29_000_000_000,
        other_params=620_000_000,
        active_params=3_300_000_000,
        weight_bytes=61_000_000_000,
        max_context=40960,
    )


def mla_facts() -> ModelFacts:
    """A mixture of experts with latent attention of about 30B parameters, with DeepSeek-V3's heads and experts."""
    return replace(
        moe_facts(),
        name="test/mla-30b",
        attention=Attention("mla", heads=128, kv_heads=128, head_dim=192, full_layers=48, kv_lora_rank=512),
        moe=Moe(
            experts=256, experts_per_token=8, expert_intermediate=2048, shared_intermediate=2048, layers=45
        ),
    )


def pool(gpus: int = 8, per_node: int = 8, sku: str = "h200_sxm", *, rdma: bool = True) -> Pool:
    return Pool(GPUS[sku], gpus, per_node, nodes=-(-gpus // per_node), rdma=rdma)


def inventory(*pools: Pool) -> Inventory:
    return Inventory(pools or (pool(),), source="stated")


@cache
def placed(total: int, node: int, workers: tuple[int, ...]) -> bool:
    """Whether nodes hold these workers, put on them one by one: the largest first, each on the first node (or nodes)
    with room; exact where sizes divide."""
    free = [node] * (total // node) + [total % node]
    for size in sorted(workers, reverse=True):
        if size > node:
            whole = [at for at, room in enumerate(free) if room == node][: size // node]
            if size % node or len(whole) * node < size:
                return False
            for at in whole:
                free[at] = 0
        else:
            at = next((at for at, room in enumerate(free) if room >= size), None)
            if at is None:
                return False
            free[at] -= size
    return True
