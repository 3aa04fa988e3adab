"""GPU nodes are simulated so that scheduler and discovery take them for real (HW-01, HW-02, VAL-05)."""

from __future__ import annotations

import json

import pytest

from armature.hardware.discover_nodes import inventory_from_nodes
from armature_testbed.gpu_nodes import GpuNodes
from armature_testbed.simulate import add_nodes, remove_nodes


@pytest.fixture
def add(testbed):
    """Adds nodes for one test."""
    added: list[str] = []

    def add_them(nodes: GpuNodes) -> list[str]:
        names = add_nodes(testbed, nodes)
        added.extend(names)
        return names

    yield add_them
    if added:
        remove_nodes(testbed, added)


def pod(name: str, gpus: int) -> str:
    limits = {"nvidia.com/gpu": gpus}
    container = {"name": "main", "image": "engine", "resources": {"limits": limits}}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
    )


def test_a_pod_that_fits_runs_and_one_that_does_not_waits(testbed, namespace, add):
    (node,) = add(GpuNodes("h200_sxm", gpus=8, prefix="fits"))
    inside = f"--namespace={namespace}"
    for name, gpus in (("fits", 8), ("too-big", 9)):
        testbed.kubectl("create", inside, "--filename=-", stdin=pod(name, gpus))
    testbed.kubectl("wait", inside, "--for=condition=Ready", "pod/fits", "--timeout=20s")
    running = testbed.get("pod", "fits", inside)
    assert (running["status"]["phase"], running["spec"]["nodeName"]) == ("Running", node)
    assert running["status"]["podIP"].startswith("10.244.")

    def reason() -> str:
        conditions = testbed.get("pod", "too-big", inside)["status"].get("conditions", [])
        return "".join(found.get("message", "") for found in conditions if found["type"] == "PodScheduled")

    testbed.wait_for(lambda: "Insufficient nvidia.com/gpu" in reason(), "the scheduler's reason")
    assert testbed.get("pod", "too-big", inside)["status"]["phase"] == "Pending"


def test_discovery_reads_from_the_api_what_was_asked_for(testbed, add):
    add(GpuNodes("h100_sxm", count=2, gpus=8, zone="a", rack="r1", rdma="rdma/ib", occupied=3, prefix="seen"))
    nodes = testbed.get("nodes", "--selector=topology.kubernetes.io/rack=r1")["items"]
    pods = testbed.get("pods", "--all-namespaces")["items"]
    (pool,) = inventory_from_nodes(nodes, pods).pools
    assert (pool.gpu.sku, pool.gpus, pool.gpus_per_node) == ("h100_sxm", 2 * (8 - 3), 8)
    assert pool.rdma_resource == "rdma/ib"


def test_numbers_go_on(add):
    assert add(GpuNodes("l4", count=2, gpus=1, prefix="more")) == ["more-0", "more-1"]
    assert add(GpuNodes("l4", count=1, gpus=1, prefix="more")) == ["more-2"]


def test_a_job_on_simulated_nodes_succeeds(testbed, namespace, add):
    add(GpuNodes(None, prefix="cpu-only"))
    testbed.kubectl("create", "job", "once", "--image=job", f"--namespace={namespace}")
    testbed.kubectl(
        "wait", f"--namespace={namespace}", "--for=condition=Complete", "job/once", "--timeout=20s"
    )
