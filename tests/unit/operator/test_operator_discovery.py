"""GPUs of a cluster from labels, exporters, or both; mixed and occupied ones (HW-01, HW-02, HW-07)."""

from __future__ import annotations

import asyncio

import httpx

from armature.hardware.discover_dcgm import NodeGpus, node_gpus, with_exported
from armature.kube.fake import FakeCluster
from armature.kube.kinds import NODE, POD
from armature.kube.virtual_time import run_in_virtual_time, virtual_now
from armature.operator.discovery import Discovery

ENDPOINT = "http://{POD_IP}:9400/metrics"


def page(model="NVIDIA H100 80GB HBM3", gpus=2, free=80000, used=1559, mig=""):
    slice_label = f',GPU_I_ID="{mig}"' if mig else ""
    lines = [
        "# HELP DCGM_FI_DEV_FB_FREE Frame buffer memory free (in MiB).",
        "# TYPE DCGM_FI_DEV_FB_FREE gauge",
    ]
    for name, value in (("DCGM_FI_DEV_FB_FREE", free), ("DCGM_FI_DEV_FB_USED", used)):
        for gpu in range(gpus):
            labels = f'gpu="{gpu}",UUID="GPU-{gpu}",device="nvidia{gpu}",modelName="{model}",Hostname="n"{slice_label}'
            lines.append(f"{name}{{{labels}}} {value}")
    return "\n".join(lines) + "\n"


def test_a_page_says_product_count_and_memory():
    assert node_gpus(page()) == NodeGpus("NVIDIA H100 80GB HBM3", 2, 81559)
    assert node_gpus("# nothing\n") is None
    assert node_gpus(page(mig="1")) is None


def test_labels_that_are_there_stand():
    node = {"metadata": {"name": "n", "labels": {"nvidia.com/gpu.product": "NVIDIA-H200"}}}
    labels = with_exported(node, NodeGpus("NVIDIA H100 80GB HBM3", 8, 81559))["metadata"]["labels"]
    assert labels == {
        "nvidia.com/gpu.product": "NVIDIA-H200",
        "nvidia.com/gpu.count": "8",
        "nvidia.com/gpu.memory": "81559",
    }


async def cluster_of(*nodes, pods=()):
    cluster = FakeCluster(now=virtual_now)
    for name, labels, gpus in nodes:
        await cluster.create(
            NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        )
        ready = [{"type": "Ready", "status": "True"}]
        status = {"allocatable": {"nvidia.com/gpu": str(gpus)}, "conditions": ready}
        await cluster.patch(NODE, name, "", {"status": status}, subresource="status")
    for name, labels, spec, status in pods:
        metadata = {"name": name, "namespace": "gpu-operator", "labels": labels}
        await cluster.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        await cluster.patch(POD, name, "gpu-operator", {"status": status}, subresource="status")
    return cluster


def gfd(product, memory):
    return {
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.memory": str(memory),
        "nvidia.com/gpu.count": "8",
    }


def test_mixed_and_occupied_cluster_has_a_pool_per_kind_with_what_is_free():
    async def main():
        busy = {
            "containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "3"}}}],
            "nodeName": "a",
        }
        cluster = await cluster_of(
            ("a", gfd("NVIDIA-H200", 143771), 8),
            ("b", gfd("NVIDIA-L40S", 46068), 8),
            pods=[("w", {}, busy, {"phase": "Running"})],
        )
        found = await Discovery(cluster, ENDPOINT).inventory()
        assert {pool.gpu.sku: pool.gpus for pool in found.pools} == {"h200_sxm": 5, "l40s": 8}
        assert any("3 of 8 GPUs are held by pods" in note for note in found.notes)

    run_in_virtual_time(main())


def test_exporter_names_what_the_labels_do_not_and_one_that_is_down_is_left_out():
    asked = []

    async def fetch(url):
        asked.append(url)
        if "10.0.0.2" in url:
            raise httpx.ConnectError("refused")
        return page(gpus=8)

    async def main():
        exporter = {"app": "nvidia-dcgm-exporter"}
        cluster = await cluster_of(
            ("a", {}, 8),
            ("b", gfd("NVIDIA-L40S", 46068), 8),
            pods=[
                ("e1", exporter, {"nodeName": "a"}, {"phase": "Running", "podIP": "10.0.0.1"}),
                ("e2", exporter, {"nodeName": "b"}, {"phase": "Running", "podIP": "10.0.0.2"}),
                ("e3", exporter, {"nodeName": "b"}, {"phase": "Pending"}),
            ],
        )
        found = await Discovery(cluster, ENDPOINT, fetch).inventory()
        assert {pool.gpu.sku for pool in found.pools} == {"h100_sxm", "l40s"}
        assert sorted(asked) == ["http://10.0.0.1:9400/metrics", "http://10.0.0.2:9400/metrics"]

    run_in_virtual_time(main())


def test_many_at_once_look_once_a_minute():
    async def main():
        cluster = await cluster_of(("a", gfd("NVIDIA-H200", 143771), 8))
        discovery = Discovery(cluster, ENDPOINT)
        await asyncio.gather(*(discovery.inventory() for _ in range(50)))
        assert sum(call.verb == "list" and call.kind is NODE for call in cluster.calls) == 1
        await asyncio.sleep(61)
        await discovery.inventory()
        assert sum(call.verb == "list" and call.kind is NODE for call in cluster.calls) == 2

    run_in_virtual_time(main())
