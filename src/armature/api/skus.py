"""The names `spec.hardware.gpuSku` takes, and which of them a vendor's product string means.

The catalogue of figures lives in the hardware room above this one; here are only names, so that a file can be
judged without it.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

__all__ = ["CRD_SKUS", "SKUS", "GpuSku", "sku_hint"]

GpuSku = Literal[
    "vr_nvl72",
    "gb200",
    "gb200_sxm",
    "gb10",
    "b300_sxm",
    "b200_sxm",
    "h200_sxm",
    "h100_sxm",
    "h100_pcie",
    "a100_sxm",
    "a100_pcie",
    "a30",
    "l40s",
    "l40",
    "l4",
    "v100_sxm",
    "v100_pcie",
    "t4",
    "mi200",
    "mi300",
    "gb300",
    "rtx_pro_6000",
]

SKUS: tuple[str, ...] = get_args(GpuSku)
CRD_SKUS: tuple[str, ...] = SKUS[:20]
"""The part of `SKUS` that the CRD of the reference lists; the rest is ours."""

# First match wins, so the longer names stand before the ones they contain.
_PRODUCTS: tuple[tuple[str, str], ...] = (
    (r"gb300", "gb300"),
    (r"gb200", "gb200"),
    (r"gb10\b", "gb10"),
    (r"b300", "b300_sxm"),
    (r"b200", "b200_sxm"),
    (r"h200", "h200_sxm"),
    (r"h100.*(pcie|nvl\b)", "h100_pcie"),
    (r"h100", "h100_sxm"),
    (r"a100.*pcie", "a100_pcie"),
    (r"a100", "a100_sxm"),
    (r"\ba30\b", "a30"),
    (r"\bl40s\b", "l40s"),
    (r"\bl40\b", "l40"),
    (r"\bl4\b", "l4"),
    (r"v100.*pcie", "v100_pcie"),
    (r"v100", "v100_sxm"),
    (r"\bt4\b", "t4"),
    (r"mi2\d\d", "mi200"),
    (r"mi3\d\d", "mi300"),
    (r"rtx pro 6000", "rtx_pro_6000"),
    (r"vera rubin|\bvr nvl72\b", "vr_nvl72"),
)


def sku_hint(text: str) -> str | None:
    """The SKU that a product string names (`NVIDIA-H100-80GB-HBM3` -> `h100_sxm`), or None."""
    words = re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()
    for pattern, sku in _PRODUCTS:
        if re.search(pattern, words):
            return sku
    return None
