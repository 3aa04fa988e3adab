"""A client whose writes are refused once this process may no longer write: the last door behind leader election."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from armature.kube.client import Client, Listing, Propagation, Selector, WatchEvent
from armature.kube.errors import ApiError
from armature.kube.kinds import Kind, Object

__all__ = ["Guarded", "NotLeading"]

_ALL = Selector()


class NotLeading(ApiError):
    """This process does not lead, or could not renew its lease in time: another may write now."""

    error_type = "conflict"


class Guarded:
    """Implements `Client` on `client`. allowed: asked before each write (`Election.held`)."""

    def __init__(self, client: Client, allowed: Callable[[], bool]) -> None:
        self._client = client
        self._allowed = allowed

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        return await self._client.get(kind, name, namespace)

    async def list(self, kind: Kind, selector: Selector = _ALL, *, chunk: int = 500) -> Listing:
        return await self._client.list(kind, selector, chunk=chunk)

    def watch(
        self,
        kind: Kind,
        selector: Selector = _ALL,
        *,
        resource_version: str,
        timeout_s: float,
        idle_s: float,
    ) -> AsyncGenerator[WatchEvent, None]:
        return self._client.watch(
            kind, selector, resource_version=resource_version, timeout_s=timeout_s, idle_s=idle_s
        )

    async def create(self, kind: Kind, obj: Mapping[str, Any], namespace: str = "") -> Object:
        self._check("create", kind)
        return await self._client.create(kind, obj, namespace)

    async def apply(
        self, kind: Kind, obj: Mapping[str, Any], *, subresource: str = "", force: bool = True
    ) -> Object:
        self._check("apply", kind)
        return await self._client.apply(kind, obj, subresource=subresource, force=force)

    async def apply_status(self, kind: Kind, obj: Mapping[str, Any], *, force: bool = True) -> Object:
        return await self.apply(kind, obj, subresource="status", force=force)

    async def patch(
        self, kind: Kind, name: str, namespace: str, patch: Mapping[str, Any], *, subresource: str = ""
    ) -> Object:
        self._check("patch", kind)
        return await self._client.patch(kind, name, namespace, patch, subresource=subresource)

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: Propagation = "Background",
        grace_s: int | None = None,
    ) -> None:
        self._check("delete", kind)
        await self._client.delete(
            kind,
            name,
            namespace,
            uid=uid,
            resource_version=resource_version,
            propagation=propagation,
            grace_s=grace_s,
        )

    async def close(self) -> None:
        await self._client.close()

    def _check(self, verb: str, kind: Kind) -> None:
        if not self._allowed():
            raise NotLeading(f"{verb} {kind}: this replica does not lead")
