"""The GPUs of a Kubernetes cluster, from its Node and Pod objects: a pure function for the operator and the CLI.

Products come from the labels of NVIDIA's GPU Feature Discovery and AMD's node labeller; counts from what the device
plugin made allocatable, less what live pods hold. It works the same whether the cloud or the GPU Operator manages the
drivers (HW-07), and a node without labels still counts. Objects may be malformed: they are noted, never fatal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from armature.hardware.catalog import Gpu
from armature.hardware.drivers import driver_note
from armature.hardware.inventory import Inventory, Pool
from armature.hardware.kube_values import as_count, at, items, mapping, pod_request, text
from armature.hardware.products import match_product, time_slice

__all__ = ["SOURCE", "inventory_from_nodes"]

SOURCE = "node labels"
_NVIDIA, _AMD = "nvidia.com/gpu", "amd.com/gpu"
_EFA = "vpc.amazonaws.com/efa"
_MIB, _GIB = 2**20, 2**30
_DONE = ("Succeeded", "Failed")
_GPU_TAINTS = (_NVIDIA, _AMD)
# The node labeller names a product only when asked to; the PCI device id is always there (pci.ids).
_AMD_DEVICES = {
    "74a0": "MI300A",
    "74a1": "MI300X",
    "74a5": "MI325X",
    "75a0": "MI350X",
    "75a3": "MI355X",
    "7408": "MI250X",
    "740c": "MI250X",
    "740f": "MI210",
}


@dataclass(frozen=True, slots=True)
class _GpuNode:
    """One usable node: its GPU, how many there are and how many are free, and what the pool needs to know of it."""

    name: str
    gpu: Gpu
    product: str
    gpus: int
    free: int
    rdma_resources: tuple[str, ...]
    rdma_label: bool
    arm: bool

    @property
    def pool_key(self) -> tuple[object, ...]:
        """Nodes of one pool: same SKU and, to 4 GiB, same memory; what is only estimated also goes by product."""
        return (
            self.gpu.sku,
            round(self.gpu.vram_bytes / (4 * _GIB)),
            self.product if self.gpu.estimated else None,
        )


class _Notes:
    """Notes by what they say, so that a hundred nodes with one trouble make one line."""

    def __init__(self) -> None:
        self._nodes: dict[str, list[str]] = defaultdict(list)
        self._lines: list[str] = []

    def node(self, name: str, says: str) -> None:
        self._nodes[says].append(name)

    def line(self, says: str) -> None:
        self._lines.append(says)

    def all(self) -> tuple[str, ...]:
        about = (f"{_names(nodes)}: {says}" for says, nodes in self._nodes.items())
        return tuple(dict.fromkeys([*self._lines, *about]))


def inventory_from_nodes(
    nodes: Sequence[Mapping[str, object]], pods: Sequence[Mapping[str, object]]
) -> Inventory:
    """What is free in the cluster, one pool per SKU and memory size, most free GPUs first.

    nodes, pods: plain `v1` objects, all of the cluster (a pod of another namespace holds GPUs too). Free GPUs of a
    node are its allocatable `nvidia.com/gpu` or `amd.com/gpu` less the requests of pods on it that have not finished.
    Cordoned and not-Ready nodes are left out. Pools without a free GPU are left out and noted. GPUs per node is the
    most common allocatable count. Without a usable GPU the pools are empty and the notes say why.
    """
    notes = _Notes()
    held = _held_gpus(pods)
    usable = [found for node in nodes if (found := _gpu_node(node, held, notes)) is not None]
    groups: dict[tuple[object, ...], list[_GpuNode]] = defaultdict(list)
    for node in usable:
        groups[node.pool_key].append(node)
    pools = [pool for group in groups.values() if (pool := _pool(group, notes)) is not None]
    pools.sort(key=lambda pool: (pool.gpu.estimated, -pool.gpus, pool.gpu.sku, pool.product or ""))
    if not nodes:
        notes.line("The cluster has no nodes.")
    elif not usable:
        notes.line(
            f"None of the {len(nodes)} nodes has GPUs that can be used. GPU nodes have allocatable {_NVIDIA} or {_AMD} "
            "(from the device plugin) and labels nvidia.com/gpu.product, nvidia.com/gpu.memory, nvidia.com/gpu.count "
            "(from GPU Feature Discovery)."
        )
    return Inventory(tuple(pools), SOURCE, notes.all())


def _held_gpus(pods: Iterable[Mapping[str, object]]) -> dict[tuple[str, str], int | None]:
    """GPUs held on each (node, resource); None when a pod's request cannot be read."""
    held: dict[tuple[str, str], int | None] = {}
    for pod in pods:
        node = text(at(pod, "spec", "nodeName"))
        if not node or at(pod, "status", "phase") in _DONE:
            continue
        for resource in (_NVIDIA, _AMD):
            asked = pod_request(pod, resource)
            before = held.get((node, resource), 0)
            held[node, resource] = None if asked is None or before is None else before + asked
    return held


