"""Admission as one thing to run beside the controllers: the server and its keeper, on every replica."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry

from armature.kube.client import Client
from armature.operator.admission.app import admission_app
from armature.operator.admission.keeper import CertificateSettings, Keeper
from armature.operator.admission.metrics import AdmissionMetrics
from armature.operator.admission.policy import Policy
from armature.operator.admission.review import warm_up
from armature.operator.admission.server import DEFAULT_PORT, AdmissionServer

__all__ = ["Admission"]


class Admission:
    """client: not one that writes only while it leads; every replica keeps its own certificate. host: the pod's
    address, in a pod. ready: for the readiness probe."""

    def __init__(
        self,
        client: Client,
        certificates: CertificateSettings,
        policy: Policy,
        *,
        registry: CollectorRegistry,
        now: Callable[[], datetime],
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
    ) -> None:
        app = admission_app(policy, AdmissionMetrics(registry))
        self.server = AdmissionServer(app, host=host, port=port)
        self.keeper = Keeper(client, certificates, self.server.install, now)

    @property
    def ready(self) -> bool:
        return self.server.ready

    async def run(self) -> None:
        """Until `stop`. Raises StartFailed when the port cannot be had."""
        await asyncio.to_thread(warm_up)
        keeping = asyncio.create_task(self.keeper.run())
        try:
            await self.server.run()
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    def stop(self) -> None:
        self.server.stop()
