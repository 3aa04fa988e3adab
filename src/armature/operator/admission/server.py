"""The admission server: HTTPS on one port of every replica, from the moment there is a certificate.

A new certificate is loaded into the TLS context in place: connections that are open keep theirs, each new handshake
has the new one, and the listening socket stays.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import tempfile

from starlette.types import ASGIApp

from armature.operator.admission.certificates import KeyPair
from armature.serving.frontend.http import HttpServer
from armature.serving.transport.listen import listen_tcp

__all__ = ["DEFAULT_PORT", "AdmissionServer"]

DEFAULT_PORT = 9443
_log = logging.getLogger(__name__)


class AdmissionServer:
    """host: the pod's address, in a pod. grace_s: how long a stop waits for answers that are under way.

    Ready once a certificate was installed and the port listens; nothing listens before.
    """

    def __init__(
        self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = DEFAULT_PORT, grace_s: float = 10.0
    ) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._grace_s = grace_s
        self._context: ssl.SSLContext | None = None
        self._has_certificate = asyncio.Event()
        self._stopping = asyncio.Event()
        self._listening = asyncio.Event()
        self._http: HttpServer | None = None

    @property
    def ready(self) -> bool:
        return self._listening.is_set() and not self._stopping.is_set()

    @property
    def port(self) -> int:
        """The port that listens: the one asked for, or where that was 0 the one it got."""
        return self._port

    async def wait_ready(self) -> None:
        await self._listening.wait()

    def install(self, pair: KeyPair) -> None:
        """This certificate from now on."""
        if self._context is None:
            self._context = _tls_context()
        _load(self._context, pair)
        self._has_certificate.set()

    async def run(self) -> None:
        """Serves from the first certificate until `stop`. Raises StartFailed when the port cannot be had."""
        await _first_of(self._has_certificate, self._stopping)
        if self._stopping.is_set():
            return
        listener = listen_tcp(self._host, self._port, "--webhook-port")
        self._port = listener.getsockname()[1]
        _log.info("Starting webhook server on %s port %d", self._host, self._port)
        self._http = HttpServer(
            self._app, listener, grace_s=self._grace_s, ready=self._listening.set, tls=self._context
        )
        try:
            await self._http.run_until_stopped()
        finally:
            self._listening.clear()
            listener.close()

    def stop(self) -> None:
        """No new connections; what is under way is answered."""
        self._stopping.set()
        if self._http is not None:
            self._http.stop()


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load(context: ssl.SSLContext, pair: KeyPair) -> None:
    """Python's TLS reads keys from files only: one that nobody else can read, and that is gone at once."""
    with tempfile.NamedTemporaryFile(prefix="armature-webhook-", suffix=".pem") as file:
        file.write(pair.key_pem + b"\n" + pair.certificate_pem)
        file.flush()
        context.load_cert_chain(file.name)
