"""A proxy in front of the apiserver that fails on purpose: it answers errors, drops connections, loses answers, goes
silent.

It ends TLS, with a certificate of the testbed's authority, so that it sees requests and can choose among them. Clients
with a certificate keep their identity: the proxy is the apiserver's authenticating front proxy and passes on user and
groups; bearer tokens pass through. It speaks HTTP/1.1, runs in a thread of the test's own process, and works inside the
testbed's network namespace.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import tempfile
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from armature_testbed import components
from armature_testbed.http_message import Head, relay_body
from armature_testbed.testbed import Testbed

__all__ = ["Fault", "FaultProxy"]

_Result = TypeVar("_Result")
_REASONS = {
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
_IDENTITY = ("x-remote-user", "x-remote-group", "x-remote-extra-")


@dataclass(eq=False, slots=True)
class Fault:
    """What happens to requests whose method and path with query match (`re.search`).

    do: `answer` with an error without asking the apiserver; `drop` the connection unasked; `lose` the answer of a
    request that the apiserver has carried out; `silence`: the answer's bytes, and those of watches already open, are
    held back until the fault is lifted. times: how many requests, None for all. after: matches that pass first.
    """

    do: Literal["answer", "drop", "lose", "silence"]
    method: re.Pattern[str]
    path: re.Pattern[str]
    status: int = 0
    times: int | None = 1
    after: int = 0
    hits: int = field(default=0, init=False)
    """How many requests it has met."""

    def matches(self, method: str, path: str) -> bool:
        return bool(self.method.fullmatch(method) and self.path.search(path))

    def claims(self, method: str, path: str) -> bool:
        """Whether it strikes this request; counts it when it matches."""
        if not self.matches(method, path) or (self.times is not None and self.hits >= self.times):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.hits += 1
        return True


class FaultProxy:
    """Use as a context manager; give the program under test `kubeconfig()`."""

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed
        self._faults: list[Fault] = []
        self._changed = asyncio.Condition()
        self._clients: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self.port = 0
        self.requests: list[tuple[str, str, int]] = []
        """Method, path with query, and status of every request, 0 where none was answered."""

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self.port = self._call(self._serve())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def kubeconfig(self, user: str = "testbed-admin", groups: Sequence[str] = ("system:masters",)) -> Path:
        """A kubeconfig of this user that goes through the proxy."""
        return self._testbed.user_kubeconfig(user, groups, server=self.url)

    def answer(
        self, status: int, method: str = ".*", path: str = "", *, times: int | None = 1, after: int = 0
    ) -> Fault:
        """Answers matching requests with this HTTP status and a `Status` object, as the apiserver would."""
        return self._add(Fault("answer", re.compile(method), re.compile(path), status, times, after))

    def drop(self, method: str = ".*", path: str = "", *, times: int | None = 1, after: int = 0) -> Fault:
        """Closes the connection of matching requests, which the apiserver never sees."""
        return self._add(Fault("drop", re.compile(method), re.compile(path), 0, times, after))

    def lose(self, method: str = ".*", path: str = "", *, times: int | None = 1, after: int = 0) -> Fault:
        """Lets the apiserver carry out matching requests, and closes the connection in place of the answer."""
        return self._add(Fault("lose", re.compile(method), re.compile(path), 0, times, after))

    def silence(self, method: str = "GET", path: str = "[?&]watch=") -> Fault:
        """Holds back all bytes of matching answers, also of those under way, until it is lifted."""
        return self._add(Fault("silence", re.compile(method), re.compile(path), 0, None))

    def lift(self, fault: Fault) -> None:
        """Ends a fault; what a silence held back is delivered."""
        self._call(self._set(lambda: self._faults.remove(fault) if fault in self._faults else None))

    def drop_connections(self) -> int:
        """Cuts every open connection without a word; returns how many there were."""

        async def cut() -> int:
            clients = list(self._clients)
            for client in clients:
                client.transport.abort()
            return len(clients)

        return self._call(cut())

    def _add(self, fault: Fault) -> Fault:
        self._call(self._set(lambda: self._faults.append(fault)))
        return fault

    async def _set(self, change: Callable[[], object]) -> None:
        async with self._changed:
            change()
            self._changed.notify_all()

    def _call(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _serve(self) -> int:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0, ssl=self._server_context())
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _server_context(self) -> ssl.SSLContext:
        pair = self._testbed.authority.server("fault-proxy", ("127.0.0.1", "localhost"), datetime.now(UTC))
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(self._testbed.layout.pki / "ca.crt")
        )
        context.verify_mode = ssl.CERT_OPTIONAL
        with tempfile.NamedTemporaryFile() as file:  # the ssl module reads certificates from files alone
            file.write(pair.certificate_pem + pair.key_pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            await self._requests(reader, writer)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass  # one side went away, or does not speak HTTP/1.1
        finally:
            self._clients.discard(writer)
            writer.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        identity = _identity(writer.get_extra_info("peercert") or {})
        up_reader, up_writer = await asyncio.open_connection(
            "127.0.0.1", components.APISERVER_PORT, ssl=self._upstream_context(front_proxy=bool(identity))
        )
        try:
            while (head := await Head.read(reader)) is not None:
                method, path, _ = head.first_line.split(" ", 2)
                fault = next((fault for fault in self._faults if fault.claims(method, path)), None)
                if fault is not None and fault.do == "drop":
                    self.requests.append((method, path, 0))
                    return
                if fault is not None and fault.do == "answer":
                    await relay_body(reader, _discard, head)
                    self.requests.append((method, path, fault.status))
                    writer.write(_error(fault.status))
                    await writer.drain()
                    continue
                forwarded = Head(head.first_line, [*_without_identity(head.headers), *identity])
                up_writer.write(forwarded.encoded())
                await relay_body(reader, _to(up_writer), head)
                answer = await Head.read(up_reader)
                if answer is None:
                    return
                status = int(answer.first_line.split(" ", 2)[1])
                if fault is not None and fault.do == "lose":
                    self.requests.append((method, path, 0))
                    await relay_body(up_reader, _discard, answer, is_answer_to=method)
                    return
                self.requests.append((method, path, status))

                async def deliver(data: bytes, method: str = method, path: str = path) -> None:
                    await self._not_silenced(method, path)
                    writer.write(data)
                    await writer.drain()

                await deliver(answer.encoded())
                if await relay_body(up_reader, deliver, answer, is_answer_to=method):
                    return  # the answer ended with the connection
        finally:
            up_writer.transport.abort()

    async def _not_silenced(self, method: str, path: str) -> None:
        async with self._changed:
            await self._changed.wait_for(
                lambda: (
                    not any(fault.do == "silence" and fault.matches(method, path) for fault in self._faults)
                )
            )

    def _upstream_context(self, *, front_proxy: bool) -> ssl.SSLContext:
        pki = self._testbed.layout.pki
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        if front_proxy:
            context.load_cert_chain(pki / "front-proxy.crt", pki / "front-proxy.key")
        return context


def _identity(certificate: dict[str, Any]) -> list[tuple[str, str]]:
    """User and groups of a client certificate, as headers of an authenticating proxy; none without a certificate."""
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    users = [("X-Remote-User", value) for key, value in subject if key == "commonName"]
    return users + [("X-Remote-Group", value) for key, value in subject if key == "organizationName"]


def _without_identity(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A client may not claim to be another."""
    return [(name, value) for name, value in headers if not name.lower().startswith(_IDENTITY)]


def _to(writer: asyncio.StreamWriter) -> Callable[[bytes], Awaitable[None]]:
    async def send(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    return send


async def _discard(_data: bytes) -> None:
    return


def _error(status: int) -> bytes:
    """The apiserver's own form of an error."""
    reason = _REASONS.get(status, "")
    body = json.dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": f"{reason or status}: injected by the testbed's fault proxy",
            "reason": reason,
            "details": {"retryAfterSeconds": 1} if status in (429, 503) else {},
            "code": status,
        }
    ).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if status in (429, 503):
        headers.append(("Retry-After", "1"))
    return Head(f"HTTP/1.1 {status} {reason or 'Injected'}", headers).encoded() + body
