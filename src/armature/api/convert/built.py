"""The result of a conversion, and the hand that builds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from armature.api.problems import under
from armature.errors import Problem

__all__ = ["Builder", "Converted"]


@dataclass(frozen=True, slots=True)
class Converted:
    """`data`: the object in the new version. `origins`: path there -> path in the object it came from. `names`:
    component -> service, where they differ."""

    data: dict[str, Any]
    notes: tuple[str, ...]
    origins: dict[str, str]
    names: dict[str, str] = field(default_factory=dict)

    def original(self, problem: Problem) -> Problem:
        """The problem with the path that the user wrote."""
        best = max((path for path in self.origins if under(problem.path, path)), key=len, default=None)
        if best is None:
            return problem
        path = self.origins[best] + problem.path[len(best) :]
        return Problem(path, problem.rule, problem.mend, problem.value)


@dataclass(slots=True)
class Builder:
    """Collects the new object, notes and origins."""

    data: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def put(self, path: str, value: Any, origin: str) -> None:
        """Set a dotted path under the object; mappings on the way are made. None is not set."""
        if value is None:
            return
        *parents, last = path.split(".")
        place = self.data
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = value
        self.origins[path] = origin

    def get(self, path: str) -> Any:
        """The value at a dotted path, or None."""
        place: Any = self.data
        for part in path.split("."):
            place = place.get(part) if isinstance(place, dict) else None
        return place

    def done(self) -> Converted:
        return Converted(self.data, tuple(dict.fromkeys(self.notes)), self.origins, self.names)
