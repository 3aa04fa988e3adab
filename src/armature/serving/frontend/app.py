"""The frontend's routes."""

from __future__ import annotations

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from armature.serving.frontend.completions import CompletionsApp
from armature.serving.frontend.errors import ApiError, unknown_model
from armature.serving.frontend.metrics import FrontendMetrics
from armature.serving.frontend.pool import Model, WorkerPool

__all__ = ["make_app"]


def make_app(pool: WorkerPool, metrics: FrontendMetrics, *, max_body: int) -> Starlette:
    """The ASGI application over a running pool. max_body: bytes a request may have."""
    pages = _Pages(pool, metrics)
    chat = CompletionsApp(pool, metrics, "chat_completions", max_body)
    completions = CompletionsApp(pool, metrics, "completions", max_body)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/models", pages.models),
            Route("/v1/models/{name:path}", pages.model),
            Route("/health", pages.health),
            Route("/live", pages.live),
            Route("/metrics", pages.metrics),
        ],
        exception_handlers={HTTPException: _http_error, ApiError: _api_error},  # type: ignore[dict-item]
    )


class _Pages:
    """Everything that is not a completion."""

    def __init__(self, pool: WorkerPool, metrics: FrontendMetrics) -> None:
        self._pool = pool
        self._metrics = metrics

    async def models(self, request: Request) -> Response:
        entries = [_entry(model) for model in self._pool.models.values()]
        return _json({"object": "list", "data": entries})

    async def model(self, request: Request) -> Response:
        name: str = request.path_params["name"]
        models = self._pool.models
        if name not in models:
            raise unknown_model(name, list(models))
        return _json(_entry(models[name]))

    async def health(self, request: Request) -> Response:
        """200 when at least one model is served, else 503; the instances either way."""
        instances = [
            {
                "namespace": worker.instance.namespace,
                "component": worker.instance.component,
                "instance_id": worker.instance.instance_id,
                "role": worker.instance.role,
                "model": worker.instance.card.name,
                "ready": worker.client.alive,
                "in_flight": worker.client.in_flight,
                "running": worker.client.beat.running,
                "waiting": worker.client.beat.waiting,
                "kv_usage": worker.client.beat.kv_usage,
                "system_address": worker.instance.system_address,
            }
            for worker in self._pool.workers
        ]
        models = list(self._pool.models)
        status = "healthy" if models else "unhealthy"
        body = {"status": status, "models": models, "instances": instances}
        return _json(body, 200 if models else 503)

    async def live(self, request: Request) -> Response:
        return _json({"status": "live"})

    async def metrics(self, request: Request) -> Response:
        return Response(self._metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _entry(model: Model) -> dict[str, object]:
    started = min(worker.instance.started for worker in model.workers.values())
    return {
        "id": model.card.name,
        "object": "model",
        "created": int(started),
        "owned_by": "armature",
        "root": model.card.model,
        "max_model_len": model.card.longest_sequence,
    }


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


async def _http_error(request: Request, error: HTTPException) -> Response:
    """Unknown paths and methods, in the shape of every other error."""
    answer = ApiError(
        error.status_code,
        f"{request.method} {request.url.path}: {error.detail}.",
        type="invalid_request_error",
        code="not_found" if error.status_code == 404 else None,
    )
    return Response(answer.body(), answer.status, error.headers, media_type="application/json")


async def _api_error(request: Request, error: ApiError) -> Response:
    return Response(error.body(), error.status, media_type="application/json")
