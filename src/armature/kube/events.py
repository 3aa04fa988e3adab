"""Events: what `kubectl describe` shows under an object.

An event's name follows from what it says about which object, so the same one written twice (a crash between the event
and the status that remembers it) is one event. Recording never fails the caller.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

from armature.kube.client import Client
from armature.kube.errors import AlreadyExists, ApiError
from armature.kube.kinds import EVENT, Object

__all__ = ["Recorder", "event_for"]

_log = logging.getLogger(__name__)
_LONGEST_MESSAGE = 1024
_LONGEST_NAME = 253
_REMEMBERED = 4096
_PATIENCE_S = 5.0


def event_for(
    about: Mapping[str, Any],
    type: Literal["Normal", "Warning"],
    reason: str,
    message: str,
    *,
    component: str,
    instance: str,
    at: datetime,
    discriminator: str = "",
) -> Object:
    """The Event (core v1) about an object. discriminator: sets the same words apart where they mean something new (a
    generation, a phase entered again); equal ones are one event. Pure."""
    metadata = about["metadata"]
    message = message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 1]}…"
    said = "\0".join((metadata.get("uid", ""), type, reason, message, discriminator))
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    name = metadata["name"][: _LONGEST_NAME - len(digest) - 1].rstrip(".-")
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    involved = {
        "apiVersion": about["apiVersion"],
        "kind": about["kind"],
        "name": metadata["name"],
        "namespace": metadata.get("namespace"),
        "uid": metadata.get("uid"),
        "resourceVersion": metadata.get("resourceVersion"),
    }
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{name}.{digest}", "namespace": metadata.get("namespace") or "default"},
        "involvedObject": {key: value for key, value in involved.items() if value},
        "type": type,
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": instance,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


class Recorder:
    """Writes events. component: who says it ("armature-operator"); instance: which of its replicas."""

    def __init__(self, client: Client, *, component: str, instance: str, now: Callable[[], datetime]) -> None:
        self._client = client
        self._component = component
        self._instance = instance
        self._now = now
        self._written: OrderedDict[str, None] = OrderedDict()

    async def record(
        self,
        about: Mapping[str, Any],
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        discriminator: str = "",
    ) -> None:
        """Returns once the event stands, or is given up after a few seconds with a line in the log."""
        event = event_for(
            about,
            type,
            reason,
            message,
            component=self._component,
            instance=self._instance,
            at=self._now(),
            discriminator=discriminator,
        )
        name = event["metadata"]["name"]
        if name in self._written:
            return
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._write(event)
        except (ApiError, TimeoutError) as error:
            _log.warning("event %s about %s not written: %s", reason, about["metadata"]["name"], error)
            return
        self._written[name] = None
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)

    async def _write(self, event: Object) -> None:
        for attempts_left in (1, 0):
            try:
                await self._client.create(EVENT, event)
            except AlreadyExists:
                return
            except ApiError as error:
                if error.lasting or not attempts_left:
                    raise
                await asyncio.sleep(error.retry_after_s or 0.2)
            else:
                return
