"""What one worker does at each batch: the continuous-batching arithmetic of aggregated, prefill and decode engines.

All curves run over `batch`: requests in flight per attention-DP rank and pipeline stage. Times are milliseconds,
rates requests per second and worker. Derivation in docs/search.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from armature.hardware.inventory import Pool
from armature.model.facts import ModelFacts
from armature.model.memory import Fit, kv_bytes_per_sequence
from armature.model.parallelism import Parallelism
from armature.perf.estimate import Backend, Floats, StepTimes
from armature.perf.lattice import distinct
from armature.perf.steptable import chunked_prefill_ms
from armature.search.lane import Lane
from armature.search.space import batch_grid
from armature.workload.shape import Workload

__all__ = [
    "CHUNK_TOKENS",
    "MAX_BATCH",
    "AggCurve",
    "Engine",
    "agg_curve",
    "agg_lane",
    "moved_ms",
    "prefill_lane",
    "prefill_ms",
    "prompts_per_step",
    "transfer_ms",
]

CHUNK_TOKENS = 8192
"""Prefill tokens per step: vLLM's default max_num_batched_tokens for serving, and SGLang's chunked prefill size."""
PREFILL_BATCH_TOKENS = 2048
"""A prefill worker takes short prompts together up to here; with more, a step's time grows as fast as its tokens, so
that waiting for the others' prompts gains nothing."""
MAX_BATCH = 1024
"""No engine is asked to run more requests at once per rank."""
NIC_BYTES_PER_S = 50e9
"""One 400 Gb/s adapter per GPU, as in the HGX H100/H200 reference design; one direction."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One kind of worker that fits its GPUs."""

    backend: Backend
    pool: Pool
    parallelism: Parallelism
    kv_dtype: str
    times: StepTimes
    fit: Fit

    @property
    def gpus(self) -> int:
        return self.parallelism.gpus

    @property
    def lanes(self) -> int:
        """Independent batches in flight: attention-DP ranks times pipeline stages."""
        return self.parallelism.dp * self.parallelism.pp

    @property
    def max_batch(self) -> int:
        return max(1, min(MAX_BATCH, self.fit.max_sequences // self.parallelism.pp))


class AggCurve(msgspec.Struct, frozen=True):
    """An aggregated worker over `batch`.

    prefill_ms: a request's time to its first token, which includes waiting where prefill bounds the worker; service_ms:
    what a prompt costs when rounds are as full as they get; busy: share of that capacity in use.
    """

    batch: Floats
    rate: Floats
    itl_ms: Floats
    prefill_ms: Floats
    service_ms: Floats
    life_ms: Floats
    busy: Floats


def prefill_ms(engine: Engine, workload: Workload) -> float:
    """One prompt alone on a worker, chunk after chunk."""
    return float(chunked_prefill_ms(engine.times, float(workload.isl), float(CHUNK_TOKENS)))


def agg_curve(engine: Engine, workload: Workload) -> AggCurve:
    """Steady state with `batch` requests always in flight, each replaced when it ends.

    While a request lives, every other one is replaced once: `b` prompts are prefilled, in rounds of `chunks` mixed
    steps in which the others decode, and pure decode steps make up what is left of the `osl - 1` tokens each still
    owes. A round takes one prompt, or, of short ones that start faster than one a step, as many as a chunk holds. When
    the rounds alone exceed those tokens, prefill bounds the worker and requests queue for it. Below one request in
    flight the worker idles in between: rate and `busy` are those of one, times the share.
    """
    times, isl, context = engine.times, float(workload.isl), workload.mean_context
    in_flight = batch_grid(engine.max_batch)
    batch, share = np.maximum(in_flight, 1.0), np.minimum(in_flight, 1.0)
    tokens = float(max(workload.osl - 1, 0))
    chunks = float(-(-workload.isl // CHUNK_TOKENS))
    most = float(max(1, min(CHUNK_TOKENS // workload.isl, engine.max_batch)))
    packed = np.clip(batch / (tokens + 1.0), 1.0, most)
    decoding = np.minimum(batch - packed, packed * tokens / chunks)

    def round_ms(prompts: Floats) -> Floats:
        alone = np.where(prompts > 1.0, times.prefill_ms(isl, prompts), prefill_ms(engine, workload))
        chunk = prompts * isl / chunks
        alongside = times.mixed_ms(chunk, decoding, context) - times.mixed_ms(chunk, 0.0, context)
        return np.asarray(alone + chunks * np.maximum(alongside, 0.0), dtype=np.float64)

    prompt_ms = round_ms(packed)
    service_ms = round_ms(np.full_like(batch, most)) / most
    rounds = batch / packed
    decode_ms = times.decode_ms(batch, context)
    pure = np.maximum(tokens - chunks * (rounds - 1.0), 0.0)
    life_ms = rounds * prompt_ms + pure * decode_ms
    in_decode = (rounds - 1.0) * prompt_ms + pure * decode_ms
    bound = tokens < chunks * (rounds - 1.0)
    itl_ms = np.where(bound, prompt_ms / chunks, in_decode / max(tokens, 1.0)) if tokens else decode_ms
    return AggCurve(
        batch=in_flight,
        rate=1000.0 * engine.lanes * in_flight / life_ms,
        itl_ms=itl_ms,
        prefill_ms=life_ms - tokens * itl_ms,
        service_ms=service_ms,
        life_ms=life_ms,
        busy=share * np.minimum(batch * service_ms / life_ms, 1.0),
    )


def prompts_per_step(workload: Workload) -> int:
    """Prompts that a prefill worker computes together, and its request limit."""
    return max(1, PREFILL_BATCH_TOKENS // workload.isl)


def agg_lane(engine: Engine, workload: Workload, batch: Floats) -> Lane:
    """What steps cost an aggregated worker with `batch` requests in flight per lane; arrays (1, B)."""
    times, context = engine.times, workload.mean_context
    decodes = float(workload.osl > 1)
    decode_ms = decodes * times.decode_ms(np.maximum(batch, 1.0), context)
    beside = decodes * np.where(batch > 1.0, batch, 0.0)
    prompts = float(max(1, min(CHUNK_TOKENS // workload.isl, engine.max_batch)))
    return _lane(
        times,
        workload.isl,
        _counts(prompts),
        lambda tokens: times.mixed_ms(tokens, beside, context),
        decode_ms,
        np.gradient(decode_ms, batch),
        ranks=float(engine.parallelism.dp),
    )


def prefill_lane(engine: Engine, workload: Workload) -> Lane:
    """What steps cost a rank of a prefill worker; arrays (1, 1)."""
    times, zero = engine.times, np.zeros(1)
    lane = _lane(
        times,
        workload.isl,
        _counts(float(prompts_per_step(workload))),
        lambda tokens: times.mixed_ms(tokens, 0.0, 0.0) + zero,
        zero,
        zero,
        ranks=float(engine.parallelism.dp),
    )
    return replace(lane, spare_ms=np.zeros((1, 1)))  # its request limit keeps the next prompt out


def _counts(most: float) -> Floats:
    """1, 2, 4, ... and `most`."""
    return distinct(np.append(np.minimum(2.0 ** np.arange(np.ceil(np.log2(max(most, 1.0)))), most), most))


def _lane(
    times: StepTimes,
    isl: int,
    counts: Floats,
    step_ms: Callable[[Floats], Floats],
    decode_ms: Floats,
    slope_ms: Floats,
    *,
    ranks: float,
) -> Lane:
    """step_ms: time of a step with so many prompt tokens, (n, 1) -> (n, B)."""
    done = np.arange(0.0, float(isl), float(CHUNK_TOKENS))
    parts = np.minimum(float(CHUNK_TOKENS), isl - done)
    steps = step_ms(parts[:, None])
    if len(parts) > 1:
        steps = steps + (times.prefill_ms(parts, 1.0, done) - times.prefill_ms(parts))[:, None]
    shared = step_ms((counts * isl)[:, None]) if len(counts) > 1 else steps.sum(axis=0)[None]
    longest = shared.max(axis=0) if len(counts) > 1 else steps.max(axis=0)
    whole = step_ms(np.array([[float(CHUNK_TOKENS)]]))[0] if len(counts) == 1 else steps[-1]
    return Lane(
        own_ms=steps.sum(axis=0)[None],
        decode_ms=decode_ms[None],
        slope_ms=np.maximum(slope_ms, 0.0)[None],
        counts=counts,
        shared_ms=shared[:, None],
        longest_ms=np.maximum(longest, decode_ms)[None],
        chunks=float(len(done)),
        ranks=np.full((1, 1), ranks),
        spare_ms=np.maximum(whole - steps[-1], 0.0)[None],
        before_ms=steps[:-1].sum(axis=0)[None],
    )


def transfer_ms(
    facts: ModelFacts, prefill: Engine, decode: Engine, workload: Workload, *, within_node: bool
) -> float:
    """Time to move one prompt's KV cache from a prefill to a decode worker (`moved_ms`)."""
    held = float(kv_bytes_per_sequence(facts, prefill.parallelism, workload.isl, prefill.kv_dtype))
    return moved_ms(held, prefill, decode, within_node=within_node)


def moved_ms(kv_bytes_per_gpu: float, prefill: Engine, decode: Engine, *, within_node: bool) -> float:
    """Time to move a KV cache of so many bytes on each prefill GPU that holds it to a decode worker.

    The narrower side's GPUs bound it: over the node's own link within a node, over one adapter per GPU between
    nodes.
    """
    senders = prefill.parallelism.tp * prefill.parallelism.pp
    receivers = decode.parallelism.tp * decode.parallelism.pp
    link = prefill.pool.gpu.link_bytes_per_s if within_node else NIC_BYTES_PER_S
    return 1000.0 * kv_bytes_per_gpu * senders / (link * min(senders, receivers))
