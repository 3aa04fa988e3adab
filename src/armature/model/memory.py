"""How much GPU memory a model needs under a parallelism, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fit"]


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether an engine fits its GPUs, and the room left.

    Bytes are per GPU. kv_room_tokens: tokens of full context that fit per attention-DP rank; 0 when it does not
    fit. max_sequences: requests of the asked length that fit per rank. gpus_needed: the smallest number of GPUs
    of one worker that would fit (None when none up to 64 would).
    """

    fits: bool
    weight_bytes_per_gpu: int
    reserve_bytes_per_gpu: int
    kv_room_bytes_per_gpu: int
    kv_room_tokens: int
    max_sequences: int
    gpus_needed: int | None
    reason: str
