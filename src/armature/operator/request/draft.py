"""A request's status while a pass writes it."""

from __future__ import annotations

from typing import Any

from armature.operator.request.conditions import Conditions, aggregate
from armature.operator.request.state import Event, Observed, Pass

__all__ = ["Draft", "failed"]


class Draft:
    """Fields and conditions as they were, to be changed; `done` adds the phase and the aggregate."""

    def __init__(self, seen: Observed) -> None:
        self.seen = seen
        self.fields: dict[str, Any] = dict(seen.status)
        self.conditions = Conditions(seen.status.get("conditions") or (), seen.generation, seen.now)

    def done(self, phase: str, **more: Any) -> Pass:
        """The pass that ends in this phase; more: the other fields of `Pass`."""
        self.conditions.set("Succeeded", *aggregate(phase, self.conditions))
        fields = self.fields | {"phase": phase, "conditions": self.conditions.all()}
        fields["observedGeneration"] = self.seen.generation
        return Pass({key: value for key, value in fields.items() if value is not None}, **more)


def failed(seen: Observed, condition: str, reason: str, message: str, event: str) -> Pass:
    """The pass that ends the request: a condition that says why, and an event of that name."""
    draft = Draft(seen)
    draft.conditions.set(condition, "False", reason, message)
    return draft.done("Failed", events=[Event("Warning", event, message)])
