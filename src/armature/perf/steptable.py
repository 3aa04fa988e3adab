"""A small table of step times: what goes into the Profile and what mockers read."""

from __future__ import annotations

import msgspec

__all__ = ["StepTable"]


class StepTable(msgspec.Struct, frozen=True):
    """Step times of one engine on a lattice.

    prefill_ms over `isl` (one prompt); decode_ms rows over `context`, columns over `batch`; mixed_ms over
    `chunk` x `context` x `batch`. Milliseconds; batches per attention-DP rank.
    """

    source: str
    isl: tuple[float, ...]
    prefill_ms: tuple[float, ...]
    batch: tuple[float, ...]
    context: tuple[float, ...]
    chunk: tuple[float, ...]
    decode_ms: tuple[tuple[float, ...], ...]
    mixed_ms: tuple[tuple[tuple[float, ...], ...], ...]
