"""The worker's end: one ROUTER socket that any number of frontends connect to.

Frontends are known by the routing id ZMQ gives their connection. One that says nothing for `GONE_AFTER_S`, or
that cannot be reached any more, is gone, and the worker is told so that it can drop its requests.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import zmq
import zmq.asyncio

from armature.serving.transport.messages import (
    Beat,
    Cancel,
    FromWorker,
    Generate,
    Ping,
    ProtocolMismatch,
    decode_from_frontend,
    encode,
)

__all__ = ["BEAT_S", "GONE_AFTER_S", "Handler", "WorkerServer"]

BEAT_S = 0.5
"""Seconds between two heartbeats of a worker, and between two pings of a frontend."""

GONE_AFTER_S = 10.0
"""A frontend silent for this long has no requests here any more."""

log = logging.getLogger(__name__)


class Handler(Protocol):
    """What the transport asks of a worker. None of these may block."""

    def generate(self, frontend: bytes, message: Generate) -> None: ...

    def cancel(self, frontend: bytes, id: int) -> None: ...

    def gone(self, frontend: bytes) -> None:
        """This frontend will not read answers any more."""
        ...

    def beat(self) -> Beat: ...


class WorkerServer:
    """Serves `handler` on `host`, on a free port. `address` is set once constructed."""

    def __init__(self, context: zmq.asyncio.Context, handler: Handler, host: str = "127.0.0.1") -> None:
        self._handler = handler
        self._seen: dict[bytes, float] = {}
        self._socket = context.socket(zmq.ROUTER)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._socket.set(zmq.SNDHWM, 0)
        self._socket.set(zmq.RCVHWM, 0)
        self._socket.set(zmq.LINGER, 500)
        port = self._socket.bind_to_random_port(f"tcp://{host}")
        self.address = f"tcp://{host}:{port}"

    async def run(self) -> None:
        """Receives and beats until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive())
            group.create_task(self._beat())

    async def send(self, frontend: bytes, message: FromWorker) -> bool:
        """False when the frontend is gone; the handler has been told."""
        try:
            await self._socket.send_multipart([frontend, encode(message)])
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            self._drop(frontend)
            return False
        return True

    def close(self) -> None:
        self._socket.close()

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            frontend, data = await self._socket.recv_multipart()
            known = frontend in self._seen
            self._seen[frontend] = loop.time()
            try:
                message = decode_from_frontend(data)
            except ProtocolMismatch as error:
                log.warning("ignored a message: %s", error)
                continue
            if isinstance(message, Generate):
                self._handler.generate(frontend, message)
            elif isinstance(message, Cancel):
                self._handler.cancel(frontend, message.id)
            elif isinstance(message, Ping) and not known:
                await self.send(frontend, self._handler.beat())

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(BEAT_S)
            beat = self._handler.beat()
            for frontend, seen in list(self._seen.items()):
                if loop.time() - seen > GONE_AFTER_S:
                    self._drop(frontend)
                else:
                    await self.send(frontend, beat)

    def _drop(self, frontend: bytes) -> None:
        if self._seen.pop(frontend, None) is not None:
            log.info("a frontend is gone; its requests are dropped")
            self._handler.gone(frontend)
