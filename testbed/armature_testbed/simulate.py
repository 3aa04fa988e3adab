"""Adds simulated GPU nodes to a testbed, and takes them away."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from armature.errors import ArmatureError
from armature_testbed.gpu_nodes import TENANT_NAMESPACE, GpuNodes, node_objects, tenant_pods
from armature_testbed.testbed import Testbed

__all__ = ["add_nodes", "make_namespace", "next_number", "remove_nodes"]


def add_nodes(testbed: Testbed, nodes: GpuNodes, *, limit_s: float = 60.0) -> list[str]:
    """Creates the nodes, and the pods that hold their occupied GPUs; returns their names once all are Ready.

    Numbers go on where nodes of this prefix end. Raises ArmatureError when the API refuses them or KWOK is not there.
    """
    if testbed.state.component("kwok") is None:
        raise ArmatureError(
            "This testbed runs no KWOK, so nobody would keep the nodes Ready.", "Start it with --kwok"
        )
    if nodes.first == 0:
        taken = testbed.kubectl("get", "nodes", "--output=name").split()
        nodes = dataclasses.replace(nodes, first=next_number(next(nodes.names).rpartition("-")[0], taken))
    names = list(nodes.names)
    _create(testbed, node_objects(nodes))
    conditions = "--for=condition=Ready"
    testbed.kubectl("wait", conditions, f"--timeout={limit_s:.0f}s", "node", *names, timeout_s=limit_s + 30)
    pods = tenant_pods(nodes)
    if pods:
        make_namespace(testbed, TENANT_NAMESPACE)
        _create(testbed, pods)
        tenants = [f"tenant-{name}" for name in names]
        testbed.kubectl(
            "wait", conditions, f"--timeout={limit_s:.0f}s", f"--namespace={TENANT_NAMESPACE}", "pod", *tenants,
            timeout_s=limit_s + 30,
        )  # fmt: skip
    return names


def remove_nodes(testbed: Testbed, names: Sequence[str]) -> None:
    """Removes nodes; their pods go with them, the tenants' at once."""
    tenants = [f"tenant-{name}" for name in names]
    testbed.kubectl(
        "delete", "pod", f"--namespace={TENANT_NAMESPACE}", "--ignore-not-found", "--force", "--grace-period=0",
        *tenants,
    )  # fmt: skip
    testbed.kubectl("delete", "node", "--ignore-not-found", *names)


def make_namespace(testbed: Testbed, name: str) -> None:
    """A namespace in which pods can be created: its default ServiceAccount is there. One that exists is fine."""
    testbed.kubectl("apply", "--filename=-", stdin=json.dumps(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    ))  # fmt: skip
    testbed.wait_for(
        lambda: (
            testbed.kubectl("get", "serviceaccount", "default", f"--namespace={name}", "--ignore-not-found")
            != ""
        ),
        f"the default ServiceAccount of namespace {name}",
    )


def next_number(prefix: str, taken: Sequence[str]) -> int:
    """The first number that no name `prefix-N` has, nor any below it. taken: names, `node/` before them or not."""
    numbers = [
        int(number)
        for name in taken
        for head, _, number in [name.removeprefix("node/").rpartition("-")]
        if head == prefix and number.isdecimal()
    ]
    return max(numbers, default=-1) + 1


def _create(testbed: Testbed, objects: Sequence[dict[str, object]]) -> None:
    document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    testbed.kubectl("create", "--filename=-", stdin=json.dumps(document), timeout_s=120.0)
