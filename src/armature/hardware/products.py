"""From the product string a vendor's driver or label gives to a GPU of the catalogue.

Upstream looks for a substring and calls everything without `SXM` in its name a PCIe card, so that
`NVIDIA-H100-80GB-HBM3`, which is the SXM board, becomes `h100_pcie`. Here the product is matched as a word
(`GH200` is no `H200`, `A100` no `A10`) and the form factor is read from what the vendor does write. No product is
refused: one that we do not know is classed by its memory and marked estimated.
"""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec

from armature.hardware.catalog import GPUS, Gpu, find

__all__ = ["Match", "gpu_for_product", "match_product", "memory_in", "time_slice", "usual_products"]

_GIB = 2**30
_MIN_VRAM, _MAX_VRAM = 2**28, 2**44  # 256 MiB to 16 TiB: outside of it a reported memory is not believed
_MIG = re.compile(r"MIG ?(?:\d+C\.)?([1-7])G\.([1-9]\d{0,3})GB")
_MEMORY = re.compile(r"(?<![A-Z0-9.])(\d{1,4}) ?GI?B?(?![A-Z0-9.])")

# The rest of a family name decides by form factor; a plain name has one SKU. Order matters only where one
# pattern is the beginning of another. `\b` alone would take `H200` in `GH200` to be a word's end, hence the guards.
_FAMILIES: tuple[tuple[str, str], ...] = (
    (r"GB300", "gb300"),
    (r"GB200", "gb200"),
    (r"GB10|DGX SPARK", "gb10"),
    (r"GH200", "gh200"),
    (r"VR200|VR NVL72|VERA RUBIN|RUBIN", "vr_nvl72"),
    (r"B300", "b300_sxm"),
    (r"B200", "b200_sxm"),
    (r"H200", "h200"),
    (r"H[18]00", "h100"),
    (r"H20", "h20"),
    (r"A[18]00", "a100"),
    (r"V100S?", "v100"),
    (r"MI355X?", "mi355x"),
    (r"MI350X?", "mi350x"),
    (r"MI325X?", "mi325x"),
    (r"MI300[AX]?", "mi300"),
    (r"MI2(?:00|10|50)X?", "mi200"),
    (r"(?:RTX )?PRO ?6000", "rtx_pro_6000"),
    (r"(?:RTX ?)?6000 ?ADA", "rtx_6000_ada"),
    (r"RTX ?A6000", "rtx_a6000"),
    (r"(?:GEFORCE ?)?RTX ?5090", "rtx_5090"),
    (r"(?:GEFORCE ?)?RTX ?4090", "rtx_4090"),
    (r"L40S", "l40s"),
    (r"L40", "l40"),
    (r"L4", "l4"),
    (r"A40", "a40"),
    (r"A30", "a30"),
    (r"A10G", "a10g"),
    (r"A10", "a10"),
    (r"T4", "t4"),
)
# Not typical of their memory size, so they say nothing about an unknown product of that size.
_NO_DONORS = frozenset({"gb10", "gh200", "vr_nvl72", "mi200"})
# How NVIDIA's device plugin labels nodes (`nvidia.com/gpu.product`: NVML's name, blanks as dashes), as in NVIDIA's GPU
# operator and MIG manager documentation, 2026. Only names that are documented; a SKU without one cannot be selected.
_USUAL: dict[str, tuple[str, ...]] = {
    "a100_pcie": ("NVIDIA-A100-80GB-PCIe", "NVIDIA-A100-PCIE-40GB"),
    "a100_sxm": ("NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-SXM4-40GB"),
    "a10g": ("NVIDIA-A10G",),
    "a30": ("NVIDIA-A30",),
    "b200_sxm": ("NVIDIA-B200",),
    "gb200": ("NVIDIA-GB200",),
    "gb200_sxm": ("NVIDIA-GB200",),
    "gb300": ("NVIDIA-GB300",),
    "gb300_sxm": ("NVIDIA-GB300",),
    "h100_nvl": ("NVIDIA-H100-NVL",),
    "h100_pcie": ("NVIDIA-H100-PCIe",),
    "h100_sxm": ("NVIDIA-H100-80GB-HBM3",),
    "h200_nvl": ("NVIDIA-H200-NVL",),
    "h200_sxm": ("NVIDIA-H200",),
    "l4": ("NVIDIA-L4",),
    "l40": ("NVIDIA-L40",),
    "l40s": ("NVIDIA-L40S",),
    "t4": ("Tesla-T4",),
    "v100_sxm": ("Tesla-V100-SXM2-16GB", "Tesla-V100-SXM2-32GB"),
}


