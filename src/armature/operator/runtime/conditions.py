"""`status.conditions`, as Kubernetes means them: one entry a type, and when its status last changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

__all__ = ["ConditionStatus", "condition_of", "set_condition", "timestamp"]

ConditionStatus = Literal["True", "False", "Unknown"]
_LONGEST_MESSAGE = 32768


def timestamp(at: datetime) -> str:
    """RFC 3339 with whole seconds, as `metav1.Time` has it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def set_condition(
    conditions: Iterable[Mapping[str, Any]],
    type: str,
    status: ConditionStatus,
    reason: str,
    message: str = "",
    *,
    observed_generation: int,
    now: datetime,
) -> list[dict[str, Any]]:
    """The conditions with this one among them, in the place it had, else last. Its lastTransitionTime stays while its
    status does. Pure. message: cut at the length the API server allows."""
    held = [dict(condition) for condition in conditions]
    before = condition_of(held, type)
    entry = {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message[:_LONGEST_MESSAGE],
        "lastTransitionTime": timestamp(now),
        "observedGeneration": observed_generation,
    }
    if before is None:
        return [*held, entry]
    if before.get("status") == status and before.get("lastTransitionTime"):
        entry["lastTransitionTime"] = before["lastTransitionTime"]
    return [entry if condition is before else condition for condition in held]


def condition_of(conditions: Iterable[Mapping[str, Any]] | None, type: str) -> Mapping[str, Any] | None:
    """The condition of that type; None where there is none."""
    return next((condition for condition in conditions or () if condition.get("type") == type), None)
