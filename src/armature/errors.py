"""Every error a user can meet, as one tree.

    ArmatureError                    exit 1   anything we foresaw; `str()` is fit to print
    ├── InvalidInput                 exit 2   a file or a flag is wrong: every problem at once
    ├── ModelUnknown                 exit 3   no config.json for this model, here or on the hub
    ├── HardwareUnknown              exit 3   no GPU was given and none was found
    ├── NothingFits                  exit 4   no layout of this model fits the hardware
    ├── SlaMissed                    exit 5   `--strict-sla`: the closest layout misses a target
    ├── PreflightFailed              exit 6   the graph cannot start: every reason at once
    ├── StartFailed                  exit 7   a process did not become ready, a port is in use
    ├── OutputFailed                 exit 8   a result could not be written (disk full, no permission)
    └── ClusterFailed                exit 9   the Kubernetes API server refused, or was out of reach (see `kube.errors`)

Layer 0: imports nothing of ours. Anything that reaches the user and is not in this tree is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "ArmatureError",
    "ClusterFailed",
    "HardwareUnknown",
    "InvalidInput",
    "ModelUnknown",
    "NothingFits",
    "OutputFailed",
    "PreflightFailed",
    "Problem",
    "SlaMissed",
    "StartFailed",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what it is, the rule it breaks and how to mend it.

    `path` is dotted as the user wrote it (`spec.sla.ttft`, `spec.components[1].name`) or a flag (`--price`).
    `value` is the offending value as the user wrote it, or None when there is none to show.
    """

    path: str
    rule: str
    mend: str = ""
    value: object = None

    def __str__(self) -> str:
        shown = "" if self.value is None else f" (got {_short(self.value)})"
        mend = f"; {self.mend}" if self.mend else ""
        return f"{self.path}: {self.rule}{shown}{mend}"


class ArmatureError(Exception):
    """Base of everything Armature raises on purpose. `mend` says what the user can do about it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message}\n  {self.mend}" if self.mend else self.message


class _WithProblems(ArmatureError):
    """An error that lists every problem found, not only the first."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{subject}: {count} problem{'s' if count != 1 else ''}"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class InvalidInput(_WithProblems):
    """A file, a flag or an environment variable breaks a rule. `subject` names the file or the command."""

    exit_code = 2


class ModelUnknown(ArmatureError):
    """No facts about the model could be found, on disk, in the bundles or on the hub."""

    exit_code = 3


class HardwareUnknown(ArmatureError):
    """No GPU was stated and none was found."""

    exit_code = 3


class NothingFits(ArmatureError):
    """No layout of the model fits; the message names the smallest hardware that would."""

    exit_code = 4


class SlaMissed(ArmatureError):
    """Raised only on request (`--strict-sla`); a missed SLA is otherwise part of the answer."""

    exit_code = 5


class PreflightFailed(_WithProblems):
    """The generated or given graph cannot start."""

    exit_code = 6


class StartFailed(ArmatureError):
    """A process could not be started or did not become ready."""

    exit_code = 7


class OutputFailed(ArmatureError):
    """A result could not be written; nothing half-written was left behind."""

    exit_code = 8


class ClusterFailed(ArmatureError):
    """A Kubernetes API server refused a request, or could not be reached or found."""

    exit_code = 9


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
