"""Which GPUs a deployment may use, and how we know."""

from __future__ import annotations

from dataclasses import dataclass

from armature.hardware.catalog import Gpu

__all__ = ["Inventory", "Pool"]


@dataclass(frozen=True, slots=True)
class Pool:
    """All nodes with one SKU.

    gpus: GPUs that may be used (free, within the budget). gpus_per_node: GPUs of one node; nodes: how many.
    rdma_resource: the extended resource a pod asks for (`rdma/ib`, `vpc.amazonaws.com/efa`, ...) or None;
    product: the vendor's product string when discovered (node selector `nvidia.com/gpu.product`).
    """

    gpu: Gpu
    gpus: int
    gpus_per_node: int
    nodes: int
    rdma: bool = False
    rdma_resource: str | None = None
    product: str | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """Pools in order of preference; `source` is `stated`, `node labels`, `nvml`, ...; notes are for the user."""

    pools: tuple[Pool, ...]
    source: str
    notes: tuple[str, ...] = ()

    @property
    def total_gpus(self) -> int:
        return sum(pool.gpus for pool in self.pools)
