"""Simulated nodes are read back by discovery as what they were asked to be (HW-01, HW-02, SKU-01)."""

from __future__ import annotations

import pytest

from armature.errors import InvalidInput
from armature.hardware.catalog import GPUS
from armature.hardware.discover_nodes import inventory_from_nodes
from armature_testbed.gpu_nodes import GpuNodes, node_objects, tenant_pods
from armature_testbed.simulate import next_number


@pytest.mark.parametrize("sku", GPUS)
def test_discovery_reads_back_every_gpu_of_the_catalogue(sku):
    nodes = GpuNodes(sku, count=2)
    (pool,) = inventory_from_nodes(node_objects(nodes), []).pools
    assert (pool.gpu.sku, pool.gpus, pool.gpus_per_node) == (
        sku,
        2 * GPUS[sku].gpus_per_node,
        nodes.gpus_each,
    )
    assert pool.gpu.vram_bytes == pytest.approx(GPUS[sku].vram_bytes, rel=0.01)


def test_occupied_gpus_are_held_by_pods():
    nodes = GpuNodes("h100_sxm", count=3, gpus=8, occupied=5)
    (pool,) = inventory_from_nodes(node_objects(nodes), tenant_pods(nodes)).pools
    assert pool.gpus == 3 * (8 - 5)
    assert {pod["spec"]["nodeName"] for pod in tenant_pods(nodes)} == {
        "h100-sxm-0",
        "h100-sxm-1",
        "h100-sxm-2",
    }


def test_zone_rack_rdma_and_labels_are_on_every_node():
    nodes = GpuNodes(
        "h200_sxm", 2, zone="a", rack="r1", rdma="rdma/ib", labels={"pool": "inference"}, first=4
    )
    objects = node_objects(nodes)
    assert [node["metadata"]["name"] for node in objects] == ["h200-sxm-4", "h200-sxm-5"]
    for node in objects:
        labels = node["metadata"]["labels"]
        assert labels["topology.kubernetes.io/zone"] == "a"
        assert labels["topology.kubernetes.io/rack"] == "r1"
        assert labels["nvidia.com/rdma.present"] == "true"
        assert labels["pool"] == "inference"
        assert node["status"]["allocatable"]["rdma/ib"] == "8"
    (pool,) = inventory_from_nodes(objects, []).pools
    assert pool.rdma and pool.rdma_resource == "rdma/ib"


def test_an_old_driver_is_noted_by_discovery():
    notes = inventory_from_nodes(node_objects(GpuNodes("h100_sxm", driver="550.54.15")), []).notes
    assert any("550.54.15" in note for note in notes)


def test_nodes_without_gpus_have_none():
    (node,) = node_objects(GpuNodes(None))
    assert "nvidia.com/gpu" not in node["status"]["capacity"]
    assert not any(label.startswith("nvidia.com/") for label in node["metadata"]["labels"])


def test_bad_numbers_are_refused_together():
    with pytest.raises(InvalidInput) as refused:
        GpuNodes("h200_sxm", count=0, gpus=8, occupied=9, driver="new")
    assert [problem.path for problem in refused.value.problems] == ["--count", "--occupied", "--driver"]
    with pytest.raises(InvalidInput, match="h200_sxm"):
        GpuNodes("h200_smx")
    with pytest.raises(InvalidInput, match="--sku"):
        GpuNodes(None, gpus=8)


def test_numbers_go_on_where_nodes_end():
    assert (
        next_number("h200-sxm", ["node/h200-sxm-0", "node/h200-sxm-7", "node/h100-sxm-9", "node/h200-sxm-x"])
        == 8
    )
    assert next_number("h200-sxm", []) == 0
