"""One engine's step times as a guarded lattice: the library asked once at every node, and broken tables mended.

The nodes are where the library's own tables have theirs, so that between nodes its answer is (almost) a straight
line too; `benchmarks/interpolation.py` prints what is left. Where a table falls as the step grows, it is held level:
the price of answers that never fall.

What attention adds for the tokens before a step costs most to ask: the library walks its tables for each. It follows
from the heads per GPU and the dtypes alone, not from pipeline stages, attention-DP ranks or how experts are split (to
the last bits; a test holds it), so engines that differ in these share it (`Attentions`): a third of a dense model's
engines ask for it, and a tenth of a mixture's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise, product

import msgspec
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

__all__ = [
    "DECODE_BAND",
    "PREFILL_BAND",
    "QUANTISED",
    "Ask",
    "Attention",
    "Attentions",
    "Samples",
    "attention_of",
    "compiled",
    "measured",
    "sampled",
]

# Truth over estimate, 80 %. From the 5,221 end-to-end measurements that the library ships: TPOT is off by 17 % in
# the median without bias (0.98); TTFT predictions are 0.59 of the measured (half of it queueing, which is not in
# a step time) with 47 % median error.
PREFILL_BAND = Band(0.85, 2.2)
DECODE_BAND = Band(0.8, 1.35)

# Dtypes whose arithmetic is quantised too. Weight-only formats (int4) may honestly lose to bf16 on large steps.
QUANTISED = ("fp8", "fp4")

STRAIGHT = 0.004
"""Half of it is the worst that a single kink between two nodes leaves, as a share of the step."""
_MOST_ADDED = 64
_KEPT_ATTENTIONS = 64


class Ask(msgspec.Struct, frozen=True):
    """What the library was asked for beside the engine: how experts' tokens travel, and its overrides by name."""

    exchange: Exchange
    modes: dict[str, str]


class Attention(msgspec.Struct, frozen=True):
    """What the tokens before a step add to it, in ms: cached (rows CONTEXT_BATCHES, columns CONTEXTS), to a decode step
    of empty contexts; prior (rows CHUNKS, columns PRIORS), to a chunk that begins its prompt."""

    cached: Floats
    prior: Floats


class Attentions:
    """Attention that engines share, asked once: the last 64 of them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Attention] = OrderedDict()

    def of(self, spec: EngineSpec, ask: Ask, handle: Handle) -> Attention:
        """ask: what the handle was compiled with. Raises NoSiliconData."""
        facts = spec.facts
        model = (facts.name, facts.config_dir, facts.weight_bytes, facts.quantisation)
        dtypes = (ask.modes.get("kvcache_quant_mode"), ask.modes.get("fmha_quant_mode"))
        ways = (ask.exchange.context, ask.exchange.generation)  # DeepEP's engines have tables of their own
        key = (*model, spec.gpu.sku, spec.backend, spec.parallelism.tp, *dtypes, *ways)
        found = self._kept.pop(key, None)
        if found is None:
            found = attention_of(handle)
        self._kept[key] = found
        if len(self._kept) > _KEPT_ATTENTIONS:
            self._kept.popitem(last=False)
        return found


class Samples(msgspec.Struct, frozen=True):
    """What the library says, in ms: prefill over `tokens`; prior_extra, what a chunk (CHUNKS) costs more after PRIORS
    tokens of its prompt; decode over `batch` and CONTEXTS. tokens, batch: TOKENS and BATCHES, and nodes between where
    a straight line would be off by more than `STRAIGHT`."""

    tokens: Floats
    prefill: Floats
    prior_extra: Floats
    batch: Floats
    decode: Floats


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


def attention_of(handle: Handle) -> Attention:
    """The library's answers at every node of attention, on two threads: it computes without Python's lock. Raises
    NoSiliconData."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as both:
        cached = list(both.map(lambda b: [handle.decode_ms(b, c) for c in CONTEXTS], CONTEXT_BATCHES))
        prior = list(both.map(lambda n: [handle.prefill_ms(n, p) for p in PRIORS], CHUNKS))
    return Attention(*(_beyond_first(np.array(values)) for values in (cached, prior)))


def _beyond_first(values: Floats) -> Floats:
    """To the femtosecond, so that it does not matter which of the engines that share it was asked."""
    return np.asarray(np.round(values - values[:, :1], 9), dtype=np.float64)


def sampled(handle: Handle, attention: Attention) -> Samples:
    """The library's answers at every node. Raises NoSiliconData where they are no times."""
    tokens, prefill = _refined(TOKENS, handle.prefill_ms)
    batch, empty = _refined(BATCHES, partial(handle.decode_ms, context=CONTEXTS[0]))
    caches = [np.interp(batch, CONTEXT_BATCHES, column) for column in attention.cached.T]
    decode = empty[:, None] + np.column_stack(caches)
    finite = all(np.isfinite(values).all() for values in (prefill, decode, attention.prior))
    if not (finite and prefill.min() > 0 and decode.min() > 0):
        raise NoSiliconData("the measured tables hold values that are no times")
    return Samples(tokens, prefill, attention.prior, batch, decode)


def _refined(nodes: Sequence[int], ask: Callable[[float], float]) -> tuple[Floats, Floats]:
    """Nodes and the answers there: the given ones, and the middle of two that a straight line misses, again and again
    until it does not. Matrix multiplications and experts jump where a table starts another kernel, wherever that is."""
    found = {node: ask(node) for node in nodes}
    spans = list(pairwise(nodes))
    while spans and len(found) < len(nodes) + _MOST_ADDED:
        low, high = spans.pop()
        middle = (low + high) // 2
        if middle == low:
            continue
        answer = ask(middle)
        line = found[low] + (found[high] - found[low]) * (middle - low) / (high - low)
        if abs(line - answer) > STRAIGHT * answer:
            found[middle] = answer
            spans += [(low, middle), (middle, high)]
    ordered = sorted(found)
    return np.array(ordered, dtype=np.float64), np.array([found[node] for node in ordered])


def measured(spec: EngineSpec, attentions: Attentions) -> LatticeTimes:
    """The engine's step times; notes say what was mended. Raises NoSiliconData."""
    handle, ask, notes = compiled(spec)
    samples = sampled(handle, attentions.of(spec, ask, handle))
    variants = _variants(spec, ask)
    variants_prefill = [np.array([v.prefill_ms(n) for n in samples.tokens]) for v in variants]
    in_prefill = cheapest_of(samples.prefill, variants_prefill)
    empty = samples.decode[:, 0]
    variants_decode = [np.array([v.decode_ms(b, CONTEXTS[0]) for b in samples.batch]) for v in variants]
    in_decode = cheapest_of(empty, variants_decode)
    decode = samples.decode + (in_decode.values - empty)[:, None]
    notes += _note("slower in {dtype} than in bf16, so the bf16 times are used", spec, in_prefill, in_decode)

    ideal = RooflineTimes(spec, IDEAL)
    floor_prefill = above_floor(in_prefill.values, ideal.prefill_ms(samples.tokens))
    floor_decode = above_floor(decode, ideal.decode_ms(samples.batch[:, None], np.array(CONTEXTS)))
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
        tokens=samples.tokens,
        prefill=rising_prefill.values,
        chunk=np.array(CHUNKS, dtype=np.float64),
        prior=np.array(PRIORS, dtype=np.float64),
        prior_extra=rising(np.maximum(samples.prior_extra, 0.0)),
        batch=samples.batch,
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
