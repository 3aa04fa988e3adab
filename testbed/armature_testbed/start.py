"""Brings the control plane up, part by part, each as soon as what it needs answers.

What a person waits for is the slowest chain: etcd, then the apiserver; the rest starts beside each other once the API
is ready.
"""

from __future__ import annotations

import base64
import datetime
import http.client
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import yaml

from armature.errors import StartFailed
from armature.local.logs import tail
from armature_testbed import components
from armature_testbed.certificates import Authority, KeyPair, new_key_pem, public_key_pem
from armature_testbed.children import Children
from armature_testbed.layout import Layout
from armature_testbed.programs import Programs

__all__ = ["KWOK_SELECTOR", "Launch", "kubeconfig_text", "start_control_plane", "write_pki"]

KWOK_SELECTOR = "kwok.x-k8s.io/node=fake"
_LIMIT_S = 60.0  # a machine at work on something else starts an apiserver in 20 s
_POLL_S = 0.02


class Launch(msgspec.Struct, frozen=True):
    """What `up` decided and the supervisor carries out. environment: of every process of the testbed."""

    programs: Programs
    environment: dict[str, str]
    user_namespace: bool
    kwok: bool = True


def start_control_plane(layout: Layout, launch: Launch, children: Children) -> Iterator[str]:
    """Yields each stage as it is reached. Raises StartFailed with the last words of a part that did not come up."""
    paths = launch.programs.paths

    def start(argv: list[str]) -> None:
        children.start(argv[0], [paths[argv[0]], *argv[1:]], extra=False)

    start(components.etcd(layout))
    write_pki(layout, datetime.datetime.now(datetime.UTC))
    layout.audit_policy.write_text(components.AUDIT_POLICY)
    _wait("etcd", lambda: _get_plain(components.ETCD_URL, "/health"), children, layout)
    yield "etcd"
    start(components.apiserver(layout))
    _wait("kube-apiserver", lambda: _get_tls(components.APISERVER_PORT, "/readyz"), children, layout)
    yield "kube-apiserver"
    others = [components.controller_manager(layout), components.scheduler(layout)]
    if launch.kwok:
        others.append(components.kwok(layout, KWOK_SELECTOR))
    started = [argv[0] for argv in others if argv[0] in paths]
    for argv in others:
        if argv[0] in started:
            start(argv)
    for name, port in (("kube-controller-manager", 10257), ("kube-scheduler", 10259)):
        if name in started:
            _wait(name, lambda port=port: _get_tls(port, "/healthz"), children, layout)  # type: ignore[misc]
            yield name
    if "kwok" in started:
        yield "kwok"


def write_pki(layout: Layout, now: datetime.datetime) -> None:
    """All keys, certificates and kubeconfigs of the control plane, and the administrator's kubeconfig."""
    ca, front_proxy_ca = (
        Authority.new("armature-testbed", now),
        Authority.new("armature-testbed-front-proxy", now),
    )
    service_accounts = new_key_pem()
    pairs = {
        "ca": ca.pair,
        "front-proxy-ca": front_proxy_ca.pair,
        "front-proxy": front_proxy_ca.client("front-proxy", (), now),
        "apiserver": ca.server("kube-apiserver", components.SERVER_NAMES, now),
        "admin": ca.client("testbed-admin", ("system:masters",), now),
        "kubelet-client": ca.client("kube-apiserver-kubelet-client", ("system:masters",), now),
    }
    for name, pair in pairs.items():
        _write_private(layout.pki / f"{name}.crt", pair.certificate_pem)
        _write_private(layout.pki / f"{name}.key", pair.key_pem)
    _write_private(layout.pki / "service-accounts.key", service_accounts)
    _write_private(layout.pki / "service-accounts.pub", public_key_pem(service_accounts))
    users = {
        layout.pki / "controller-manager.kubeconfig": ("system:kube-controller-manager", ()),
        layout.pki / "scheduler.kubeconfig": ("system:kube-scheduler", ()),
        layout.pki / "kwok.kubeconfig": ("kwok", ("system:masters",)),
    }
    clients = {path: (user, ca.client(user, groups, now)) for path, (user, groups) in users.items()}
    clients[layout.kubeconfig] = ("testbed-admin", pairs["admin"])
    for path, (user, client) in clients.items():
        _write_private(path, kubeconfig_text(ca.pair.certificate_pem, client, user).encode())


def kubeconfig_text(
    authority_pem: bytes, client: KeyPair, user: str, *, server: str = components.SERVER_URL
) -> str:
    """A kubeconfig that holds everything itself."""

    def encoded(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "testbed",
                "cluster": {"server": server, "certificate-authority-data": encoded(authority_pem)},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": encoded(client.certificate_pem),
                    "client-key-data": encoded(client.key_pem),
                },
            }
        ],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
        "current-context": "testbed",
    }
    return yaml.safe_dump(config, sort_keys=False)


def _write_private(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


def _wait(name: str, answers: Callable[[], bool], children: Children, layout: Layout) -> None:
    end = time.monotonic() + _LIMIT_S
    while not answers():
        status = children.ended(name)
        if status is not None or time.monotonic() > end:
            what = (
                f"ended with status {status}" if status is not None else f"not ready after {_LIMIT_S:.0f} s"
            )
            words = "\n".join(f"  {line}" for line in tail(layout.log(name), 15))
            raise StartFailed(f"{name} {what}. Its last words:\n{words}")
        time.sleep(_POLL_S)


def _get_plain(url: str, path: str) -> bool:
    return _ok(http.client.HTTPConnection(url.removeprefix("http://"), timeout=5), path)


def _get_tls(port: int, path: str) -> bool:
    """Of a server on loopback whose certificate only it knows yet."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return _ok(http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context), path)


def _ok(connection: http.client.HTTPConnection, path: str) -> bool:
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
