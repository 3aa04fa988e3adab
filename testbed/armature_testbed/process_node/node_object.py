"""The Node and the Lease that stand for this agent in the API. Pure."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from armature_testbed.process_node.quantity import quantity
from armature_testbed.process_node.status import rfc3339

__all__ = ["KUBELET_PORT", "LEASE_S", "NodeSpec", "lease_body", "micro_time", "node_body", "node_status"]

KUBELET_PORT = 10250
LEASE_S = 40


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a node claims to be. Quantities as in the API; gpus of `nvidia.com/gpu`."""

    name: str
    address: str
    cpu: str = "16"
    memory: str = "64Gi"
    pods: int = 110
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        quantity(self.cpu), quantity(self.memory)

    @property
    def capacity(self) -> dict[str, str]:
        made = {"cpu": self.cpu, "memory": self.memory, "pods": str(self.pods), "ephemeral-storage": "100Gi"}
        return made | ({"nvidia.com/gpu": str(self.gpus)} if self.gpus else {})


def node_body(node: NodeSpec) -> dict[str, Any]:
    """The Node to create; its status is written apart."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    labels = {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        "armature.dev/node-kind": "process",
        **node.labels,
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels}}


def node_status(
    node: NodeSpec, now_s: float, before: Mapping[str, Any], *, ready: bool = True
) -> dict[str, Any]:
    """The Node's status; conditions that hold on keep the time of their last change in `before`."""
    known = {item["type"]: item for item in before.get("conditions") or []}
    wanted = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "memory is not watched on a process node"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "disks are not watched on a process node"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "processes are not counted on a process node"),
        (
            "Ready",
            "True" if ready else "False",
            "KubeletReady" if ready else "NodeAgentStopped",
            "the node agent runs" if ready else "the node agent has stopped",
        ),
    )
    conditions = []
    for kind, value, reason, message in wanted:
        old = known.get(kind) or {}
        kept = old.get("lastTransitionTime") if old.get("status") == value else None
        conditions.append(
            {
                "type": kind,
                "status": value,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": rfc3339(now_s),
                "lastTransitionTime": kept or rfc3339(now_s),
            }
        )
    system = os.uname()
    return {
        "capacity": node.capacity,
        "allocatable": node.capacity,
        "conditions": conditions,
        "addresses": [
            {"type": "InternalIP", "address": node.address},
            {"type": "Hostname", "address": node.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
        "nodeInfo": {
            "architecture": node_body(node)["metadata"]["labels"]["kubernetes.io/arch"],
            "bootID": "",
            "containerRuntimeVersion": "process://1",
            "kernelVersion": system.release,
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.36.3-armature",
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": "processes of this machine",
            "systemUUID": "",
        },
    }


def lease_body(node: NodeSpec, node_uid: str, now_s: float) -> dict[str, Any]:
    """The node's Lease in kube-node-lease, renewed now."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node_uid}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node.name, "namespace": "kube-node-lease", "ownerReferences": [owner]},
        "spec": {
            "holderIdentity": node.name,
            "leaseDurationSeconds": LEASE_S,
            "renewTime": micro_time(now_s),
        },
    }


def micro_time(at_s: float) -> str:
    """Seconds since the epoch as the API's MicroTime."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
