"""The client that speaks to a real API server: plain mappings over HTTP.

lightkube finds the cluster (a kubeconfig, or the pod's own account), sets up TLS and signs in; requests are made here,
because its own decode into typed models, hide Retry-After, and drop a watch's 410. The only module that knows it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from lightkube.config.client_adapter import user_auth, verify_cluster
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from armature.errors import ClusterFailed
from armature.kube.client import FIELD_MANAGER, Listing, Propagation, Selector, WatchEvent
from armature.kube.errors import ApiError, Timeout, Unauthorized, Unavailable, error_from_status
from armature.kube.kinds import Kind, Object

__all__ = ["ApiClient", "TokenFile", "connect", "watch_events"]

_ALL = Selector()
_READ_S = 35.0  # above the 30 s that a webhook may take
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60.0)
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": FIELD_MANAGER}
_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
_TOKEN_READ_EVERY_S = 60.0


def connect(kubeconfig: str = "", context: str = "") -> ApiClient:
    """A client of the cluster that `kubeconfig` names, else $KUBECONFIG, else the pod's own, else ~/.kube/config.

    Nothing is sent yet. Raises ClusterFailed where there is none of these, or one that cannot be used.
    """
    try:
        config = _config(kubeconfig, context)
        user = config.user
        if user is not None and user.exec is not None and user.exec.apiVersion.endswith("/v1"):
            user.exec.apiVersion = (
                "client.authentication.k8s.io/v1beta1"  # the same to us; lightkube knows this one
            )
        auth = TokenFile(Path(user.token_file)) if user and user.token_file else user_auth(user)
        verify = verify_cluster(config.cluster, user, config.abs_file)  # type: ignore[arg-type]
        http = httpx2.AsyncClient(
            base_url=config.cluster.server,
            verify=verify,
            auth=auth,
            timeout=_timeout(_READ_S),
            limits=_LIMITS,
            headers=_HEADERS,
        )
    except (ConfigError, OSError, KeyError, ValueError, TypeError, msgspec.ValidationError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ClusterFailed(
            f"No usable cluster configuration: {said}",
            "Give a kubeconfig with --kubeconfig or $KUBECONFIG; `kubectl config view` shows the one in use.",
        ) from error
    return ApiClient(http, default_namespace=config.namespace)


def _config(kubeconfig: str, context: str) -> SingleConfig:
    named = kubeconfig or os.environ.get("KUBECONFIG", "")
    if named:
        found = KubeConfig.from_file(named)
    elif Path(SERVICE_ACCOUNT, "token").exists() and "KUBERNETES_SERVICE_HOST" in os.environ:
        found = KubeConfig.from_service_account()
    else:
        found = KubeConfig.from_file(DEFAULT_KUBECONFIG)
    config = found.get(context or None)
    assert config is not None
    return config


class TokenFile(httpx2.Auth):
    """Signs in with the token in a file that somebody renews: read again every minute, and at once when refused."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._token = ""
        self._read_at = -_TOKEN_READ_EVERY_S

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        if self._clock() - self._read_at >= _TOKEN_READ_EVERY_S:
            self._read()
        used = self._token
        request.headers["Authorization"] = f"Bearer {used}"
        response = yield request
        if response.status_code == 401:
            self._read()
            if self._token != used:
                request.headers["Authorization"] = f"Bearer {self._token}"
                yield request

    def _read(self) -> None:
        self._token = self._path.read_text().strip()
        self._read_at = self._clock()


