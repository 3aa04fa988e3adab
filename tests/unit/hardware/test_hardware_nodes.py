"""The GPUs of a cluster from plain Node and Pod objects (HW-01, HW-05 to HW-09, C-39)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.errors import HardwareUnknown
from armature.hardware.catalog import GPUS
from armature.hardware.discover_nodes import inventory_from_nodes
from armature.hardware.drivers import driver_note, parse_version
from armature.hardware.inventory import Inventory, inventory_for_request
from armature.hardware.kube_values import as_count, pod_request

H100 = {
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "nvidia.com/gpu.memory": "81559",
    "nvidia.com/gpu.count": "8",
}
H200 = {
    "nvidia.com/gpu.product": "NVIDIA-H200",
    "nvidia.com/gpu.memory": "143771",
    "nvidia.com/gpu.count": "8",
}
GPU = "nvidia.com/gpu"


def node(
    name: str, labels: dict[str, Any], gpus: Any = "8", *, ready: str = "True", **more: Any
) -> dict[str, Any]:
    allocatable = {"cpu": "190", "memory": "1900Gi", **more.pop("allocatable", {})}
    if gpus is not None:
        allocatable[more.pop("resource", GPU)] = gpus
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": more,
        "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": ready}]},
    }


def pod(
    where: str | None, gpus: Any, phase: str = "Running", *, kind: str = "limits", resource: str = GPU
) -> dict[str, Any]:
    container = {"name": "main", "resources": {kind: {resource: gpus}}}
    return {
        "metadata": {"name": "p"},
        "spec": {"nodeName": where, "containers": [container]},
        "status": {"phase": phase},
    }


def shapes(inventory: Inventory) -> list[tuple[str, int, int, int]]:
    return [(pool.gpu.sku, pool.gpus, pool.gpus_per_node, pool.nodes) for pool in inventory.pools]


def says(inventory: Inventory, *words: str) -> bool:
    return any(all(word in note for word in words) for note in inventory.notes)


def test_one_pool_per_sku_most_free_gpus_first():
    nodes = [node("a", H100), node("b", H200), node("c", H200), {"metadata": {"name": "cpu-only"}}]
    inventory = inventory_from_nodes(nodes, [])
    assert shapes(inventory) == [("h200_sxm", 16, 8, 2), ("h100_sxm", 8, 8, 1)]
    assert inventory.pools[0].product == "NVIDIA-H200"
    assert inventory.pools[1].gpu == GPUS["h100_sxm"]  # upstream: h100_pcie
    assert inventory.source == "node labels"
    assert inventory.notes == ()


def test_capacity_is_allocatable_less_what_live_pods_hold():
    pods = [
        pod("a", "2"),
        pod("a", 1, kind="requests"),
        pod("a", "8", "Succeeded"),
        pod("a", "8", "Failed"),
        pod("b", "8"),
        pod(None, "8", "Pending"),  # not scheduled: holds nothing yet
        pod("a", "1", "Pending"),  # scheduled, starting
    ]
    inventory = inventory_from_nodes([node("a", H100), node("b", H100)], pods)
    assert shapes(inventory) == [("h100_sxm", 4, 8, 1)]
    assert says(inventory, "h100_sxm: 12 of 16 GPUs are held by pods")
    assert says(inventory, "no node is wholly free; at most 4")


def test_a_cluster_whose_gpus_are_all_held_says_so():
    inventory = inventory_from_nodes([node("a", H100)], [pod("a", 16)])
    assert inventory.pools == ()
    assert says(inventory, "8 of 8 GPUs are held")
    with pytest.raises(HardwareUnknown, match="8 of 8 GPUs are held"):
        inventory_for_request(None, inventory)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (node("bad", H100, unschedulable=True), "bad: cordoned"),
        (node("bad", H100, ready="False"), "bad: not Ready"),
        (node("bad", H100, ready="Unknown"), "bad: not Ready"),
        (node("bad", H100, gpus="0"), "bad: none of its GPUs is allocatable"),
        (node("bad", H100, gpus=None), "device plugin is not running"),
        (node("bad", H100, gpus="eight"), "cannot be read"),
        (node("bad", H100, gpus="-8"), "cannot be read"),
        (node("bad", H100, gpus="0", allocatable={"nvidia.com/mig-3g.40gb": "16"}), "MIG slices"),
    ],
)
def test_a_node_that_cannot_be_used_is_left_out_with_its_reason(broken, why):
    inventory = inventory_from_nodes([node("good", H100), broken], [])
    assert shapes(inventory) == [("h100_sxm", 8, 8, 1)]
    assert says(inventory, why, "left out")


def test_many_nodes_with_one_trouble_make_one_note():
    nodes = [node(f"n{index}", H100, ready="False") for index in range(9)]
    inventory = inventory_from_nodes(nodes, [])
    assert says(inventory, "n0, n1, n2 and 6 more: not Ready")
    assert len(inventory.notes) == 2
    assert says(inventory, "None of the 9 nodes has GPUs that can be used", "nvidia.com/gpu.product")


def test_a_node_that_reports_no_conditions_is_used():
    bare = node("a", H100)
    del bare["status"]["conditions"]
    assert inventory_from_nodes([bare], []).total_gpus == 8


def test_no_nodes_at_all():
    inventory = inventory_from_nodes([], [])
    assert inventory.pools == ()
    assert inventory.notes == ("The cluster has no nodes.",)


def test_a_node_without_labels_still_counts_and_is_estimated():
    labelled_memory = {"nvidia.com/gpu.memory": "46068"}
    inventory = inventory_from_nodes([node("a", {}), node("b", labelled_memory, gpus="4")], [])
    assert [pool.gpu.estimated for pool in inventory.pools] == [True, True]
    assert sorted(pool.gpu.sku for pool in inventory.pools) == ["a40", "t4"]
    assert all(pool.product is None for pool in inventory.pools)
    assert says(inventory, "b: no label names its GPU product", "a40")


def test_an_unknown_product_is_used_and_marked():
    labels = {"nvidia.com/gpu.product": "ACME-Z9", "nvidia.com/gpu.memory": "81920"}
    inventory = inventory_from_nodes([node("a", labels), node("b", H100, gpus="4")], [])
    assert shapes(inventory) == [("h100_sxm", 4, 4, 1), ("a100_pcie", 8, 8, 1)]
    assert inventory.pools[1].gpu.estimated
    assert inventory.pools[1].product == "ACME-Z9"


def test_memory_makes_a_pool_of_its_own_but_driver_versions_do_not():
    small = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB", "nvidia.com/gpu.memory": "40960"}
    large = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.memory": "81920"}
    older = large | {"nvidia.com/gpu.memory": "81251"}
    inventory = inventory_from_nodes([node("a", small), node("b", large), node("c", older)], [])
    assert shapes(inventory) == [("a100_sxm", 16, 8, 2), ("a100_sxm", 8, 8, 1)]
    assert inventory.pools[0].gpu.vram_bytes == 81_251 * 2**20  # the least of the pool
    assert inventory.pools[1].gpu.bandwidth_bytes_per_s == 1555e9


def test_gpus_per_node_is_the_most_common_allocatable():
    nodes = [node("a", H200), node("b", H200), node("c", H200, gpus="7")]
    inventory = inventory_from_nodes(nodes, [])
    assert shapes(inventory) == [("h200_sxm", 23, 8, 3)]
    assert says(inventory, "c: 7 of its 8 GPUs are allocatable")
    assert says(inventory, "nodes have 7 or 8 GPUs")


@pytest.mark.parametrize(
    "resource", ["rdma/ib", "rdma/hca_shared_devices_a", "vpc.amazonaws.com/efa", "rdma/gdr"]
)
def test_rdma_goes_by_its_own_name(resource):  # C-39, HW-06
    inventory = inventory_from_nodes([node("a", H200, allocatable={resource: "32"})], [])
    assert inventory.pools[0].rdma
    assert inventory.pools[0].rdma_resource == resource


def test_rdma_of_some_nodes_several_names_and_none():
    both = {"vpc.amazonaws.com/efa": "4", "rdma/ib": "4"}
    some = inventory_from_nodes([node("a", H200, allocatable=both), node("b", H200)], [])
    assert some.pools[0].rdma_resource == "rdma/ib"
    assert says(some, "1 of 2 nodes offer rdma/ib")
    none = inventory_from_nodes([node("a", H200, allocatable={"rdma/ib": "0"})], [])
    assert not none.pools[0].rdma
    label = inventory_from_nodes([node("a", H200 | {"nvidia.com/rdma.present": "true"})], [])
    assert (label.pools[0].rdma, label.pools[0].rdma_resource) == (True, None)
    assert says(label, "no RDMA resource is allocatable")


def test_amd_nodes_by_their_own_labels_and_resource():
    labels = {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G"}
    by_id = {"amd.com/gpu.device-id": "75a3", "amd.com/gpu.vram": "288G"}
    nodes = [node("a", labels, resource="amd.com/gpu"), node("b", by_id, gpus="4", resource="amd.com/gpu")]
    inventory = inventory_from_nodes(nodes, [pod("a", 2, resource="amd.com/gpu"), pod("a", 8)])
    assert shapes(inventory) == [("mi300", 6, 8, 1), ("mi355x", 4, 4, 1)]
    assert inventory.pools[0].gpu.vram_bytes == 192 * 2**30
    assert [pool.product for pool in inventory.pools] == ["AMD_Instinct_MI300X_OAM", None]


def test_a_mig_node_is_a_pool_of_slices_behind_whole_gpus():
    labels = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "nvidia.com/gpu.memory": "9984",
              "nvidia.com/gpu.count": "56"}  # fmt: skip
    inventory = inventory_from_nodes([node("a", labels, gpus="56"), node("b", H100)], [])
    assert shapes(inventory) == [("h100_sxm", 8, 8, 1), ("h100_sxm", 56, 56, 1)]
    assert inventory.pools[1].gpu.estimated
    assert inventory.pools[1].gpu.vram_bytes == 9984 * 2**20
    assert says(inventory, "MIG slice is not a whole GPU")


def test_time_sliced_gpus_count_as_the_share_they_are():
    labels = H100 | {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-SHARED", "nvidia.com/gpu.replicas": "4"}
    inventory = inventory_from_nodes([node("a", labels, gpus="32")], [])
    assert shapes(inventory) == [("h100_sxm", 32, 32, 1)]
    assert inventory.pools[0].gpu.vram_bytes == 81_559 * 2**20 // 4
    assert inventory.pools[0].gpu.estimated
    assert says(inventory, "time-sliced 4 ways")
    assert not says(inventory, "are allocatable")


@pytest.mark.parametrize(
    ("labels", "trouble"),
    [
        (H100 | {"nvidia.com/cuda.driver-version.full": "550.54.15"}, "575.51.03"),
        (H100 | {"nvidia.com/cuda.driver-version.full": "575.51.03"}, None),
        (H100 | {"nvidia.com/cuda.driver.major": "570", "nvidia.com/cuda.driver.minor": "86"}, "575.51.03"),
        (H100 | {"nvidia.com/cuda.driver-version.major": "580"}, None),
        (H100 | {"nvidia.com/cuda.driver-version.full": "new"}, None),
        (
            {"nvidia.com/gpu.product": "NVIDIA-GB300", "nvidia.com/cuda.driver-version.full": "575.57.08"},
            "580.00.03",
        ),
        ({"nvidia.com/gpu.product": "NVIDIA-B300", "nvidia.com/cuda.driver-version.full": "580.65.06"}, None),
    ],
)
def test_a_driver_too_old_for_the_images_is_noted(labels, trouble):  # HW-08
    inventory = inventory_from_nodes([node("a", labels)], [])
    assert inventory.total_gpus == 8
    assert says(inventory, "a: driver") == (trouble is not None)
    assert trouble is None or says(inventory, trouble)


def test_driver_versions():
    assert parse_version("580.00.03") == (580, 0, 3)
    assert parse_version("") is None
    assert parse_version("r580") is None
    assert driver_note("575.51.02", "Hopper", "x") is not None
    assert driver_note("575.51", "Hopper", "x") is None


def test_arm64_nodes_are_noted():  # HW-09
    labels = {"nvidia.com/gpu.product": "NVIDIA-GB200", "kubernetes.io/arch": "arm64"}
    inventory = inventory_from_nodes([node("a", labels, gpus="4")], [])
    assert shapes(inventory) == [("gb200", 4, 4, 1)]
    assert says(inventory, "gb200: its nodes are arm64")


def test_taints_other_than_the_usual_gpu_taint_are_noted():
    taints = [{"key": GPU, "effect": "NoSchedule"}, {"key": "team", "effect": "NoSchedule"},
              {"key": "soft", "effect": "PreferNoSchedule"}]  # fmt: skip
    inventory = inventory_from_nodes([node("a", H100, taints=taints)], [])
    assert inventory.notes == ("a: tainted team; workers there need a toleration.",)


def test_nodes_of_one_sku_with_two_product_labels_have_no_selector():
    other = H100 | {"nvidia.com/gpu.product": "H100-SXM5-80GB"}
    inventory = inventory_from_nodes([node("a", H100), node("b", other)], [])
    assert shapes(inventory) == [("h100_sxm", 16, 8, 2)]
    assert inventory.pools[0].product is None
    assert says(inventory, "no product selector")


def container(gpus: Any, **more: Any) -> dict[str, Any]:
    return {"resources": {"limits": {GPU: gpus}}, **more}


@pytest.mark.parametrize(
    ("spec", "held"),
    [
        ({"containers": [container(2), container("3")]}, 5),
        ({"containers": [container(2)], "initContainers": [container(4), container(1)]}, 4),
        ({"containers": [container(4)], "initContainers": [container(2), container(3)]}, 4),
        ({"containers": [container(2)], "initContainers": [container(1, restartPolicy="Always")]}, 3),
        ({"containers": [container(1)],
          "initContainers": [container(1, restartPolicy="Always"), container(4)]}, 5),
        ({"containers": [container(1)],
          "initContainers": [container(4), container(1, restartPolicy="Always")]}, 4),
        ({"containers": [{"resources": {"requests": {GPU: "2"}, "limits": {GPU: "2"}}}]}, 2),
        ({"containers": [{"resources": {"requests": {"cpu": "2"}, "limits": {GPU: "2"}}}]}, 2),
        ({"containers": [{}, {"resources": None}, "nonsense"]}, 0),
        ({"containers": [container("many")]}, None),
        ({"containers": [], "initContainers": [container(True)]}, None),
        (None, 0),
    ],
)  # fmt: skip
def test_what_a_pod_holds_follows_the_scheduler(spec, held):
    assert pod_request({"spec": spec}, GPU) == held


def test_a_pod_request_that_cannot_be_read_counts_the_node_as_full():
    inventory = inventory_from_nodes([node("a", H100), node("b", H100)], [pod("a", "many"), pod("a", 1)])
    assert shapes(inventory) == [("h100_sxm", 8, 8, 1)]
    assert says(inventory, "a: a pod on it asks for nvidia.com/gpu in a form that cannot be read")


@pytest.mark.parametrize(
    ("value", "count"),
    [("8", 8), (8, 8), ("8k", 8000), ("1e1", 10), ("2Ki", 2048), ("1500m", 1), ("192Gi", 192 * 2**30), ("1M", 10**6),
     ("", None), ("-1", None), (-1, None), (True, None), (1.5, None), (None, None), ("8 GPUs", None), ("1e99", None),
     ("9" * 5000, None), ([], None)],
)  # fmt: skip
def test_quantities(value, count):
    assert as_count(value) == count


junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(["8", "Ready"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
paths = st.sampled_from([
    ("metadata",), ("metadata", "name"), ("metadata", "labels"), ("metadata", "labels", "nvidia.com/gpu.product"),
    ("metadata", "labels", "nvidia.com/gpu.memory"), ("metadata", "labels", "nvidia.com/gpu.count"),
    ("metadata", "labels", "nvidia.com/gpu.replicas"), ("metadata", "labels", "nvidia.com/cuda.driver-version.full"),
    ("spec",), ("spec", "taints"), ("spec", "containers"), ("spec", "nodeName"), ("status",),
    ("status", "allocatable"), ("status", "allocatable", GPU), ("status", "allocatable", "rdma/ib"),
    ("status", "conditions"), ("status", "phase"),
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), paths, junk), max_size=4))
def test_malformed_objects_never_crash_and_free_gpus_stay_within_what_is_there(breaks):
    objects = {False: copy.deepcopy(node("a", H100)), True: pod("a", 2)}
    for is_pod, path, value in breaks:
        place: Any = objects[is_pod]
        for key in path[:-1]:
            place = place.setdefault(key, {}) if isinstance(place, dict) else {}
        if isinstance(place, dict):
            place[path[-1]] = value
    inventory = inventory_from_nodes([objects[False], node("b", H200)], [objects[True]])
    for pool in inventory.pools:
        assert 1 <= pool.gpus <= pool.nodes * pool.gpus_per_node
    assert any(pool.gpu.sku == "h200_sxm" for pool in inventory.pools)