class Match(msgspec.Struct, frozen=True):
    """A GPU for a product; `note` says what had to be assumed, empty when nothing was. known: the catalogue has it."""

    gpu: Gpu
    note: str = ""
    known: bool = True


def gpu_for_product(product: str, vram_bytes: int | None = None) -> Gpu:
    """The GPU for a product string or SKU; `vram_bytes`, when the driver reports it, wins over the catalogue.

    Never refuses: an unknown product takes the figures of the nearest catalogue GPU of at most its memory, and
    is marked estimated. `match_product` also says what was assumed.
    """
    return match_product(product, vram_bytes).gpu


def match_product(product: str, vram_bytes: int | None = None) -> Match:
    """Like `gpu_for_product`, with a note on what was assumed."""
    vram = vram_bytes if vram_bytes is not None and _MIN_VRAM <= vram_bytes <= _MAX_VRAM else None
    text = _normal(product)
    mig = _MIG.search(text)
    whole = find(product) or _known(text)
    if mig is not None:
        return _slice(product, whole, compute=int(mig[1]), vram=vram or int(mig[2]) * _GIB)
    if whole is None:
        return _by_memory(product, vram or memory_in(product))
    gpu = _variant(whole, text, vram or _memory_variant(whole, text))
    if "SHARED" in text:
        note = f"{product}: time-sliced, so one of these is less than a whole {gpu.sku}; figures are an upper bound"
        return Match(replace(gpu, name=product, estimated=True), note)
    if gpu.estimated:
        return Match(gpu, f"{gpu.name}: figures are preliminary")
    return Match(gpu)


def time_slice(gpu: Gpu, replicas: int) -> Gpu:
    """One of `replicas` equal shares of a time-sliced GPU, as an engine that takes one of them can count on it."""
    return replace(
        gpu.linked_by("pcie"),
        vram_bytes=gpu.vram_bytes // replicas,
        bandwidth_bytes_per_s=gpu.bandwidth_bytes_per_s / replicas,
        flops={dtype: rate / replicas for dtype, rate in gpu.flops.items()},
        board_power_w=gpu.board_power_w / replicas,
        estimated=True,
    )


def usual_products(sku: str) -> tuple[str, ...]:
    """Product labels that nodes with this SKU usually carry; empty where none is documented."""
    return _USUAL.get(sku, ())


def memory_in(product: str) -> int | None:
    """Bytes of the memory size written in a product string (`A100-40GB` -> 40 GiB); None when there is none."""
    found = [int(size) * _GIB for size in _MEMORY.findall(_normal(product))]
    sizes = [size for size in found if _MIN_VRAM <= size <= _MAX_VRAM]
    return max(sizes, default=None)


def _normal(product: str) -> str:
    return re.sub(r"[^A-Z0-9.]+", " ", product.upper()).strip()


def _known(text: str) -> Gpu | None:
    if "LAPTOP" in text or "MOBILE" in text:
        return None  # another chip under the same name
    for name, sku in _FAMILIES:
        if re.search(rf"(?<![A-Z0-9])(?:{name})(?=$|[^A-Z0-9]|SXM|PCIE|NVL|\d+GB)", text):
            return GPUS[_form_factor(sku, text)] if sku in ("h200", "h100", "a100", "v100") else GPUS[sku]
    return None


def _form_factor(family: str, text: str) -> str:
    """SXM unless the string says otherwise: PCIe products carry `PCIe` in their name, SXM ones often carry nothing.

    HBM2e is the memory of the H100 PCIe (the SXM5 board has HBM3); the V100S and FHHL boards are PCIe cards.
    """
    if "NVL" in text and family in ("h200", "h100"):
        return f"{family}_nvl"
    if "SXM" in text or "HGX" in text or "DGX" in text or family == "h200":
        return f"{family}_sxm"
    pcie = "PCIE" in text or (family == "h100" and "HBM2E" in text)
    pcie = pcie or (family == "v100" and ("V100S" in text or "FHHL" in text))
    return f"{family}_pcie" if pcie else f"{family}_sxm"


def _memory_variant(gpu: Gpu, text: str) -> int | None:
    """The memory in the string when it names another variant than the catalogue's; the CPU's memory is not meant."""
    size = None if gpu.sku == "gh200" and "480GB" in text else memory_in(text)
    if size is None or abs(size / gpu.vram_bytes - 1) < 0.15:
        return None
    return size


