"""What the API server refuses, as errors: one class per answer, each with the server's own message.

    ClusterFailed                        exit 9, in `armature.errors`
    └── ApiError          internal           any other refusal
        ├── NotFound          not_found          404: the object, its kind or its namespace
        ├── AlreadyExists     already_exists     409 on create
        ├── Conflict          conflict           409: it changed since it was read, or another manager owns the field
        ├── Gone              internal           410: a watch or a list must begin again
        ├── Invalid           validation         422: the object breaks its schema or a rule
        ├── BadRequest        bad_request        400: the request itself, or a webhook's refusal
        ├── Unauthorized      unauthorized       401
        ├── Forbidden         forbidden          403: RBAC, a quota, an admission plugin, a namespace that ends
        ├── TooManyRequests   rate_limited       429, with `retry_after_s`
        ├── Timeout           timeout            504 or our own deadline: a write may have happened all the same
        ├── ServerTimeout     server_timeout     500 with that reason: ask again
        └── Unavailable       unavailable        503, no connection, or one lost: a write may have happened too

The third column is `error_type`, the label of OM-03.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from armature.errors import ClusterFailed

__all__ = [
    "AlreadyExists",
    "ApiError",
    "BadRequest",
    "Conflict",
    "Forbidden",
    "Gone",
    "Invalid",
    "NotFound",
    "ServerTimeout",
    "Timeout",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "error_from_status",
]


class ApiError(ClusterFailed):
    """A request that failed. `status` is the HTTP status, 0 where there was no answer; `reason` the server's word.

    causes: the server's list of what is wrong with which field, empty where it gives none. retry_after_s: how long
    the server asks to wait, seconds.
    """

    error_type: ClassVar[str] = "internal"
    lasting: ClassVar[bool] = False
    """The same request will fail in the same way until somebody changes something."""

    def __init__(
        self,
        message: str,
        mend: str = "",
        *,
        status: int = 0,
        reason: str = "",
        causes: tuple[Mapping[str, Any], ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, mend)
        self.status = status
        self.reason = reason
        self.causes = causes
        self.retry_after_s = retry_after_s


class NotFound(ApiError):
    error_type = "not_found"


class AlreadyExists(ApiError):
    error_type = "already_exists"


class Conflict(ApiError):
    error_type = "conflict"


class Gone(ApiError):
    """The resource version is older than what the server remembers."""


class Invalid(ApiError):
    error_type = "validation"
    lasting = True


class BadRequest(ApiError):
    error_type = "bad_request"
    lasting = True


class Unauthorized(ApiError):
    error_type = "unauthorized"


class Forbidden(ApiError):
    error_type = "forbidden"
    lasting = True


class TooManyRequests(ApiError):
    error_type = "rate_limited"


class Timeout(ApiError):
    error_type = "timeout"


class ServerTimeout(ApiError):
    error_type = "server_timeout"


class Unavailable(ApiError):
    error_type = "unavailable"


_BY_REASON: dict[str, type[ApiError]] = {
    "NotFound": NotFound,
    "AlreadyExists": AlreadyExists,
    "Conflict": Conflict,
    "Gone": Gone,
    "Expired": Gone,
    "Invalid": Invalid,
    "BadRequest": BadRequest,
    "Unauthorized": Unauthorized,
    "Forbidden": Forbidden,
    "TooManyRequests": TooManyRequests,
    "Timeout": Timeout,
    "ServerTimeout": ServerTimeout,
    "ServiceUnavailable": Unavailable,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
    502: Unavailable,
    503: Unavailable,
    504: Timeout,
}


def error_from_status(
    status: int, body: Mapping[str, Any] | None, request: str, retry_after_s: float | None = None
) -> ApiError:
    """The error for an answer. body: the `Status` object the server sent, None where it sent something else.

    request: what was asked ("create jobs.batch default/profile"); it stands before the server's message.
    """
    body = body or {}
    reason = body.get("reason") or ""
    details = body.get("details") or {}
    kind = _BY_REASON.get(reason) or _BY_STATUS.get(status, ApiError)
    if retry_after_s is None and details.get("retryAfterSeconds"):
        retry_after_s = float(details["retryAfterSeconds"])
    return kind(
        f"{request}: {body.get('message') or f'HTTP {status}'}",
        status=status,
        reason=reason,
        causes=tuple(details.get("causes") or ()),
        retry_after_s=retry_after_s,
    )
