"""Vendor product strings: read as vendors write them, never refused (SKU-02, issue 3 §2)."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from armature.hardware.catalog import GPUS
from armature.hardware.products import gpu_for_product, match_product, memory_in, time_slice, usual_products

GIB = 2**30


@pytest.mark.parametrize(
    ("product", "sku"),
    [
        ("NVIDIA-H100-80GB-HBM3", "h100_sxm"),  # upstream infers h100_pcie
        ("NVIDIA H100 80GB HBM3", "h100_sxm"),
        ("NVIDIA H100 80GB HBM2e", "h100_pcie"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("NVIDIA H100 NVL", "h100_nvl"),
        ("H100-SXM5-80GB", "h100_sxm"),
        ("nvidia-h100-mega-80gb", "h100_sxm"),
        ("NVIDIA H800", "h100_sxm"),
        ("H200-SXM-141GB", "h200_sxm"),
        ("NVIDIA-H200", "h200_sxm"),
        ("NVIDIA-H200-NVL", "h200_nvl"),
        ("NVIDIA H20", "h20"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA A100-SXM4-80GB", "a100_sxm"),
        ("NVIDIA-A100-SXM4-40GB", "a100_sxm"),
        ("A100-PCIE-40GB", "a100_pcie"),
        ("NVIDIA-A100-80GB-PCIe", "a100_pcie"),
        ("A30", "a30"),
        ("NVIDIA-A10G", "a10g"),
        ("NVIDIA A10", "a10"),
        ("L40S", "l40s"),
        ("NVIDIA L40", "l40"),
        ("L4", "l4"),
        ("nvidia-l4", "l4"),
        ("Tesla-V100-SXM2-32GB", "v100_sxm"),
        ("Tesla V100-PCIE-16GB", "v100_pcie"),
        ("Tesla V100S-PCIE-32GB", "v100_pcie"),
        ("Tesla T4", "t4"),
        ("AMD Instinct MI300X", "mi300"),
        ("AMD_Instinct_MI300X_OAM", "mi300"),
        ("AMD Instinct MI300A", "mi300"),
        ("AMD-Instinct-MI250X", "mi200"),
        ("AMD Instinct MI325X", "mi325x"),
        ("AMD Instinct MI355X", "mi355x"),
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA-B200", "b200_sxm"),
        ("NVIDIA B300 SXM6 AC", "b300_sxm"),
        ("NVIDIA-GB300", "gb300"),
        ("NVIDIA GB10", "gb10"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx_pro_6000"),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Workstation-Edition", "rtx_pro_6000"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx_6000_ada"),
        ("NVIDIA GeForce RTX 4090", "rtx_4090"),
    ],
)
def test_product_maps_to_its_sku_exactly(product, sku):
    match = match_product(product)
    assert match.gpu.sku == sku
    assert match.known
    assert not match.gpu.estimated
    assert match.note == ""


@pytest.mark.parametrize("sku", GPUS)
def test_a_sku_names_itself(sku):
    assert gpu_for_product(sku) == GPUS[sku]
    assert gpu_for_product(sku.upper().replace("_", "-")) == GPUS[sku]


def test_the_memory_a_driver_reports_wins():
    assert gpu_for_product("NVIDIA-H100-80GB-HBM3", 80_000 * 2**20).vram_bytes == 80_000 * 2**20
    assert gpu_for_product("NVIDIA-H100-80GB-HBM3") == GPUS["h100_sxm"]


def test_the_40_gb_a100_keeps_its_sku_with_its_own_memory_and_bandwidth():
    by_name = gpu_for_product("NVIDIA-A100-SXM4-40GB")
    by_label = gpu_for_product("NVIDIA-A100-SXM4-40GB", 40_960 * 2**20)
    assert by_name == by_label
    assert by_name.vram_bytes == 40 * GIB
    assert by_name.bandwidth_bytes_per_s == 1555e9
    assert by_name.flops == GPUS["a100_sxm"].flops


def test_variants_of_one_sku_keep_their_own_figures():
    assert gpu_for_product("NVIDIA A800-SXM4-80GB").link_bytes_per_s == 200e9
    assert gpu_for_product("AMD Instinct MI300A").vram_bytes == 128 * GIB
    assert gpu_for_product("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition").board_power_w == 300
    assert gpu_for_product("NVIDIA GH200 480GB").vram_bytes < 100 * GIB  # 480 GB is the CPU's
    assert gpu_for_product("NVIDIA-GH200-144G-HBM3e").vram_bytes == 144 * GIB
    assert gpu_for_product("Tesla V100-SXM2-16GB").vram_bytes == 16 * GIB


def test_a_mig_slice_is_not_a_whole_gpu():
    match = match_product("NVIDIA-A100-SXM4-80GB-MIG-3g.40gb")
    whole = GPUS["a100_sxm"]
    assert match.gpu.estimated
    assert match.gpu.vram_bytes == 40 * GIB
    assert match.gpu.bandwidth_bytes_per_s == pytest.approx(whole.bandwidth_bytes_per_s / 2)
    assert match.gpu.flops["bf16"] == pytest.approx(whole.flops["bf16"] * 3 / 7)
    assert match.gpu.link == "pcie"
    assert "MIG slice" in match.note
    assert gpu_for_product("NVIDIA H200 MIG 1g.18gb", 16_384 * 2**20).vram_bytes == 16 * GIB
    assert gpu_for_product("ACME Z9 MIG 1g.10gb").estimated


def test_a_time_sliced_gpu_is_estimated_and_divided():
    match = match_product("NVIDIA-H100-80GB-HBM3-SHARED", 81_559 * 2**20)
    assert (match.gpu.sku, match.gpu.estimated) == ("h100_sxm", True)
    assert "time-sliced" in match.note
    quarter = time_slice(GPUS["h100_sxm"], 4)
    assert quarter.vram_bytes == GPUS["h100_sxm"].vram_bytes // 4
    assert quarter.flops["fp8"] == GPUS["h100_sxm"].flops["fp8"] / 4


@pytest.mark.parametrize(
    ("product", "vram", "sku"),
    [
        ("ACME Z9 96GB", None, "rtx_pro_6000"),
        ("ACME Z9", 48 * GIB, "rtx_a6000"),  # of the 48 GiB cards the slowest
        ("ACME Z9", 500 * GIB, "gb300"),
        ("ACME Z9", 4 * GIB, "t4"),
        ("AMD Instinct MI999X", 256 * GIB, "mi325x"),
        ("Quadro RTX 6000", 24 * GIB, "a30"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16 * GIB, "t4"),
        ("NVIDIA T400", 4 * GIB, "t4"),
    ],
)
def test_an_unknown_product_is_classed_by_its_memory_and_marked(product, vram, sku):
    match = match_product(product, vram)
    assert match.gpu.sku == sku
    assert match.gpu.estimated
    assert not match.known
    assert match.gpu.name == product
    assert match.gpu.vram_bytes == (vram or 96 * GIB)
    assert "estimated" in match.note


def test_nothing_known_at_all_is_the_smallest_gpu_and_says_so():
    match = match_product("")
    assert match.gpu.sku == "t4"
    assert match.gpu.estimated
    assert "neither product nor memory" in match.note


@pytest.mark.parametrize("vram", [0, -1, 1, 10**30])
def test_a_memory_that_cannot_be_is_not_believed(vram):
    assert gpu_for_product("NVIDIA-H100-80GB-HBM3", vram) == GPUS["h100_sxm"]


@pytest.mark.parametrize(
    ("text", "gib"), [("A100-40GB", 40), ("x 141 GB", 141), ("h200", None), ("12345GB", None), ("a 8G b", 8)]
)
def test_memory_written_in_a_product(text, gib):
    assert memory_in(text) == (None if gib is None else gib * GIB)


words = st.sampled_from(["NVIDIA", "AMD", "H100", "A100", "MIG", "0g.0gb", "9g.999gb", "SXM", "80GB", "0GB", "-SHARED",
                         "GB", "MI300A", "L4", "RTX", "PRO", "6000", "x", "-", " ", "²"])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(words, max_size=7).map("-".join),
        st.lists(words, max_size=7).map("".join),
    ),
    st.one_of(st.none(), st.integers(), st.integers(2**28, 2**40)),
)
@example("NVIDIA-A100-MIG-0g.0gb", None)
@example("A100-MIG-" + "9" * 5000 + "g.1gb", None)
@example("9" * 5000 + "GB", None)
def test_any_text_gives_a_gpu_with_finite_positive_figures(product, vram):
    gpu = gpu_for_product(product, vram)
    figures = [
        gpu.vram_bytes,
        gpu.bandwidth_bytes_per_s,
        gpu.link_bytes_per_s,
        gpu.board_power_w,
        gpu.gpus_per_node,
    ]
    assert all(math.isfinite(figure) and figure > 0 for figure in [*figures, *gpu.flops.values()])
    assert gpu.sku in GPUS


def test_usual_labels_are_of_their_sku():
    """A pod that selects nodes by them gets the GPU it was planned for."""
    named = {sku: usual_products(sku) for sku in GPUS if usual_products(sku)}
    assert len(named) > 15
    for sku, labels in named.items():
        for label in labels:
            assert gpu_for_product(label).sku.removesuffix("_sxm") == sku.removesuffix("_sxm"), label
            assert " " not in label
    assert usual_products("t4000") == ()
