"""What Armature asks of a Kubernetes API server, as one small interface.

`connect.ApiClient` speaks to a real one, `fake.FakeCluster` is one in memory; the same contract tests hold both.
Objects are plain mappings. Every method raises `errors.ApiError` (its docstring has the tree) and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from armature.kube.kinds import Kind, Object

__all__ = ["FIELD_MANAGER", "Client", "EventType", "Listing", "Propagation", "Selector", "WatchEvent"]

FIELD_MANAGER = "armature-operator"
"""Under this name the API server records which fields are ours (server-side apply)."""

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Selector:
    """Which objects of a kind: of one namespace (empty: all), with these labels and these field values.

    labels, fields: as kubectl takes them (`app=x,tier!=y`, `metadata.name=x`).
    """

    namespace: str = ""
    labels: str = ""
    fields: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects of a kind at one moment. resource_version: where a watch goes on from."""

    items: list[Object]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change. A BOOKMARK has no object, only the version up to which everything was told."""

    type: EventType
    object: Object
    resource_version: str


class Client(Protocol):
    """An API server. Writes name `FIELD_MANAGER` as their manager."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object: ...

    async def list(self, kind: Kind, selector: Selector = ..., *, chunk: int = 500) -> Listing:
        """All objects, fetched `chunk` at a time, as of now (not from a cache). Gone when a later chunk came too
        late: list again."""
        ...

    def watch(
        self,
        kind: Kind,
        selector: Selector = ...,
        *,
        resource_version: str,
        timeout_s: float,
        idle_s: float,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `resource_version`, until the server ends the watch, at the latest after `timeout_s`.

        Raises Gone when the server no longer remembers that version, be it at once or in mid-stream; Timeout when
        no byte came for `idle_s` seconds; Unavailable when the connection broke.
        """
        ...

    async def create(self, kind: Kind, obj: Mapping[str, Any], namespace: str = "") -> Object:
        """Raises AlreadyExists. namespace: where the object itself names none."""
        ...

    async def apply(
        self, kind: Kind, obj: Mapping[str, Any], *, subresource: str = "", force: bool = True
    ) -> Object:
        """Server-side apply: the fields of `obj` become so and are ours, those we applied before and leave out now
        go, all others stay. Creates the object where there is none. Without `force`, Conflict when another manager
        owns a field that differs. A `metadata.resourceVersion` that no longer holds, or a `metadata.uid` where there is
        no object: Conflict; another object's uid: Invalid."""
        ...

    async def apply_status(self, kind: Kind, obj: Mapping[str, Any], *, force: bool = True) -> Object:
        """`apply` of the status alone; NotFound where there is no such object."""
        ...

    async def patch(
        self, kind: Kind, name: str, namespace: str, patch: Mapping[str, Any], *, subresource: str = ""
    ) -> Object:
        """JSON merge patch (RFC 7386). Put `metadata.resourceVersion` in it to have Conflict where the object has
        changed since."""
        ...

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
        """Raises NotFound, and Conflict when `uid` or `resource_version` is given and is not the object's."""
        ...

    async def close(self) -> None: ...
