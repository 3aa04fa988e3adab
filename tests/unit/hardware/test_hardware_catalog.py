"""The catalogue: complete, dense, sourced, and in agreement with the estimator library's system files."""

from __future__ import annotations

import copy
import importlib.util
import math
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from armature.errors import InvalidInput
from armature.hardware.catalog import DTYPES, GPUS, LINKS, SEED_SKUS, Gpu, closest_sku, find, gpu


def test_every_seed_sku_is_known():  # SKU-01
    assert len(SEED_SKUS) == 16
    assert all(find(sku) is not None for sku in SEED_SKUS)


@pytest.mark.parametrize("sku", ["gb200", "gb300", "b300_sxm", "gb10", "rtx_pro_6000", "vr_nvl72"])
def test_newer_skus_are_known(sku):
    assert gpu(sku).sku == sku


def test_gb200_is_the_canonical_name_and_gb200_sxm_its_alias():
    assert gpu("gb200_sxm") is gpu("gb200")
    assert gpu("gb200_sxm").sku == "gb200"


def test_names_are_unique_over_skus_and_aliases():
    names = [name for row in GPUS.values() for name in (row.sku, *row.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", GPUS.values(), ids=lambda row: row.sku)
def test_every_row_is_finite_positive_and_sourced(row):
    figures = [row.vram_bytes, row.bandwidth_bytes_per_s, row.link_bytes_per_s, row.pcie_bytes_per_s,
               row.gpus_per_node, row.board_power_w, *row.flops.values()]  # fmt: skip
    assert all(math.isfinite(figure) and figure > 0 for figure in figures)
    assert row.source
    assert row.as_of.count("-") == 2
    assert row.link in LINKS
    assert set(row.flops) <= set(DTYPES)
    assert {"bf16", "fp16"} & set(row.flops)
    assert row.link_bytes_per_s >= row.pcie_bytes_per_s
    assert (row.link == "nvlink") <= (row.nvlink_bytes_per_s == row.link_bytes_per_s)


def test_dense_rates_not_the_sparse_ones_of_the_sheets():
    assert gpu("h100_sxm").flops["bf16"] == pytest.approx(989.4e12)  # 1979 with sparsity
    assert gpu("h200_sxm").flops["fp8"] == pytest.approx(1979e12, rel=1e-3)  # 3958 with sparsity
    assert gpu("l40s").flops["fp8"] == pytest.approx(733e12)  # 1466 with sparsity
    assert gpu("b200_sxm").flops["fp4"] == pytest.approx(9e15)  # 18 with sparsity


def test_figures_agree_with_the_estimator_librarys_system_files():
    """C-24: the library rounds memory up to the box for some; RTX PRO 6000's bandwidth there is the workstation card's,
    L4's memory the nominal 24 GiB, and its B300 FP4 rate is another sheet's 14 PFLOPS."""
    spec = importlib.util.find_spec("aiconfigurator_core")
    if spec is None or spec.origin is None:
        pytest.skip("no wheel of the estimator library for this platform")
    compared = 0
    for path in sorted((Path(spec.origin).parent / "systems").glob("*.yaml")):
        system = yaml.safe_load(path.read_text())
        row = find(path.stem)
        if row is None or "gpu" not in system:
            continue
        theirs, node = system["gpu"], system["node"]
        compared += 1
        bandwidth = 0.12 if row.sku == "rtx_pro_6000" else 0.01
        assert row.bandwidth_bytes_per_s == pytest.approx(theirs["mem_bw"], rel=bandwidth), path.stem
        assert row.vram_bytes == pytest.approx(theirs["mem_capacity"], rel=0.07), path.stem
        for dtype, key in {"bf16": "bfloat16_tc_flops", "int8": "int8_tc_flops", "fp8": "fp8_tc_flops",
                           "fp4": "fp4_tc_flops"}.items():  # fmt: skip
            assert (dtype in row.flops) == (key in theirs), (path.stem, dtype)
            if key in theirs:
                assert row.flops[dtype] == pytest.approx(theirs[key], rel=0.05), (path.stem, dtype)
        assert row.board_power_w == theirs["power"], path.stem
        assert row.gpus_per_node == node["num_gpus_per_node"], path.stem
        assert row.link_bytes_per_s == pytest.approx(node["intra_node_bw"]), path.stem
    assert compared >= 12


def test_a_gpu_is_hashable_copied_and_pickled_whole():
    row = gpu("h100_sxm")
    for twin in (copy.deepcopy(row), pickle.loads(pickle.dumps(row)), replace(row)):
        assert twin == row
        assert hash(twin) == hash(row)
    assert len({row, replace(row, vram_bytes=1)}) == 2


def test_flops_read_like_a_mapping_and_a_plain_dict_is_accepted():
    row = replace(gpu("t4"), flops={"fp16": 1.0, "fp32": 2.0})
    assert row.flops["fp16"] == 1.0
    assert row.flops == {"fp32": 2.0, "fp16": 1.0}
    assert "bf16" not in row.flops
    assert row.flops.get("bf16", 0.0) == 0.0
    assert isinstance(row, Gpu)
    with pytest.raises(TypeError):
        row.flops["fp16"] = 3.0


@pytest.mark.parametrize(
    ("sku", "dtype", "runs_as"),
    [
        ("h100_sxm", "fp8", "fp8"),
        ("h100_sxm", "fp4", "bf16"),  # Hopper widens FP4 weights to 16 bits
        ("a100_sxm", "fp8", "bf16"),
        ("b200_sxm", "fp4", "fp4"),
        ("v100_sxm", "bf16", "fp16"),
        ("t4", "fp8", "fp16"),
        ("mi300", "fp16", "fp16"),
        ("h200_sxm", "int4", "bf16"),
    ],
)
def test_a_missing_dtype_runs_as_the_engines_run_it(sku, dtype, runs_as):
    assert gpu(sku).flops_for(dtype) == gpu(sku).flops[runs_as]


def test_every_gpu_has_a_rate_for_every_dtype_and_no_other():
    assert all(row.flops_for(dtype) > 0 for row in GPUS.values() for dtype in DTYPES)
    with pytest.raises(InvalidInput, match=r"fp3.*use one of"):
        gpu("t4").flops_for("fp3")


def test_links_can_be_restated_only_where_the_hardware_has_them():
    assert gpu("h100_sxm").linked_by("pcie").link_bytes_per_s == 64e9
    assert gpu("h100_pcie").linked_by("nvlink").link_bytes_per_s == 300e9  # with a bridge
    assert gpu("l40s").linked_by("nvlink") is gpu("l40s")
    assert gpu("h100_sxm").linked_by("xgmi") is gpu("h100_sxm")


def test_an_unknown_sku_gets_one_clear_error():
    with pytest.raises(
        InvalidInput, match=r"gpuSku: is not a known GPU SKU \(got 'h100_sxn'\); did you mean h100_sxm"
    ):
        gpu("h100_sxn")
    with pytest.raises(InvalidInput, match=r"known SKUs: .*h200_sxm"):
        gpu("zzzzz")
    with pytest.raises(InvalidInput, match=r"spec\.hardware\.gpuSku: .*did you mean h200_sxm"):
        gpu("H200-SXM-141GB", path="spec.hardware.gpuSku")  # VAL-03
    assert closest_sku("") is None
