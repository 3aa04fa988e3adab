"""What a user may say about running a graph here, apart from the graph itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from armature.hardware.inventory import Inventory
from armature.local.state import default_home

__all__ = ["UpOptions"]


@dataclass(frozen=True, slots=True)
class UpOptions:
    """host, port: where the frontend listens; port None takes the graph's own (8000 unless it says otherwise), 0 a
    free one. speedup_ratio: how many times faster than real the mockers run; None leaves each what its own flags
    say. hardware: GPUs to pretend to have, for graphs without a profile. step_table: a file of step times for
    models that nothing is known about. ready_timeout_s: how long the start may take in all. detach: leave it running
    in the background. replace: stop a deployment of the same name first. offline: never ask the model hub.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    speedup_ratio: float | None = None
    hardware: Inventory | None = None
    step_table: Path | None = None
    ready_timeout_s: float = 120.0
    detach: bool = False
    replace: bool = False
    home: Path = field(default_factory=default_home)
    offline: bool = False
