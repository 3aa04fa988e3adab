"""LeaderWorkerSet in a testbed: its CRDs, its admission, and its controller as one more process.

Its webhooks are reached on loopback, with a certificate of the testbed's authority, since nothing here makes Services
of processes unless a test does.
"""

from __future__ import annotations

import base64
import datetime
from pathlib import Path
from typing import Any

import yaml

from armature.errors import StartFailed
from armature_testbed.testbed import Testbed

__all__ = ["install_lws", "webhooks_on_loopback"]

_PORT = 9453
_OWN_PODS = {"matchExpressions": [{"key": "leaderworkerset.sigs.k8s.io/name", "operator": "Exists"}]}
_PROBE = """\
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: probe, namespace: default}
spec:
  leaderWorkerTemplate:
    size: 1
    workerTemplate: {spec: {containers: [{name: probe, image: probe}]}}
"""


def install_lws(testbed: Testbed, *, limit_s: float = 30.0) -> None:
    """Returns once a LeaderWorkerSet can be created; doing it again is no error. Raises ArmatureError."""
    if any(component.name == "lws" and component.running for component in testbed.state.components):
        return
    share = testbed.launch.programs.share
    if share is None:
        raise StartFailed(
            "LeaderWorkerSet comes with a built control plane.", "Install Go, without other kubectl"
        )
    config = Path(share) / "lws" / "config"
    testbed.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={config / 'crd' / 'bases'}")
    home = testbed.layout.directory / "lws"
    home.mkdir(mode=0o700, exist_ok=True)
    authority = testbed.authority
    pair = authority.server("lws", ("127.0.0.1",), datetime.datetime.now(datetime.UTC))
    for name, content in (("tls.crt", pair.certificate_pem), ("tls.key", pair.key_pem)):
        (home / name).touch(mode=0o600)
        (home / name).write_bytes(content)
    (home / "config.yaml").write_text(_configuration(home))
    kubeconfig = testbed.user_kubeconfig("lws", ("system:masters",))
    testbed.start("lws", ["lws", f"--config={home / 'config.yaml'}"], {"KUBECONFIG": str(kubeconfig)})
    manifests = list(yaml.safe_load_all((config / "webhook" / "manifests.yaml").read_text()))
    ours = webhooks_on_loopback(manifests, authority.pair.certificate_pem, port=_PORT)
    testbed.kubectl("apply", "--server-side", "--filename=-", stdin=yaml.safe_dump_all(ours))
    probe = [testbed.program("kubectl"), "create", "--dry-run=server", "--filename=-"]
    testbed.wait_for(
        lambda: testbed.run(probe, stdin=_PROBE, check=False).returncode == 0,
        "LeaderWorkerSet's webhooks to answer (armature-testbed logs lws)",
        limit_s=limit_s,
    )


def webhooks_on_loopback(
    manifests: list[dict[str, Any]], authority_pem: bytes, *, port: int
) -> list[dict[str, Any]]:
    """Its webhook configurations with loopback in place of its Service, and none for pods that are not its own."""
    return [
        {
            **manifest,
            "metadata": {**manifest["metadata"], "name": f"lws-{manifest['metadata']['name']}"},
            "webhooks": [_on_loopback(webhook, authority_pem, port) for webhook in manifest["webhooks"]],
        }
        for manifest in manifests
    ]


def _on_loopback(webhook: dict[str, Any], authority_pem: bytes, port: int) -> dict[str, Any]:
    path = webhook["clientConfig"]["service"]["path"]
    client = {
        "url": f"https://127.0.0.1:{port}{path}",
        "caBundle": base64.b64encode(authority_pem).decode(),
    }
    for_pods = any("pods" in rule["resources"] for rule in webhook["rules"])
    return {**webhook, "clientConfig": client, **({"objectSelector": _OWN_PODS} if for_pods else {})}


def _configuration(home: Path) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "config.lws.x-k8s.io/v1alpha1",
            "kind": "Configuration",
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {"enable": False},
            "webhook": {"host": "127.0.0.1", "port": _PORT, "certDir": str(home)},
            "metrics": {"bindAddress": "127.0.0.1:9454"},
            "health": {"healthProbeBindAddress": "127.0.0.1:9455"},
        }
    )
