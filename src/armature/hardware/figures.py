"""The table of GPU figures. Nothing is computed from it here; `catalog` gives it out.

How the figures were taken, for all rows alike:

- memory is what the driver reports (`nvidia-smi`, `rocm-smi`), in MiB, since that is what an engine can have;
- operations per second are *dense*: NVIDIA prints most of its rates with 2:4 sparsity, and those are halved here.
  16-bit rates are with FP32 accumulation; fp16 equals bf16 unless a row says otherwise;
- links are per GPU and in one direction: half of the "bidirectional" figure on the sheet. PCIe is the nominal rate
  of x16. A bridge joins only two (or four) cards, so cards that take one are listed with PCIe and `bridge`;
- nodes are the usual server of that GPU; board power is the rated maximum.
"""

from __future__ import annotations

from armature.hardware.gpu import Gpu

__all__ = ["CHECKED", "TABLE"]

CHECKED = "2026-11-21"
_MIB = 2**20
_GB_S = 1e9
_T = 1e12
_PCIE3, _PCIE4, _PCIE5, _PCIE6 = 16.0, 32.0, 64.0, 128.0  # GB/s of x16, one direction


def _gpu(
    sku: str,
    name: str,
    architecture: str,
    *,
    mib: int,
    gb_s: float,
    tflops: dict[str, float],
    pcie: float,
    node: int,
    watts: float,
    source: str,
    nvlink: float = 0.0,
    bridge: float = 0.0,
    xgmi: float = 0.0,
    network: float = 0.0,
    vendor: str = "NVIDIA",
    aliases: tuple[str, ...] = (),
    preliminary: bool = False,
) -> Gpu:
    """One row. Link figures in GB/s; exactly one of nvlink, xgmi, network overrides PCIe as the way to peers.

    network: GPUs that are alone in their box reach peers over the network card; counted as `pcie`, the bus it is on.
    """
    rates = dict(tflops)
    if "bf16" in rates:
        rates.setdefault("fp16", rates["bf16"])
    link, link_gb_s = "pcie", network or pcie
    if nvlink:
        link, link_gb_s = "nvlink", nvlink
    elif xgmi:
        link, link_gb_s = "xgmi", xgmi
    return Gpu(
        sku=sku,
        name=name,
        vendor=vendor,
        architecture=architecture,
        vram_bytes=mib * _MIB,
        bandwidth_bytes_per_s=gb_s * _GB_S,
        flops={dtype: rate * _T for dtype, rate in rates.items()},
        link=link,
        link_bytes_per_s=link_gb_s * _GB_S,
        gpus_per_node=node,
        board_power_w=watts,
        source=source,
        as_of=CHECKED,
        estimated=preliminary,
        aliases=aliases,
        pcie_bytes_per_s=(network or pcie) * _GB_S,
        nvlink_bytes_per_s=(nvlink or bridge) * _GB_S,
    )


_H100 = {"fp32": 66.9, "bf16": 989.4, "int8": 1978.9, "fp8": 1978.9}
_H100_NVL = {"fp32": 60.0, "bf16": 835.5, "int8": 1670.5, "fp8": 1670.5}
_GB200 = {"fp32": 80.0, "bf16": 2500.0, "int8": 5000.0, "fp8": 5000.0, "fp4": 10000.0}
_GB300 = {"fp32": 80.0, "bf16": 2500.0, "int8": 165.0, "fp8": 5000.0, "fp4": 15000.0}
_B200 = {"fp32": 75.0, "bf16": 2250.0, "int8": 4500.0, "fp8": 4500.0, "fp4": 9000.0}
_B300 = {"fp32": 75.0, "bf16": 2250.0, "int8": 153.5, "fp8": 4500.0, "fp4": 13500.0}
_RUBIN = {"fp32": 130.0, "bf16": 4000.0, "int8": 250.0, "fp8": 17500.0, "fp4": 35000.0}
_PRO6000 = {"fp32": 117.0, "bf16": 467.8, "int8": 935.6, "fp8": 935.6, "fp4": 1871.2}
_A100 = {"fp32": 19.5, "bf16": 312.0, "int8": 624.0}
_L40S = {"fp32": 91.6, "bf16": 362.05, "int8": 733.0, "fp8": 733.0}
_MI300 = {"fp32": 163.4, "bf16": 1307.4, "int8": 2614.9, "fp8": 2614.9}
_MI355 = {"fp32": 157.3, "bf16": 2516.6, "int8": 5033.2, "fp8": 5033.2, "fp4": 10066.3}
_MI350 = {"fp32": 144.2, "bf16": 2306.9, "int8": 4613.7, "fp8": 4613.7, "fp4": 9227.5}

