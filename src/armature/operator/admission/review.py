"""AdmissionReview in, AdmissionReview out (`admission.k8s.io/v1`); pure.

A review that is not one raises InvalidInput, which the server answers with 400. What is wrong with the object inside
is an answer, never an error: every problem at once, and for `kubectl` each with its field.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from armature.api.meta import API_GROUP
from armature.errors import InvalidInput, Problem
from armature.operator.admission.defaulting import default_patch
from armature.operator.admission.judging import judge
from armature.operator.admission.kinds import ADMITTED
from armature.operator.admission.plain import at, mapping_at
from armature.operator.admission.policy import Judgement, Object, Policy, Write

__all__ = ["IMMUTABLE", "INVALID", "Answered", "Verb", "answer", "warm_up"]

Verb = Literal["validate", "mutate"]
IMMUTABLE, INVALID = "immutable_field_changed", "invalid_config"
"""Reasons of OM-06."""

_OPERATIONS = ("CREATE", "UPDATE", "DELETE", "CONNECT")
_ADMISSION = "admission.k8s.io/v1"
_TOO_DEEP = Problem("object", "is nested too deeply to be read", "no manifest needs that")


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to one review, and what metrics and logs say of it. denied: the reason of a refusal, else empty."""

    review: Object
    kind: str
    operation: str
    namespace: str
    name: str
    denied: str = ""
    problems: tuple[Problem, ...] = ()

    @property
    def about(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def answer(verb: Verb, kind: str, review: Any, policy: Policy) -> Answered:
    """The answer of the webhook of this kind. Raises InvalidInput where the review itself makes no sense."""
    request = _request_of(review, kind)
    write = _write_of(request, kind)
    judgement, patch = Judgement(), []
    if not _passes(request, write, policy):
        try:
            if verb == "mutate":
                patch = default_patch(write, policy)
            else:
                judgement = judge(write, policy)
        except RecursionError:
            judgement = Judgement(invalid=[_TOO_DEEP])
    response = _response(request["uid"], write, judgement, patch)
    reason = IMMUTABLE if judgement.immutable else INVALID if judgement.invalid else ""
    return Answered(
        {"apiVersion": _ADMISSION, "kind": "AdmissionReview", "response": response},
        kind,
        write.operation,
        write.namespace,
        _name_of(request, write),
        reason,
        tuple(judgement.problems),
    )


def warm_up() -> None:
    """Builds what the first review of each kind would otherwise build, about half a second in all. The types are made
    when they are first needed, so that the command line starts fast; a webhook has ten seconds and better uses."""
    for kind, admitted in ADMITTED.items():
        for version in admitted.versions:
            empty: Object = {"metadata": {"name": "x"}, "spec": {}}
            judge(Write(kind, version, "CREATE", "x", "", _headed(empty, version, kind)), Policy())


def _headed(obj: Object, version: str, kind: str) -> Object:
    """The API server states kind and version beside the object, which may lack them or name others."""
    return {**obj, "apiVersion": f"{API_GROUP}/{version}", "kind": kind}


def _passes(request: Mapping[str, Any], write: Write, policy: Policy) -> bool:
    """Writes that are not judged: an object that goes is never held up (WH-08), a subresource is not the user's, and
    another operator's namespace is its own (WH-12)."""
    going = mapping_at(write.new, "metadata").get("deletionTimestamp") is not None
    return (
        write.operation in ("DELETE", "CONNECT")
        or going
        or bool(request.get("subResource"))
        or policy.skips(write.namespace)
    )


def _request_of(review: Any, kind: str) -> dict[str, Any]:
    """The review's request, or all that is wrong with the review."""
    problems = []
    if not isinstance(review, Mapping):
        raise InvalidInput("AdmissionReview", [Problem("body", "must be an AdmissionReview object")])
    for key, wanted in (("apiVersion", _ADMISSION), ("kind", "AdmissionReview")):
        if review.get(key) != wanted:
            problems.append(Problem(key, f"must be {wanted}", value=review.get(key)))
    request = review.get("request")
    if not isinstance(request, dict):
        raise InvalidInput("AdmissionReview", [*problems, Problem("request", "must be a mapping")])
    for key in ("uid", "operation"):
        if not isinstance(request.get(key), str) or not request[key]:
            problems.append(Problem(f"request.{key}", "must be a string", value=request.get(key)))
    for key in ("namespace", "name", "subResource"):
        if not isinstance(request.get(key, ""), str):
            problems.append(Problem(f"request.{key}", "must be a string", value=request[key]))
    if isinstance(request.get("operation"), str) and request["operation"] not in _OPERATIONS:
        mend = f"one of {', '.join(_OPERATIONS)}"
        problems.append(Problem("request.operation", "unknown operation", mend, request["operation"]))
    problems += _kind_problems(mapping_at(request, "kind"), kind)
    problems += _object_problems(request)
    if problems:
        raise InvalidInput("AdmissionReview", problems)
    return request


def _kind_problems(named: Mapping[str, Any], kind: str) -> list[Problem]:
    problems = []
    if named.get("group") != API_GROUP or named.get("kind") != kind:
        shown = f"{named.get('kind')}.{named.get('group')}"
        mend = "the webhook's path and its rules do not fit each other"
        problems.append(Problem("request.kind", f"must be {kind}.{API_GROUP}", mend, shown))
    elif named.get("version") not in ADMITTED[kind].versions:
        served = f"one of {', '.join(ADMITTED[kind].versions)}"
        problems.append(Problem("request.kind.version", "unknown version", served, named.get("version")))
    return problems


def _object_problems(request: Mapping[str, Any]) -> list[Problem]:
    needed = {"CREATE": ("object",), "UPDATE": ("object", "oldObject")}.get(str(request.get("operation")), ())
    return [
        Problem(f"request.{key}", "must be the object", value=type(request.get(key)).__name__)
        for key in needed
        if not isinstance(request.get(key), dict)
    ]


def _write_of(request: Mapping[str, Any], kind: str) -> Write:
    version = request["kind"]["version"]
    operation = request["operation"]
    new, old = mapping_at(request, "object"), mapping_at(request, "oldObject")
    user = at(request, "userInfo", "username")
    return Write(
        kind=kind,
        version=version,
        operation=operation,
        namespace=request.get("namespace", ""),
        user=user if isinstance(user, str) else "",
        new=_headed(new, version, kind),
        old=_headed(old, version, kind) if operation == "UPDATE" else {},
    )


def _name_of(request: Mapping[str, Any], write: Write) -> str:
    metadata = mapping_at(write.new, "metadata")
    name = request.get("name") or metadata.get("name") or metadata.get("generateName")
    return name if isinstance(name, str) else ""


def _response(uid: str, write: Write, judgement: Judgement, patch: list[dict[str, Any]]) -> dict[str, Any]:
    problems = judgement.problems
    response: dict[str, Any] = {"uid": uid, "allowed": not problems}
    if problems:
        response["status"] = {
            "status": "Failure",
            "code": 422,
            "reason": "Invalid",
            "message": "\n".join(str(problem) for problem in problems),
            "details": {
                "group": API_GROUP,
                "kind": write.kind,
                "name": _name_of({}, write),
                "causes": [_cause(problem, forbidden=problem in judgement.immutable) for problem in problems],
            },
        }
    if judgement.warnings:
        response["warnings"] = [" ".join(warning.split()) for warning in judgement.warnings]
    if patch:
        encoded = base64.b64encode(msgspec.json.encode(patch)).decode()
        response |= {"patchType": "JSONPatch", "patch": encoded}
    return response


def _cause(problem: Problem, *, forbidden: bool) -> dict[str, str]:
    """How `kubectl` shows one problem: `field: message`."""
    reason = "FieldValueForbidden" if forbidden else "FieldValueInvalid"
    message = str(problem)[len(problem.path) + 2 :]
    return {"reason": reason, "field": problem.path, "message": message}
