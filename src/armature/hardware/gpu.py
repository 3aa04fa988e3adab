"""What a GPU is to us: the `Gpu` value that estimators, memory checks and reports share.

It stands alone so that the table of figures (`figures`) and the look-ups (`catalog`) can both use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from armature.errors import InvalidInput, Problem

__all__ = ["DTYPES", "LINKS", "Flops", "Gpu"]

# Where the matrix units lack a dtype, engines keep the data packed and compute in the next wider format that
# exists: FP8 and FP4 weights are widened to 16 bits on Ampere, FP4 on Hopper and Ada too (vLLM's Marlin kernels);
# Volta and Turing have no bf16, and engines run fp16 there.
_FALLBACK: dict[str, tuple[str, ...]] = {
    "fp4": ("fp4", "bf16", "fp16", "fp32"),
    "int4": ("int4", "bf16", "fp16", "fp32"),
    "fp8": ("fp8", "bf16", "fp16", "fp32"),
    "int8": ("int8", "bf16", "fp16", "fp32"),
    "bf16": ("bf16", "fp16", "fp32"),
    "fp16": ("fp16", "bf16", "fp32"),
    "fp32": ("fp32",),
}
DTYPES = tuple(_FALLBACK)
LINKS = ("nvlink", "pcie", "xgmi")


class Flops(Mapping[str, float]):
    """Peak dense operations per second by dtype; immutable and hashable, so that a `Gpu` can be a cache key."""

    __slots__ = ("_rates",)

    def __init__(self, rates: Mapping[str, float]) -> None:
        self._rates: dict[str, float] = dict(sorted(rates.items()))

    def __getitem__(self, dtype: str) -> float:
        return self._rates[dtype]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rates)

    def __len__(self) -> int:
        return len(self._rates)

    def __hash__(self) -> int:
        return hash(tuple(self._rates.items()))

    def __repr__(self) -> str:
        return f"Flops({self._rates!r})"


@dataclass(frozen=True, slots=True)
class Gpu:
    """Facts of one GPU, as one schedulable device.

    sku: our name (`h200_sxm`). name: the product. vram_bytes: memory as the driver reports it, which is less
    than the name on the box. bandwidth_bytes_per_s: peak memory bandwidth. flops: dense peak operations per second by
    dtype (see `DTYPES`), without structured sparsity; a missing dtype means that the hardware does not have it, and
    `flops_for` says what runs instead. link: how GPUs of a node talk (`nvlink`, `pcie`, `xgmi`); link_bytes_per_s: over
    it, per GPU, one direction. pcie_bytes_per_s: the same over PCIe. nvlink_bytes_per_s: the same over NVLink or a
    bridge, 0 where there is none. gpus_per_node: the usual node. board_power_w: rated power of the
    board. source and as_of: where the figures are from and when they were last checked. estimated: figures inferred
    (a product we do not know, a slice of a GPU) or announced but not final; estimators must not look them up as
    measured data of `sku`. aliases: other names that mean this SKU.
    """

    sku: str
    name: str
    vendor: str
    architecture: str
    vram_bytes: int
    bandwidth_bytes_per_s: float
    flops: Mapping[str, float]
    link: str
    link_bytes_per_s: float
    gpus_per_node: int
    board_power_w: float
    source: str
    as_of: str
    estimated: bool = False
    aliases: tuple[str, ...] = field(default=())
    pcie_bytes_per_s: float = 32e9
    nvlink_bytes_per_s: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.flops, Flops):
            object.__setattr__(self, "flops", Flops(self.flops))

    @property
    def has_fp8(self) -> bool:
        return "fp8" in self.flops

    @property
    def vram_gib(self) -> float:
        return self.vram_bytes / 2**30

    def flops_for(self, dtype: str) -> float:
        """Operations per second at which work in `dtype` runs, with the fallbacks the engines use.

        FP4 and FP8 without hardware support run at the 16-bit rate (the data is only stored packed), bf16 and
        fp16 stand in for each other, and fp32 is the last resort. Raises InvalidInput for a dtype not in `DTYPES`.
        """
        for candidate in _FALLBACK.get(dtype, ()):
            if candidate in self.flops:
                return self.flops[candidate]
        rule = f"{self.sku} has no rate for this dtype"
        raise InvalidInput(self.sku, [Problem("dtype", rule, f"use one of {', '.join(DTYPES)}", dtype)])

    def linked_by(self, link: str) -> Gpu:
        """This GPU with its peers reached over `link`; itself when the hardware has no such link."""
        if link == self.link:
            return self
        if link == "pcie":
            return replace(self, link="pcie", link_bytes_per_s=self.pcie_bytes_per_s)
        if link == "nvlink" and self.nvlink_bytes_per_s > 0:
            return replace(self, link="nvlink", link_bytes_per_s=self.nvlink_bytes_per_s)
        return self

    def with_vram(self, vram_bytes: int) -> Gpu:
        """This GPU with another amount of memory; every other figure stays."""
        return self if vram_bytes == self.vram_bytes else replace(self, vram_bytes=vram_bytes)
