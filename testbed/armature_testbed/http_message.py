"""HTTP/1.1 as far as a proxy must know it: a message's head, and where its body ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["Head", "relay_body"]

_BLOCK_BYTES = 64 * 1024
Sink = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the headers of a request or an answer, in their order."""

    first_line: str
    headers: list[tuple[str, str]]

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Head | None:
        """None when the connection ends instead of another message. Raises ValueError for what is no HTTP."""
        first = await reader.readline()
        if not first:
            return None
        headers = []
        while line := (await reader.readline()).strip():
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise ValueError(f"not a header: {line!r}")
            headers.append((name, value.strip()))
        return cls(first.decode("latin-1").strip(), headers)

    def get(self, name: str) -> str:
        """A header's value, empty when it is not there."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def encoded(self) -> bytes:
        lines = [self.first_line, *(f"{name}: {value}" for name, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def relay_body(
    reader: asyncio.StreamReader, sink: Sink, head: Head, *, is_answer_to: str | None = None
) -> bool:
    """Passes a body on, block by block as it comes; says whether it ended with the connection.

    is_answer_to: the request's method where `head` is an answer's. Raises IncompleteReadError when it is cut off.
    """
    if is_answer_to is not None:
        status = int(head.first_line.split(" ", 2)[1])
        if is_answer_to == "HEAD" or status in (204, 304) or status < 200:
            return False
    if head.get("transfer-encoding").lower() == "chunked":
        await _relay_chunks(reader, sink)
        return False
    length = head.get("content-length")
    if length or is_answer_to is None:
        left = int(length or 0)
        while left > 0:
            block = await reader.read(min(left, _BLOCK_BYTES))
            if not block:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(block)
            await sink(block)
        return False
    while block := await reader.read(_BLOCK_BYTES):
        await sink(block)
    return True


async def _relay_chunks(reader: asyncio.StreamReader, sink: Sink) -> None:
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        await sink(line + await reader.readexactly(size + 2))  # a chunk and the line's end after it
        if size == 0:
            return
