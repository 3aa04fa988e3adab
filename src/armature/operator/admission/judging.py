"""What a validating webhook refuses: the rules of the API, and those that need two versions of an object or the
operator's settings.

`_RULES` is the seam: a kind's own function adds what its controller must be able to rely on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from armature.api import check, warnings_of
from armature.api.parse import class_of
from armature.api.problems import UNKNOWN, under
from armature.errors import Problem
from armature.operator.admission.graph_rules import judge_component, judge_graph
from armature.operator.admission.other_rules import judge_adapter, judge_checkpoint, judge_model
from armature.operator.admission.plain import mapping_at
from armature.operator.admission.policy import Judgement, Policy, Write
from armature.operator.admission.request_rules import judge_request

__all__ = ["judge"]

_RULES: Mapping[str, Callable[[Write, Policy], Judgement]] = {
    "DynamoGraphDeploymentRequest": judge_request,
    "DynamoGraphDeployment": judge_graph,
    "DynamoComponentDeployment": judge_component,
    "DynamoModel": judge_model,
    "DynamoCheckpoint": judge_checkpoint,
    "DynamoGraphDeploymentScalingAdapter": judge_adapter,
}
_METADATA = ("name", "namespace", "labels", "annotations")
_OPEN = "spec.overrides.dgd"
"""The one part of an object that has no schema in the cluster but has ours: a misspelt key there is ours to find."""
_INDEX = re.compile(r"\[\d+\]")


def judge(write: Write, policy: Policy) -> Judgement:
    """What speaks against a write. On UPDATE a rule speaks only where the old object did not break it in the same way
    (ratcheting), so that an object from before the rule can still be changed."""
    found = _RULES[write.kind](write, policy)
    problems, warnings = _of_api(write.new, write)
    found.invalid = _distinct([*found.invalid, *problems])
    found.warnings = list(dict.fromkeys([*found.warnings, *warnings]))
    if write.old and found.invalid:
        before = _RULES[write.kind](_as_created(write), policy)
        broken = {_mark(problem) for problem in (*before.invalid, *_of_api(write.old, write)[0])}
        found.invalid = [problem for problem in found.invalid if _mark(problem) not in broken]
    if any(problem.path == "spec" for problem in found.immutable):
        found.invalid = []  # what is wrong with a change does not matter where nothing may change
    return found


def _as_created(write: Write) -> Write:
    return Write(write.kind, write.version, "CREATE", write.namespace, write.user, write.old)


def _of_api(obj: Mapping[str, Any], write: Write) -> tuple[list[Problem], list[str]]:
    """The problems and warnings that the object itself gives, as `armature validate` would.

    Keys that no type knows are left to the API server, which drops or refuses them. The status is not the user's.
    """
    metadata = {key: value for key, value in mapping_at(obj, "metadata").items() if key in _METADATA}
    prefix = mapping_at(obj, "metadata").get("generateName")
    if not metadata.get("name") and isinstance(prefix, str):
        metadata["name"] = f"{prefix}xxxxx"  # as long as the name that it is given, and as well formed
    if write.old:
        metadata["uid"] = (
            "-"  # by which `api` knows an object that has been created; on CREATE it has one as well
        )
    seen = {**{key: value for key, value in obj.items() if key != "status"}, "metadata": metadata}
    if class_of(seen)[1]:
        return [], []  # a kind that `api` has no rules for
    resource, problems = check(seen)
    problems = [problem for problem in problems if problem.rule != UNKNOWN or under(problem.path, _OPEN)]
    return problems, list(warnings_of(resource)) if resource is not None and not problems else []


def _distinct(problems: list[Problem]) -> list[Problem]:
    """One problem per rule and field; a required field said missing twice is said once."""
    return list({(problem.path, problem.rule): problem for problem in problems}.values())


def _mark(problem: Problem) -> tuple[str, str, str]:
    """What makes two problems the same one; places in lists do not."""
    return _INDEX.sub("[]", problem.path), problem.rule, repr(problem.value)
