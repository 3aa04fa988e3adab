"""An operator on a cluster in memory, with the hands that are not ours: the Job's, the graph controller's, a user's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from request_world import answer

from armature.kube.errors import NotFound
from armature.kube.events import Recorder
from armature.kube.fake import FakeCluster
from armature.kube.kinds import CONFIG_MAP, DGD, DGDR, JOB, NODE, Object
from armature.kube.reflector import Reflector
from armature.kube.virtual_time import virtual_now
from armature.operator.discovery import Discovery
from armature.operator.profiling.answer import Answer, Failure, Outcome
from armature.operator.profiling.report import answered, told
from armature.operator.request.caches import caches_of, watches_of
from armature.operator.request.controller import Requests
from armature.operator.runtime.controller import Controller
from armature.operator.settings import Settings


class Instant:
    """A pool that answers at once, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        self.done: Callable[[tuple[str, str]], None] = lambda work: None

    def outcome(self, work: tuple[str, str]) -> Outcome | None:
        return self._outcomes.get(work)

    def answer(self, work: tuple[str, str], request: object, found: object, point: str | None = None) -> None:
        known = {None, "agg-1", "disagg-1"}
        outcome = answer(point or "agg-1") if point in known else Failure(f"no candidate {point}")
        self._give(work, outcome)

    def point_of(self, work: tuple[str, str], profile: bytes, point: str) -> None:
        self.answer(work, None, None, point)

    def _give(self, work: tuple[str, str], outcome: Answer | Failure) -> None:
        if work not in self._outcomes:
            self.asked.append(work)
            self._outcomes[work] = outcome
            asyncio.get_running_loop().call_later(0.1, self.done, work)

    def forget(self, uid: str) -> None:
        self._outcomes = {work: outcome for work, outcome in self._outcomes.items() if work[0] != uid}


@dataclass
class Operator:
    """One process of the operator, from its start to its end."""

    cluster: FakeCluster
    settings: Settings

    async def run(self) -> None:
        """Until it is cancelled, or killed."""
        caches = caches_of(partial(Reflector, self.cluster))
        pool = Instant()
        recorder = Recorder(self.cluster, component="armature-operator", instance="one", now=virtual_now)
        discovery = Discovery(self.cluster, self.settings.dcgm_endpoint)
        requests = Requests(self.cluster, caches, recorder, self.settings, discovery, pool, virtual_now)
        controller = Controller("DynamoGraphDeploymentRequest", requests.reconcile, watches_of(caches))

        def ended(work: tuple[str, str]) -> None:
            request = caches.requests.store.by_uid(work[0])
            if request is not None:
                controller.add((request["metadata"]["namespace"], request["metadata"]["name"]))

        pool.done = ended
        tasks = [asyncio.create_task(cache.run()) for cache in caches.all]
        try:
            for cache in caches.all:
                await cache.wait_synced()
            await controller.run()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def play_job(cluster: FakeCluster) -> None:
    """What kubelet, Job controller and profiler do: the Job runs, speaks, and completes."""
    for job in (await cluster.list(JOB)).items:
        if (job.get("status") or {}).get("conditions"):
            continue
        name = next(
            arg for arg in job["spec"]["template"]["spec"]["containers"][0]["args"] if "dgdr-output" in arg
        )
        namespace = job["metadata"]["namespace"]
        try:
            await cluster.patch(CONFIG_MAP, name, namespace, told("SweepingDecode"))
            await cluster.patch(CONFIG_MAP, name, namespace, answered(answer()))
        except NotFound:
            continue
        done = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
        await cluster.patch(JOB, job["metadata"]["name"], namespace, done, subresource="status")


async def play_graph(cluster: FakeCluster, state: str = "successful") -> None:
    """What the controller of graphs does, as far as a request sees it."""
    for graph in (await cluster.list(DGD)).items:
        if (graph.get("status") or {}).get("state") != state:
            status = {
                "status": {
                    "state": state,
                    "components": {"Frontend": {"replicas": 1, "availableReplicas": 1}},
                }
            }
            metadata = graph["metadata"]
            await cluster.patch(DGD, metadata["name"], metadata["namespace"], status, subresource="status")


async def others(cluster: FakeCluster) -> None:
    """Everybody else, for ever."""
    while True:
        await asyncio.sleep(1.5)
        await play_job(cluster)
        await play_graph(cluster)


def gpu_node(name: str, product: str = "NVIDIA-H200", gpus: int = 8, memory: int = 143771) -> Object:
    labels = {
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.memory": str(memory),
        "nvidia.com/gpu.count": str(gpus),
    }
    status = {
        "allocatable": {"nvidia.com/gpu": str(gpus)},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": status,
    }


async def add_nodes(cluster: FakeCluster, *nodes: Object) -> None:
    for node in nodes:
        await cluster.create(NODE, node)
        await cluster.patch(
            NODE, node["metadata"]["name"], "", {"status": node["status"]}, subresource="status"
        )


async def phase_of(cluster: FakeCluster, name: str = "chat", namespace: str = "ml") -> str:
    found = await cluster.get(DGDR, name, namespace)
    return str((found.get("status") or {}).get("phase") or "")


@contextlib.asynccontextmanager
async def operating(cluster: FakeCluster, **settings: Any):
    """An operator and everybody else, at work."""
    operator = Operator(cluster, Settings(image="armature:1", **settings))
    tasks = [asyncio.create_task(operator.run()), asyncio.create_task(others(cluster))]
    try:
        yield operator
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
