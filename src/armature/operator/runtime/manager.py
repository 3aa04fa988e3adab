"""The operator's process: caches, leadership, controllers, services, and what it says about itself over HTTP.

Every replica keeps caches and runs the services (webhooks); only the leader's controllers run. In order: ports, caches
and services, then, once the caches are full, the election, then the controllers. On a stop: no longer ready, passes
under way end (or are ended after `grace_s`), the lease is released, then services, caches and ports go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from armature.kube.client import Client, Selector
from armature.kube.guard import Guarded
from armature.kube.kinds import Kind, Object
from armature.kube.lease import Election
from armature.kube.reflector import Reflector
from armature.kube.store import without_foreign_fields
from armature.operator.runtime.controller import Controller
from armature.serving.mocker.system_server import SystemServer
from armature.serving.transport.listen import listen_tcp

__all__ = ["HEALTH_PORT", "METRICS_PORT", "Address", "Manager", "Service"]

_log = logging.getLogger(__name__)
HEALTH_PORT = 8081
METRICS_PORT = 8080
_SAYS_WHAT_IT_WAITS_FOR_S = 10.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. flag: the option to name when that fails. host: loopback unless told otherwise."""

    port: int
    flag: str
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Service:
    """What every replica runs beside the controllers, from start to stop. `run` is cancelled at the end, and may not
    end before; ready: whether the replica may be sent requests, as far as this service goes."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]
    ready: Callable[[], bool] = lambda: True


class Manager:
    """client: as which the reflectors read and `writer` writes. election: None leads at once, for a single replica
    without a lease (tests, a laptop). health, metrics: None serves none."""

    def __init__(
        self,
        client: Client,
        *,
        registry: CollectorRegistry,
        election: Election | None = None,
        health: Address | None = None,
        metrics: Address | None = None,
        grace_s: float = 20.0,
    ) -> None:
        self.writer = Guarded(client, election.held) if election is not None else client
        """The client of controllers: its writes are refused while this replica does not lead."""
        self.leading = False
        self._client = client
        self._registry = registry
        self._election = election
        self._addresses = (health, metrics)
        self._grace_s = grace_s
        self._reflectors: dict[tuple[Kind, Selector], Reflector] = {}
        self._controllers: list[Controller] = []
        self._services: list[Service] = []
        self._stopping = False

    def reflector(
        self,
        kind: Kind,
        selector: Selector | None = None,
        *,
        label_keys: Sequence[str] = (),
        keep: Callable[[Object], Object] = without_foreign_fields,
    ) -> Reflector:
        """The one reflector of these objects, for all who read them. label_keys, keep: those of the first who asks."""
        place = (kind, selector or Selector())
        if place not in self._reflectors:
            self._reflectors[place] = Reflector(
                self._client, kind, selector, label_keys=label_keys, keep=keep
            )
        return self._reflectors[place]

    def add(self, controller: Controller) -> None:
        self._controllers.append(controller)

    def add_service(self, service: Service) -> None:
        self._services.append(service)

    def ready(self) -> bool:
        """Whether this replica's caches are full and its services can answer; it need not lead."""
        return not self._stopping and not self._missing()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises StartFailed for a port that is taken, and what ends a service or a controller."""
        async with contextlib.AsyncExitStack() as stack:
            await self._open_ports(stack)
            background = [(str(kind), reflector.run()) for (kind, _), reflector in self._reflectors.items()]
            background += [(service.name, service.run()) for service in self._services]
            tasks = [asyncio.create_task(run, name=name) for name, run in background]
            stack.push_async_callback(_cancel, tasks)
            failed = asyncio.create_task(_first_to_end(tasks))
            stack.push_async_callback(_cancel, [failed])
            try:
                if await _either(self._until_synced(), stop, failed):
                    await self._lead_until(stop, failed)
            finally:
                self._stopping = True
            if failed.done():
                failed.result()

    async def _open_ports(self, stack: contextlib.AsyncExitStack) -> None:
        health, metrics = self._addresses
        pages = [
            (health, {"/healthz": _alive, "/readyz": self._ready_page}),
            (metrics, {"/metrics": self._metrics_page}),
        ]
        for address, served in pages:
            if address is not None:
                server = SystemServer(listen_tcp(address.host, address.port, address.flag), served)
                await server.start()
                stack.push_async_callback(server.close)

    async def _until_synced(self) -> None:
        waits = asyncio.gather(*(reflector.wait_synced() for reflector in self._reflectors.values()))
        while True:
            done, _ = await asyncio.wait((waits,), timeout=_SAYS_WHAT_IT_WAITS_FOR_S)
            if done:
                return
            _log.warning("still waiting for %s", ", ".join(self._missing()))

    async def _lead_until(self, stop: asyncio.Event, failed: asyncio.Task[None]) -> None:
        async def lead() -> None:
            await self._lead(stop, failed)

        contending = asyncio.create_task(self._election.run(lead) if self._election else lead())
        try:
            ended = await _either(asyncio.shield(contending), stop, failed)
            if not ended and self.leading:
                await contending
        finally:
            await _cancel([contending])
        if contending.done() and not contending.cancelled():
            contending.result()

    async def _lead(self, stop: asyncio.Event, failed: asyncio.Task[None]) -> None:
        self.leading = True
        runs = [
            asyncio.create_task(controller.run(), name=controller.name) for controller in self._controllers
        ]
        try:
            if await _either(_first_to_end(runs), stop, failed):
                return
            for controller in self._controllers:
                controller.drain()
            if runs:
                await asyncio.wait(runs, timeout=self._grace_s)
        finally:
            await _cancel(runs)
            self.leading = False

    def _missing(self) -> list[str]:
        """What is not ready yet, by name."""
        caches = [
            f"cache of {kind}" for (kind, _), reflector in self._reflectors.items() if not reflector.synced()
        ]
        return caches + [service.name for service in self._services if not service.ready()]

    def _ready_page(self) -> tuple[int, str, bytes]:
        missing = ["stopping"] if self._stopping else self._missing()
        return (503, "text/plain", f"not ready: {', '.join(missing)}\n".encode()) if missing else _alive()

    def _metrics_page(self) -> tuple[int, str, bytes]:
        return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)


def _alive() -> tuple[int, str, bytes]:
    return 200, "text/plain", b"ok\n"


async def _first_to_end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Waits until one of them ends, which none should: raises what ended it. For ever where there are none."""
    if not tasks:
        await asyncio.Event().wait()
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    ended = done.pop()
    ended.result()
    raise RuntimeError(f"{ended.get_name()} ended")


async def _either(main: Awaitable[None], stop: asyncio.Event, failed: asyncio.Task[None]) -> bool:
    """Whether `main` ended by itself, before `stop` or `failed`; else it is cancelled. Raises what it raised."""
    running = asyncio.ensure_future(main)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((running, stopped, failed), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
            return True
        return False
    finally:
        await _cancel([running, stopped])


async def _cancel(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancels tasks and waits for their end, whatever it is."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
