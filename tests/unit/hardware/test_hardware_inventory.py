"""What `--hardware` and a request state, and how it meets what was discovered (HW-02, HW-03, HW-04, GAP-06)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.errors import HardwareUnknown, InvalidInput
from armature.hardware.catalog import GPUS
from armature.hardware.inventory import AUTO_GPU_LIMIT, Inventory, Pool, inventory_for_request, parse_hardware


@dataclass(frozen=True)
class Hardware:
    gpu_sku: str | None = None
    vram_mb: float | None = None
    total_gpus: int | None = None
    num_gpus_per_node: int | None = None
    interconnect: str | None = None
    rdma: bool | None = None


def shapes(inventory: Inventory) -> list[tuple[str, int, int, int]]:
    return [(pool.gpu.sku, pool.gpus, pool.gpus_per_node, pool.nodes) for pool in inventory.pools]


def found(*pools: tuple[str, int, int], notes: tuple[str, ...] = ()) -> Inventory:
    made = (Pool(GPUS[sku], gpus, per_node, -(-gpus // per_node)) for sku, gpus, per_node in pools)
    return Inventory(tuple(made), "node labels", notes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h200_sxm", [("h200_sxm", 8, 8, 1)]),
        ("gb200_sxm", [("gb200", 4, 4, 1)]),
        ("8xh200_sxm", [("h200_sxm", 8, 8, 1)]),
        ("1xh200_sxm", [("h200_sxm", 1, 1, 1)]),
        ("2x8xh200_sxm", [("h200_sxm", 16, 8, 2)]),
        ("16xh200_sxm", [("h200_sxm", 16, 8, 2)]),
        ("12 x h200_sxm", [("h200_sxm", 12, 8, 2)]),
        ("1x16xh200_sxm", [("h200_sxm", 16, 16, 1)]),
        ("8xh100_sxm,4xl40s", [("h100_sxm", 8, 8, 1), ("l40s", 4, 4, 1)]),
        ("2X8×NVIDIA-H100-80GB-HBM3", [("h100_sxm", 16, 8, 2)]),
        ("4xAMD Instinct MI300X", [("mi300", 4, 4, 1)]),
        ("8xA100-SXM4-40GB, 8xA100-SXM4-80GB", [("a100_sxm", 8, 8, 1), ("a100_sxm", 8, 8, 1)]),
    ],
)
def test_hardware_flag_states_pools(text, expected):
    inventory = parse_hardware(text)
    assert shapes(inventory) == expected
    assert inventory.source == "stated"
    assert inventory.total_gpus == sum(gpus for _, gpus, _, _ in expected)


def test_an_unknown_product_with_a_memory_is_taken_and_marked():
    inventory = parse_hardware("4xACME-Z9-48GB")
    assert inventory.pools[0].gpu.estimated
    assert "estimated" in inventory.notes[0]


def test_what_was_assumed_is_said():
    assert parse_hardware("h200_sxm").notes == ("h200_sxm: taken as one node of 8.",)
    assert "2 nodes of 8" in parse_hardware("16xh200_sxm").notes[0]
    assert parse_hardware("2x8xh200_sxm").notes == ()


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("", "names no GPU"),
        ("8xh200_sxm,", "names no GPU"),
        ("0xh200_sxm", "0 is not a count"),
        ("-1xh200_sxm", "-1 is not a count"),
        ("2x0xh200_sxm", "0 is not a count"),
        ("1.5xh200_sxm", "1.5 is not a count"),
        ("1000000xh200_sxm", "from 1 to 100,000"),
        ("2x500xh200_sxm", "from 1 to 128"),
        ("9" * 5000 + "xh200_sxm", "is not a count"),
        ("1x2x3xh200_sxm", "more than two counts"),
        ("8xh300_sxm", "did you mean b300_sxm|did you mean h[12]00_sxm"),
        ("8x", "8x"),
        ("8xa100_pci", "did you mean a100_pcie"),
        ("8xnonsense", "is not a GPU we know"),
        ("8xh100_sxm,8xH100-SXM5-80GB", "lists h100_sxm twice"),
    ],
)
def test_a_bad_hardware_flag_gets_one_clear_error(text, tells):
    with pytest.raises(InvalidInput, match=tells) as caught:
        parse_hardware(text)
    assert all(problem.path == "--hardware" for problem in caught.value.problems)


def test_every_problem_of_the_flag_at_once():
    with pytest.raises(InvalidInput) as caught:
        parse_hardware("0xh100_sxn, -4xl40s, 8xh200_sxm")
    assert len(caught.value.problems) == 3


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=30), st.text("0123456789x-,. h20_sml4", max_size=30)))
def test_any_flag_is_an_inventory_or_an_error_of_ours(text):
    try:
        inventory = parse_hardware(text)
    except InvalidInput:
        return
    assert inventory.pools
    for pool in inventory.pools:
        assert 1 <= pool.gpus <= pool.nodes * pool.gpus_per_node
        assert (pool.nodes - 1) * pool.gpus_per_node < pool.gpus


def test_nothing_stated_uses_what_was_found():
    discovered = found(("h200_sxm", 16, 8), ("l40s", 4, 4), notes=("seen",))
    for hardware in (None, Hardware()):
        inventory = inventory_for_request(hardware, discovered)
        assert inventory.pools == discovered.pools
        assert inventory.source == "node labels"
        assert inventory.notes == ("seen",)


@pytest.mark.parametrize("discovered", [None, Inventory((), "node labels", ("all are held",))])
def test_nothing_stated_and_nothing_found_says_what_to_do(discovered):
    for hardware in (None, Hardware(), Hardware(total_gpus=8)):
        with pytest.raises(HardwareUnknown, match="--hardware") as caught:
            inventory_for_request(hardware, discovered)
        assert ("all are held" in str(caught.value)) == (discovered is not None)


def test_auto_detection_is_capped_at_32_gpus_in_all():  # HW-03, GAP-06
    inventory = inventory_for_request(None, found(("h200_sxm", 24, 8), ("h100_sxm", 24, 8), ("l40s", 8, 8)))
    assert shapes(inventory) == [("h200_sxm", 24, 8, 3), ("h100_sxm", 8, 8, 1)]
    assert inventory.total_gpus == AUTO_GPU_LIMIT
    assert any("56" in note and "32" in note and "totalGpus" in note for note in inventory.notes)


def test_a_stated_total_is_not_capped():  # HW-03
    inventory = inventory_for_request(Hardware(total_gpus=64), found(("h200_sxm", 128, 8)))
    assert shapes(inventory) == [("h200_sxm", 64, 8, 8)]
    assert not any("limit of auto-detection" in note for note in inventory.notes)


def test_gpus_stated_by_a_flag_are_not_capped_and_take_the_rest_from_the_request():
    flag = parse_hardware("8x8xh100_sxm")
    inventory = inventory_for_request(Hardware(interconnect="pcie", rdma=True), flag)
    assert shapes(inventory) == [("h100_sxm", 64, 8, 8)]
    assert inventory.source == "stated"
    assert (inventory.pools[0].gpu.link, inventory.pools[0].rdma) == ("pcie", True)
    assert inventory_for_request(None, flag) == flag


def test_a_stated_total_above_what_was_found_is_taken_with_a_note():
    inventory = inventory_for_request(Hardware(total_gpus=64), found(("h200_sxm", 16, 8), ("l40s", 8, 8)))
    assert shapes(inventory) == [("h200_sxm", 56, 8, 7), ("l40s", 8, 8, 1)]
    assert any("24 free were found" in note for note in inventory.notes)


def test_a_stated_sku_picks_its_pool():  # HW-04
    inventory = inventory_for_request(Hardware(gpu_sku="l40s"), found(("h200_sxm", 16, 8), ("l40s", 8, 4)))
    assert shapes(inventory) == [("l40s", 8, 4, 2)]
    assert inventory.source == "node labels, with stated values"


def test_a_stated_sku_prefers_whole_gpus_to_slices_of_them():
    whole = Pool(GPUS["a100_sxm"], 4, 4, 1)
    piece = Pool(replace(GPUS["a100_sxm"], vram_bytes=2**33, estimated=True), 28, 28, 1)
    discovered = Inventory((piece, whole), "node labels")
    assert inventory_for_request(Hardware(gpu_sku="a100_sxm"), discovered).pools == (whole,)
    only = Inventory((piece,), "node labels")
    assert inventory_for_request(Hardware(gpu_sku="a100_sxm"), only).pools == (piece,)


def test_a_stated_sku_that_was_not_found_is_taken_as_stated():
    inventory = inventory_for_request(Hardware(gpu_sku="b200_sxm", total_gpus=16), found(("l40s", 8, 4)))
    assert shapes(inventory) == [("b200_sxm", 16, 8, 2)]
    assert inventory.source == "stated"
    assert "No free b200_sxm was found (found: 8 l40s)" in inventory.notes[0]


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (Hardware(gpu_sku="h200_sxm"), ("h200_sxm", 8, 8, 1)),
        (Hardware(gpu_sku="h200_sxm", num_gpus_per_node=4), ("h200_sxm", 4, 4, 1)),
        (Hardware(gpu_sku="h200_sxm", total_gpus=4), ("h200_sxm", 4, 4, 1)),
        (Hardware(gpu_sku="h200_sxm", total_gpus=64), ("h200_sxm", 64, 8, 8)),
        (Hardware(gpu_sku="h200_sxm", total_gpus=12, num_gpus_per_node=4), ("h200_sxm", 12, 4, 3)),
        (Hardware(gpu_sku="gb200_sxm", total_gpus=72), ("gb200", 72, 4, 18)),
    ],
)
def test_stated_without_discovery(hardware, expected):
    inventory = inventory_for_request(hardware, None)
    assert shapes(inventory) == [expected]
    assert inventory.source == "stated"
    assert any("one node" in note for note in inventory.notes) == (hardware.total_gpus is None)


def test_stated_memory_wins_over_every_pool_and_the_catalogue():
    discovered = found(("h200_sxm", 8, 8))
    assert (
        inventory_for_request(Hardware(vram_mb=100_000.0), discovered).pools[0].gpu.vram_bytes
        == 100_000 * 2**20
    )
    small = inventory_for_request(Hardware(gpu_sku="a100_sxm", vram_mb=40_960), None).pools[0].gpu
    assert small.vram_bytes == 40 * 2**30
    assert small.bandwidth_bytes_per_s == 1555e9


def test_memory_alone_classes_the_gpu():
    inventory = inventory_for_request(Hardware(vram_mb=81_920.0, total_gpus=8), None)
    assert inventory.pools[0].gpu.estimated
    assert inventory.pools[0].gpu.vram_bytes == 80 * 2**30
    assert "No gpuSku" in inventory.notes[0]


def test_a_stated_node_size_wins():
    discovered = found(("h200_sxm", 16, 8))
    assert shapes(inventory_for_request(Hardware(num_gpus_per_node=4), discovered)) == [("h200_sxm", 8, 4, 2)]
    larger = inventory_for_request(Hardware(num_gpus_per_node=16), discovered)
    assert shapes(larger) == [("h200_sxm", 16, 16, 1)]
    assert any("nodes with 8 were found" in note for note in larger.notes)


def test_rdma_is_stated_kept_or_switched_off():
    plain = found(("h200_sxm", 8, 8))
    with_rdma = Inventory((replace(plain.pools[0], rdma=True, rdma_resource="rdma/ib"),), "node labels")
    assert inventory_for_request(Hardware(total_gpus=8), with_rdma).pools[0].rdma_resource == "rdma/ib"
    off = inventory_for_request(Hardware(rdma=False), with_rdma).pools[0]
    assert (off.rdma, off.rdma_resource) == (False, None)
    on = inventory_for_request(Hardware(rdma=True), plain)
    assert (on.pools[0].rdma, on.pools[0].rdma_resource) == (True, None)
    assert any("no RDMA resource was found" in note for note in on.notes)
    assert inventory_for_request(Hardware(rdma=True), with_rdma).notes == ()


@pytest.mark.parametrize(
    ("sku", "interconnect", "link", "note"),
    [
        ("h100_sxm", "pcie", "pcie", "64 GB/s"),
        ("h100_sxm", "PCI-E", "pcie", "64 GB/s"),
        ("h100_sxm", "NVLink4", "nvlink", None),
        ("h100_pcie", "nvlink", "nvlink", "300 GB/s"),
        ("l40s", "nvlink", "pcie", "has no nvlink"),
        ("mi300", "Infinity Fabric", "xgmi", None),
        ("h100_sxm", "carrier pigeon", "nvlink", "is not nvlink, pcie or xgmi"),
    ],
)
def test_a_stated_interconnect_changes_the_link_or_says_why_not(sku, interconnect, link, note):
    inventory = inventory_for_request(Hardware(gpu_sku=sku, total_gpus=8, interconnect=interconnect), None)
    assert inventory.pools[0].gpu.link == link
    assert [note] == [note for text in inventory.notes if note and note in text] or (
        note is None and not inventory.notes
    )


def test_every_impossible_value_is_refused_at_once():
    bad = Hardware(vram_mb=float("nan"), total_gpus=0, num_gpus_per_node=-8)
    with pytest.raises(InvalidInput) as caught:
        inventory_for_request(bad, found(("h200_sxm", 8, 8)))
    assert [problem.path for problem in caught.value.problems] == [
        "spec.hardware.vramMb",
        "spec.hardware.totalGpus",
        "spec.hardware.numGpusPerNode",
    ]
    with pytest.raises(InvalidInput, match=r"spec\.hardware\.gpuSku.*did you mean h100_sxm"):
        inventory_for_request(Hardware(gpu_sku="H100-SXM5-80GB"), None)  # VAL-03


counts = st.one_of(st.none(), st.integers(1, 200))


@settings(max_examples=150, deadline=None)
@given(
    st.builds(
        Hardware,
        gpu_sku=st.one_of(st.none(), st.sampled_from(sorted(GPUS))),
        vram_mb=st.one_of(st.none(), st.floats(1000, 300_000)),
        total_gpus=counts,
        num_gpus_per_node=st.one_of(st.none(), st.integers(1, 16)),
        interconnect=st.one_of(st.none(), st.sampled_from(["nvlink", "pcie", "?"])),
        rdma=st.one_of(st.none(), st.booleans()),
    ),
    st.one_of(
        st.none(),
        st.lists(st.tuples(st.sampled_from(["h200_sxm", "l40s", "t4"]), st.integers(0, 60), st.integers(1, 8)),
                 max_size=3, unique_by=lambda pool: pool[0]).map(lambda pools: found(*pools)),
    ),
)  # fmt: skip
def test_stated_values_hold_and_the_budget_is_kept(hardware, discovered):
    nothing_found = discovered is None or discovered.total_gpus == 0
    if nothing_found and hardware.gpu_sku is None and hardware.vram_mb is None:
        with pytest.raises(HardwareUnknown):
            inventory_for_request(hardware, discovered)
        return
    inventory = inventory_for_request(hardware, discovered)
    assert inventory.pools
    for pool in inventory.pools:
        assert 1 <= pool.gpus <= pool.nodes * pool.gpus_per_node
        assert hardware.gpu_sku in (None, pool.gpu.sku)
        assert hardware.vram_mb is None or pool.gpu.vram_bytes == int(hardware.vram_mb * 2**20)
        assert hardware.rdma in (None, pool.rdma)
        if hardware.num_gpus_per_node is not None:
            assert pool.gpus_per_node <= hardware.num_gpus_per_node
    if hardware.total_gpus is not None:
        assert inventory.total_gpus == hardware.total_gpus
    elif inventory.source != "stated":
        assert inventory.total_gpus <= AUTO_GPU_LIMIT
