"""The GPUs of the cluster, looked up: Node and Pod objects, and DCGM exporters for what the labels leave out (HW-01).

The answer is kept for a minute, because many requests come at once and each listing is of the whole cluster.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx

from armature.hardware.discover_dcgm import EXPORTER_LABELS, NodeGpus, node_gpus, with_exported
from armature.hardware.discover_nodes import inventory_from_nodes
from armature.hardware.inventory import Inventory
from armature.kube.client import Client
from armature.kube.kinds import NODE, POD, Object
from armature.kube.selectors import labels_match

__all__ = ["Discovery", "Fetch", "fetch_page"]

_log = logging.getLogger(__name__)
_KEPT_S = 60.0
_TIMEOUT = httpx.Timeout(5.0, connect=3.0)  # dynamo-operator reference §2.1
Fetch = Callable[[str], Awaitable[str]]


async def fetch_page(url: str) -> str:
    """The text at a URL. Raises httpx.HTTPError."""
    async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
        return (await client.get(url)).raise_for_status().text


class Discovery:
    """endpoint: where an exporter answers, `{POD_IP}` being its pod's address. Time is the running loop's."""

    def __init__(self, client: Client, endpoint: str, fetch: Fetch = fetch_page) -> None:
        self._client, self._endpoint, self._fetch = client, endpoint, fetch
        self._known: tuple[float, Inventory] | None = None
        self._looking = asyncio.Lock()

    async def inventory(self) -> Inventory:
        """What is free in the cluster, at most a minute old. Raises ApiError."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if self._known is None or now - self._known[0] > _KEPT_S:
                self._known = (now, await self._look())
            return self._known[1]

    async def _look(self) -> Inventory:
        nodes = (await self._client.list(NODE)).items
        pods = (await self._client.list(POD)).items
        exported = await self._exported(pods)
        seen: list[dict[str, Any]] = [
            with_exported(node, exported[name]) if (name := node["metadata"]["name"]) in exported else node
            for node in nodes
        ]
        return inventory_from_nodes(seen, pods)

    async def _exported(self, pods: Sequence[Object]) -> dict[str, NodeGpus]:
        """What exporters say, by node; one that does not answer is left out, and the labels stand."""
        exporters: dict[str, str] = {}
        for pod in pods:
            status, labels = pod.get("status") or {}, pod["metadata"].get("labels")
            if not any(labels_match(selector, labels) for selector in EXPORTER_LABELS):
                continue
            if status.get("phase") == "Running" and status.get("podIP"):
                exporters[pod["spec"]["nodeName"]] = status["podIP"]
        pages = await asyncio.gather(*(self._page(node, ip) for node, ip in exporters.items()))
        return {node: page for node, page in zip(exporters, pages, strict=True) if page is not None}

    async def _page(self, node: str, ip: str) -> NodeGpus | None:
        url = self._endpoint.replace("{POD_IP}", f"[{ip}]" if ":" in ip else ip)
        try:
            return node_gpus(await self._fetch(url))
        except (httpx.HTTPError, ValueError) as error:
            _log.warning("DCGM exporter of node %s at %s: %s", node, url, error)
            return None
