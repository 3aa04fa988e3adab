"""A worker's health and metrics over HTTP: three GET paths, nothing else.

A web framework would double the memory and the start-up time of a process of which a laptop runs many, so this
answers HTTP/1.1 by hand: one request per connection, bounded head, no body.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping

from armature.serving.transport.listen import set_nodelay

__all__ = ["Page", "SystemServer"]

Page = Callable[[], tuple[int, str, bytes]]
"""Gives status, content type and body."""

_LONGEST_HEAD = 16 * 1024
_TIMEOUT_S = 5.0
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class SystemServer:
    """Serves `pages` by path on a listening socket."""

    def __init__(self, listener: socket.socket, pages: Mapping[str, Page]) -> None:
        self._listener = listener
        self._pages = pages
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._answer, sock=self._listener, limit=_LONGEST_HEAD)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        set_nodelay(writer.get_extra_info("socket"))
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = self._page(head)
                reason = _REASONS.get(status, "Error")
                writer.write(
                    f"HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
                    "connection: close\r\n\r\n".encode()
                )
                writer.write(body)
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a peer that sent no request, or went away: nobody to answer
        finally:
            writer.close()

    def _page(self, head: bytes) -> tuple[int, str, bytes]:
        parts = head.split(b"\r\n", 1)[0].split(b" ")
        if len(parts) != 3:
            return _error(400, "not an HTTP request")
        method, target, _ = parts
        if method != b"GET":
            return _error(405, "only GET is served here")
        page = self._pages.get(target.partition(b"?")[0].decode("latin-1"))
        if page is None:
            return _error(404, f"served here: {', '.join(self._pages)}")
        return page()


def _error(status: int, message: str) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps({"error": message}).encode()
