"""Step times of any GPU, from first principles: operations, bytes, links and launch overhead.

The time of a part of the step is the larger of its arithmetic and its memory traffic at peak, divided by an
efficiency; parts add up; each layer costs a fixed launch time, so that tiny models are not absurdly fast.

- dense layers, experts, head: `2 * tokens * parameters` operations; each weight is read once per step. Of `E`
  experts `E * (1 - (1 - k/E) ** tokens)` are touched when every token picks `k` at random.
- prefill attention: `2 * heads * (qk_dim + v_dim)` operations for every pair of a token and one before it.
- decode attention: reads the request's KV cache (`model.memory`), or computes it (MLA at large batches).
- links: two all-reduces per layer under TP, dispatch and combine per MoE layer under attention-DP with EP, one
  hop per pipeline stage; a degree that leaves the node goes over its NICs.

Weights in fp8 or fp4 on a GPU without that arithmetic, and int4 and int8 weights anywhere, are computed at the
16-bit rate but read at their stored size: what weight-only kernels do. Whole-pipeline latency: a step passes
all `pp` stages in turn, as in the silicon tables.

`EFFICIENCY` was fitted to the silicon tables of aiconfigurator-core 0.12: 301 engines (nine models from 0.6B to
DeepSeek-R1; A100, H100, H200, B200, GB200, L40S; three backends; 1-8 GPUs), decode at batch 1-256 and context
1k-16k, prefill at 256-16k tokens, least squares of the logarithm. Silicon / roofline, 10th, 50th, 90th percentile:

    decode   all 0.85 0.98 1.27 | Hopper 0.87 0.97 1.24 | Blackwell 0.79 0.95 1.22 | A100 0.93 1.13 1.37
             L40S 0.76 0.97 1.60 | MoE 0.77 0.99 1.36
    prefill  all 0.70 0.96 1.32 | Hopper 0.79 0.93 1.28 | Blackwell 0.73 1.00 1.33 | A100 0.72 0.87 1.06
             L40S 0.47 1.05 2.10 | MoE 0.58 0.96 1.50

The link at full rate stands for reduction in the switch; experts at 12 % for small and uneven shares per expert.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from armature.model.memory import kv_bytes_per_sequence
from armature.perf.estimate import Band, EngineSpec, FloatLike, Floats, Source

__all__ = ["EFFICIENCY", "IDEAL", "Efficiency", "RooflineEstimator", "RooflineTimes"]

# Stored bytes of one weight; fp4 and int4 carry a scale per block of 16 and 128 weights.
WEIGHT_BYTES = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5625, "int4": 0.52}
# One 400 Gb/s NIC per GPU, the usual node of the field: 50 GB/s.
NIC_BYTES_PER_S = 50e9

# Truth over estimate, 80 %: the spread above, on top of the silicon tables' own against real deployments
# (`perf.silicon`), a little wider for GPUs that no table covers.
PREFILL_BAND = Band(0.6, 3.0)
DECODE_BAND = Band(0.6, 2.0)


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Share of peak that kernels reach, and fixed costs in seconds.

    link: of NVLink and xGMI, pcie: of PCIe, per direction. layer_s, prefill_layer_s: per layer of a step that only
    decodes (CUDA graph), and of one that prefills; moe_layer_s: more per layer with experts. all_reduce_s, hop_s:
    latency of one collective within a node, and across nodes. spread: whether experts are picked at random (else
    as few are touched as possible, the physical floor).
    """

    compute: float
    experts: float
    attention: float
    memory: float
    link: float
    pcie: float
    layer_s: float
    prefill_layer_s: float
    moe_layer_s: float
    all_reduce_s: float
    hop_s: float
    spread: bool = True


EFFICIENCY = Efficiency(
    compute=0.60,
    experts=0.12,
    attention=0.45,
    memory=0.80,
    link=1.0,
    pcie=0.12,
    layer_s=33e-6,
    prefill_layer_s=105e-6,
    moe_layer_s=18e-6,
    all_reduce_s=11e-6,
    hop_s=25e-6,
)
# What no kernel can beat: the floor under measured tables (`perf.guards`).
IDEAL = Efficiency(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, spread=False)


