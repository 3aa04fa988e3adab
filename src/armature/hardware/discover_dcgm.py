"""GPUs as NVIDIA's DCGM exporter counts them: what the labels of a node leave out, read from its metrics. Pure.

The exporter gives one series per GPU with the product in `modelName`; framebuffer memory is in MiB (dcgm-exporter's
default counters: DCGM_FI_DEV_FB_FREE, _USED, _RESERVED).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["EXPORTER_LABELS", "NodeGpus", "node_gpus", "with_exported"]

EXPORTER_LABELS = (
    "app=nvidia-dcgm-exporter",
    "app=dcgm-exporter",
    "app.kubernetes.io/name=dcgm-exporter",
)
"""Labels of exporter pods, as the GPU operator and the two charts set them (dynamo-operator reference §2.1)."""

_MEMORY = ("DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_RESERVED")
_COUNT, _PRODUCT, _VRAM = "nvidia.com/gpu.count", "nvidia.com/gpu.product", "nvidia.com/gpu.memory"


@dataclass(frozen=True, slots=True)
class NodeGpus:
    """product: of most of the node's GPUs, empty when not exported. vram_mib: of one of them, 0 when not exported."""

    product: str
    count: int
    vram_mib: int


def node_gpus(metrics: str) -> NodeGpus | None:
    """What one exporter's page says; None when it names no GPU. Raises ValueError for a page that is no metrics."""
    products: dict[str, str] = {}
    memory: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if not sample.name.startswith("DCGM_FI_") or sample.labels.get("GPU_I_ID"):
                continue  # a MIG slice is no GPU of its own
            gpu = sample.labels.get("UUID") or sample.labels.get("gpu")
            if not gpu:
                continue
            products.setdefault(gpu, sample.labels.get("modelName", ""))
            if sample.name in _MEMORY:
                memory[gpu] += sample.value
    if not products:
        return None
    product = Counter(products.values()).most_common(1)[0][0]
    of_product = [memory[gpu] for gpu, name in products.items() if name == product]
    return NodeGpus(product, len(products), round(min(of_product)))


def with_exported(node: Mapping[str, Any], exported: NodeGpus) -> dict[str, Any]:
    """The node with labels for what its exporter knows and its labels do not say; what GPU Feature Discovery wrote
    stands."""
    metadata = node.get("metadata") or {}
    known = {_COUNT: str(exported.count)}
    if exported.product:
        known[_PRODUCT] = exported.product.replace(" ", "-")
    if exported.vram_mib:
        known[_VRAM] = str(exported.vram_mib)
    labels = known | {key: value for key, value in (metadata.get("labels") or {}).items() if value}
    return {**node, "metadata": {**metadata, "labels": labels}}
