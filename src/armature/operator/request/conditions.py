"""The conditions of a request: five of the field's (LIFE-08), and `SLAMet`, ours; the aggregate is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Conditions", "aggregate"]

_ORDER = ("Succeeded", "Validation", "Profiling", "SpecGenerated", "SLAMet", "DeploymentReady")
_CAUSES = (
    ("Validation", "Validation failed: "),
    ("Profiling", "Profiling failed: "),
    ("SpecGenerated", "Spec generation failed: "),
    ("DeploymentReady", "Deployment failed: "),
)
# phase -> status, reason and message of `Succeeded` (dynamo-operator reference §2)
_BY_PHASE = {
    "Pending": ("False", "Pending", "DGDR is pending"),
    "Profiling": ("False", "Profiling", "Profiling is in progress"),
    "Ready": ("True", "SpecGenerated", "Profiling complete, spec available"),
    "Deploying": ("False", "Deploying", "Deployment is in progress"),
    "Deployed": ("True", "Deployed", "Deployment is healthy"),
}


class Conditions:
    """The conditions of a status while a pass changes them; a condition keeps its time until its status changes."""

    def __init__(self, before: Sequence[Mapping[str, Any]], generation: int, now: str) -> None:
        self._before = {condition["type"]: dict(condition) for condition in before}
        self._generation, self._now = generation, now

    def set(self, type: str, status: str, reason: str, message: str) -> bool:
        """Whether it says something new, so that what goes with it is told once."""
        old = self._before.get(type) or {}
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        self._before[type] = {
            "type": type,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since or self._now,
            "observedGeneration": self._generation,
        }
        return (old.get("reason"), old.get("message")) != (reason, message)

    def get(self, type: str) -> Mapping[str, Any]:
        return self._before.get(type, {})

    def since(self, type: str) -> str:
        """When the condition took its status; of two changes to the same words it tells which one is meant."""
        return str(self.get(type).get("lastTransitionTime") or "")

    def all(self) -> list[dict[str, Any]]:
        known = [self._before[type] for type in _ORDER if type in self._before]
        return known + [condition for type, condition in self._before.items() if type not in _ORDER]


def aggregate(phase: str, conditions: Conditions) -> tuple[str, str, str]:
    """Status, reason and message of `Succeeded` in a phase; of a failure the first condition that says why."""
    if phase != "Failed":
        return _BY_PHASE.get(phase, ("False", "Unknown", "Unknown phase"))
    for type, prefix in _CAUSES:
        found = conditions.get(type)
        if found.get("status") == "False" and found.get("message"):
            return "False", found["reason"], f"{prefix}{found['message']}"
    return "False", "Failed", "DGDR has failed"
