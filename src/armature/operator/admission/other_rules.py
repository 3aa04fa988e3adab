"""What may not change in a DynamoModel or a DynamoCheckpoint (reference §4.6)."""

from __future__ import annotations

from armature.errors import Problem
from armature.operator.admission.plain import at, same
from armature.operator.admission.policy import Judgement, Policy, Write

__all__ = ["judge_adapter", "judge_checkpoint", "judge_model"]

_MODEL_FIELDS = (
    ("modelType", "Changing spec.modelType may cause unexpected behavior"),
    ("baseModelName", "Changing spec.baseModelName will break endpoint discovery"),
)


def judge_model(write: Write, policy: Policy) -> Judgement:
    found = Judgement()
    for name, warning in _MODEL_FIELDS if write.old else ():
        if at(write.old, "spec", name) != at(write.new, "spec", name):
            rule = "is immutable and cannot be changed after creation"
            found.immutable.append(Problem(f"spec.{name}", rule))
            found.warnings.append(warning)
    return found


def judge_checkpoint(write: Write, policy: Policy) -> Judgement:
    found = Judgement()
    before = at(write.old, "spec", "identity")
    if before is not None and not same(before, at(write.new, "spec", "identity")):
        found.immutable.append(Problem("spec.identity", "is immutable after creation"))
    return found


def judge_adapter(write: Write, policy: Policy) -> Judgement:
    """A scaling adapter is its schema and nothing more."""
    return Judgement()
