"""The frontend's end of the connection to one worker: submit a request, read its stream, or be told it is lost.

A worker counts as alive from its first message on. It stops being alive when its connection breaks (the kernel
closes a killed process's sockets, so this takes milliseconds), or when it stays silent for `SILENT_BEATS` of
our own ticks (it hangs). Either way each request in flight ends with one `WorkerLost`. A worker that speaks
again is alive again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from armature.serving.transport.messages import (
    Beat,
    Cancel,
    Generate,
    Handoff,
    Output,
    Ping,
    ProtocolMismatch,
    decode_from_worker,
    encode,
)
from armature.serving.transport.server import BEAT_S

__all__ = ["SILENT_BEATS", "Stream", "WorkerClient", "WorkerLost"]

SILENT_BEATS = 8
"""Ticks of `BEAT_S` without a message after which a worker is taken for hung (4 s). Ticks of our own loop, so
that a stall of this process is not taken for one of the worker."""

log = logging.getLogger(__name__)


class WorkerLost(Exception):
    """The worker died or hung before the request was done."""

    def __init__(self, instance_id: str, why: str) -> None:
        super().__init__(f"worker {instance_id} {why}")
        self.instance_id = instance_id


class Stream:
    """Answers to one request, in order. Always end it with `close`, which cancels what is still running."""

    __slots__ = ("_client", "_finished", "_lost", "_pending", "_waiter", "id")

    def __init__(self, client: WorkerClient, id: int) -> None:
        self.id = id
        self._client = client
        self._pending: list[Output] = []
        self._waiter: asyncio.Future[None] | None = None
        self._lost: WorkerLost | None = None
        self._finished = False

    async def next(self) -> list[Output]:
        """Every output that has arrived since the last call, at least one. Raises WorkerLost."""
        while not self._pending:
            if self._lost is not None:
                raise self._lost
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        pending, self._pending = self._pending, []
        return pending

    def close(self) -> None:
        self._client.forget(self.id, cancel=not self._finished)

    def push(self, output: Output) -> None:
        """Called by the client."""
        self._pending.append(output)
        self._finished = output.finish is not None or output.error is not None
        self._wake()

    def lose(self, lost: WorkerLost) -> None:
        """Called by the client."""
        self._lost = lost
        self._finished = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class WorkerClient:
    """One worker as a frontend sees it."""

    def __init__(
        self,
        context: zmq.asyncio.Context,
        instance_id: str,
        address: str,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.instance_id = instance_id
        self.address = address
        self.alive = False
        self.beat = Beat(0, 0, 0.0)
        self._changed = changed
        self._streams: dict[int, Stream] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._next_id = 0
        self._silent = 0
        self._connected = False
        self._socket = context.socket(zmq.DEALER)
        self._socket.set(zmq.SNDHWM, 0)
        self._socket.set(zmq.RCVHWM, 0)
        self._socket.set(zmq.LINGER, 0)
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED
        )
        self._socket.connect(address)
        self._tasks = [asyncio.create_task(run()) for run in (self._receive, self._watch, self._tick)]

    @property
    def in_flight(self) -> int:
        return len(self._streams)

    def submit(
        self,
        prompt: bytes,
        max_tokens: int | None,
        *,
        prefill_only: bool = False,
        handoff: Handoff | None = None,
    ) -> Stream:
        """Sends a request (`prompt`: packed token ids). Raises WorkerLost when the worker is not alive."""
        if not self.alive:
            raise WorkerLost(self.instance_id, "is not there any more")
        self._next_id += 1
        stream = Stream(self, self._next_id)
        self._streams[stream.id] = stream
        self._idle.clear()
        self._send(encode(Generate(stream.id, prompt, max_tokens, prefill_only, handoff)))
        return stream

    def forget(self, id: int, *, cancel: bool) -> None:
        """Ends a stream on this side, and on the worker's when it is still running there."""
        if self._streams.pop(id, None) is not None and cancel:
            self._send(encode(Cancel(id)))
        if not self._streams:
            self._idle.set()

    async def idle(self) -> None:
        """Returns when no request is in flight: all have ended, or were lost."""
        await self._idle.wait()

    async def close(self, why: str = "went away") -> None:
        """Ends every stream and the connection; again is harmless."""
        if self._socket.closed:
            return
        self._lose(why)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close()

    def _send(self, data: bytes) -> None:
        """Sends at once or queues: a DEALER without a limit never refuses. Dropped when there is no connection,
        lest messages pile up for a worker that is not there."""
        if self._connected:
            self._socket.send(data)

    async def _receive(self) -> None:
        while True:
            data = await self._socket.recv()
            try:
                message = decode_from_worker(data)
            except ProtocolMismatch as error:
                log.warning("worker %s: ignored a message: %s", self.instance_id, error)
                continue
            self._silent = 0
            if not self.alive:
                self.alive = True
                self._changed()
            if isinstance(message, Beat):
                self.beat = message
                continue
            for output in message.outputs:
                stream = self._streams.get(output.id)
                if stream is not None:
                    stream.push(output)

    async def _watch(self) -> None:
        while True:
            event = parse_monitor_message(await self._monitor.recv_multipart())["event"]
            self._connected = event != zmq.EVENT_DISCONNECTED
            if not self._connected:
                self._lose("died: its connection broke")
            else:
                self._send(encode(Ping()))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._silent += 1
            if self.alive and self._silent >= SILENT_BEATS:
                self._lose(f"hangs: silent for {self._silent * BEAT_S:g} s")
            self._send(encode(Ping()))

    def _lose(self, why: str) -> None:
        if self.alive:
            self.alive = False
            self._changed()
        streams, self._streams = self._streams, {}
        self._idle.set()
        for stream in streams.values():
            self._send(encode(Cancel(stream.id)))  # a worker that only hangs should not go on with it
            stream.lose(WorkerLost(self.instance_id, why))
