"""The routes of the admission server: one per webhook path, and `/convert`.

Every answer is quick and pure, so it is given on the event loop. What is no review is 400 with one line per problem; a
bug in a rule is a refusal that says so, never a 5xx, for which the API server has no words.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from armature.api import convert_review
from armature.errors import InvalidInput, Problem
from armature.operator.admission.kinds import ADMITTED, CONVERT_PATH, mutate_paths, validate_paths
from armature.operator.admission.metrics import AdmissionMetrics
from armature.operator.admission.policy import Policy
from armature.operator.admission.review import Answered, Verb, answer

__all__ = ["admission_app"]

_log = logging.getLogger(__name__)
_MAX_BYTES = 16 * 2**20
"""An object is at most 1.5 MiB in etcd; a review holds two, a conversion a list of them."""

Endpoint = Callable[[Request], Awaitable[Response]]


def admission_app(
    policy: Policy,
    metrics: AdmissionMetrics,
    clock: Callable[[], float] = time.perf_counter,
) -> Starlette:
    """clock: seconds, for durations."""
    _log.info("Registering validation webhooks")

    def reviewing(verb: Verb, kind: str) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            start = clock()
            try:
                review = _decoded(await _body(request))
                answered = _answered(verb, kind, review, policy)
            except InvalidInput as error:
                return _refused(request, error)
            if verb == "validate":
                metrics.reviewed(answered, clock() - start)
                _tell(answered)
            return _json(answered.review)

        return endpoint

    async def converting(request: Request) -> Response:
        try:
            converted = convert_review(_decoded(await _body(request)))
        except InvalidInput as error:
            return _refused(request, error)
        response = converted["response"]
        if not response["uid"]:  # it was no ConversionReview
            return _refused(
                request, InvalidInput("request", [Problem("body", response["result"]["message"])])
            )
        return _json(converted)

    routes = [Route(CONVERT_PATH, converting, methods=["POST"])]
    for verb, path, kind in _reviewed_paths():
        routes.append(Route(path, reviewing(verb, kind), methods=["POST"]))
    return Starlette(routes=routes)


def _reviewed_paths() -> Iterator[tuple[Verb, str, str]]:
    for kind, admitted in ADMITTED.items():
        for path in validate_paths(admitted):
            yield "validate", path, kind
        for path in mutate_paths(admitted):
            yield "mutate", path, kind


def _answered(verb: Verb, kind: str, review: Any, policy: Policy) -> Answered:
    try:
        return answer(verb, kind, review, policy)
    except InvalidInput:
        raise
    except Exception as error:
        _log.exception("%s %s: a rule of ours failed", verb, kind)
        return _bug(kind, review, error)


def _bug(kind: str, review: Mapping[str, Any], error: Exception) -> Answered:
    """The review was read, so its request is whole."""
    request = review["request"]
    message = f"this is a bug in Armature's admission ({type(error).__name__}: {error}); please report it"
    response = {"uid": request["uid"], "allowed": False, "status": {"code": 422, "message": message}}
    body = {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}
    problem = Problem("object", message)
    namespace, name = str(request.get("namespace") or ""), str(request.get("name") or "")
    return Answered(body, kind, request["operation"], namespace, name, "internal_error", (problem,))


async def _body(request: Request) -> bytes:
    """Raises InvalidInput when there is more of it than any object can need."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > _MAX_BYTES:
            raise InvalidInput("request", [Problem("body", f"is larger than {_MAX_BYTES // 2**20} MiB")])
    return b"".join(chunks)


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInput("request", [Problem("body", f"is no JSON: {error}")]) from error


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _refused(request: Request, error: InvalidInput) -> Response:
    _log.warning("%s: %s", request.url.path, error)
    return PlainTextResponse(str(error), status_code=400)


def _tell(answered: Answered) -> None:
    """WH-09: which write, of what, and why not."""
    _log.info("validate %s: %s", answered.operation.lower(), answered.about)
    for problem in answered.problems:
        _log.info("validate %s refused (%s): %s: %s", answered.operation.lower(), answered.denied,
                  answered.about, problem)  # fmt: skip
