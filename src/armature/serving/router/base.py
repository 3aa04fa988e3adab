"""What a router sees and what it answers: pure choices over views of workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Chooser", "WorkerView"]


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A live worker as the router sees it. in_flight: requests this frontend has on it; waiting: requests queued
    in its engine, of all frontends, at its last heartbeat."""

    instance_id: str
    in_flight: int = 0
    waiting: int = 0


class Chooser(Protocol):
    """Picks a worker for one request."""

    def choose(self, workers: Sequence[WorkerView]) -> WorkerView:
        """One of `workers`, which is not empty and ordered by instance id."""
        ...
