"""A deployment of mocker engines in virtual time: what every request of a stream would have met, exactly.

Requests go as the frontend sends them: round-robin over the workers of a role; disaggregated, a prefill worker makes
the first token, then a decode worker, again round-robin in the order of first tokens, takes the KV cache over. The
engines are `serving.mocker.engine`'s, step for step; only the network between processes costs nothing here.

Round-robin looks at no worker's state, so each worker's stream is known before it runs: the workers are replayed one
after another, without an event queue, and the result is what one with a queue would give. Pure and deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

import numpy as np
import numpy.typing as npt

from armature.perf.estimate import Floats
from armature.serving.mocker.engine import Engine, EngineLimits, Step
from armature.serving.mocker.engine import Sequence as EngineSequence
from armature.serving.mocker.kv_cache import chain
from armature.serving.mocker.timing import StepClock

__all__ = ["Deployment", "Outcome", "Stream", "Workers", "replay", "replay_closed"]

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


def replay_closed(deployment: Deployment, stream: Stream, in_flight: int) -> Outcome:
    """The stream with `in_flight` requests at any time: the next comes when one ends. Its own arrivals are not looked
    at; those of the outcome are when each came. Raises ValueError as `replay` does."""
    loop = _Loop(deployment, stream)
    loop.run(in_flight)
    r = loop.record
    return Outcome(
        loop.arrive_ms, r.first_ms, r.last_ms, r.outputs, r.cached_tokens,
        sum(worker.engine.preemptions for role in loop.roles for worker in role),
    )  # fmt: skip


class _Worker:
    """An engine and the step that it computes."""

    def __init__(self, workers: Workers) -> None:
        self.engine = Engine(workers.limits, workers.clock)
        self.step: Step | None = None


class _Loop:
    """All workers of a deployment, by a queue of events: where arrivals depend on ends, none can run alone."""

    def __init__(self, deployment: Deployment, stream: Stream) -> None:
        n = len(stream)
        self.deployment, self.stream = deployment, stream
        self.record = _Record(np.zeros(n), np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64))
        self.arrive_ms = np.zeros(n)
        sides = [side for side in (deployment.prefill, deployment.main) if side is not None]
        self.sides = sides
        self.roles = [[_Worker(side) for _ in range(side.replicas)] for side in sides]
        self.dealt = [0] * len(sides)
        self.events: list[tuple[float, int, int, Callable[[float], None]]] = []
        self.order = count()
        self.sent = 0

    def run(self, in_flight: int) -> None:
        for _ in range(min(in_flight, len(self.stream))):
            self._send(0.0)
        while self.events:
            when, _, _, happens = heappop(self.events)
            happens(when)

    def _at(self, when: float, happens: Callable[[float], None], *, late: bool = False) -> None:
        """late: after all else of the same moment."""
        heappush(self.events, (when, int(late), next(self.order), happens))

    def _send(self, now: float) -> None:
        if self.sent < len(self.stream):
            index, self.sent = self.sent, self.sent + 1
            self.arrive_ms[index] = now
            self._at(now + self.sides[0].host_ms, lambda when: self._add(0, index, when))

    def _add(self, role: int, index: int, now: float) -> None:
        worker = self.roles[role][self.dealt[role] % len(self.roles[role])]
        self.dealt[role] += 1
        transfer_ms = None
        if role == 1:
            transfer_ms = self.deployment.transfer_ms_per_token * int(self.stream.isl[index])
        only_prefill = len(self.roles) > 1 and role == 0
        worker.engine.add(_sequence(self.stream, index, self.sides[role].limits, only_prefill, transfer_ms))
        self._at(now, lambda when: self._plan(role, worker, when), late=True)

    def _plan(self, role: int, worker: _Worker, now: float) -> None:
        if worker.step is not None:
            return
        worker.step = worker.engine.plan_step(now)
        if worker.step is not None:
            self._at(now + worker.step.duration_ms, lambda when: self._finish(role, worker, when))
        elif len(worker.engine):
            ready = _next(worker.engine.next_ready_ms, None)
            self._at(ready, lambda when: self._plan(role, worker, when), late=True)

    def _finish(self, role: int, worker: _Worker, now: float) -> None:
        step, worker.step = worker.step, None
        assert step is not None
        for sequence in worker.engine.finish_step(step):
            self.record.note(sequence, now)
            if not sequence.done:
                continue
            if role == 0 and len(self.roles) > 1 and self.stream.osl[sequence.key] > 1:
                self._add(1, sequence.key, now)
            else:
                self._send(now)
        self._at(now, lambda when: self._plan(role, worker, when), late=True)


@dataclass(slots=True)
class _Record:
    first_ms: Floats
    last_ms: Floats
    outputs: Ints
    cached_tokens: Ints
    preemptions: int = 0

    def note(self, sequence: EngineSequence, now: float) -> None:
        """A token came."""
        index = sequence.key
        if sequence.outputs == 1:
            self.first_ms[index] = now
            self.cached_tokens[index] = sequence.cached_tokens
        if sequence.done:
            self.last_ms[index] = now
            self.outputs[index] = sequence.outputs


def _sequence(
    stream: Stream, index: int, limits: EngineLimits, prefill_only: bool, transfer_ms: float | None
) -> EngineSequence:
    """A request as an engine takes it. transfer_ms: of its KV cache, None where its prompt is computed there."""
    return EngineSequence(
        index,
        int(stream.isl[index]),
        1 if prefill_only else int(stream.osl[index]),
        _blocks(stream, index, limits),
        remote_kv=transfer_ms is not None,
        transfer_ms=transfer_ms or 0.0,
    )


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
            _sequence(
                stream,
                index,
                workers.limits,
                prefill_only,
                None if transfer_ms is None else float(transfer_ms[index]),
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
            record.note(sequence, now)


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
