"""Step times from measured operator tables (aiconfigurator-core), with guards against broken ones.

For each engine the library is asked once, on a fixed lattice (about 300 decode and 150 prefill points, some
20 ms); the guards mend the lattice, and every later answer is an interpolation of it. Against the library's own
answer at random points the result is off by 0.1-0.6 % in the median and 3-5 % at the 95th percentile (a test
holds 1 % and 6 %), most of it where a table falls and is held level: the price of answers that never fall.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from armature.hardware.catalog import GPUS, Gpu
from armature.model.facts import ModelFacts
from armature.model.parallelism import Parallelism
from armature.perf.estimate import Backend, Band, EngineSpec, Source
from armature.perf.guards import TOLERANCE, Mended, above_floor, cheapest_of, never_falling
from armature.perf.lattice import BATCHES, CHUNKS, CONTEXTS, PRIORS, TOKENS, LatticeTimes, rising
from armature.perf.roofline import DECODE_BAND as ROOFLINE_DECODE_BAND
from armature.perf.roofline import IDEAL, RooflineTimes
from armature.perf.roofline import PREFILL_BAND as ROOFLINE_PREFILL_BAND
from armature.perf.silicon import library
from armature.perf.silicon.library import Handle, NoSiliconData

__all__ = ["NoSiliconData", "SiliconEstimator", "supported"]

# Truth over estimate, 80 %. From the 5,221 end-to-end measurements that the library ships: TPOT is off by 17 % in
# the median without bias (0.98); TTFT predictions are 0.59 of the measured (half of it queueing, which is not in
# a step time) with 47 % median error.
PREFILL_BAND = Band(0.85, 2.2)
DECODE_BAND = Band(0.8, 1.35)

_CACHE = 512
# Dtypes whose arithmetic is quantised too. Weight-only formats (int4) may honestly lose to bf16 on large steps.
_QUANTISED = ("fp8", "fp4")
_REFERENCE_CONTEXT = 1024.0


class SiliconEstimator:
    """Makes step times from measured tables; raises NoSiliconData where there are none. Answers are kept."""

    name = "silicon"

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], LatticeTimes | NoSiliconData] = OrderedDict()
        # The library drops a system's tables with the last engine that reads them, and takes up to a second to load
        # them again: one engine of each stays.
        self._open: dict[tuple[str, Backend], Handle] = {}

    def engine(self, spec: EngineSpec) -> LatticeTimes:
        key = _key(spec)
        answer = self._kept.pop(key, None)
        if answer is None:
            try:
                with library.quiet():
                    handle, modes, notes = _compile(spec)
                    self._open.setdefault((spec.gpu.sku, spec.backend), handle)
                    answer = _measure(spec, handle, modes, notes)
            except NoSiliconData as error:
                answer = error.with_traceback(None)
        self._kept[key] = answer
        if len(self._kept) > _CACHE:
            self._kept.popitem(last=False)
        if isinstance(answer, NoSiliconData):
            raise NoSiliconData(answer.message, answer.mend)
        return answer


def supported(facts: ModelFacts, gpu: Gpu, backend: Backend) -> tuple[bool, str]:
    """Whether measured tables cover the model on this GPU and backend in some layout, and why (not).

    Asks the library for one prefill and one decode step: up to a second for a system and backend that it has not
    loaded yet, milliseconds after that. Memory is not looked at.
    """
    cause = ""
    kv_dtypes = dict.fromkeys(("fp8" if "fp8" in gpu.flops else "bf16", "bf16"))
    for parallelism in _usual_layouts(facts):
        for kv_dtype in kv_dtypes:
            try:
                with library.quiet():
                    _compile(EngineSpec(facts, gpu, backend, parallelism, kv_dtype))
            except NoSiliconData as error:
                cause = cause or error.message
            else:
                estimated = library.SYSTEMS[gpu.sku] in library.ESTIMATED_SYSTEMS
                return True, "measured tables, labelled estimated" if estimated else "measured tables"
    return False, cause


def _usual_layouts(facts: ModelFacts) -> Iterator[Parallelism]:
    for width in (8, 4, 2, 1, 16):
        if facts.is_moe:
            yield Parallelism(tp=width, moe_ep=width)
            yield Parallelism(dp=width, moe_ep=width)
            yield Parallelism(tp=width, moe_tp=width)
        else:
            yield Parallelism(tp=width)


def _key(spec: EngineSpec) -> tuple[object, ...]:
    facts = spec.facts
    model = (facts.name, facts.config_dir, facts.weight_bytes, facts.quantisation)
    return (*model, spec.gpu, spec.backend, spec.parallelism, spec.kv_dtype)


def _require_whole(gpu: Gpu) -> None:
    """Raises NoSiliconData for a slice, a part with other memory or another link, or a product classed by a donor:
    tables were measured on the whole GPU that the SKU names."""
    known = GPUS.get(gpu.sku)
    if known is None or gpu.estimated:
        raise NoSiliconData(f"the tables are of another part than {gpu.name}")
    if (gpu.bandwidth_bytes_per_s, gpu.link) != (known.bandwidth_bytes_per_s, known.link):
        raise NoSiliconData(f"the tables are of {known.name} with other memory or another link")


def _measure(spec: EngineSpec, handle: Handle, modes: dict[str, str], notes: tuple[str, ...]) -> LatticeTimes:
    prefill = np.array([handle.prefill_ms(n) for n in TOKENS])
    decode = np.array([[handle.decode_ms(b, c) for c in CONTEXTS] for b in BATCHES])
    if not (
        np.isfinite(prefill).all() and np.isfinite(decode).all() and prefill.min() > 0 and decode.min() > 0
    ):
        raise NoSiliconData("the measured tables hold values that are no times")
    alone = np.array([handle.prefill_ms(n) for n in CHUNKS])
    extra = np.array([[handle.prefill_ms(n, p) for p in PRIORS] for n in CHUNKS]) - alone[:, None]

    variants = _variants(spec, modes)
    in_prefill = cheapest_of(prefill, [np.array([v.prefill_ms(n) for n in TOKENS]) for v in variants])
    at = CONTEXTS.index(_REFERENCE_CONTEXT)
    in_decode = cheapest_of(
        decode[:, at], [np.array([v.decode_ms(b, _REFERENCE_CONTEXT) for b in BATCHES]) for v in variants]
    )
    decode = decode + (in_decode.values - decode[:, at])[:, None]
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
        prior_extra=rising(np.maximum(extra, 0.0)),
        batch=np.array(BATCHES, dtype=np.float64),
        context=np.array(CONTEXTS, dtype=np.float64),
        decode=rising_decode.values,
    )


def _compile(spec: EngineSpec) -> tuple[Handle, dict[str, str], tuple[str, ...]]:
    """A handle that answers for both phases. fp8 attention is not measured everywhere: bf16's stands in."""
    _require_whole(spec.gpu)
    modes = {"kvcache_quant_mode": {"bf16": "bfloat16"}.get(spec.kv_dtype, spec.kv_dtype)}
    refusal: NoSiliconData | None = None
    for override, note in (
        ({}, ()),
        (
            {"fmha_quant_mode": "bfloat16"},
            ("Prefill attention is priced in bf16: its fp8 kernel is not measured.",),
        ),
    ):
        try:
            handle, notes = library.compile_handle(spec, **modes, **override)
            handle.prefill_ms(CHUNKS[-1], PRIORS[-1])
            handle.decode_ms(BATCHES[0], CONTEXTS[0])
        except NoSiliconData as error:
            refusal = refusal or error
        else:
            return handle, {**modes, **override}, (*notes, *note)
    assert refusal is not None
    raise refusal


def _variants(spec: EngineSpec, modes: dict[str, str]) -> list[Handle]:
    """The same engine with one quantised part in bf16, for each part that is quantised and has bf16 tables."""
    quantisation, variants = spec.facts.quantisation, []
    parts = [("gemm_quant_mode", quantisation.linear)]
    if spec.facts.is_moe:
        parts.append(("moe_quant_mode", quantisation.experts))
    for mode, dtype in parts:
        if dtype in _QUANTISED and dtype in spec.gpu.flops:
            try:
                handle, _ = library.compile_handle(spec, **{**modes, mode: "bfloat16"})
                handle.prefill_ms(TOKENS[-1])
                handle.decode_ms(BATCHES[-1], _REFERENCE_CONTEXT)
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
    if spec.facts.is_moe and dtype not in _QUANTISED:
        dtype = spec.facts.quantisation.experts
    text = f"Measured step times were {fault.format(dtype=dtype)} ({', '.join(parts)})."
    return (text,) if parts else ()
