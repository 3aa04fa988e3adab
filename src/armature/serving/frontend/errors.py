"""Failures as OpenAI's clients expect them: `{"error": {"message", "type", "code", "param"}}`."""

from __future__ import annotations

import msgspec

__all__ = ["ApiError", "invalid", "no_worker", "unknown_model", "worker_failed", "worker_lost"]


class ApiError(Exception):
    """An answer that is an error. status: HTTP status when nothing was sent yet."""

    def __init__(
        self, status: int, message: str, *, type: str, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param

    def body(self) -> bytes:
        """JSON."""
        error = {"message": self.message, "type": self.type, "code": self.code, "param": self.param}
        return msgspec.json.encode({"error": error})


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """The request is wrong and will stay wrong: 400."""
    return ApiError(400, message, type="invalid_request_error", code=code, param=param)


def unknown_model(name: str, known: list[str]) -> ApiError:
    """404, as OpenAI answers."""
    served = ", ".join(known) if known else "none yet: no worker is ready"
    return ApiError(
        404,
        f"The model '{name}' is not served here. Served: {served}.",
        type="invalid_request_error",
        code="model_not_found",
        param="model",
    )


def no_worker(model: str, missing: str) -> ApiError:
    """503: the model is known but nothing can serve it now."""
    return ApiError(
        503,
        f"No {missing} of model '{model}' is ready; try again in a moment.",
        type="service_unavailable",
        code="no_worker",
    )


def worker_lost(reason: str, tokens: int) -> ApiError:
    """503: the worker died under the request."""
    return ApiError(
        503,
        f"The request was lost after {tokens} output tokens: {reason}. Send it again.",
        type="server_error",
        code="worker_lost",
    )


def worker_failed(reason: str) -> ApiError:
    """500: the worker refused or failed the request."""
    return ApiError(500, f"The worker failed: {reason}.", type="server_error", code="worker_failed")
