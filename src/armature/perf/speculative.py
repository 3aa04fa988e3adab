"""Speculative decoding with a model's own multi-token-prediction (MTP) layers, over any estimator's step times.

A step drafts `nextn` tokens per request with the MTP layer, run `nextn` times, then verifies them in one pass of the
model over `1 + nextn` tokens per request. With acceptance rate a, the chance that a drafted token holds given that
those before it do, a step yields 1 + a + ... + a^nextn tokens in the mean (Leviathan et al. 2023, "Fast inference from
transformers via speculative decoding", equation 1).

    verify   a decode step of batch * (1 + nextn) tokens that attend to nothing, and the attention of `batch` requests
             to their context once: the cache is read once for all tokens of a request. Where attention is bound by
             arithmetic (MLA with all heads on one GPU), it grows with the tokens as far as `attention_factor` says.
    draft    nextn times one layer (the step of `batch` tokens over the model's layers) and the output head
    prefill  the MTP layer reads the prompt too: (layers + 1) / layers

The estimator library's own rule (aiconfigurator-core 0.12: `mtp_scale_factor` in `sdk/models/helpers.py`, and the
`(nextn + 1)` decode batch that `sdk/rust_engine_step.py` describes) is coarser: a decode step of batch * (1 + nextn)
*requests*, each attending to its context, times (layers + nextn) / layers; the head is left out. The two agree at short
contexts (a test holds 10 %); at long ones ours is shorter, for it reads a request's cache once.

Everything above counts in steps of one token per request. So `decode_ms` answers with the time per token, and a mixed
step with what it adds to one token per request: over the tokens of a step, one mixed and else pure decode, the sum is
the time of the real step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from armature.perf.estimate import (
    Backend,
    EngineSpec,
    Estimator,
    FloatLike,
    Floats,
    StepTimes,
)
from armature.perf.forwarding import Forwarding

__all__ = [
    "DRAFTING",
    "Speculation",
    "SpeculativeEstimator",
    "SpeculativeTimes",
    "attention_factor",
    "drafting",
]

_MTP = frozenset(
    {
        "DeepseekV3ForCausalLM",
        "DeepseekV32ForCausalLM",
        "Glm4MoeForCausalLM",
        "Qwen3NextForCausalLM",
        "MiMoForCausalLM",
        "LongcatFlashForCausalLM",
        "Ernie4_5_MoeForCausalLM",
    }
)
DRAFTING: Mapping[Backend, frozenset[str]] = {
    "vllm": _MTP,
    "sglang": _MTP,
    "trtllm": frozenset({"DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM"}),
}
"""Architectures whose MTP layers an engine drafts with: vLLM 0.11 (`MTP_MODEL_TYPES` of its speculative configuration),
SGLang (its models with a NextN or MTP counterpart), TensorRT-LLM (the table of its speculative-decoding page)."""

_ITEM_BYTES = {"fp8": 1.0}


@dataclass(frozen=True, slots=True)
class Speculation:
    """nextn: tokens drafted per step, at least 1. acceptance_rate: above 0, at most 1."""

    nextn: int
    acceptance_rate: float

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a request gets from a step, in the mean; between 1 and 1 + nextn."""
        return float(sum(self.acceptance_rate**k for k in range(self.nextn + 1)))


@dataclass(frozen=True, slots=True)
class SpeculativeEstimator:
    """An estimator whose engines draft. Their parallelism must have one pipeline stage."""

    plain: Estimator
    speculation: Speculation

    @property
    def name(self) -> str:
        return self.plain.name

    def engine(self, spec: EngineSpec) -> StepTimes:
        return SpeculativeTimes(self.plain.engine(spec), spec, self.speculation)


def drafting(estimator: Estimator, speculation: Speculation | None) -> Estimator:
    """The estimator of engines that draft; itself without speculation."""
    return estimator if speculation is None else SpeculativeEstimator(estimator, speculation)


