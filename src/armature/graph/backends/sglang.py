"""SGLang workers: `python3 -m dynamo.sglang`.

SGLang counts a whole engine where the profile counts an attention-DP rank: `--tp-size` is attention TP times DP,
and `--max-running-requests` and `--chunked-prefill-size` are divided among the ranks by the engine.
"""

from __future__ import annotations

import json

from armature.graph.backends.base import EngineAsk, EngineContainer, flag_list, graph_batches

__all__ = ["PREFIX", "SHARED_MEMORY", "container"]

SHARED_MEMORY = "64Gi"
"""As in the field generator's SGLang manifest (`aiconfigurator_disagg_sglang`); the seeds name none."""
PREFIX = "SGLang"

_PAGE_SIZE = 16  # every SGLang sample of the field; engines that need another page size correct it themselves
_BOOTSTRAP_PORT = 12345  # as in the field's disaggregated samples
_GRAPH_FLAG_RENAMED = (1, 4, 0)
"""`--cuda-graph-bs` is known to work up to runtime 1.3 and to be renamed in 1.6; from here the engine chooses."""
_DEEPEP_MODES = {"prefill": "normal", "decode": "low_latency", "agg": "auto"}
"""DeepEP's kernels for large steps, for small ones, and by the step; as SGLang's documentation of it has them."""
_DEEPEP_TOKENS, _DEEPEP_USUAL_TOKENS = "SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK", 128
"""Tokens of a decode step that a rank may send, which its buffers are made for, and SGLang's default of it."""
_KV_EVENTS = {"publisher": "zmq", "topic": "kv-events", "endpoint": "tcp://*:5557"}


def container(ask: EngineAsk) -> EngineContainer:
    group = ask.group
    shared = group.dp > 1
    deepep = group.moe_a2a == "deepep"
    graphs = group.role != "prefill" and ask.version < _GRAPH_FLAG_RENAMED
    dispatched = group.max_num_seqs * (1 + ask.nextn)
    widened = deepep and group.role != "prefill" and dispatched > _DEEPEP_USUAL_TOKENS
    flags = {
        "--model-path": ask.model_path,
        "--served-model-name": ask.model,
        "--page-size": _PAGE_SIZE,
        "--tp-size": group.tp * group.dp,
        "--pp-size": group.pp if group.pp > 1 else None,
        "--dp-size": group.dp if shared else None,
        "--enable-dp-attention": shared,
        "--ep-size": group.moe_ep if group.moe_ep > 1 else None,
        "--moe-a2a-backend": group.moe_a2a or None,
        "--deepep-mode": _DEEPEP_MODES[group.role] if deepep else None,
        # Dense layers are too narrow to be split as widely as the experts are spread, and ranks hold other requests.
        "--moe-dense-tp-size": 1 if deepep else None,
        "--kv-cache-dtype": "fp8_e4m3" if group.kv_dtype == "fp8" else None,
        "--context-length": ask.max_model_len,
        "--max-running-requests": group.max_num_seqs * group.dp,
        "--chunked-prefill-size": group.chunk_tokens * group.dp or None,
        "--cuda-graph-bs": graph_batches(group.max_num_seqs) if graphs else None,
        # A chain of nextn drafts, verified with the token before them (SGLang's documentation of MTP).
        "--speculative-algorithm": "EAGLE" if ask.nextn else None,
        "--speculative-num-steps": ask.nextn or None,
        "--speculative-eagle-topk": 1 if ask.nextn else None,
        "--speculative-num-draft-tokens": ask.nextn + 1 if ask.nextn else None,
        "--skip-tokenizer-init": True,
        "--trust-remote-code": ask.trust_remote_code,
        "--disaggregation-mode": group.role if ask.disaggregated else None,
        "--disaggregation-transfer-backend": "nixl" if ask.disaggregated else None,
        "--disaggregation-bootstrap-port": _BOOTSTRAP_PORT if ask.disaggregated else None,
        "--host": "0.0.0.0" if ask.disaggregated else None,
        "--kv-events-config": json.dumps(_KV_EVENTS, separators=(",", ":"))
        if ask.kv_events and group.role != "decode"
        else None,
    }
    return EngineContainer(
        command=("python3", "-m", "dynamo.sglang"),
        args=flag_list(flags),
        working_dir="/workspace/examples/backends/sglang",
        env=(
            *((("SGLANG_DISAGGREGATION_NIXL_BACKEND", "LIBFABRIC"),) if ask.efa else ()),
            *(((_DEEPEP_TOKENS, str(dispatched)),) if widened else ()),
        ),
    )
