"""The processes a graph becomes: what `plan` decides, `up` writes down and the supervisor starts."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Kind", "Launch", "ProcessSpec", "Role"]

Kind = Literal["frontend", "worker"]
Role = Literal["agg", "prefill", "decode"]


class ProcessSpec(msgspec.Struct, frozen=True):
    """One process.

    name: unique in its launch, `<component>-<replica>`. env: added to the supervisor's own environment.
    ready: `line` waits for one JSON line `{"ready": true, "port": N}` on stdout; `started` is content when it
    runs. restart: whether a crash is answered with a new process. stage: all of a stage are stopped together, the
    highest first, so that a frontend stops taking requests before its workers leave. After a first start the
    port it told replaces a `0` after `--port`, so that a restart keeps its address.
    """

    name: str
    component: str
    replica: int
    kind: Kind
    argv: tuple[str, ...]
    env: dict[str, str]
    log_path: str
    role: Role | None = None
    ready: Literal["line", "started"] = "line"
    restart: bool = True
    stage: int = 0


class Launch(msgspec.Struct, frozen=True):
    """All processes of one graph.

    name: of the graph. host, port: where its (first) frontend listens; port 0 lets the system choose. models:
    served names. files: contents by path of what must be written before the start (step tables). notes: for the
    user, each once.
    """

    name: str
    host: str
    port: int
    models: tuple[str, ...]
    processes: tuple[ProcessSpec, ...]
    files: dict[str, str]
    notes: tuple[str, ...]

    @property
    def workers(self) -> tuple[ProcessSpec, ...]:
        return tuple(process for process in self.processes if process.kind == "worker")
