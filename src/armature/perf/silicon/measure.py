"""One engine's step times as a guarded lattice: the library asked once at every node, and broken tables mended.

The nodes are where the library's own tables have theirs, so that between nodes its answer is (almost) a straight
line too; `benchmarks/interpolation.py` prints what is left. Where a table falls as the step grows, it is held level:
the price of answers that never fall.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from armature.perf.estimate import Band, EngineSpec, Floats, Source
from armature.perf.guards import TOLERANCE, Mended, above_floor, cheapest_of, never_falling
from armature.perf.lattice import (
    BATCHES,
    CHUNKS,
    CONTEXT_BATCHES,
    CONTEXTS,
    PRIORS,
    TOKENS,
    LatticeTimes,
    rising,
)
from armature.perf.roofline import DECODE_BAND as ROOFLINE_DECODE_BAND
from armature.perf.roofline import IDEAL, RooflineTimes
from armature.perf.roofline import PREFILL_BAND as ROOFLINE_PREFILL_BAND
from armature.perf.silicon import exchange, library
from armature.perf.silicon.exchange import Exchange
from armature.perf.silicon.library import Handle, NoSiliconData

__all__ = ["DECODE_BAND", "PREFILL_BAND", "QUANTISED", "Ask", "Samples", "compiled", "measured", "sampled"]

# Truth over estimate, 80 %. From the 5,221 end-to-end measurements that the library ships: TPOT is off by 17 % in
# the median without bias (0.98); TTFT predictions are 0.59 of the measured (half of it queueing, which is not in
# a step time) with 47 % median error.
PREFILL_BAND = Band(0.85, 2.2)
DECODE_BAND = Band(0.8, 1.35)

# Dtypes whose arithmetic is quantised too. Weight-only formats (int4) may honestly lose to bf16 on large steps.
QUANTISED = ("fp8", "fp4")


@dataclass(frozen=True, slots=True)
class Samples:
    """What the library says at the nodes of `lattice`, in ms: prefill over TOKENS; prior_extra, what a chunk (CHUNKS)
    costs more after PRIORS tokens of its prompt; decode over BATCHES and CONTEXTS."""

    prefill: Floats
    prior_extra: Floats
    decode: Floats


@dataclass(frozen=True, slots=True)
class Ask:
    """What the library was asked for beside the engine: how experts' tokens travel, and its overrides by name."""

    exchange: Exchange
    modes: dict[str, str]


def compiled(spec: EngineSpec) -> tuple[Handle, Ask, tuple[str, ...]]:
    """A handle that answers for both phases, what was asked for it, and notes. fp8 attention is not measured
    everywhere: bf16's stands in. Raises NoSiliconData."""
    modes = {"kvcache_quant_mode": {"bf16": "bfloat16"}.get(spec.kv_dtype, spec.kv_dtype)}
    refusal: NoSiliconData | None = None
    overrides = (
        *_microscaled(spec),
        ({}, ()),
        (
            {"fmha_quant_mode": "bfloat16"},
            ("Prefill attention is priced in bf16: its fp8 kernel is not measured.",),
        ),
    )
    for way, (override, note) in product(exchange.usual(spec), overrides):
        ask = Ask(way, {**modes, **override})
        try:
            handle, notes = library.compile_handle(spec, ask.exchange, **ask.modes)
            handle.prefill_ms(CHUNKS[-1], PRIORS[-1])
            handle.decode_ms(BATCHES[0], CONTEXTS[0])
        except NoSiliconData as error:
            refusal = refusal or error
        else:
            return handle, ask, (*notes, *note)
    assert refusal is not None
    raise refusal


def _microscaled(spec: EngineSpec) -> Iterator[tuple[dict[str, str], tuple[str, ...]]]:
    """MXFP4 experts on a GPU with fp4 arithmetic: TensorRT-LLM and SGLang multiply them with MXFP8 activations, up to
    four times as fast as the weight-only kernel that the library takes (gpt-oss-120b on B200, batch 64)."""
    mxfp4 = spec.facts.is_moe and spec.facts.quantisation.method.startswith("mxfp4")
    if mxfp4 and "fp4" in spec.gpu.flops and spec.backend != "vllm":
        yield {"moe_quant_mode": "w4a8_mxfp4_mxfp8"}, ()


