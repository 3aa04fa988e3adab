"""TensorRT-LLM workers: `python3 -m dynamo.trtllm`.

Sizes and limits are flags, so that whoever reads the graph sees them; what has no flag (KV cache dtype, the KV
transceiver, CUDA graphs) is a small YAML under `--extra-engine-args`, mounted from a ConfigMap as the field's
multi-node sample does it. Nothing is said twice, because the file would win over the flag.
"""

from __future__ import annotations

from typing import Any

from armature.graph.backends.base import EngineAsk, EngineContainer, flag_list, graph_batches

__all__ = ["CONFIG_PATH", "PREFIX", "SHARED_MEMORY", "container"]

SHARED_MEMORY = "80Gi"  # GEN-14
PREFIX = "TRTLLM"
CONFIG_PATH = "/workspace/engine_configs"
_FREE_MEMORY_FRACTION = 0.9
"""Default of `dynamo.trtllm --free-gpu-memory-fraction`: share of the memory left after the weights."""
_TOKENS_PER_BLOCK = 32  # default of `dynamo.trtllm --kv-block-size`


def container(ask: EngineAsk) -> EngineContainer:
    """TensorRT-LLM's `tensor_parallel_size` is attention TP or, with attention DP, the number of ranks."""
    import yaml  # the other engines write none

    group = ask.group
    file = f"{group.role}.yaml"
    flags = {
        "--model-path": ask.model_path,
        "--served-model-name": ask.model,
        "--tensor-parallel-size": group.tp * group.dp,
        "--pipeline-parallel-size": group.pp,
        "--expert-parallel-size": group.moe_ep if group.moe_ep > 1 else None,
        "--enable-attention-dp": group.dp > 1,
        "--max-batch-size": group.max_num_seqs,
        # A step must hold one token of every sequence, and what it drafts.
        "--max-num-tokens": ask.step_tokens,
        "--max-seq-len": ask.max_model_len,
        "--extra-engine-args": f"{CONFIG_PATH}/{file}",
        "--disaggregation-mode": group.role if ask.disaggregated else None,
        "--publish-events-and-metrics": ask.kv_events and group.role != "decode",
    }
    return EngineContainer(
        command=("python3", "-m", "dynamo.trtllm"),
        args=flag_list(flags),
        working_dir="/workspace/examples/backends/trtllm",
        env=(("TRTLLM_NIXL_KVCACHE_BACKEND", "LIBFABRIC"),) if ask.efa else (),
        files={file: yaml.safe_dump(_engine_config(ask), sort_keys=False)},
        files_path=CONFIG_PATH,
    )


def _engine_config(ask: EngineAsk) -> dict[str, Any]:
    group = ask.group
    cache: dict[str, Any] = {
        "free_gpu_memory_fraction": _FREE_MEMORY_FRACTION,
        "tokens_per_block": _TOKENS_PER_BLOCK,
        "enable_block_reuse": True,
    }
    if group.kv_dtype == "fp8":
        cache["dtype"] = "fp8"
    config: dict[str, Any] = {
        "backend": "pytorch",
        "kv_cache_config": cache,
        "enable_chunked_prefill": group.role != "decode",
        "disable_overlap_scheduler": group.role == "prefill",
    }
    if group.role != "prefill":
        config["cuda_graph_config"] = {
            "enable_padding": True,
            "batch_sizes": graph_batches(group.max_num_seqs),
        }
    if ask.disaggregated:
        blocks = -(-ask.max_model_len // _TOKENS_PER_BLOCK)
        config["cache_transceiver_config"] = {
            "backend": "DEFAULT",
            "max_tokens_in_buffer": blocks * _TOKENS_PER_BLOCK,
        }
    if ask.nextn:
        config["speculative_config"] = {"decoding_type": "MTP", "num_nextn_predict_layers": ask.nextn}
    if ask.trust_remote_code:
        config["trust_remote_code"] = True
    return config
