"""The conditions of a request: five of the field's (LIFE-08), and `SLAMet`, ours; the aggregate is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from armature.operator.runtime.conditions import ConditionStatus, condition_of, set_condition

__all__ = ["Conditions", "aggregate"]

_ORDER = ("Succeeded", "Validation", "Profiling", "SpecGenerated", "SLAMet", "DeploymentReady")
_CAUSES = (
    ("Validation", "Validation failed: "),
    ("Profiling", "Profiling failed: "),
    ("SpecGenerated", "Spec generation failed: "),
    ("DeploymentReady", "Deployment failed: "),
)
# phase -> status, reason and message of `Succeeded` (dynamo-operator reference §2)
_BY_PHASE: Mapping[str, tuple[ConditionStatus, str, str]] = {
    "Pending": ("False", "Pending", "DGDR is pending"),
    "Profiling": ("False", "Profiling", "Profiling is in progress"),
    "Ready": ("True", "SpecGenerated", "Profiling complete, spec available"),
    "Deploying": ("False", "Deploying", "Deployment is in progress"),
    "Deployed": ("True", "Deployed", "Deployment is healthy"),
}


class Conditions:
    """The conditions of a status while a pass changes them; a condition keeps its time until its status changes."""

    def __init__(self, before: Sequence[Mapping[str, Any]], generation: int, now: datetime) -> None:
        self._held: Sequence[Mapping[str, Any]] = before
        self._generation, self._now = generation, now

    def set(self, type: str, status: ConditionStatus, reason: str, message: str) -> bool:
        """Whether it says something new, so that what goes with it is told once."""
        old = self.get(type)
        self._held = set_condition(
            self._held, type, status, reason, message, observed_generation=self._generation, now=self._now
        )
        new = self.get(type)
        return (old.get("reason"), old.get("message")) != (new["reason"], new["message"])

    def get(self, type: str) -> Mapping[str, Any]:
        return condition_of(self._held, type) or {}

    def since(self, type: str) -> str:
        """When the condition took its status; of two changes to the same words it tells which one is meant."""
        return str(self.get(type).get("lastTransitionTime") or "")

    def all(self) -> list[dict[str, Any]]:
        """Those of the field first, in its order."""
        place = {type: number for number, type in enumerate(_ORDER)}
        return sorted(map(dict, self._held), key=lambda condition: place.get(condition["type"], len(place)))


def aggregate(phase: str, conditions: Conditions) -> tuple[ConditionStatus, str, str]:
    """Status, reason and message of `Succeeded` in a phase; of a failure the first condition that says why."""
    if phase != "Failed":
        return _BY_PHASE.get(phase, ("False", "Unknown", "Unknown phase"))
    for type, prefix in _CAUSES:
        found = conditions.get(type)
        if found.get("status") == "False" and found.get("message"):
            return "False", found["reason"], f"{prefix}{found['message']}"
    return "False", "Failed", "DGDR has failed"