def _gpu_node(
    node: Mapping[str, object], held: Mapping[tuple[str, str], int | None], notes: _Notes
) -> _GpuNode | None:
    """What a node offers; None, with a note unless it simply has no GPUs, when it offers none."""
    name = text(at(node, "metadata", "name")) or "a node without a name"
    labels = mapping(at(node, "metadata", "labels"))
    allocatable = mapping(at(node, "status", "allocatable"))
    resource = (
        _AMD
        if (as_count(allocatable.get(_AMD)) or 0) > (as_count(allocatable.get(_NVIDIA)) or 0)
        else _NVIDIA
    )
    gpus = as_count(allocatable.get(resource, 0))
    if not gpus:
        trouble = _why_no_gpus(labels, allocatable, gpus)
        if trouble:
            notes.node(name, f"{trouble}; left out.")
        return None
    if at(node, "spec", "unschedulable") is True:
        notes.node(name, "cordoned (unschedulable); left out.")
        return None
    ready = [condition.get("status") for condition in items(at(node, "status", "conditions"))
             if condition.get("type") == "Ready"]  # fmt: skip
    if any(status != "True" for status in ready):
        notes.node(name, "not Ready; left out.")
        return None

    product, described, vram = _labelled_product(labels, resource)
    match = match_product(described, vram)
    gpu = match.gpu
    if not described:
        notes.node(
            name,
            f"no label names its GPU product (nvidia.com/gpu.product); taken as {gpu.sku} by its memory.",
        )
    elif match.note:
        notes.line(match.note + ".")
    replicas = as_count(labels.get("nvidia.com/gpu.replicas", 1)) or 1
    if 1 < replicas <= gpus:
        notes.node(
            name, f"its GPUs are time-sliced {replicas} ways; each share counts as that part of a GPU."
        )
        gpu = time_slice(gpu, replicas)
    labelled = as_count(labels.get("nvidia.com/gpu.count", 0)) or 0
    if resource == _NVIDIA and labelled * replicas > gpus:
        notes.node(name, f"{gpus} of its {labelled * replicas} GPUs are allocatable.")
    taken = held.get((name, resource), 0)
    if taken is None:
        notes.node(name, f"a pod on it asks for {resource} in a form that cannot be read; counted as full.")
        taken = gpus
    _note_platform(name, node, labels, gpu, notes)
    return _GpuNode(
        name=name,
        gpu=gpu,
        product=product,
        gpus=gpus,
        free=max(0, gpus - taken),
        rdma_resources=tuple(
            sorted(key for key, value in allocatable.items() if _is_rdma(key) and as_count(value))
        ),
        rdma_label=labels.get("nvidia.com/rdma.present") == "true",
        arm="arm64" in (labels.get("kubernetes.io/arch"), at(node, "status", "nodeInfo", "architecture")),
    )


def _why_no_gpus(labels: Mapping[str, object], allocatable: Mapping[str, object], gpus: int | None) -> str:
    """Why a node that looks as if it had GPUs offers none; empty for one that never had any."""
    if gpus is None:
        return "its allocatable GPU count cannot be read"
    if any(key.startswith("nvidia.com/mig-") and as_count(value) for key, value in allocatable.items()):
        return "its GPUs are cut into MIG slices under resource names of their own"
    if _NVIDIA in allocatable or _AMD in allocatable:
        return "none of its GPUs is allocatable"
    if "nvidia.com/gpu.product" in labels or as_count(labels.get("nvidia.com/gpu.count", 0)):
        return f"it has GPU labels but no allocatable {_NVIDIA}: the device plugin is not running there"
    return ""


