"""The estimator library's own step times, unmended: what its own search computes with.

Our search never uses them: broken tables stay broken (`guards`). They are for `--objective aic`, which is to answer as
that search does, its faults included. The library infers every dtype itself, so an FP8 checkpoint gets an FP8 cache.
"""

from __future__ import annotations

from itertools import product

from armature.perf.estimate import EngineSpec
from armature.perf.silicon import library
from armature.perf.silicon.exchange import every
from armature.perf.silicon.library import Handle, NoSiliconData

__all__ = ["RawSteps", "raw_steps"]


class RawSteps:
    """Milliseconds of one engine; batches are per attention-DP rank. Raises NoSiliconData where its tables end."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def context_ms(self, batch: int, isl: int) -> float:
        """A step of `batch` whole prompts."""
        with library.quiet():
            return self._handle.static_ms(batch, isl, 2, "static_ctx")

    def generation_ms(self, batch: int, isl: int, osl: int) -> float:
        """All `osl - 1` decode steps of `batch` requests."""
        with library.quiet():
            return self._handle.static_ms(batch, isl, osl, "static_gen")

    def mixed_ms(self, context_tokens: int, decoding: int, isl: int, osl: int) -> float:
        """A step of `context_tokens` of prompts beside `decoding` requests half way through their answers."""
        with library.quiet():
            return self._handle.mixed_step_ms(context_tokens, decoding, isl, osl)

    def decode_ms(self, batch: int, isl: int, osl: int) -> float:
        """A decode step of `batch` requests half way through their answers."""
        with library.quiet():
            return self._handle.decode_step_ms(batch, isl, osl)


def raw_steps(spec: EngineSpec) -> RawSteps:
    """The library's engine for a spec, with experts' tokens exchanged and attention in bf16 (where its fp8 kernel is
    not measured) as its search has it.

    Raises NoSiliconData where the library has no answer.
    """
    refusal: NoSiliconData | None = None
    modes: tuple[dict[str, str], ...] = ({}, {"fmha_quant_mode": "bfloat16"})
    for exchange, overrides in product(every(spec), modes):
        try:
            with library.quiet():
                handle, _ = library.compile_handle(spec, exchange, **overrides)
                handle.prefill_ms(1024)
                handle.decode_ms(1, 1024)
        except NoSiliconData as error:
            refusal = refusal or error
        else:
            return RawSteps(handle)
    raise refusal or NoSiliconData("no tables say how its experts' tokens travel between nodes")
