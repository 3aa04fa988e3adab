"""The command lines of our serving processes, for whoever starts them in place of the field's."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from armature.graph.engine_flags import EngineFlags
from armature.local.engine import EngineModel
from armature.local.spec import Role

__all__ = ["frontend_argv", "mocker_argv", "router_mode"]

_ROUTER_MODES = ("round-robin", "random", "least-loaded", "kv", "device-aware-weighted")


def mocker_argv(
    engine: EngineModel,
    *,
    component: str,
    role: Role,
    namespace: str,
    discovery: str,
    table: str,
    speedup: float,
    transfer_ms_per_token: float = 0.0,
    system_port: int = 0,
) -> list[str]:
    """A mocker that stands in for `engine`. table: file of its step times. transfer_ms_per_token: to move a prompt
    token's KV cache here from a prefill worker; 0 for none."""
    argv = [
        *(sys.executable, "-m", "armature.serving.mocker"),
        *("--model", engine.model, "--served-model-name", engine.served_name),
        *("--discovery", discovery, "--namespace", namespace),
        *("--component", component, "--role", role, "--step-table", table),
        *("--max-num-seqs", str(engine.max_num_seqs)),
        *("--max-num-batched-tokens", str(engine.max_num_batched_tokens)),
        *("--max-model-len", str(engine.max_model_len)),
        *("--block-size", str(engine.block_size), "--num-gpu-blocks", str(engine.num_gpu_blocks)),
        *("--dp", str(engine.ranks), "--speedup-ratio", f"{speedup:g}", "--system-port", str(system_port)),
    ]
    if engine.tokenizer is not None:
        argv += ["--tokenizer", str(engine.tokenizer)]
    if not engine.prefix_caching:
        argv.append("--no-enable-prefix-caching")
    if transfer_ms_per_token > 0:
        argv += ["--kv-transfer-ms-per-token", f"{transfer_ms_per_token:.6g}"]
    return argv


def frontend_argv(*, host: str, port: int, discovery: str, namespace: str, mode: str) -> tuple[str, ...]:
    """A frontend that listens on `host` and `port` (0: a free one)."""
    return (
        *(sys.executable, "-m", "armature.serving.frontend", "--host", host, "--port", str(port)),
        *("--discovery", discovery, "--namespace", namespace),
        *("--router-mode", mode),
    )


def router_mode(flags: EngineFlags, env: Mapping[str, str]) -> tuple[str, str]:
    """(`--router-mode`, else DYN_ROUTER_MODE, else round-robin; what the user must know about it, if anything)."""
    mode = flags.value("--router-mode") or env.get("DYN_ROUTER_MODE") or "round-robin"
    if mode == "kv":
        return mode, "KV-aware routing is not built yet; requests are routed round-robin."
    if mode in _ROUTER_MODES:
        return mode, ""
    return "round-robin", f"router mode {mode!r} is not one that runs here; round-robin is used."