def sampled(handle: Handle) -> Samples:
    """The library's answers at every node. Raises NoSiliconData where they are no times."""
    prefill = np.array([handle.prefill_ms(n) for n in TOKENS])
    empty = np.array([handle.decode_ms(b, CONTEXTS[0]) for b in BATCHES])
    # Matrix multiplications have a step at every tile of rows, attention has none; and a step with long contexts
    # takes the library fifty times longer to say.
    at = [BATCHES.index(b) for b in CONTEXT_BATCHES]
    full = (
        np.array([[handle.decode_ms(b, c) for c in CONTEXTS[1:]] for b in CONTEXT_BATCHES]) - empty[at, None]
    )
    caches = [np.interp(BATCHES, CONTEXT_BATCHES, column) for column in full.T]
    decode = empty[:, None] + np.column_stack([np.zeros_like(empty), *caches])
    if not (
        np.isfinite(prefill).all() and np.isfinite(decode).all() and prefill.min() > 0 and decode.min() > 0
    ):
        raise NoSiliconData("the measured tables hold values that are no times")
    alone = np.array([handle.prefill_ms(n) for n in CHUNKS])
    after = [[handle.prefill_ms(n, p) for p in PRIORS[1:]] for n in CHUNKS]
    extra = np.column_stack([np.zeros_like(alone), np.array(after) - alone[:, None]])
    return Samples(prefill, extra, decode)


def measured(spec: EngineSpec) -> LatticeTimes:
    """The engine's step times; notes say what was mended. Raises NoSiliconData."""
    handle, ask, notes = compiled(spec)
    samples = sampled(handle)
    variants = _variants(spec, ask)
    in_prefill = cheapest_of(samples.prefill, [np.array([v.prefill_ms(n) for n in TOKENS]) for v in variants])
    empty = samples.decode[:, 0]
    in_decode = cheapest_of(
        empty, [np.array([v.decode_ms(b, CONTEXTS[0]) for b in BATCHES]) for v in variants]
    )
    decode = samples.decode + (in_decode.values - empty)[:, None]
    notes += _note("slower in {dtype} than in bf16, so the bf16 times are used", spec, in_prefill, in_decode)

    ideal = RooflineTimes(spec, IDEAL)
    floor_prefill = above_floor(in_prefill.values, ideal.prefill_ms(np.array(TOKENS)))
    floor_decode = above_floor(decode, ideal.decode_ms(np.array(BATCHES)[:, None], np.array(CONTEXTS)))
    notes += _note(
        "faster than the hardware can be, so raised to its limit", spec, floor_prefill, floor_decode
    )

    rising_prefill, rising_decode = never_falling(floor_prefill.values), never_falling(floor_decode.values)
    notes += _note("falling as the step grows, so held level", spec, rising_prefill, rising_decode)

    estimated = library.SYSTEMS[spec.gpu.sku] in library.ESTIMATED_SYSTEMS
    source: Source = "estimated" if estimated else "silicon"
    return LatticeTimes(
        source=source,
        prefill_band=ROOFLINE_PREFILL_BAND if estimated else PREFILL_BAND,
        decode_band=ROOFLINE_DECODE_BAND if estimated else DECODE_BAND,
        notes=notes,
        tokens=np.array(TOKENS, dtype=np.float64),
        prefill=rising_prefill.values,
        chunk=np.array(CHUNKS, dtype=np.float64),
        prior=np.array(PRIORS, dtype=np.float64),
        prior_extra=rising(np.maximum(samples.prior_extra, 0.0)),
        batch=np.array(BATCHES, dtype=np.float64),
        context=np.array(CONTEXTS, dtype=np.float64),
        decode=rising_decode.values,
        moe_a2a=ask.exchange.engine,
    )


def _variants(spec: EngineSpec, ask: Ask) -> list[Handle]:
    """The same engine with one quantised part in bf16, for each part that is quantised and has bf16 tables."""
    quantisation, variants = spec.facts.quantisation, []
    parts = [("gemm_quant_mode", quantisation.linear)]
    if spec.facts.is_moe:
        parts.append(("moe_quant_mode", quantisation.experts))
    for mode, dtype in parts:
        if dtype in QUANTISED and dtype in spec.gpu.flops:
            try:
                handle, _ = library.compile_handle(spec, ask.exchange, **{**ask.modes, mode: "bfloat16"})
                handle.prefill_ms(TOKENS[-1])
                handle.decode_ms(BATCHES[-1], CONTEXTS[0])
            except NoSiliconData:
                continue  # no bf16 table of this part: nothing to compare with
            variants.append(handle)
    return variants


def _note(fault: str, spec: EngineSpec, prefill: Mended, decode: Mended) -> tuple[str, ...]:
    """One line on what a guard mended, when that was more than noise."""
    parts = [
        f"{name} at {100 * mended.share:.0f} % of points by up to {mended.worst:.1f} x"
        for name, mended in (("prefill", prefill), ("decode", decode))
        if mended.share > 0 and mended.worst > 1 + TOLERANCE
    ]
    dtype = spec.facts.quantisation.linear
    if spec.facts.is_moe and dtype not in QUANTISED:
        dtype = spec.facts.quantisation.experts
    text = f"Measured step times were {fault.format(dtype=dtype)} ({', '.join(parts)})."
    return (text,) if parts else ()