class ApiClient:
    """Implements `client.Client`. http: carries the server's address, TLS and sign-in. default_namespace: the one that
    the configuration names."""

    def __init__(self, http: httpx2.AsyncClient, *, default_namespace: str = "default") -> None:
        self.default_namespace = default_namespace
        self._http = http

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        return await self._send("GET", kind.path(namespace, name), f"get {kind}/{name}")

    async def list(self, kind: Kind, selector: Selector = _ALL, *, chunk: int = 500) -> Listing:
        path, params = kind.path(selector.namespace), _selection(selector) | {"limit": str(chunk)}
        items: list[Object] = []
        while True:
            page = await self._send("GET", path, f"list {kind}", params)
            for item in page.get("items") or ():
                items.append({"apiVersion": kind.api_version, "kind": kind.kind} | item)
            metadata = page["metadata"]
            if not metadata.get("continue"):
                return Listing(items, metadata["resourceVersion"])
            params["continue"] = metadata["continue"]

    async def watch(
        self,
        kind: Kind,
        selector: Selector = _ALL,
        *,
        resource_version: str,
        timeout_s: float,
        idle_s: float,
    ) -> AsyncGenerator[WatchEvent, None]:
        what = f"watch {kind}"
        params = _selection(selector) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(timeout_s))),
        }
        timeout = _timeout(idle_s)
        request = self._http.build_request(
            "GET", kind.path(selector.namespace), params=params, timeout=timeout
        )
        with _mapped(what):
            response = await self._http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    await response.aread()
                    raise _error(response, what)
                rest = b""
                async for data in response.aiter_raw():
                    lines = (rest + data).split(b"\n")
                    rest = lines.pop()
                    for event in watch_events(lines, what):
                        yield event
                if rest:
                    raise Unavailable(f"{what}: the connection ended in the middle of an event")
            finally:
                await response.aclose()

    async def create(self, kind: Kind, obj: Mapping[str, Any], namespace: str = "") -> Object:
        path = kind.path(obj["metadata"].get("namespace") or namespace)
        what = f"create {kind}/{obj['metadata'].get('name') or obj['metadata'].get('generateName')}"
        body = {
            **_whole(kind, {}),
            **obj,
        }  # what is posted to a subresource is of a kind of its own (TokenRequest)
        return await self._send("POST", path, what, {"fieldManager": FIELD_MANAGER}, body)

    async def apply(
        self, kind: Kind, obj: Mapping[str, Any], *, subresource: str = "", force: bool = True
    ) -> Object:
        name = obj["metadata"]["name"]
        path = kind.path(obj["metadata"].get("namespace") or "", name, subresource)
        params = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        return await self._send(
            "PATCH", path, f"apply {kind}/{name}", params, _whole(kind, obj), _APPLY_PATCH
        )

    async def apply_status(self, kind: Kind, obj: Mapping[str, Any], *, force: bool = True) -> Object:
        return await self.apply(kind, obj, subresource="status", force=force)

    async def patch(
        self, kind: Kind, name: str, namespace: str, patch: Mapping[str, Any], *, subresource: str = ""
    ) -> Object:
        path = kind.path(namespace, name, subresource)
        return await self._send(
            "PATCH", path, f"patch {kind}/{name}", {"fieldManager": FIELD_MANAGER}, patch, _MERGE_PATCH
        )

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: Propagation = "Background",
        grace_s: int | None = None,
    ) -> None:
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {key: value for key, value in preconditions.items() if value},
            **({} if grace_s is None else {"gracePeriodSeconds": grace_s}),
        }
        await self._send("DELETE", kind.path(namespace, name), f"delete {kind}/{name}", {}, options)

    async def close(self) -> None:
        await self._http.aclose()

    async def _send(
        self,
        method: str,
        path: str,
        what: str,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
    ) -> Object:
        content = None if body is None else msgspec.json.encode(body)
        headers = None if body is None else {"Content-Type": content_type}
        with _mapped(what):
            response = await self._http.request(method, path, params=params, content=content, headers=headers)
            if response.status_code >= 300:
                raise _error(response, what)
            answer: Object = msgspec.json.decode(response.content)
            return answer


def watch_events(lines: list[bytes], what: str) -> Iterator[WatchEvent]:
    """The events of complete lines; raises the error that an ERROR event carries."""
    for line in lines:
        if not line:
            continue
        event = msgspec.json.decode(line)
        obj = event["object"]
        if event["type"] == "ERROR":
            raise error_from_status(int(obj.get("code") or 500), obj, what)
        yield WatchEvent(event["type"], obj, obj["metadata"]["resourceVersion"])


def _timeout(read_s: float) -> httpx2.Timeout:
    return httpx2.Timeout(connect=5.0, read=read_s, write=10.0, pool=60.0)


def _selection(selector: Selector) -> dict[str, str]:
    stated = {"labelSelector": selector.labels, "fieldSelector": selector.fields}
    return {key: value for key, value in stated.items() if value}


def _whole(kind: Kind, obj: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**obj, "apiVersion": kind.api_version, "kind": kind.kind}


def _error(response: httpx2.Response, what: str) -> ApiError:
    try:
        body = json.loads(response.content)
    except ValueError:
        body = {"message": f"HTTP {response.status_code}: {response.text[:200].strip()}"}
    after = response.headers.get("Retry-After", "")
    return error_from_status(
        response.status_code,
        body if isinstance(body, dict) else None,
        what,
        float(after) if after.isdigit() else None,
    )


@contextlib.contextmanager
def _mapped(what: str) -> Iterator[None]:
    """Whatever goes wrong on the way to the server and back, as one of our errors."""
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise Unavailable(f"{what}: the API server cannot be reached: {error or 'timed out'}") from error
    except httpx2.TimeoutException as error:
        raise Timeout(f"{what}: no answer in time ({type(error).__name__})") from error
    except httpx2.HTTPError as error:
        raise Unavailable(f"{what}: the connection was lost: {error or type(error).__name__}") from error
    except msgspec.DecodeError as error:
        raise Unavailable(f"{what}: the answer is not JSON: {error}") from error
    except (ConfigError, OSError) as error:
        raise Unauthorized(f"{what}: signing in failed: {error}") from error
