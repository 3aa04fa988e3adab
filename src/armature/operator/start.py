"""An operator put together: settings and an API server in, a process that looks after requests until it is stopped."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from armature.kube.client import Client
from armature.kube.events import Recorder
from armature.kube.lease import Election
from armature.operator.discovery import Discovery
from armature.operator.profiling.pool import Pool, Work
from armature.operator.request.caches import caches_of, watches_of
from armature.operator.request.controller import Requests
from armature.operator.runtime.controller import Controller
from armature.operator.runtime.manager import Address, Manager
from armature.operator.runtime.metrics import ReconcileMetrics
from armature.operator.settings import Settings
from armature.serving.process import on_stop_signals

__all__ = ["LEASE_NAME", "run_operator"]

LEASE_NAME = "dynamo.nvidia.com"
"""The id of the leader election in the field's chart (dynamo-operator reference §5)."""


async def run_operator(
    client: Client,
    settings: Settings,
    *,
    lease_namespace: str | None,
    health: Address | None = None,
    metrics: Address | None = None,
) -> None:
    """Until SIGTERM or SIGINT. lease_namespace: where the leader's lease is; None for a replica that is alone.

    Raises ClusterFailed or StartFailed.
    """
    identity = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
    registry = CollectorRegistry()
    election = None if lease_namespace is None else Election(client, lease_namespace, LEASE_NAME, identity)
    manager = Manager(client, registry=registry, election=election, health=health, metrics=metrics)
    caches = caches_of(manager.reflector, settings.namespace or "")
    recorder = Recorder(manager.writer, component="armature-operator", instance=identity, now=_now)

    def planned(work: Work) -> None:
        request = caches.requests.store.by_uid(work[0])
        if request is not None:
            controller.add((request["metadata"]["namespace"], request["metadata"]["name"]))

    pool = Pool(settings.workers, planned)
    discovery = Discovery(client, settings.dcgm_endpoint)
    requests = Requests(manager.writer, caches, recorder, settings, discovery, pool, _now)
    controller = Controller(
        "DynamoGraphDeploymentRequest",
        requests.reconcile,
        watches_of(caches),
        metrics=ReconcileMetrics(registry),
    )
    manager.add(controller)
    stop = asyncio.Event()
    on_stop_signals(stop.set)
    try:
        await manager.run(stop)
    finally:
        pool.close()
        await client.close()


def _now() -> datetime:
    return datetime.now(UTC)