class SpeculativeTimes(Forwarding):
    """`StepTimes` of an engine that drafts, from those of the same engine that does not (`plain`)."""

    def __init__(self, plain: StepTimes, spec: EngineSpec, speculation: Speculation) -> None:
        self._plain = plain
        self.speculation = speculation
        self._queries = 1.0 + speculation.nextn
        self._attention = attention_factor(spec, self._queries)
        self._layer_share = 1.0 / spec.facts.layers
        self._head = _Head.of(spec)

    @property
    def plain(self) -> StepTimes:
        return self._plain

    def prefill_ms(self, isl: FloatLike, batch: FloatLike = 1.0, prior: FloatLike = 0.0) -> Floats:
        return np.asarray(
            self.plain.prefill_ms(isl, batch, prior) * (1.0 + self._layer_share), dtype=np.float64
        )

    def decode_ms(self, batch: FloatLike, context: FloatLike) -> Floats:
        return self.step_ms(batch, context) / self.speculation.tokens_per_step

    def step_ms(self, batch: FloatLike, context: FloatLike) -> Floats:
        """A whole step: draft and verify, `tokens_per_step` tokens for each of `batch` requests."""
        batch = np.asarray(batch, dtype=np.float64)
        plain = self.plain.decode_ms(batch, context)
        attention = np.maximum(plain - self.plain.decode_ms(batch, 1.0), 0.0)
        verify = self.plain.decode_ms(batch * self._queries, 1.0) + self._attention * attention
        return np.asarray(verify + self._draft_ms(plain, batch), dtype=np.float64)

    def mixed_ms(self, prefill_tokens: FloatLike, batch: FloatLike, context: FloatLike) -> Floats:
        tokens = np.asarray(prefill_tokens, dtype=np.float64)
        asked = np.maximum(np.asarray(batch, dtype=np.float64), 0.0)
        one = np.maximum(asked, 1.0)
        alone = self.prefill_ms(tokens)
        short = self.plain.mixed_ms(tokens, one, 1.0)
        attention = np.maximum(self.plain.mixed_ms(tokens, one, context) - short, 0.0)
        verify = self.plain.mixed_ms(tokens, one * self._queries, 1.0) + self._attention * attention
        whole = verify + alone * self._layer_share + self._draft_ms(self.plain.decode_ms(one, context), one)
        decode = self.step_ms(one, context)
        per_token = decode / self.speculation.tokens_per_step
        both = np.maximum(np.maximum(whole - (decode - per_token), alone), per_token)
        both = alone + np.minimum(asked, 1.0) * (both - alone)
        return np.asarray(np.where(tokens > 0, both, self.decode_ms(asked, context)), dtype=np.float64)

    def _draft_ms(self, plain: Floats, batch: Floats) -> Floats:
        return np.asarray(
            self.speculation.nextn * (plain * self._layer_share + self._head.ms(batch)), dtype=np.float64
        )


class _Head(msgspec.Struct, frozen=True):
    """The output head on one GPU: read once a step, multiplied once a token; the larger of the two counts."""

    read_ms: float
    token_ms: float

    @classmethod
    def of(cls, spec: EngineSpec) -> _Head:
        share = spec.facts.hidden * spec.facts.vocab / spec.parallelism.tp
        flops = _flops(spec)
        return cls(1000.0 * 2.0 * share / spec.gpu.bandwidth_bytes_per_s, 1000.0 * 2.0 * share / flops)

    def ms(self, batch: Floats) -> Floats:
        return np.asarray(np.maximum(self.read_ms, self.token_ms * batch), dtype=np.float64)


def attention_factor(spec: EngineSpec, queries: float) -> float:
    """How many times as long attention to the context takes for `queries` tokens per request as for one: 1 where the
    cache's reading bounds it, up to `queries` where arithmetic does (the roofline model, Williams et al. 2009).

    Operations per byte of cache and token: 2 * query heads per KV head / bytes per element; for MLA, whose heads share
    one latent of r + rope elements that serves as key and, without rope, as value: 2 * heads (2r + rope) / (r + rope).
    """
    a, item = spec.facts.attention, _ITEM_BYTES.get(spec.kv_dtype, 2.0)
    heads = max(a.heads / spec.parallelism.tp, 1.0)
    if a.kind == "mla" and a.kv_lora_rank:
        latent = a.kv_lora_rank + a.rope_head_dim
        intensity = 2.0 * heads * (latent + a.kv_lora_rank) / (latent * item)
    else:
        intensity = 2.0 * heads / max(a.kv_heads / spec.parallelism.tp, 1.0) / item
    ridge = _flops(spec) / spec.gpu.bandwidth_bytes_per_s
    return max(1.0, queries * intensity / ridge) / max(1.0, intensity / ridge)


def _flops(spec: EngineSpec) -> float:
    return spec.gpu.flops_for("bf16")
