"""What the apiserver's audit log says: who did what to which object, for tests that count writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

__all__ = ["WRITES", "Audited", "audited", "count", "position"]

WRITES = ("create", "update", "patch", "delete", "deletecollection")


class Audited(msgspec.Struct, frozen=True):
    """One request. resource: `pods`, with its subresource `pods/status`. code: HTTP status of the answer, 0 if none.
    finished: RFC 3339."""

    user: str
    verb: str
    resource: str
    group: str
    namespace: str
    name: str
    code: int
    user_agent: str
    finished: str

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES


class _User(msgspec.Struct):
    username: str = ""


class _Object(msgspec.Struct):
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    apiGroup: str = ""


class _Status(msgspec.Struct):
    code: int = 0


class _Event(msgspec.Struct):
    verb: str
    stageTimestamp: str = ""
    userAgent: str = ""
    user: _User = msgspec.field(default_factory=_User)
    objectRef: _Object = msgspec.field(default_factory=_Object)
    responseStatus: _Status = msgspec.field(default_factory=_Status)


def position(log: Path) -> int:
    """Bytes of the log so far: pass it to `audited` later to see only what came after."""
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def audited(log: Path, since: int = 0) -> Iterator[Audited]:
    """The requests answered since a `position`, in the order of their answers; a line half written is left for later.

    The apiserver writes a request's line when its answer is complete, before the client has all of it.
    """
    decode = msgspec.json.Decoder(_Event).decode
    with log.open("rb") as file:
        file.seek(since)
        for line in file:
            if line.endswith(b"\n"):
                yield _plain(decode(line))


def count(requests: Iterable[Audited], *, writes_only: bool = True) -> Counter[tuple[str, str, str]]:
    """How many by (user, verb, resource)."""
    return Counter(
        (request.user, request.verb, request.resource)
        for request in requests
        if request.is_write or not writes_only
    )


def _plain(event: _Event) -> Audited:
    target = event.objectRef
    return Audited(
        user=event.user.username,
        verb=event.verb,
        resource=f"{target.resource}/{target.subresource}" if target.subresource else target.resource,
        group=target.apiGroup,
        namespace=target.namespace,
        name=target.name,
        code=event.responseStatus.code,
        user_agent=event.userAgent,
        finished=event.stageTimestamp,
    )