def _labelled_product(labels: Mapping[str, object], resource: str) -> tuple[str, str, int | None]:
    """The product label, what describes the product without one, and bytes of memory; empty and None if unknown."""
    if resource == _NVIDIA:
        product = text(labels.get("nvidia.com/gpu.product"))
        memory = as_count(labels.get("nvidia.com/gpu.memory"))
        return product, product, memory * _MIB if memory else None
    product = text(labels.get("amd.com/gpu.product-name"))
    device = _AMD_DEVICES.get(
        text(labels.get("amd.com/gpu.device-id")).lower(), "GPU without a product label"
    )
    vram = text(labels.get("amd.com/gpu.vram"))
    if vram.endswith("G"):
        vram += "i"  # the labeller writes GiB as G
    return product, product or f"AMD {device}", as_count(vram) or None


def _is_rdma(resource: object) -> bool:
    return isinstance(resource, str) and (resource.startswith("rdma/") or resource == _EFA)


def _note_platform(
    name: str, node: Mapping[str, object], labels: Mapping[str, object], gpu: Gpu, notes: _Notes
) -> None:
    """Notes on the driver (HW-08) and on taints that a worker's pod must tolerate."""
    parts = [labels.get(f"nvidia.com/cuda.driver-version.{part}") for part in ("major", "minor", "revision")]
    old = [labels.get(f"nvidia.com/cuda.driver.{part}") for part in ("major", "minor", "rev")]
    version = text(labels.get("nvidia.com/cuda.driver-version.full")) or ".".join(
        text(part) for part in (parts if any(parts) else old) if part
    )
    trouble = driver_note(version, gpu.architecture, "") if gpu.vendor == "NVIDIA" else None
    if trouble:
        notes.node(name, trouble.removeprefix(": "))
    for taint in items(at(node, "spec", "taints")):
        key = text(taint.get("key"))
        if taint.get("effect") in ("NoSchedule", "NoExecute") and key and key not in _GPU_TAINTS:
            notes.node(name, f"tainted {key}; workers there need a toleration.")


def _pool(group: Sequence[_GpuNode], notes: _Notes) -> Pool | None:
    """The pool of nodes with one GPU; None when none of them has a free one."""
    gpu = min((node.gpu for node in group), key=lambda gpu: gpu.vram_bytes)
    total, free = sum(node.gpus for node in group), sum(node.free for node in group)
    counts = Counter(node.gpus for node in group)
    per_node = max(counts, key=lambda count: (counts[count], count))
    if free < total:
        notes.line(f"{gpu.sku}: {total - free} of {total} GPUs are held by pods.")
    if free == 0:
        return None
    most = max(node.free for node in group)
    if most < per_node:
        notes.line(f"{gpu.sku}: no node is wholly free; at most {most} GPUs are free on one node.")
    if len(counts) > 1:
        notes.line(f"{gpu.sku}: nodes have {_numbers(counts)} GPUs; {per_node} is taken as the usual.")
    arm = sum(node.arm for node in group)
    if arm:
        which = "its nodes are" if arm == len(group) else f"{arm} of its {len(group)} nodes are"
        notes.line(f"{gpu.sku}: {which} arm64; images must be built for it.")
    products = {node.product for node in group}
    if len(products) > 1:
        notes.line(f"{gpu.sku}: nodes label it as {_names(sorted(products))}; no product selector is used.")
    rdma, resource = _rdma(group, gpu.sku, notes)
    open_nodes = sum(1 for node in group if node.free)
    product = products.pop() if len(products) == 1 else None
    return Pool(gpu, free, per_node, open_nodes, rdma, resource, product or None)


def _rdma(group: Sequence[_GpuNode], sku: str, notes: _Notes) -> tuple[bool, str | None]:
    """Whether the pool has RDMA, and the resource most of its nodes offer (C-39, HW-06)."""
    offers = Counter(resource for node in group for resource in node.rdma_resources)
    if not offers:
        labelled = any(node.rdma_label for node in group)
        if labelled:
            notes.line(
                f"{sku}: labelled as having RDMA, but no RDMA resource is allocatable; its plugin is missing."
            )
        return labelled, None
    resource = min(offers, key=lambda name: (-offers[name], name != "rdma/ib", name == _EFA, name))
    if offers[resource] < len(group):
        notes.line(f"{sku}: {offers[resource]} of {len(group)} nodes offer {resource}.")
    return True, resource


def _names(names: Sequence[str], shown: int = 3) -> str:
    head = ", ".join(names[:shown])
    return head if len(names) <= shown else f"{head} and {len(names) - shown} more"


def _numbers(counts: Iterable[int]) -> str:
    return " or ".join(str(count) for count in sorted(counts))
