"""The command line of each part of the control plane: pure, one function a part.

Everything listens in a network namespace of its own, so ports are the usual ones and never taken. The apiserver listens
on every address there: on loopback for users, on 10.96.0.2 for the `kubernetes` Service.
"""

from __future__ import annotations

from pathlib import Path

from armature_testbed.layout import Layout

__all__ = [
    "ADVERTISED",
    "APISERVER_PORT",
    "AUDIT_POLICY",
    "ETCD_URL",
    "POD_CIDR",
    "PROCESS_POD_CIDR",
    "SERVER_NAMES",
    "SERVER_URL",
    "SERVICE_ACCOUNT_ISSUER",
    "SERVICE_CIDR",
    "SIMULATED_POD_CIDR",
    "apiserver",
    "controller_manager",
    "etcd",
    "kwok",
    "scheduler",
]

POD_CIDR = "10.244.0.0/16"
PROCESS_POD_CIDR = "10.244.0.0/17"  # process nodes take their pods' addresses from here,
SIMULATED_POD_CIDR = "10.244.128.0/17"  # KWOK those of its pods from here
SERVICE_CIDR = "10.96.0.0/16"
ADVERTISED = "10.96.0.2"  # the apiserver's own address; it refuses to advertise loopback
APISERVER_PORT = 6443
SERVER_URL = f"https://127.0.0.1:{APISERVER_PORT}"
ETCD_URL = "http://127.0.0.1:2379"
SERVICE_ACCOUNT_ISSUER = "https://kubernetes.default.svc.cluster.local"
SERVER_NAMES = (
    "127.0.0.1",
    "localhost",
    "10.96.0.1",
    ADVERTISED,
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
_CLIENT_QPS = 500  # the defaults (20 to 50) make a busy test wait for the controllers' own rate limit

# Every request once, when its answer is complete, without bodies: who did what to which object, and with which result.
AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted, Panic]
rules:
  - level: None
    nonResourceURLs: ["/readyz*", "/livez*", "/healthz*", "/openapi/*", "/version"]
  - level: Metadata
    omitManagedFields: true
"""


def etcd(layout: Layout) -> list[str]:
    return [
        "etcd",
        f"--data-dir={layout.etcd}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={ETCD_URL}",
        f"--advertise-client-urls={ETCD_URL}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--quota-backend-bytes=8589934592",
        "--log-level=warn",
    ]


def apiserver(layout: Layout) -> list[str]:
    pki = layout.pki
    return [
        "kube-apiserver",
        f"--etcd-servers={ETCD_URL}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={ADVERTISED}",
        f"--secure-port={APISERVER_PORT}",
        f"--cert-dir={pki}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy.key'}",
        f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--profiling=false",
        f"--audit-policy-file={layout.audit_policy}",
        f"--audit-log-path={layout.audit}",
        "--audit-log-maxsize=4096",
    ]


def controller_manager(layout: Layout) -> list[str]:
    pki = layout.pki
    return [
        "kube-controller-manager",
        f"--kubeconfig={pki / 'controller-manager.kubeconfig'}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--kube-api-qps={_CLIENT_QPS}",
        f"--kube-api-burst={2 * _CLIENT_QPS}",
        "--profiling=false",
    ]


def scheduler(layout: Layout) -> list[str]:
    return [
        "kube-scheduler",
        f"--kubeconfig={layout.pki / 'scheduler.kubeconfig'}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        f"--kube-api-qps={_CLIENT_QPS}",
        f"--kube-api-burst={2 * _CLIENT_QPS}",
        "--profiling=false",
    ]


def kwok(layout: Layout, selector: str) -> list[str]:
    """selector: the annotation `key=value` of nodes that are KWOK's. What it does to them is in `stages.yaml`."""
    return [
        "kwok",
        f"--kubeconfig={layout.pki / 'kwok.kubeconfig'}",
        f"--config={Path(__file__).with_name('stages.yaml')}",
        f"--manage-nodes-with-annotation-selector={selector}",
        "--node-lease-duration-seconds=40",
        f"--cidr={SIMULATED_POD_CIDR}",
        "--node-ip=10.96.0.3",
    ]
