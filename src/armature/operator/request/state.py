"""What a pass over a request sees, and what it wants done: plain values between the reading and the writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from armature.hardware.inventory import Inventory
from armature.kube.kinds import Object
from armature.operator.profiling.answer import Outcome

__all__ = ["Event", "Observed", "Pass"]


@dataclass(frozen=True, slots=True)
class Observed:
    """One request and what belongs to it, as last seen.

    problems: rules of the API that the spec breaks, or things that it names and that are not there; read only while
    Pending. hardware: the GPUs of the cluster, or why they could not be found; None where the request states all that
    is needed. job, output, pods: of its profiling Job. outcome: where profiling stands, None before it began. graph:
    the DynamoGraphDeployment of the name that the status holds. stuck: containers of the graph that cannot get their
    image, as (pod, container, reason, message). selected: the answer of the point that the user chose, or why it cannot
    be had; None when the answer is that already.
    """

    request: Object
    now: datetime
    problems: tuple[str, ...] = ()
    hardware: Inventory | str | None = None
    job: Object | None = None
    pods: tuple[Object, ...] = ()
    outcome: Outcome | None = None
    graph: Object | None = None
    stuck: tuple[tuple[str, str, str, str], ...] = ()
    selected: Outcome | None = None

    @property
    def spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self.request.get("spec") or {}
        return spec

    @property
    def status(self) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.request.get("status") or {}
        return status

    @property
    def name(self) -> str:
        return str(self.request["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.request["metadata"]["namespace"])

    @property
    def generation(self) -> int:
        return int(self.request["metadata"].get("generation", 1))

    def annotation(self, name: str) -> str:
        return str((self.request["metadata"].get("annotations") or {}).get(name) or "")


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell once. about: what makes this telling another one than an equal one before; it must follow from
    what is observed, or a pass made again would tell it again."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    about: str = ""


@dataclass(slots=True)
class Pass:
    """What to do, in this order: make objects, tell, patch the request itself, and last write its status.

    A pass cut short is made again from the start: nothing is left out and, names being what they are, nothing is done
    twice.

    status: the whole status as it is to be. patch: a merge patch of metadata and spec. profile: whether profiling is to
    be started (a Job, or a place in the pool). deploy: whether to create the graph of the status. adopt: whether the
    graph's ConfigMaps are to become the graph's. replace: whether the graph is to be deleted, because another point was
    chosen.
    """

    status: Object
    patch: Object = field(default_factory=dict)
    profile: bool = False
    deploy: bool = False
    adopt: bool = False
    replace: bool = False
    events: list[Event] = field(default_factory=list)
