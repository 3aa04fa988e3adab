"""Which flags of the field's commands mean nothing to a mocker on this machine, and why: said once for a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from armature.graph.component_view import ComponentView

__all__ = ["ignored_flags", "ignored_note"]

_READ_TEXT: Mapping[str, str] = {
    "frontend": "--http-port --router-mode",
    "vllm": """
        --model --served-model-name --tensor-parallel-size --pipeline-parallel-size --data-parallel-size
        --enable-expert-parallel --max-num-seqs --max-model-len --max-num-batched-tokens --kv-cache-dtype
        --block-size --disaggregation-mode --is-prefill-worker --is-decode-worker --gpu-memory-utilization
        --enable-prefix-caching --no-enable-prefix-caching --num-gpu-blocks-override
    """,
    "sglang": """
        --model-path --served-model-name --tp-size --pp-size --dp-size --ep-size --enable-dp-attention
        --max-running-requests --context-length --chunked-prefill-size --max-prefill-tokens --kv-cache-dtype
        --page-size --disaggregation-mode --mem-fraction-static --disable-radix-cache
    """,
    "trtllm": """
        --model-path --served-model-name --tensor-parallel-size --pipeline-parallel-size --expert-parallel-size
        --enable-attention-dp --max-batch-size --max-num-tokens --max-seq-len --kv-block-size --extra-engine-args
        --override-engine-args --disaggregation-mode
    """,
    "mocker": """
        --model-path --model-name --data-parallel-size --max-num-seqs --max-model-len --max-num-batched-tokens
        --kv-cache-dtype --block-size --speedup-ratio --disaggregation-mode --is-prefill-worker
        --is-decode-worker --num-gpu-blocks-override --enable-prefix-caching --no-enable-prefix-caching
        --planner-profile-data
    """,
}
"""Flags that have an effect here, by module, in the spelling of `graph.engine_flags`."""
_READ = {module: frozenset(text.split()) for module, text in _READ_TEXT.items()}

_WHY = (
    (
        "no KV cache moves between GPUs",
        ("--kv-transfer-", "--disaggregation-", "--connector", "--bootstrap-", "--ec-transfer-"),
    ),
    (
        "no kernels run",
        (
            *(
                "--enforce-eager",
                "--cuda-graph",
                "--disable-cuda-graph",
                "--compilation-config",
                "--quantization",
            ),
            *("--attention-backend", "--moe-", "--enable-torch-compile", "--free-gpu-memory", "--cudagraph"),
        ),
    ),
    (
        "no weights are loaded",
        (
            "--load-format",
            "--trust-remote-code",
            "--skip-tokenizer-init",
            "--download-dir",
            "--model-loader",
            "--dtype",
        ),
    ),
    (
        "KV-aware routing comes later",
        ("--kv-events-", "--router-", "--kv-", "--publish-events", "--use-kv-events"),
    ),
    (
        "one machine, one discovery",
        ("--discovery-backend", "--request-plane", "--event-plane", "--store-kv", "--host"),
    ),
)
_OTHERWISE = "no effect on a mocker"


def ignored_flags(view: ComponentView) -> list[str]:
    """Flags of a component that nothing here reads, as they are usually spelt."""
    read = _READ.get(view.flags.module, frozenset())
    return [name for name in view.flags.options if name not in read]


def ignored_note(views: Iterable[ComponentView]) -> str | None:
    """One sentence on all ignored flags of a graph, by reason; None when there are none."""
    by_reason: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for view in views for name in ignored_flags(view)):
        by_reason.setdefault(_why(name), []).append(name)
    if not by_reason:
        return None
    reasons = [*(why for why, _ in _WHY), _OTHERWISE]
    parts = [f"{', '.join(by_reason[why])} ({why})" for why in reasons if why in by_reason]
    return f"Ignored here: {'; '.join(parts)}."


def _why(name: str) -> str:
    return next((why for why, prefixes in _WHY if name.startswith(prefixes)), _OTHERWISE)
