"""The mocker's engine in real time, behind the worker's end of the transport.

Engine time runs `speedup` times as fast as the wall. Steps follow one another on an absolute schedule: a step is
due when the durations before it have passed, so late wake-ups never add up; a process that has fallen behind
does not sleep until it has caught up, and says how late it is (`lag_s`).
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from dataclasses import dataclass

from armature.serving.mocker.engine import Engine, Sequence
from armature.serving.mocker.kv_cache import block_hashes, chain
from armature.serving.mocker.text import OutputTokens, Speaker
from armature.serving.transport.messages import (
    Beat,
    Finish,
    FromWorker,
    Generate,
    Handoff,
    Output,
    Outputs,
    unpack_tokens,
)
from armature.serving.transport.server import WorkerServer

__all__ = ["MockWorker"]

Key = tuple[bytes, int]
"""A request: the frontend's connection and its number there."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a running request will say. finish: why it ends at its last token."""

    tokens: OutputTokens
    finish: Finish
    handoff_of: int | None


class MockWorker:
    """Handler of the transport and loop over the engine's steps.

    kv_transfer_ms_per_token: engine milliseconds that a decode worker waits per prompt token for the KV cache of a
    prompt computed elsewhere. speedup: engine seconds per wall second, above 0. host_ms: engine milliseconds between a
    prompt's arrival and its place in the queue; a prompt computed elsewhere has spent them there.
    """

    def __init__(
        self,
        engine: Engine,
        speaker: Speaker,
        instance_id: str,
        *,
        speedup: float = 1.0,
        kv_transfer_ms_per_token: float = 0.0,
        host_ms: float = 0.0,
    ) -> None:
        self.engine = engine
        self.lag_s = 0.0
        self.steps = 0
        self.output_tokens = 0
        self.requests = 0
        self._speaker = speaker
        self._instance_id = instance_id
        self._speedup = speedup
        self._kv_transfer_ms_per_token = kv_transfer_ms_per_token
        self._host_s = host_ms / 1000.0 / speedup
        self._answers: dict[Key, _Answer] = {}
        self._work = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._sends: set[asyncio.Task[bool]] = set()
        self._server: WorkerServer | None = None

    # -- what the transport calls -------------------------------------------------------------------------------

    def generate(self, frontend: bytes, message: Generate) -> None:
        """Queues a request, or answers at once why it cannot run."""
        key = (frontend, message.id)
        try:
            if key in self._answers:
                raise ValueError(f"request {message.id} is already here")
            sequence, answer = self._sequence(key, message)
        except ValueError as error:
            self._refuse(key, error)
            return
        self._answers[key] = answer
        self._empty.clear()
        if self._host_s > 0.0 and message.handoff is None:
            asyncio.get_running_loop().call_later(self._host_s, self._queue, sequence, answer)
        else:
            self._queue(sequence, answer)

    def cancel(self, frontend: bytes, id: int) -> None:
        self.engine.cancel((frontend, id))
        self._forget((frontend, id))

    def gone(self, frontend: bytes) -> None:
        for key in [key for key in self._answers if key[0] == frontend]:
            self.cancel(*key)

    def beat(self) -> Beat:
        return Beat(self.engine.running, self.engine.waiting, self.engine.kv_usage)

    # -- the loop -----------------------------------------------------------------------------------------------

    async def run(self, server: WorkerServer) -> None:
        """Steps until cancelled."""
        self._server = server
        loop = asyncio.get_running_loop()
        start = loop.time()
        while True:
            self._work.clear()
            step = self.engine.plan_step(start * 1000.0 * self._speedup)
            if step is None:
                start = await self._idle(loop)
                continue
            due = start + step.duration_ms / 1000.0 / self._speedup
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.lag_s = max(0.0, loop.time() - due)
            self.steps += 1
            await self._deliver(server, self.engine.finish_step(step))
            start = due

    async def drained(self) -> None:
        """Returns when no request is left."""
        await self._empty.wait()

    def _forget(self, key: Key) -> None:
        self._answers.pop(key, None)
        if not self._answers:
            self._empty.set()

    async def _idle(self, loop: asyncio.AbstractEventLoop) -> float:
        """Waits for a request, or for a KV transfer to be over; the wall time at which the next step starts."""
        self.lag_s = 0.0
        ready_ms = self.engine.next_ready_ms
        if ready_ms is None:
            await self._work.wait()
            return loop.time()
        ready = ready_ms / 1000.0 / self._speedup
        try:
            async with asyncio.timeout_at(ready):
                await self._work.wait()
        except TimeoutError:
            return ready + _ROUNDING_S
        return loop.time()

    async def _deliver(self, server: WorkerServer, produced: list[Sequence]) -> None:
        """One message per frontend with the tokens of this step."""
        by_frontend: dict[bytes, list[Output]] = {}
        for sequence in produced:
            frontend, output = self._output(sequence)
            by_frontend.setdefault(frontend, []).append(output)
        self.output_tokens += len(produced)
        for frontend, outputs in by_frontend.items():
            await server.send(frontend, Outputs(outputs))

    def _output(self, sequence: Sequence) -> tuple[bytes, Output]:
        key: Key = sequence.key
        frontend, id = key
        answer = self._answers[key]
        token = answer.tokens[sequence.outputs - 1]
        handoff = None
        if answer.handoff_of is not None:
            handoff = Handoff(self._instance_id, token, answer.handoff_of)
        finish = None
        if sequence.done:
            finish = answer.finish
            self._forget(key)
        return frontend, Output(id, [token], finish, sequence.cached_tokens, None, handoff)

    def _sequence(self, key: Key, message: Generate) -> tuple[Sequence, _Answer]:
        """Raises ValueError when the request makes no sense here."""
        prompt = unpack_tokens(message.prompt)
        size = self.engine.limits.block_size
        tokens = self._speaker.answer(message.prompt)
        asked = message.max_tokens or tokens.natural_length
        if message.handoff is not None and asked < 2:
            raise ValueError("nothing is left to decode: the prefill worker made the only token")
        sequence = Sequence(
            key,
            len(prompt),
            1 if message.prefill_only else asked,
            block_hashes(prompt, size) if self.engine.limits.enable_prefix_caching else [],
            remote_kv=message.handoff is not None,
            transfer_ms=len(prompt) * self._kv_transfer_ms_per_token,
        )
        sequence.hash_block = _later_hashes(sequence, prompt, tokens, size)
        room = self.engine.limits.longest_sequence - len(prompt)
        finish: Finish = "length" if message.max_tokens is not None or asked > room else "stop"
        return sequence, _Answer(tokens, finish, len(prompt) if message.prefill_only else None)

    def _queue(self, sequence: Sequence, answer: _Answer) -> None:
        if self._answers.get(sequence.key) is not answer:
            return  # cancelled meanwhile
        try:
            self.engine.add(sequence)
        except ValueError as error:
            self._forget(sequence.key)
            self._refuse(sequence.key, error)
            return
        self.requests += 1
        self._work.set()

    def _refuse(self, key: Key, error: ValueError) -> None:
        self._send_soon(key[0], Outputs([Output(key[1], [], error=str(error))]))

    def _send_soon(self, frontend: bytes, message: FromWorker) -> None:
        if self._server is not None:
            task = asyncio.create_task(self._server.send(frontend, message))
            self._sends.add(task)
            task.add_done_callback(self._sends.discard)


_ROUNDING_S = 1e-6
"""Added to the end of a transfer, lest rounding between seconds and milliseconds leaves it a hair unfinished."""


def _later_hashes(
    sequence: Sequence, prompt: array[int], answer: OutputTokens, size: int
) -> Callable[[int], int]:
    """Hashes of the full blocks behind the prompt's, so that the next turn of a chat finds this one's answer."""

    def hash_block(index: int) -> int:
        tokens = [
            prompt[at] if at < len(prompt) else answer[at - len(prompt)]
            for at in range(index * size, (index + 1) * size)
        ]
        return chain(sequence.hashes[index - 1] if index else 0, tokens)

    return hash_block
