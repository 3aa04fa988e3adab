"""The part of a kubelet's HTTPS API that the apiserver uses for `kubectl logs`; what else it may ask for is refused."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from armature_testbed.process_node.container_log import LogAsk, read_log
from armature_testbed.process_node.node_object import KUBELET_PORT
from armature_testbed.process_node.pod_worker import PodWorker

__all__ = ["KubeletServer", "kubelet_app", "log_ask"]

FindPod = Callable[[str, str], PodWorker | None]
_NOT_OFFERED = ("exec", "attach", "portForward", "run", "cri")


def log_ask(query: dict[str, str], now_s: float) -> LogAsk:
    """What a kubelet's query asks of a log. Raises ValueError for numbers that are none."""
    since = query.get("sinceTime", "")
    if "sinceSeconds" in query:
        since_s = now_s - int(query["sinceSeconds"])
        since = datetime.fromtimestamp(since_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return LogAsk(
        tail=int(query["tailLines"]) if "tailLines" in query else None,
        since=since,
        limit_bytes=int(query["limitBytes"]) if "limitBytes" in query else None,
        timestamps=query.get("timestamps") == "true",
        follow=query.get("follow") == "true",
    )


def kubelet_app(find: FindPod, now_s: Callable[[], float]) -> Starlette:
    """find: the pod of a namespace and name on this node."""

    async def container_logs(request: Request) -> Response:
        names = request.path_params
        pod, name = find(names["namespace"], names["pod"]), names["container"]
        if pod is None:
            return PlainTextResponse(f'pod "{names["pod"]}" not found\n', 404)
        try:
            ask = log_ask(dict(request.query_params), now_s())
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 400)
        previous = request.query_params.get("previous") == "true"
        found = pod.log_of(name, previous=previous)
        if isinstance(found, str):
            return PlainTextResponse(f"{found}\n", 400)
        path, run = found
        return StreamingResponse(
            _lines(path, ask, lambda: run is None or run.ended.is_set()), media_type="text/plain"
        )

    async def refused(request: Request) -> Response:
        what = request.url.path.split("/")[1]
        return PlainTextResponse(f"a process node does not offer {what}; kubectl logs works\n", 501)

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("ok")

    paths = [
        Route("/containerLogs/{namespace}/{pod}/{container}", container_logs),
        Route("/healthz", healthy),
    ]
    paths += [Route(f"/{what}/{{rest:path}}", refused, methods=["GET", "POST"]) for what in _NOT_OFFERED]
    return Starlette(routes=paths)


async def _lines(path: Path, ask: LogAsk, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    async for part in read_log(path, ask, ended):
        yield part


class KubeletServer(uvicorn.Server):
    """Serves the app on the node's address to whoever has a client certificate of the cluster's authority."""

    def __init__(
        self, app: Starlette, address: str, *, certificate: Path, key: Path, authority: Path
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=address,
                port=KUBELET_PORT,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                ssl_certfile=str(certificate),
                ssl_keyfile=str(key),
                ssl_ca_certs=str(authority),
                ssl_cert_reqs=ssl.CERT_REQUIRED,
                timeout_graceful_shutdown=1,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the agent's."""
        yield
