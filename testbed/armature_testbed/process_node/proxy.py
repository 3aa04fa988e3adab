"""The proxy of all Services: listens on each ClusterIP and port and passes connections on to ready endpoints in turn.

A process of its own (`python -m armature_testbed.process_node.proxy`), so that traffic never waits for the node agent.
ClusterIPs are local addresses of the testbed's network namespace.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from armature.kube.client import Client
from armature.kube.connect import connect
from armature.kube.kinds import ENDPOINT_SLICE, SERVICE
from armature.kube.reflector import Reflector
from armature.serving.frontend.http import new_event_loop
from armature.serving.process import on_stop_signals, run_process, start_logging
from armature_testbed.process_node.endpoints import Backends, Frontend, backends

__all__ = ["ServiceProxy", "follow_services", "main"]

_SETTLE_S = 0.05
_CONNECT_S = 5.0
_log = logging.getLogger("armature_testbed.process_node.proxy")


class ServiceProxy:
    """Listens for exactly the frontends it was last given. Connections that are open stay with their endpoint."""

    def __init__(self) -> None:
        self._backends: Backends = {}
        self._servers: dict[Frontend, asyncio.Server] = {}
        self._turns: dict[Frontend, int] = {}

    async def apply(self, wanted: Backends) -> None:
        self._backends = wanted
        for frontend in [frontend for frontend in self._servers if frontend not in wanted]:
            self._servers.pop(frontend).close()
        loop = asyncio.get_running_loop()
        for frontend in wanted:
            if frontend in self._servers:
                continue
            try:
                server = await loop.create_server(self._protocol(frontend), *frontend, backlog=1024)
            except OSError as error:
                _log.warning("%s:%d: %s", *frontend, error)
                continue
            self._servers[frontend] = server

    async def close(self) -> None:
        await self.apply({})

    def endpoints_in_turn(self, frontend: Frontend) -> list[tuple[str, int]]:
        """Every endpoint once, beginning with the next in turn."""
        known = self._backends.get(frontend, ())
        if not known:
            return []
        turn = self._turns.get(frontend, 0)
        self._turns[frontend] = turn + 1
        at = turn % len(known)
        return [*known[at:], *known[:at]]

    def _protocol(self, frontend: Frontend) -> Callable[[], asyncio.Protocol]:
        return lambda: _Inbound(lambda: self.endpoints_in_turn(frontend))


class _Half(asyncio.Protocol):
    """One side of a connection: what it reads the other side writes, no faster than that side takes it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: _Half | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        other = self.peer.transport if self.peer is not None else None
        if other is not None and other.can_write_eof() and not other.is_closing():
            other.write_eof()
        return True  # the answer may still be on its way

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        other = self.peer.transport if self.peer is not None else None
        if other is not None:
            other.close() if error is None else other.abort()


class _Inbound(_Half):
    def __init__(self, endpoints: Callable[[], list[tuple[str, int]]]) -> None:
        super().__init__()
        self._endpoints = endpoints
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast(asyncio.Transport, transport).pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        """To the first endpoint in turn that takes the connection."""
        loop = asyncio.get_running_loop()
        for host, port in self._endpoints():
            outbound = _Half()
            outbound.peer = self
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await loop.create_connection(lambda made=outbound: made, host, port)  # type: ignore[misc]
            except OSError:  # TimeoutError is one
                continue
            if self.transport is None:  # the client has gone meanwhile
                if outbound.transport is not None:
                    outbound.transport.abort()
                return
            self.peer = outbound
            self.transport.resume_reading()
            return
        if self.transport is not None:
            self.transport.abort()


async def follow_services(client: Client, proxy: ServiceProxy) -> None:
    """Keeps the proxy in step with Services and EndpointSlices, until cancelled."""
    services, slices = Reflector(client, SERVICE), Reflector(client, ENDPOINT_SLICE)
    changed = asyncio.Event()
    for reflector in (services, slices):
        reflector.on_change(lambda _: changed.set())
    async with asyncio.TaskGroup() as group:
        group.create_task(services.run())
        group.create_task(slices.run())
        await services.wait_synced()
        await slices.wait_synced()
        while True:
            await proxy.apply(backends(services.store.all(), slices.store.all()))
            await changed.wait()
            await asyncio.sleep(_SETTLE_S)
            changed.clear()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m armature_testbed.process_node.proxy", description=__doc__
    )
    parser.add_argument("--kubeconfig", type=Path, required=True)
    arguments = parser.parse_args(argv)
    start_logging("info")
    return run_process(lambda: _serve(arguments.kubeconfig), new_event_loop)


async def _serve(kubeconfig: Path) -> None:
    stopping = asyncio.Event()
    on_stop_signals(stopping.set)
    asyncio.get_running_loop().add_reader(0, stopping.set)  # stdin ends with the agent that started us
    client, proxy = connect(str(kubeconfig)), ServiceProxy()
    following = asyncio.create_task(follow_services(client, proxy))
    following.add_done_callback(lambda _: stopping.set())
    await stopping.wait()
    following.cancel()
    await asyncio.wait({following})
    await proxy.close()
    await client.close()


if __name__ == "__main__":
    sys.exit(main())
