"""What admission is told by the operator's settings, and what a set of rules answers: plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from armature.errors import Problem

__all__ = ["Judgement", "Policy", "Write"]

Object = dict[str, Any]
_PLANNER = "planner-serviceaccount"


@dataclass(frozen=True, slots=True)
class Policy:
    """discover: whether GPUs are looked up where a request leaves them open. default_image: for `spec.image` of a
    request; empty for none. Ours is none: the profiling Job runs the operator's own image whatever the request says,
    and a `spec.image` chooses the registry of the graph's runtime images (C-03), which nobody asked for here.
    origin_version: this operator's, written on graphs when it is a semantic version. grove: whether graphs may become
    PodCliqueSets. writers: user names that scale components beside their adapters (the operator itself). skips:
    namespaces that another operator looks after (WH-12).
    """

    discover: bool = True
    default_image: str = ""
    origin_version: str = ""
    grove: bool = False
    writers: frozenset[str] = frozenset()
    skips: Callable[[str], bool] = lambda namespace: False


@dataclass(frozen=True, slots=True)
class Write:
    """One write that the API server asks about. old is empty on CREATE. version: of both objects (`v1beta1`)."""

    kind: str
    version: str
    operation: str
    namespace: str
    user: str
    new: Object
    old: Object = field(default_factory=dict)

    def may_scale(self, policy: Policy) -> bool:
        """Whether the user is one that adapters give replicas through: the operator or a planner (RB-09)."""
        return (
            self.user in policy.writers or self.user == f"system:serviceaccount:{self.namespace}:{_PLANNER}"
        )


@dataclass(slots=True)
class Judgement:
    """What speaks against a write. immutable: it changes what may no longer change; invalid: the new object breaks
    rules; warnings: it works, and something about it should be known."""

    immutable: list[Problem] = field(default_factory=list)
    invalid: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        return [*self.immutable, *self.invalid]
