"""The conversion webhook's decision: a ConversionReview (v1) with a request in, one with the answer out. Pure.

The API server asks whenever it reads or writes an object in a version that it does not store. Either every object is
converted, in the order they came, or the answer is one Failure that says which object could not be, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.api.convert.lens import convert_object
from armature.errors import InvalidInput

__all__ = ["convert_review"]

_VERSION = "apiextensions.k8s.io/v1"


def convert_review(review: Mapping[str, Any]) -> dict[str, Any]:
    """The review's answer. It never raises: what is no review has an answer with an empty uid that says so."""
    request = review.get("request") if isinstance(review, Mapping) else None
    if not isinstance(request, Mapping):
        return _answer("", _failure("not a ConversionReview: it has no request"))
    uid = request.get("uid")
    uid = uid if isinstance(uid, str) else ""
    version, objects = request.get("desiredAPIVersion"), request.get("objects")
    if not isinstance(version, str) or not isinstance(objects, list):
        return _answer(uid, _failure("the request has no desiredAPIVersion or no objects"))
    converted = []
    for number, data in enumerate(objects):
        if not isinstance(data, Mapping):
            return _answer(uid, _failure(f"object {number} is no mapping"))
        try:
            converted.append(convert_object(data, version))
        except InvalidInput as error:
            told = "; ".join(f"{problem.path} {problem.rule}: {problem.mend}" for problem in error.problems)
            return _answer(uid, _failure(f"{_named(data)}: {told}"))
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            why = f"{type(error).__name__}: {error}"
            return _answer(uid, _failure(f"{_named(data)} cannot be converted to {version}: {why}"))
    return _answer(uid, {"convertedObjects": converted, "result": {"status": "Success"}})


def _named(data: Mapping[str, Any]) -> str:
    metadata = data.get("metadata")
    parts = (metadata.get("namespace"), metadata.get("name")) if isinstance(metadata, Mapping) else ()
    return f"{data.get('kind') or 'object'} {'/'.join(str(part) for part in parts if part) or '(no name)'}"


def _failure(message: str) -> dict[str, Any]:
    return {"convertedObjects": [], "result": {"status": "Failure", "message": message}}


def _answer(uid: str, response: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": _VERSION, "kind": "ConversionReview", "response": {"uid": uid, **response}}
