"""uvicorn, run by us: our socket, our signals, TCP_NODELAY on every connection."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from armature.serving.transport.listen import set_nodelay

__all__ = ["HttpServer", "http_protocol", "new_event_loop"]


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def http_protocol() -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, the faster one where httptools is installed, with TCP_NODELAY set explicitly: event
    loops set it only under conditions of their own."""
    base: Any
    if importlib.util.find_spec("httptools") is None:
        from uvicorn.protocols.http.h11_impl import H11Protocol as base
    else:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as base

    class NodelayProtocol(base):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            set_nodelay(transport.get_extra_info("socket"))
            super().connection_made(transport)

    return NodelayProtocol


class HttpServer(uvicorn.Server):
    """Serves `app` on `listener` until `stop`; then finishes what runs, for at most `grace_s` seconds.

    tls: for HTTPS; a certificate loaded into it later holds from the next handshake on.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        grace_s: float,
        ready: Callable[[], None] = lambda: None,
        protocol: type[asyncio.Protocol] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol or http_protocol(),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=max(1, round(grace_s)),
            )
        )
        if tls is not None:
            self.config.load()
            self.config.ssl = tls
        self._listener = listener
        self._ready = ready

    async def run_until_stopped(self) -> None:
        await self.serve(sockets=[self._listener])

    def stop(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the caller's; uvicorn would raise them again after a clean shutdown."""
        yield
