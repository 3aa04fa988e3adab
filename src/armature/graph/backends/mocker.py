"""Mocker workers: the same layout without GPUs, `python3 -m dynamo.mocker` on the profile's step times (SIM-04).

The field's flag `--planner-profile-data` points at a directory mounted from a ConfigMap. In it are the two files
that the field's mocker reads (`prefill_raw_data.json`, `decode_raw_data.json`) and the role's whole step table,
`step_table.json`, for Armature's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import msgspec

from armature.errors import ArmatureError
from armature.graph.backends.base import EngineAsk, EngineContainer, flag_list
from armature.perf.steptable import StepTable

__all__ = ["BLOCK_SIZE", "DATA_PATH", "PREFIX", "SHARED_MEMORY", "container", "raw_data"]

SHARED_MEMORY: str | None = None
PREFIX = "Mocker"
DATA_PATH = "/workspace/profile_data"
BLOCK_SIZE = 64  # tokens; the granularity of the simulated KV cache


def container(ask: EngineAsk) -> EngineContainer:
    group = ask.group
    flags = {
        "--model-path": ask.model_path,
        "--model-name": ask.model,
        "--speedup-ratio": "1.0",
        "--planner-profile-data": DATA_PATH if ask.step_table is not None else None,
        "--block-size": BLOCK_SIZE,
        "--num-gpu-blocks-override": max(1, group.kv_room_tokens // BLOCK_SIZE),
        "--max-num-seqs": group.max_num_seqs,
        "--max-num-batched-tokens": max(group.chunk_tokens, group.max_num_seqs)
        if group.chunk_tokens
        else None,
        "--data-parallel-size": group.dp if group.dp > 1 else None,
        "--disaggregation-mode": group.role if ask.disaggregated else None,
    }
    files: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    if ask.step_table is None:
        notes = (f"{ask.component}: the profile has no step times of its role; the mocker uses its own.",)
    else:
        files = raw_data(ask.step_table, group.kv_room_tokens, group.gpus_per_worker) | {
            "step_table.json": msgspec.json.encode(ask.step_table).decode()
        }
    return EngineContainer(
        command=("python3", "-m", "dynamo.mocker"),
        args=flag_list(flags),
        working_dir="/workspace",
        files=files,
        files_path=DATA_PATH,
        notes=notes,
    )


def raw_data(table: StepTable, kv_room_tokens: int, gpus: int) -> dict[str, str]:
    """The field's two interpolation files (its profiler's §1.5): milliseconds, tokens per second and GPU.

    kv_room_tokens: KV tokens of a rank; points of the lattice that would not fit it are left out.
    """
    prefill = {
        "prefill_isl": list(table.isl),
        "prefill_ttft": [_finite(value) for value in table.prefill_ms],
        "prefill_thpt_per_gpu": [
            _rate(isl, ms, gpus) for isl, ms in zip(table.isl, table.prefill_ms, strict=True)
        ],
    }
    points = [
        (context, batch, table.decode_ms[row][column])
        for row, context in enumerate(table.context)
        for column, batch in enumerate(table.batch)
        if batch * context <= kv_room_tokens
    ]
    decode = {
        "x_kv_usage": [_finite(context * batch / kv_room_tokens) for context, batch, _ in points],
        "y_context_length": [context for context, _, _ in points],
        "z_itl": [_finite(ms) for _, _, ms in points],
        "z_thpt_per_gpu": [_rate(batch, ms, gpus) for _, batch, ms in points],
        "max_kv_tokens": [kv_room_tokens],
    }
    return {
        "prefill_raw_data.json": json.dumps(prefill, allow_nan=False),
        "decode_raw_data.json": json.dumps(decode, allow_nan=False),
    }


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ArmatureError(
            f"The profile's step table holds {value}.", "Make a new profile: `armature plan FILE`."
        )
    return round(value, 6)


def _rate(tokens: float, ms: float, gpus: int) -> float:
    """Tokens per second and GPU; 0 for a step that takes no time."""
    return _finite(tokens / ms * 1000 / gpus) if ms > 0 else 0.0
