"""What discovery found, written down where the user sees it: `spec.hardware`, an annotation, a condition."""

from __future__ import annotations

from typing import Any

import msgspec

from armature.hardware.inventory import Inventory, Pool
from armature.operator.names import DISCOVERED
from armature.operator.request.state import Observed

__all__ = ["hardware_fields", "hardware_text"]

_MIB = 2**20


def hardware_text(found: Inventory | str | None) -> str:
    """`: 32 free h200_sxm on 4 nodes of 8; ...`, for the end of a condition's message; empty where all was stated."""
    if not isinstance(found, Inventory):
        return ""
    pools = "; ".join(
        f"{pool.gpus} free {pool.gpu.sku} on {pool.nodes} nodes of {pool.gpus_per_node}"
        for pool in found.pools
    )
    return f": {pools} ({found.source})"


def hardware_fields(seen: Observed) -> dict[str, Any]:
    """The patch of the request that writes down what was discovered; empty where all was stated.

    One kind of GPU fills the fields of `spec.hardware` that the user left out (HW-02, HW-04). Several kinds do not fit
    in there and the fields would keep the search from mixing them, so that they stay open. The annotation has them all.
    """
    found = seen.hardware
    if not isinstance(found, Inventory):
        return {}
    text = msgspec.json.encode([_described(pool) for pool in found.pools]).decode()
    patch: dict[str, Any] = {"metadata": {"annotations": {DISCOVERED: text}}}
    if len(found.pools) == 1:
        stated = dict(seen.spec.get("hardware") or {})
        fields = {key: value for key, value in _fields(found.pools[0]).items() if stated.get(key) is None}
        if fields:
            patch["spec"] = {"hardware": fields}
    return patch if seen.annotation(DISCOVERED) != text or "spec" in patch else {}


def _fields(pool: Pool) -> dict[str, Any]:
    return {
        "gpuSku": pool.gpu.sku,
        "vramMb": round(pool.gpu.vram_bytes / _MIB),
        "totalGpus": pool.gpus,
        "numGpusPerNode": pool.gpus_per_node,
        "interconnect": pool.gpu.link,
        "rdma": pool.rdma,
    }


def _described(pool: Pool) -> dict[str, Any]:
    return _fields(pool) | {"nodes": pool.nodes, "product": pool.product, "rdmaResource": pool.rdma_resource}
