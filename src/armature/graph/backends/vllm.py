"""vLLM workers: `python3 -m dynamo.vllm`, flags as the conformance manifests show them.

Prefix caching stays on (the engine's default), although the field's own generator once turned it off to match its
predictions (AIC-09): a hit only shortens a prefill, so what was predicted without it still holds, and KV routing
needs it.
"""

from __future__ import annotations

import json

from armature.graph.backends.base import EngineAsk, EngineContainer, flag_list

__all__ = ["PREFIX", "SHARED_MEMORY", "container"]

SHARED_MEMORY = "16Gi"  # GEN-14
PREFIX = "Vllm"
_KV_EVENTS = {
    "publisher": "zmq",
    "topic": "kv-events",
    "endpoint": "tcp://*:20081",
    "enable_kv_cache_events": True,
}


def container(ask: EngineAsk) -> EngineContainer:
    """vLLM limits are per attention-DP rank, as the profile's are."""
    group = ask.group
    transfer: dict[str, object] = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
    if ask.efa:
        # COM-04: UCX does not drive EFA; NIXL's libfabric back-end does.
        transfer |= {"kv_buffer_device": "cuda", "kv_connector_extra_config": {"backends": ["LIBFABRIC"]}}
    flags = {
        "--model": ask.model_path,
        "--served-model-name": ask.model,
        "--tensor-parallel-size": group.tp,
        "--pipeline-parallel-size": group.pp,
        "--data-parallel-size": group.dp,
        "--enable-expert-parallel": group.moe_ep > 1,
        "--kv-cache-dtype": "fp8" if group.kv_dtype == "fp8" else None,
        "--max-model-len": ask.max_model_len,
        "--max-num-seqs": group.max_num_seqs,
        # The engine refuses fewer batched tokens than sequences.
        "--max-num-batched-tokens": ask.step_tokens,
        "--speculative-config": json.dumps(
            {"method": "mtp", "num_speculative_tokens": ask.nextn}, separators=(",", ":")
        )
        if ask.nextn
        else None,
        "--trust-remote-code": ask.trust_remote_code,
        "--disaggregation-mode": group.role if ask.disaggregated else None,
        "--kv-transfer-config": json.dumps(transfer, separators=(",", ":")) if ask.disaggregated else None,
        "--kv-events-config": json.dumps(_KV_EVENTS, separators=(",", ":"))
        if ask.kv_events and group.role != "decode"
        else None,
    }
    return EngineContainer(
        command=("python3", "-m", "dynamo.vllm"),
        args=flag_list(flags),
        working_dir="/workspace/examples/backends/vllm",
    )