@dataclass(frozen=True, slots=True)
class RooflineTimes:
    """`StepTimes` of one engine, computed afresh for every question (a few array operations)."""

    spec: EngineSpec
    efficiency: Efficiency = EFFICIENCY
    notes: tuple[str, ...] = ()
    source: Source = "estimated"
    prefill_band: Band = PREFILL_BAND
    decode_band: Band = DECODE_BAND
    host_ms: float = 0.0

    def prefill_ms(self, isl: FloatLike, batch: FloatLike = 1.0, prior: FloatLike = 0.0) -> Floats:
        return self._step_ms(
            np.maximum(np.asarray(isl, np.float64), 1.0),
            np.maximum(batch, 1.0),
            np.maximum(prior, 0.0),
            np.zeros(()),
            np.zeros(()),
        )

    def decode_ms(self, batch: FloatLike, context: FloatLike) -> Floats:
        return self._step_ms(
            np.zeros(()),
            np.zeros(()),
            np.zeros(()),
            np.maximum(np.asarray(batch, np.float64), 1.0),
            np.maximum(context, 1.0),
        )

    def mixed_ms(self, prefill_tokens: FloatLike, batch: FloatLike, context: FloatLike) -> Floats:
        n = np.maximum(np.asarray(prefill_tokens, np.float64), 0.0)
        n = np.where(n > 0, np.maximum(n, 1.0), 0.0)
        b = np.maximum(np.asarray(batch, np.float64), np.where(n > 0, 0.0, 1.0))
        return self._step_ms(n, np.minimum(n, 1.0), np.zeros(()), b, np.maximum(context, 1.0))

    def _step_ms(
        self, isl: Floats, prompts: Floats, prior: Floats, decodes: Floats, context: Floats
    ) -> Floats:
        """A step with `prompts` chunks of `isl` tokens after `prior`, and `decodes` requests at `context`."""
        isl, prompts, prior, decodes, context = np.broadcast_arrays(isl, prompts, prior, decodes, context)
        tokens = isl * prompts + decodes
        seconds = (
            self._dense_s(tokens, prompts + decodes)
            + self._experts_s(tokens)
            + self._prefill_attention_s(isl, prompts, prior)
            + self._decode_attention_s(decodes, context)
            + self._links_s(tokens)
            + self._launch_s(isl)
        )
        return np.asarray(seconds * 1e3, dtype=np.float64)

    def _rate(self, dtype: str) -> float:
        """Peak operations per second for weights of `dtype`; 16 bit where the GPU or the kernels lack it."""
        flops = self.spec.gpu.flops
        wide = flops.get("bf16") or flops.get("fp16") or flops.get("fp32") or max(flops.values())
        return flops.get(dtype, wide) if dtype in ("fp8", "fp4") else wide

    def _work_s(self, operations: Floats, moved: FloatLike, dtype: str, share: float) -> Floats:
        arithmetic = operations / (self._rate(dtype) * share)
        traffic = moved / (self.spec.gpu.bandwidth_bytes_per_s * self.efficiency.memory)
        return np.maximum(arithmetic, traffic)

    def _dense_s(self, tokens: Floats, sequences: Floats) -> Floats:
        facts, tp = self.spec.facts, self.spec.parallelism.tp
        linear, other = facts.quantisation.linear, facts.quantisation.other
        head = facts.vocab * facts.hidden / tp
        weights = facts.linear_params / tp
        return self._work_s(
            2 * tokens * weights, weights * WEIGHT_BYTES[linear], linear, self.efficiency.compute
        ) + self._work_s(2 * sequences * head, head * WEIGHT_BYTES[other], other, self.efficiency.compute)

    def _experts_s(self, tokens: Floats) -> Floats:
        moe, parallelism = self.spec.facts.moe, self.spec.parallelism
        if moe is None:
            return np.zeros_like(tokens)
        group = max(parallelism.moe_tp * parallelism.moe_ep, 1)
        dtype = self.spec.facts.quantisation.experts
        weights = self.spec.facts.expert_params / group
        share = min(moe.experts_per_token / moe.experts, 1.0)
        everyone = tokens * parallelism.dp
        touched = 1 - (1 - share) ** everyone if self.efficiency.spread else share
        moved = weights * touched * WEIGHT_BYTES[dtype]
        return self._work_s(2 * everyone * weights * share, moved, dtype, self.efficiency.experts)

    def _prefill_attention_s(self, isl: Floats, prompts: Floats, prior: Floats) -> Floats:
        attention, tp = self.spec.facts.attention, self.spec.parallelism.tp
        dims = 2 * attention.head_dim + (attention.rope_head_dim if attention.kind == "mla" else 0)
        seen = prior + isl / 2
        pairs = attention.full_layers * seen + attention.window_layers * np.minimum(seen, attention.window)
        operations = 2 * attention.heads / tp * dims * prompts * isl * pairs
        return np.asarray(operations / (self._rate("bf16") * self.efficiency.attention), dtype=np.float64)

    def _decode_attention_s(self, decodes: Floats, context: Floats) -> Floats:
        spec, attention = self.spec, self.spec.facts.attention
        whole = replace(spec.parallelism, pp=1)
        cache = decodes * kv_bytes_per_sequence(spec.facts, whole, context, spec.kv_dtype)
        traffic = cache / (spec.gpu.bandwidth_bytes_per_s * self.efficiency.memory)
        if attention.kind != "mla":
            return np.asarray(traffic, dtype=np.float64)
        dims = 2 * attention.kv_lora_rank + attention.rope_head_dim
        operations = 2 * attention.heads / whole.tp * dims * decodes * context * attention.full_layers
        return np.maximum(traffic, operations / (self._rate("bf16") * self.efficiency.attention))

    def _links_s(self, tokens: Floats) -> Floats:
        facts, parallelism = self.spec.facts, self.spec.parallelism
        activations = tokens * facts.hidden * 2.0
        total = np.zeros_like(tokens)
        if parallelism.tp > 1:
            rate, latency = self._link(parallelism.tp)
            tp = parallelism.tp
            total = total + 2 * facts.layers * (2 * (tp - 1) / tp * activations / rate + latency)
        if facts.moe is not None and parallelism.dp > 1:
            width = parallelism.tp * parallelism.dp
            rate, latency = self._link(width)
            copies = min(facts.moe.experts_per_token, width - 1)
            # Tokens go out in fp8 and come back in bf16, once per rank that holds one of their experts.
            moved = 1.5 * activations * copies / parallelism.tp
            total = total + facts.moe.layers * (moved / rate + 2 * latency)
        if parallelism.pp > 1:
            rate, latency = self._link(parallelism.gpus)
            total = total + (parallelism.pp - 1) * (activations / parallelism.tp / rate + latency)
        return total

    def _link(self, width: int) -> tuple[float, float]:
        """Bytes per second and seconds of latency of a collective over `width` GPUs."""
        gpu, cost = self.spec.gpu, self.efficiency
        within = gpu.link_bytes_per_s * (cost.pcie if gpu.link == "pcie" else cost.link)
        if width <= gpu.gpus_per_node:
            return within, cost.all_reduce_s
        return min(NIC_BYTES_PER_S * cost.link, within), cost.hop_s

    def _launch_s(self, isl: Floats) -> Floats:
        facts, cost = self.spec.facts, self.efficiency
        moe_layers = facts.moe.layers if facts.moe is not None else 0
        layer = np.where(isl > 0, cost.prefill_layer_s, cost.layer_s)
        return np.asarray(facts.layers * layer + moe_layers * cost.moe_layer_s, dtype=np.float64)


class RooflineEstimator:
    """Makes `RooflineTimes`; knows every GPU and every model."""

    name = "roofline"

    def engine(self, spec: EngineSpec) -> RooflineTimes:
        notes: list[str] = []
        quantisation = spec.facts.quantisation
        for part, dtype in (("dense layers", quantisation.linear), ("experts", quantisation.experts)):
            if (
                dtype in ("fp8", "fp4")
                and dtype not in spec.gpu.flops
                and (part != "experts" or spec.facts.moe)
            ):
                notes.append(f"{spec.gpu.sku} has no {dtype} arithmetic: {part} computed at the 16-bit rate")
        return RooflineTimes(spec, notes=tuple(notes))
