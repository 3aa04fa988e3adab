"""Asks a container what its probes and hooks want asked: HTTP, TCP or a command in it. The I/O of `probes`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

from armature_testbed.process_node.probes import Check

__all__ = ["Answer", "Execute", "ask"]

Answer = tuple[bool, str]
"""Whether it went well, and what to say when it did not."""
Execute = Callable[[tuple[str, ...], float], Awaitable[Answer]]
"""Runs a command in the container within so many seconds."""
_STATUS_LINE_BYTES = 4096


async def ask(check: Check, timeout_s: float, execute: Execute) -> Answer:
    """The answer to one question. Never raises for what a container does."""
    try:
        async with asyncio.timeout(timeout_s):
            if check.kind == "exec":
                return await execute(check.command, timeout_s)
            if check.kind == "sleep":
                await asyncio.sleep(check.seconds)
                return True, ""
            return await (_http(check) if check.kind == "http" else _tcp(check))
    except TimeoutError:
        return False, f"{_shown(check)}: no answer within {timeout_s:g} s"
    except (OSError, ssl.SSLError) as error:
        return False, f"{_shown(check)}: {error}"


async def _tcp(check: Check) -> Answer:
    _, writer = await asyncio.open_connection(check.host, check.port)
    await _close(writer)
    return True, ""


async def _http(check: Check) -> Answer:
    """A GET; any status from 200 to 399 is well. Redirections are not followed."""
    context = _any_certificate() if check.https else None
    reader, writer = await asyncio.open_connection(check.host, check.port, ssl=context)
    try:
        given = {name.lower() for name, _ in check.headers}
        headers = [*check.headers]
        headers += [("Host", f"{check.host}:{check.port}")] if "host" not in given else []
        headers += [("User-Agent", "kube-probe/1.36"), ("Accept", "*/*"), ("Connection", "close")]
        lines = [f"GET {check.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        line = (await reader.readline())[:_STATUS_LINE_BYTES].decode("latin-1")
    finally:
        await _close(writer)
    words = line.split(" ", 2)
    if len(words) < 2 or not words[1].strip().isdigit():
        return False, f"{_shown(check)}: the answer is not HTTP: {line[:80]!r}"
    code = int(words[1])
    return 200 <= code < 400, f"HTTP probe failed with statuscode: {code}"


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


def _any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _shown(check: Check) -> str:
    if check.kind == "exec":
        return f"command {' '.join(check.command)!r}"
    scheme = "https" if check.https else check.kind
    return f"{scheme}://{check.host}:{check.port}{check.path if check.kind == 'http' else ''}"
