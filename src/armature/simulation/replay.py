"""A deployment of mocker engines in virtual time: what every request of a stream would have met, exactly.

Requests go as the frontend sends them: round-robin over the workers of a role; disaggregated, a prefill worker makes
the first token, then a decode worker, again round-robin in the order of first tokens, takes the KV cache over. The
engines are `serving.mocker.engine`'s, step for step; only the network between processes costs nothing here.

Round-robin looks at no worker's state, so each worker's stream is known before it runs: the workers are replayed one
after another, without an event queue, and the result is what one with a queue would give. Pure and deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from armature.perf.estimate import Floats
from armature.serving.mocker.engine import Engine, EngineLimits
from armature.serving.mocker.engine import Sequence as EngineSequence
from armature.serving.mocker.kv_cache import chain
from armature.serving.mocker.timing import StepClock

__all__ = ["Deployment", "Outcome", "Stream", "Workers", "replay"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Workers:
    """All workers of one role: equal engines. clock: what their steps cost, milliseconds; host_ms: what a request takes
    before its prompt joins the queue, on a host that any number of requests share without waiting."""

    replicas: int
    limits: EngineLimits
    clock: StepClock
    host_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """`main` serves whole requests, or decodes when there are `prefill` workers. transfer_ms_per_token: what a decode
    worker waits per prompt token for the KV cache of a prompt computed elsewhere."""

    main: Workers
    prefill: Workers | None = None
    transfer_ms_per_token: float = 0.0


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests in order of arrival. arrive_ms: not falling; isl, osl: tokens, at least 1; all of equal length.

    hash_ids: what each `hash_tokens` tokens of a prompt hold, equal ids for equal content and history (as in the
    field's traces); None: no two prompts share anything.
    """

    arrive_ms: Floats
    isl: Ints
    osl: Ints
    hash_ids: Sequence[Sequence[int]] | None = None
    hash_tokens: int = 512

    def __len__(self) -> int:
        return len(self.arrive_ms)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Per request, in order of arrival: when its first and last token came, how many there were, and what of its
    prompt was found in the prefix cache. preemptions: of all engines."""

    arrive_ms: Floats
    first_ms: Floats
    last_ms: Floats
    outputs: Ints
    cached_tokens: Ints
    preemptions: int

    @property
    def ttft_ms(self) -> Floats:
        return np.asarray(self.first_ms - self.arrive_ms, dtype=np.float64)

    @property
    def itl_ms(self) -> Floats:
        """Mean time between tokens of each request that has at least two, as load generators report it."""
        many = self.outputs > 1
        return np.asarray((self.last_ms - self.first_ms)[many] / (self.outputs[many] - 1), dtype=np.float64)

    @property
    def e2e_ms(self) -> Floats:
        return np.asarray(self.last_ms - self.arrive_ms, dtype=np.float64)

    def after(self, requests: int) -> Outcome:
        """Without the first `requests`: the deployment was still filling up."""
        return Outcome(
            self.arrive_ms[requests:],
            self.first_ms[requests:],
            self.last_ms[requests:],
            self.outputs[requests:],
            self.cached_tokens[requests:],
            self.preemptions,
        )


def replay(deployment: Deployment, stream: Stream) -> Outcome:
    """Every request of the stream, served to its end.

    Raises ValueError when a request can never run: its prompt is longer than an engine's sequences.
    """
    n = len(stream)
    record = _Record(np.zeros(n), np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64))
    joined = stream.arrive_ms + (deployment.prefill or deployment.main).host_ms
    if deployment.prefill is None:
        _serve(deployment.main, stream, np.arange(n), joined, record)
    else:
        _serve(deployment.prefill, stream, np.arange(n), joined, record, prefill_only=True)
        order = np.lexsort((np.arange(n), record.first_ms))
        order = order[stream.osl[order] > 1]
        _serve(
            deployment.main,
            stream,
            order,
            record.first_ms[order],
            record,
            transfer_ms=np.asarray(deployment.transfer_ms_per_token * stream.isl, dtype=np.float64),
        )
    return Outcome(
        stream.arrive_ms,
        record.first_ms,
        record.last_ms,
        record.outputs,
        record.cached_tokens,
        record.preemptions,
    )


@dataclass(slots=True)
class _Record:
    first_ms: Floats
    last_ms: Floats
    outputs: Ints
    cached_tokens: Ints
    preemptions: int = 0


def _serve(
    workers: Workers,
    stream: Stream,
    order: npt.NDArray[np.intp],
    arrive_ms: Floats,
    record: _Record,
    *,
    prefill_only: bool = False,
    transfer_ms: Floats | None = None,
) -> None:
    """Requests `order` of the stream, the i-th arriving at `arrive_ms[i]`, dealt to the workers in turn."""
    for worker in range(workers.replicas):
        engine = Engine(workers.limits, workers.clock)
        mine = order[worker :: workers.replicas].tolist()
        queue = [
            EngineSequence(
                index,
                int(stream.isl[index]),
                1 if prefill_only else int(stream.osl[index]),
                _blocks(stream, index, workers.limits),
                remote_kv=transfer_ms is not None,
                transfer_ms=float(transfer_ms[index]) if transfer_ms is not None else 0.0,
            )
            for index in mine
        ]
        _run(engine, queue, arrive_ms[worker :: workers.replicas].tolist(), record)
        record.preemptions += engine.preemptions


def _run(engine: Engine, queue: list[EngineSequence], times: list[float], record: _Record) -> None:
    """One worker from its first request to its last token."""
    now, at, last = 0.0, 0, len(queue)
    while at < last or len(engine):
        while at < last and times[at] <= now:
            engine.add(queue[at])
            at += 1
        step = engine.plan_step(now)
        if step is None:
            now = _next(engine.next_ready_ms, times[at] if at < last else None)
            continue
        now += step.duration_ms
        while at < last and times[at] < now:  # they come while the step runs, so they see its sequences
            engine.add(queue[at])
            at += 1
        for sequence in engine.finish_step(step):
            index = sequence.key
            if sequence.outputs == 1:
                record.first_ms[index] = now
                record.cached_tokens[index] = sequence.cached_tokens
            if sequence.done:
                record.last_ms[index] = now
                record.outputs[index] = sequence.outputs


def _next(ready_ms: float | None, arrival_ms: float | None) -> float:
    times = [time for time in (ready_ms, arrival_ms) if time is not None]
    if not times:
        raise RuntimeError(
            "an engine holds sequences and can run none"
        )  # blocks for one sequence always exist
    return min(times)


def _blocks(stream: Stream, index: int, limits: EngineLimits) -> list[int]:
    """Chained hashes of the prompt's full blocks. A coarser id covers `hash_tokens` tokens: each block in it is named
    by the id and its place."""
    if stream.hash_ids is None or not limits.enable_prefix_caching:
        return []
    per_id = max(1, stream.hash_tokens // limits.block_size)
    full = int(stream.isl[index]) // limits.block_size
    hashes: list[int] = []
    parent = 0
    for block in range(min(full, per_id * len(stream.hash_ids[index]))):
        parent = chain(parent, (stream.hash_ids[index][block // per_id], block % per_id))
        hashes.append(parent)
    return hashes
