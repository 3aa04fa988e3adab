"""How the ranks of an expert-parallel engine exchange their tokens, where the tables know more than one way.

Every engine can gather the tokens of all ranks and reduce the results (collectives: the library's plain engine). With
attention data parallelism and experts that are only spread, never split, two engines do better:

- SGLang, told `--moe-a2a-backend deepep`, sends a token only to the ranks of its experts. Where the tables cover
  that, it is priced so and started so. Against real deployments (docs/accuracy.md) the median error of TPOT falls from
  78 to 9 % on GB200 and from 92 to 14 % on GB300 with experts over up to 48 GPUs, from 12 to 4 % within a node of H200.
- TensorRT-LLM does it by itself over NVLink between nodes (GB200).

vLLM's default is collectives too, and so is TensorRT-LLM's without such a fabric: there deployments are nearer to those
(1.05 of the measured TPOT with 16 GPUs of H100, against 0.56 with DeepEP's tables), and neither is told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from armature.perf.estimate import EngineSpec

__all__ = ["COLLECTIVES", "Exchange", "every", "usual"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One way. context, generation: the library's name of it in each phase, empty for collectives. engine: what the
    engine must be told, empty where it is its default. modes: overrides that the library's tables of it are kept
    under."""

    context: str = ""
    generation: str = ""
    engine: str = ""
    modes: Mapping[str, str] = field(default_factory=dict)


COLLECTIVES = Exchange()


def usual(spec: EngineSpec) -> tuple[Exchange, ...]:
    """The ways of an engine as this project starts it, the first that the tables know being the one."""
    p = spec.parallelism
    if _spread(spec) and p.dp > 1:
        if spec.backend == "sglang":
            return _deepep(spec), COLLECTIVES
        if spec.backend == "trtllm" and p.gpus > spec.gpu.gpus_per_node:
            return Exchange("nvlink_two_sided", "nvlink_two_sided"), COLLECTIVES
    return (COLLECTIVES,)


def every(spec: EngineSpec) -> tuple[Exchange, ...]:
    """The ways that the library's own search tries, in its order. Over nodes it refuses collectives."""
    p = spec.parallelism
    found: list[Exchange] = []
    if _spread(spec) and not (spec.backend == "trtllm" and p.dp == 1):
        found = {
            "sglang": [_deepep(spec)],
            "vllm": [_deepep(spec), Exchange("deepep_v2_context", "deepep_v2_generation")],
            "trtllm": [
                Exchange("trtllm_deepep_ht", "trtllm_deepep_ll"),
                Exchange("nvlink_two_sided", "nvlink_two_sided"),
                Exchange("nvlink_one_sided", "nvlink_one_sided"),
            ],
        }[spec.backend]
    within = p.moe_ep <= spec.gpu.gpus_per_node
    return (*found, COLLECTIVES) if within else tuple(found)


def _spread(spec: EngineSpec) -> bool:
    return spec.facts.is_moe and spec.parallelism.moe_ep > 1 and spec.parallelism.moe_tp == 1


def _deepep(spec: EngineSpec) -> Exchange:
    """SGLang's rows of DeepSeek-V3's attention beside DeepEP are kept under fp8, whatever the cache was."""
    labels = spec.backend == "sglang" and spec.facts.architecture == "DeepseekV3ForCausalLM"
    modes = {"fmha_quant_mode": "fp8_block", "kvcache_quant_mode": "fp8"} if labels else {}
    return Exchange("deepep_ht", "deepep_ll", "deepep", modes)
