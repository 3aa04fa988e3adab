"""The GPUs we know: one `Gpu` per SKU, each figure with its source and date."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Gpu"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """Facts of one GPU product.

    sku: our name (`h200_sxm`). vram_bytes: memory of one GPU. bandwidth_bytes_per_s: memory bandwidth.
    flops: dense peak operations per second by dtype (`fp32`, `fp16`, `bf16`, `int8`, `fp8`, `fp4`); a missing
    dtype means the hardware does not have it. link: `nvlink`, `pcie` or `xgmi`; link_bytes_per_s: per GPU, one
    direction. gpus_per_node: the usual node. board_power_w: rated board power. estimated: figures inferred
    from a product we do not know.
    """

    sku: str
    name: str
    vendor: str
    architecture: str
    vram_bytes: int
    bandwidth_bytes_per_s: float
    flops: dict[str, float]
    link: str
    link_bytes_per_s: float
    gpus_per_node: int
    board_power_w: float
    source: str
    as_of: str
    estimated: bool = False
    aliases: tuple[str, ...] = field(default=())