def _variant(gpu: Gpu, text: str, vram: int | None) -> Gpu:
    """The SKU as this product has it: memory, and the figures that differ between products of one SKU.

    Sources: NVIDIA A100 40GB datasheet, V100S and GH200 144GB datasheets; NVIDIA's export products A800 and
    H800 have 400 GB/s of NVLink; RTX PRO 6000 Workstation and Max-Q datasheets; AMD Instinct MI300A and MI210
    datasheets.
    """
    gpu = gpu if vram is None else gpu.with_vram(vram)
    if gpu.sku in ("a100_sxm", "a100_pcie") and gpu.vram_bytes < 50 * _GIB:
        gpu = replace(gpu, bandwidth_bytes_per_s=1555e9, name=gpu.name.replace("80GB", "40GB"))
    if gpu.sku == "gh200" and gpu.vram_bytes > 120 * _GIB:
        gpu = replace(gpu, bandwidth_bytes_per_s=4900e9)
    if gpu.sku == "v100_pcie" and "V100S" in text:
        gpu = replace(gpu, bandwidth_bytes_per_s=1134e9, flops={"fp32": 16.4e12, "fp16": 130e12})
    if re.search(r"[AH]800", text) and gpu.link == "nvlink":
        gpu = replace(gpu, link_bytes_per_s=200e9, nvlink_bytes_per_s=200e9)
    if gpu.sku == "rtx_pro_6000" and "WORKSTATION" in text:
        watts = 300.0 if "MAX Q" in text else 600.0
        gpu = replace(
            gpu, name="NVIDIA RTX PRO 6000 Workstation", bandwidth_bytes_per_s=1792e9, board_power_w=watts
        )
    if "MI300A" in text:
        rates = {"fp32": 122.6e12, "bf16": 980.6e12, "fp16": 980.6e12, "int8": 1961.2e12, "fp8": 1961.2e12}
        gpu = replace(gpu, name="AMD Instinct MI300A", flops=rates, gpus_per_node=4, board_power_w=550.0,
                      link_bytes_per_s=384e9, vram_bytes=vram or 128 * _GIB)  # fmt: skip
    if "MI210" in text:
        rates = {"fp32": 45.3e12, "bf16": 181e12, "fp16": 181e12, "int8": 181e12}
        gpu = replace(gpu.linked_by("pcie"), name="AMD Instinct MI210", flops=rates, board_power_w=300.0)
    return gpu


def _slice(product: str, whole: Gpu | None, *, compute: int, vram: int) -> Match:
    """A MIG slice: of a known GPU, its share of the seven compute slices and of the memory; it has no peer links."""
    note = f"{product}: a MIG slice is not a whole GPU; classed by its memory"
    if whole is None:
        return Match(replace(_by_memory(product, vram).gpu, name=product), note, known=False)
    share = compute / 7
    memory_share = min(1.0, vram / whole.vram_bytes)
    piece = replace(
        whole.linked_by("pcie"),
        name=product,
        vram_bytes=vram,
        bandwidth_bytes_per_s=whole.bandwidth_bytes_per_s * memory_share,
        flops={dtype: rate * share for dtype, rate in whole.flops.items()},
        board_power_w=whole.board_power_w * share,
        estimated=True,
    )
    return Match(piece, f"{note}, as {share:.0%} of the compute of {whole.sku}")


def _by_memory(product: str, vram: int | None) -> Match:
    """The nearest catalogue GPU of at most this memory and, when it tells, this vendor; the slowest of equals."""
    shown = product.strip()[:80] or "A GPU without a name"
    if vram is None:
        smallest = min(GPUS.values(), key=lambda row: row.vram_bytes)
        note = f"{shown}: neither product nor memory is known; taken as {smallest.sku}, the smallest we know"
        return Match(replace(smallest, name=shown, estimated=True), note, known=False)
    amd = re.search(r"AMD|INSTINCT|RADEON|\bMI\d", product.upper()) is not None
    donors = [row for row in GPUS.values() if row.sku not in _NO_DONORS and (row.vendor == "AMD") == amd]
    fitting = [row for row in donors if row.vram_bytes <= vram]
    donor = (
        max(fitting, key=lambda row: (row.vram_bytes, -row.bandwidth_bytes_per_s, -row.flops_for("bf16")))
        if fitting
        else min(donors, key=lambda row: row.vram_bytes)
    )
    gpu = replace(donor.linked_by("pcie"), name=shown, vram_bytes=vram, estimated=True)
    note = f"{shown}: unknown product, classed by its {vram / _GIB:.0f} GiB as {donor.sku}; figures are estimated"
    return Match(gpu, note, known=False)
