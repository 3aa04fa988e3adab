"""The node agent: a Node, its Lease, and a worker for each pod bound to it, until it is stopped or its Node goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from armature.kube.client import Selector
from armature.kube.errors import AlreadyExists, ApiError, NotFound
from armature.kube.kinds import ENDPOINT_SLICE, LEASE, NODE, POD, SERVICE
from armature.kube.reflector import Reflector
from armature.kube.store import Change
from armature_testbed.process_node.context import NodeContext
from armature_testbed.process_node.hosts import service_names
from armature_testbed.process_node.node_object import lease_body, node_body, node_status
from armature_testbed.process_node.pod_worker import PodWorker

__all__ = ["Agent"]

_RENEW_S = 10.0
_STATUS_S = 300.0
_AGAIN_S = 1.0
_SETTLE_S = 0.1
_log = logging.getLogger(__name__)


class Agent:
    """`run` it once. Pods are told of Services by `names`, which the context's callables read."""

    def __init__(self, node: NodeContext, *, stop_grace_s: float = 2.0) -> None:
        self.node = node
        self.stopping = asyncio.Event()
        self.names: Mapping[tuple[str, str], tuple[str, ...]] = {}
        self._stop_grace_s = stop_grace_s
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._node_uid = ""
        client, name = node.client, node.node.name
        self._pods = Reflector(client, POD, Selector(fields=f"spec.nodeName={name}"))
        self._nodes = Reflector(client, NODE, Selector(fields=f"metadata.name={name}"))
        self.services = Reflector(client, SERVICE)
        self._slices = Reflector(client, ENDPOINT_SLICE)
        self._names_changed = asyncio.Event()
        node.names = lambda: self.names
        node.services = self.services.store.all

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The pod of that name on this node."""
        return next(
            (
                worker
                for worker in self._workers.values()
                if (worker.pod["metadata"]["namespace"], worker.pod["metadata"]["name"]) == (namespace, name)
            ),
            None,
        )

    async def run(self, ready: asyncio.Event) -> None:
        """Until `stopping` is set or the Node is deleted. ready: set once the Node says Ready."""
        self._pods.on_change(self._pod_changed)
        for reflector in (self.services, self._slices):
            reflector.on_change(lambda _: self._names_changed.set())
        watching = [asyncio.create_task(reflector.run()) for reflector in (self.services, self._slices)]
        try:
            await self.services.wait_synced()
            await self._slices.wait_synced()
            self._read_names()
            await self._until_stopping(self._register())
            if self.stopping.is_set():
                return
            self._nodes.on_change(self._node_changed)
            watching += [
                asyncio.create_task(work)
                for work in (self._pods.run(), self._nodes.run(), self._beat(), self._keep_names())
            ]
            ready.set()
            await self.stopping.wait()
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await self._end_pods()
            await self._say_stopped()

    async def _until_stopping(self, work: Any) -> None:
        task, stop = asyncio.create_task(work), asyncio.create_task(self.stopping.wait())
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        for each in (task, stop):
            each.cancel()
        if task.done() and not task.cancelled():
            task.result()

    async def _register(self) -> None:
        """Creates the Node, or takes the one that is there, and its status and Lease."""
        body, client, name = node_body(self.node.node), self.node.client, self.node.node.name
        while True:
            try:
                try:
                    found = await client.create(NODE, body)
                except AlreadyExists:
                    labels = {"metadata": {"labels": body["metadata"]["labels"]}}
                    found = await client.patch(NODE, name, "", labels)
                self._node_uid = str(found["metadata"]["uid"])
                await self._renew()
                await self._write_status(found.get("status") or {}, ready=True)
                return
            except ApiError as error:
                _log.warning("node %s is not registered yet: %s", name, error.message)
                await asyncio.sleep(_AGAIN_S)

    async def _beat(self) -> None:
        """Renews the Lease, and the status now and then."""
        waited_s = 0.0
        while True:
            await asyncio.sleep(_RENEW_S)
            waited_s += _RENEW_S
            try:
                await self._renew()
                if waited_s >= _STATUS_S:
                    waited_s = 0.0
                    found = await self.node.client.get(NODE, self.node.node.name)
                    await self._write_status(found.get("status") or {}, ready=True)
            except ApiError as error:
                _log.warning("heartbeat: %s", error.message)

    async def _renew(self) -> None:
        body = lease_body(self.node.node, self._node_uid, self.node.now_s())
        client, name = self.node.client, self.node.node.name
        try:
            await client.patch(LEASE, name, "kube-node-lease", {"spec": body["spec"]})
        except NotFound:
            await client.create(LEASE, body)

    async def _write_status(self, before: Mapping[str, Any], *, ready: bool) -> None:
        status = node_status(self.node.node, self.node.now_s(), before, ready=ready)
        name = self.node.node.name
        await self.node.client.patch(NODE, name, "", {"status": status}, subresource="status")

    async def _say_stopped(self) -> None:
        with contextlib.suppress(ApiError, TimeoutError):
            async with asyncio.timeout(2.0):
                found = await self.node.client.get(NODE, self.node.node.name)
                if found["metadata"]["uid"] == self._node_uid:
                    await self._write_status(found.get("status") or {}, ready=False)

    def _node_changed(self, change: Change) -> None:
        if change.type == "DELETED":
            _log.info("node %s was deleted", self.node.node.name)
            self.stopping.set()

    # Pods

    def _pod_changed(self, change: Change) -> None:
        uid = str(change.object["metadata"]["uid"])
        worker = self._workers.get(uid)
        if change.type == "DELETED":
            if worker is not None:
                worker.update(None)
        elif worker is not None:
            worker.update(change.object)
        else:
            worker = self._workers[uid] = PodWorker(self.node, change.object)
            task = self._tasks[uid] = asyncio.create_task(worker.run())
            task.add_done_callback(lambda done: self._pod_over(uid, done))

    def _pod_over(self, uid: str, task: asyncio.Task[None]) -> None:
        worker = self._workers.pop(uid)
        self._tasks.pop(uid, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("pod %s is given up: a bug", worker.pod["metadata"]["name"], exc_info=error)

    async def _end_pods(self) -> None:
        workers, tasks = list(self._workers.values()), list(self._tasks.values())
        await asyncio.gather(*(worker.shut_down(self._stop_grace_s) for worker in workers))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Names

    def _read_names(self) -> None:
        self.names = service_names(self.services.store.all(), self._slices.store.all())

    async def _keep_names(self) -> None:
        while True:
            await self._names_changed.wait()
            await asyncio.sleep(_SETTLE_S)
            self._names_changed.clear()
            before = self.names
            self._read_names()
            if self.names != before:
                for worker in list(self._workers.values()):
                    worker.names_changed()
