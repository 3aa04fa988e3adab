"""The hands of a pass: makes what it decided, tells it, and writes the request last.

Every write may be the last one before the process dies. What is made has a name that follows from the request, so that
making it again finds it; a leftover of an earlier request of the same name is removed first, by its uid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from armature.hardware.inventory import Inventory
from armature.kube.client import Client
from armature.kube.errors import AlreadyExists, ApiError, NotFound, Unavailable
from armature.kube.events import Recorder
from armature.kube.kinds import CONFIG_MAP, DGD, DGDR, Kind, Object, kind_of, name_of, namespace_of, uid_of
from armature.kube.merge import merge_patch
from armature.kube.reflector import Reflector
from armature.operator.names import ADDITIONAL_RESOURCES, owner_of
from armature.operator.profiling.pool import Pool
from armature.operator.request.deploying import rejected
from armature.operator.request.job import profiling_objects
from armature.operator.request.results import graph_of, is_own_graph
from armature.operator.request.state import Observed, Pass
from armature.operator.runtime.patching import write
from armature.operator.settings import Settings

__all__ = ["Hands", "Leftover"]


class Leftover(Unavailable):
    """Something of an earlier request of the same name is still there; it is being removed."""


class Hands:
    """Does what a pass over a request decided. requests: their cache, which takes every answer at once."""

    def __init__(
        self, client: Client, requests: Reflector, recorder: Recorder, settings: Settings, pool: Pool
    ) -> None:
        self._client, self._requests, self._recorder = client, requests, recorder
        self._settings, self._pool = settings, pool

    async def do(self, seen: Observed, found: Pass) -> None:
        """Raises ApiError; the pass is then made again from the start."""
        desired = merge_patch(seen.request, found.patch)
        if found.profile:
            await self._profile(seen, desired)
        if found.deploy:
            found = await self._deploy(seen, found)
        if found.replace and seen.graph is not None:
            await self._remove(DGD, seen.graph)
        if found.adopt and seen.graph is not None:
            await self._adopt(seen.request, seen.graph)
        for event in found.events:
            await self._recorder.record(
                seen.request, event.type, event.reason, event.message, discriminator=event.about
            )
        await self._write(seen.request, desired, found.status)
        if found.status.get("phase") != "Profiling":
            self._pool.forget(uid_of(seen.request))

    async def _profile(self, seen: Observed, request: Object) -> None:
        found = seen.hardware if isinstance(seen.hardware, Inventory) else None
        if self._settings.profiling == "inline":
            self._pool.answer((uid_of(request), "profile"), request, found)
            return
        for obj in profiling_objects(request, found, self._settings):
            await self._make(kind_of(obj), obj, uid_of(request))

    async def _make(self, kind: Kind, obj: Object, owner: str) -> None:
        """Creates it, unless it is there and of this request, or of none."""
        try:
            await self._client.create(kind, obj)
            return
        except AlreadyExists:
            pass
        there = await self._client.get(kind, name_of(obj), namespace_of(obj))
        owners = [reference["uid"] for reference in there["metadata"].get("ownerReferences") or ()]
        if obj["metadata"].get("ownerReferences") and owner not in owners:
            await self._remove(kind, there)
            raise Leftover(
                f"{kind.kind} {name_of(obj)} of an earlier request is removed first", retry_after_s=1.0
            )

    async def _remove(self, kind: Kind, obj: Object) -> None:
        if obj["metadata"].get("deletionTimestamp"):
            return
        try:
            await self._client.delete(kind, name_of(obj), namespace_of(obj), uid=uid_of(obj))
        except NotFound:
            return

    async def _deploy(self, seen: Observed, found: Pass) -> Pass:
        """Creates the graph's ConfigMaps and the graph; what the API server will not take ends the request."""
        graph = graph_of(seen.status)
        assert graph is not None
        try:
            for extra in _extras(seen.request):
                await self._client.apply(CONFIG_MAP, extra)
            await self._client.create(DGD, graph)
        except AlreadyExists:
            there = await self._client.get(DGD, name_of(graph), namespace_of(graph))
            if there["metadata"].get("deletionTimestamp") and is_own_graph(there, seen.request):
                raise Leftover(f"{name_of(graph)} is still being deleted", retry_after_s=1.0) from None
        except ApiError as error:
            if not error.lasting:
                raise
            return rejected(seen, error.message)
        return found

    async def _adopt(self, request: Object, graph: Object) -> None:
        """The ConfigMaps that the graph mounts go when it goes, not when the request does."""
        patch = {"metadata": {"ownerReferences": [owner_of(graph)]}}
        for extra in _extras(request):
            try:
                await self._client.patch(CONFIG_MAP, name_of(extra), namespace_of(extra), patch)
            except NotFound:
                continue

    async def _write(self, observed: Object, desired: Object, status: Mapping[str, Any]) -> None:
        """The request's metadata and spec, then its status; each only where it differs. A changed spec has a new
        generation, and that is the one observed."""
        current = await write(self._client, DGDR, observed, desired, absorb=self._requests.absorb)
        generation = current["metadata"].get("generation")
        seen = dict(status)
        if generation != observed["metadata"].get("generation"):
            seen["observedGeneration"] = generation
        await write(self._client, DGDR, current, current | {"status": seen}, absorb=self._requests.absorb)


def _extras(request: Object) -> list[Object]:
    """The ConfigMaps that go with the graph, in the request's namespace, whatever they say of themselves."""
    text = (request["metadata"].get("annotations") or {}).get(ADDITIONAL_RESOURCES) or ""
    extras = []
    for document in yaml.safe_load_all(text):
        if document and document.get("kind") == "ConfigMap":
            document["metadata"]["namespace"] = namespace_of(request)
            extras.append(document)
    return extras