_BLACKWELL = "NVIDIA Blackwell datasheet (3384703)"
_ULTRA = "NVIDIA Blackwell Ultra datasheet; HGX B300 product page"
_HOPPER = "NVIDIA H100 datasheet"
_ADA_RTX = "NVIDIA Ada GPU architecture whitepaper"

TABLE: tuple[Gpu, ...] = (
    # Grace and Vera superchips: four GPUs in a compute tray; NVLink spans the rack of 72.
    _gpu("vr_nvl72", "NVIDIA Rubin (Vera Rubin NVL72)", "Rubin", mib=274_658, gb_s=22000, tflops=_RUBIN, nvlink=1800,
         pcie=_PCIE6, node=4, watts=1800, preliminary=True,
         source="NVIDIA Vera Rubin NVL72 preliminary specifications; power as reported by the press"),
    _gpu("gb300", "NVIDIA GB300", "Blackwell Ultra", mib=284_208, gb_s=8000, tflops=_GB300, nvlink=900,
         pcie=_PCIE5, node=4, watts=1400, source=_ULTRA, aliases=("gb300_sxm",)),
    _gpu("gb200", "NVIDIA GB200", "Blackwell", mib=189_471, gb_s=8000, tflops=_GB200, nvlink=900,
         pcie=_PCIE5, node=4, watts=1200, source=_BLACKWELL, aliases=("gb200_sxm",)),
    # Alone in its box; LPDDR5X shared with the CPU. FP8 and BF16 follow from FP4 by the architecture's 1:2:4.
    _gpu("gb10", "NVIDIA GB10", "Blackwell", mib=122_070, gb_s=273,
         tflops={"fp32": 31.0, "bf16": 125.0, "int8": 250.0, "fp8": 250.0, "fp4": 500.0},
         network=25.0, pcie=_PCIE5, node=1, watts=140,
         source="NVIDIA DGX Spark datasheet (1 PFLOPS FP4 sparse, 273 GB/s, ConnectX-7 200 Gb/s)"),
    _gpu("gh200", "NVIDIA GH200", "Hopper", mib=97_871, gb_s=4000, tflops=_H100, network=50.0, pcie=_PCIE5, node=1,
         watts=900, source="NVIDIA GH200 Grace Hopper datasheet (96 GB HBM3); 400 Gb/s network assumed"),
    # SXM and OAM boards: eight in a node, all to all.
    _gpu("b300_sxm", "NVIDIA B300 SXM", "Blackwell Ultra", mib=275_040, gb_s=7750, tflops=_B300, nvlink=900,
         pcie=_PCIE6, node=8, watts=1100, source=_ULTRA, aliases=("b300",)),
    _gpu("b200_sxm", "NVIDIA B200 SXM", "Blackwell", mib=183_359, gb_s=7700, tflops=_B200, nvlink=900,
         pcie=_PCIE5, node=8, watts=1000, source=_BLACKWELL, aliases=("b200",)),
    _gpu("h200_sxm", "NVIDIA H200 SXM", "Hopper", mib=143_771, gb_s=4800, tflops=_H100, nvlink=450,
         pcie=_PCIE5, node=8, watts=700, source="NVIDIA H200 datasheet", aliases=("h200",)),
    _gpu("h100_sxm", "NVIDIA H100 SXM5 80GB", "Hopper", mib=81_559, gb_s=3350, tflops=_H100, nvlink=450,
         pcie=_PCIE5, node=8, watts=700, source=_HOPPER, aliases=("h100",)),
    _gpu("h20", "NVIDIA H20", "Hopper", mib=97_871, gb_s=4000,
         tflops={"fp32": 44.0, "bf16": 148.0, "int8": 296.0, "fp8": 296.0}, nvlink=450, pcie=_PCIE5, node=8,
         watts=400, source="NVIDIA H20 figures as published by server vendors"),
    _gpu("a100_sxm", "NVIDIA A100 SXM4 80GB", "Ampere", mib=81_920, gb_s=2039, tflops=_A100, nvlink=300,
         pcie=_PCIE4, node=8, watts=400, source="NVIDIA A100 80GB datasheet", aliases=("a100",)),
    _gpu("v100_sxm", "NVIDIA V100 SXM2 32GB", "Volta", mib=32_768, gb_s=900, tflops={"fp32": 15.7, "fp16": 125.0},
         nvlink=150, pcie=_PCIE3, node=8, watts=300, source="NVIDIA V100 datasheet", aliases=("v100",)),
    _gpu("mi355x", "AMD Instinct MI355X", "CDNA 4", mib=294_896, gb_s=8000, tflops=_MI355, xgmi=537.6, pcie=_PCIE5,
         node=8, vendor="AMD", watts=1400, source="AMD Instinct MI355X datasheet"),
    _gpu("mi350x", "AMD Instinct MI350X", "CDNA 4", mib=294_896, gb_s=8000, tflops=_MI350, xgmi=537.6, pcie=_PCIE5,
         node=8, vendor="AMD", watts=1000, source="AMD Instinct MI350X datasheet"),
    _gpu("mi325x", "AMD Instinct MI325X", "CDNA 3", mib=262_128, gb_s=6000, tflops=_MI300, xgmi=448.0, pcie=_PCIE5,
         node=8, vendor="AMD", watts=1000, source="AMD Instinct MI325X datasheet"),
    _gpu("mi300", "AMD Instinct MI300X", "CDNA 3", mib=196_592, gb_s=5300, tflops=_MI300, xgmi=448.0, pcie=_PCIE5,
         node=8, vendor="AMD", watts=750, source="AMD Instinct MI300X datasheet", aliases=("mi300x",)),
    # ROCm and Kubernetes show each of an MI250X's two dies as a GPU: one die is half of the sheet's figures.
    _gpu("mi200", "AMD Instinct MI250X (one die)", "CDNA 2", mib=65_520, gb_s=1638.4,
         tflops={"fp32": 47.9, "bf16": 191.5, "int8": 191.5}, xgmi=200.0, pcie=_PCIE4, node=8, vendor="AMD", watts=280,
         source="AMD Instinct MI250X datasheet, halved", aliases=("mi250x",)),
    # PCIe cards.
    _gpu("h200_nvl", "NVIDIA H200 NVL", "Hopper", mib=143_771, gb_s=4800, tflops=_H100_NVL, bridge=450, pcie=_PCIE5,
         node=8, watts=600, source="NVIDIA H200 datasheet"),
    _gpu("h100_nvl", "NVIDIA H100 NVL", "Hopper", mib=95_830, gb_s=3900, tflops=_H100_NVL, bridge=300, pcie=_PCIE5,
         node=8, watts=400, source=_HOPPER),
    _gpu("h100_pcie", "NVIDIA H100 PCIe 80GB", "Hopper", mib=81_559, gb_s=2000,
         tflops={"fp32": 51.2, "bf16": 756.5, "int8": 1513.0, "fp8": 1513.0}, bridge=300, pcie=_PCIE5, node=8,
         watts=350, source="NVIDIA H100 PCIe product brief"),
    _gpu("a100_pcie", "NVIDIA A100 PCIe 80GB", "Ampere", mib=81_920, gb_s=1935, tflops=_A100, bridge=300,
         pcie=_PCIE4, node=8, watts=300, source="NVIDIA A100 80GB datasheet"),
    _gpu("rtx_pro_6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", "Blackwell", mib=97_887, gb_s=1597,
         tflops=_PRO6000, pcie=_PCIE5, node=8, watts=600, aliases=("rtx_pro_6000_server",),
         source="NVIDIA RTX PRO 6000 Blackwell Server Edition product page; rates at its 2430 MHz"),
    _gpu("l40s", "NVIDIA L40S", "Ada", mib=46_068, gb_s=864, tflops=_L40S, pcie=_PCIE4, node=8, watts=350,
         source="NVIDIA L40S datasheet"),
    _gpu("l40", "NVIDIA L40", "Ada", mib=46_068, gb_s=864,
         tflops={"fp32": 90.5, "bf16": 181.05, "int8": 362.0, "fp8": 362.0}, pcie=_PCIE4, node=8, watts=300,
         source="NVIDIA L40 datasheet"),
    _gpu("l4", "NVIDIA L4", "Ada", mib=23_034, gb_s=300,
         tflops={"fp32": 30.3, "bf16": 121.0, "int8": 242.5, "fp8": 242.5}, pcie=_PCIE4, node=8, watts=72,
         source="NVIDIA L4 datasheet"),
    _gpu("rtx_6000_ada", "NVIDIA RTX 6000 Ada Generation", "Ada", mib=49_140, gb_s=960,
         tflops={"fp32": 91.1, "bf16": 364.2, "int8": 728.5, "fp8": 728.5}, pcie=_PCIE4, node=8, watts=300,
         source=_ADA_RTX),
    _gpu("rtx_4090", "NVIDIA GeForce RTX 4090", "Ada", mib=24_564, gb_s=1008,
         tflops={"fp32": 82.6, "bf16": 165.2, "int8": 660.6, "fp8": 330.3}, pcie=_PCIE4, node=8, watts=450,
         source=_ADA_RTX),
    _gpu("rtx_5090", "NVIDIA GeForce RTX 5090", "Blackwell", mib=32_607, gb_s=1792,
         tflops={"fp32": 104.8, "bf16": 209.5, "int8": 838.0, "fp8": 419.0, "fp4": 1676.0}, pcie=_PCIE5, node=8,
         watts=575, source="NVIDIA RTX Blackwell GPU architecture whitepaper"),
    _gpu("a40", "NVIDIA A40", "Ampere", mib=46_068, gb_s=696, tflops={"fp32": 37.4, "bf16": 149.7, "int8": 299.3},
         bridge=56.25, pcie=_PCIE4, node=8, watts=300, source="NVIDIA A40 datasheet"),
    _gpu("rtx_a6000", "NVIDIA RTX A6000", "Ampere", mib=49_140, gb_s=768,
         tflops={"fp32": 38.7, "bf16": 154.8, "int8": 309.7}, bridge=56.25, pcie=_PCIE4, node=8, watts=300,
         source="NVIDIA Ampere GA102 GPU architecture whitepaper"),
    _gpu("a30", "NVIDIA A30", "Ampere", mib=24_576, gb_s=933, tflops={"fp32": 10.3, "bf16": 165.0, "int8": 330.0},
         bridge=100, pcie=_PCIE4, node=8, watts=165, source="NVIDIA A30 datasheet"),
    _gpu("a10", "NVIDIA A10", "Ampere", mib=23_028, gb_s=600, tflops={"fp32": 31.2, "bf16": 125.0, "int8": 250.0},
         pcie=_PCIE4, node=4, watts=150, source="NVIDIA A10 datasheet"),
    _gpu("a10g", "NVIDIA A10G", "Ampere", mib=23_028, gb_s=600, tflops={"fp32": 35.0, "bf16": 70.0, "int8": 140.0},
         pcie=_PCIE4, node=8, watts=300, source="NVIDIA A10G datasheet"),
    _gpu("v100_pcie", "NVIDIA V100 PCIe 32GB", "Volta", mib=32_768, gb_s=900, tflops={"fp32": 14.0, "fp16": 112.0},
         pcie=_PCIE3, node=4, watts=250, source="NVIDIA V100 datasheet"),
    _gpu("t4", "NVIDIA T4", "Turing", mib=15_360, gb_s=320, tflops={"fp32": 8.1, "fp16": 65.0, "int8": 130.0},
         pcie=_PCIE3, node=4, watts=70, source="NVIDIA T4 datasheet"),
)  # fmt: skip
