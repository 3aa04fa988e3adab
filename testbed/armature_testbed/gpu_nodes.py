"""GPU nodes as the cluster sees them, made from the catalogue: plain Node objects that KWOK keeps Ready.

Pure. Labels are those of GPU Feature Discovery 0.17 for NVIDIA and of the AMD node labeller, which is all that anything
in the cluster ever learns of a GPU; products and memory are the catalogue's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from armature.errors import InvalidInput, Problem
from armature.hardware.catalog import Gpu, gpu
from armature.hardware.products import match_product, usual_products

__all__ = ["KWOK_ANNOTATION", "TENANT_NAMESPACE", "GpuNodes", "gfd_labels", "node_objects", "tenant_pods"]

KWOK_ANNOTATION = ("kwok.x-k8s.io/node", "fake")
TENANT_NAMESPACE = "gpu-tenants"
"""Where the pods live that hold occupied GPUs."""

_MIB = 2**20
# NVIDIA's CUDA C programming guide, compute capabilities; the family as GPU Feature Discovery names it.
_COMPUTE = {
    "Volta": ("7", "0"),
    "Turing": ("7", "5"),
    "Ampere": ("8", "0"),
    "Ada": ("8", "9"),
    "Hopper": ("9", "0"),
    "Blackwell": ("10", "0"),
    "Blackwell Ultra": ("10", "3"),
}
_FAMILY = {"Ada": "ada-lovelace", "Blackwell Ultra": "blackwell"}
_MIG_CAPABLE = ("a100", "a30", "h100", "h200", "h20", "gh200", "b200", "b300", "gb200", "gb300")


@dataclass(frozen=True, slots=True)
class GpuNodes:
    """Nodes to simulate. sku: of the catalogue; None makes nodes without GPUs. gpus: of each, the SKU's usual number
    when None. occupied: GPUs of each that another tenant's pod holds. rdma: an extended resource such as `rdma/ib`,
    one for each GPU. driver: version, `major.minor.revision`. prefix: of names, the SKU when empty. first: number of
    the first."""

    sku: str | None
    count: int = 1
    gpus: int | None = None
    zone: str | None = None
    rack: str | None = None
    rdma: str | None = None
    occupied: int = 0
    driver: str = "580.95.05"
    prefix: str = ""
    first: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises InvalidInput for a SKU that is not in the catalogue and for numbers that make no node."""
        problems = []
        if self.count < 1:
            problems.append(Problem("--count", "must be 1 or more", value=self.count))
        if self.sku is None and (self.gpus or self.occupied or self.rdma):
            problems.append(Problem("--sku", "is needed for nodes with GPUs", "for example --sku h200_sxm"))
        if self.sku is not None:
            each = gpu(self.sku, path="--sku").gpus_per_node if self.gpus is None else self.gpus
            if each < 1:
                problems.append(
                    Problem("--gpus", "must be 1 or more", "leave out --sku for nodes without", each)
                )
            elif not 0 <= self.occupied <= each:
                problems.append(
                    Problem("--occupied", f"must be 0 to {each}, the GPUs of a node", value=self.occupied)
                )
        if self.driver.count(".") != 2:
            problems.append(Problem("--driver", "must be major.minor.revision", "580.95.05", self.driver))
        if problems:
            raise InvalidInput("GPU nodes", problems)

    @property
    def gpu(self) -> Gpu | None:
        return gpu(self.sku) if self.sku is not None else None

    @property
    def gpus_each(self) -> int:
        found = self.gpu
        return 0 if found is None else found.gpus_per_node if self.gpus is None else self.gpus

    @property
    def resource(self) -> str:
        """The extended resource its device plugin offers."""
        return "amd.com/gpu" if self.gpu is not None and self.gpu.vendor == "AMD" else "nvidia.com/gpu"

    @property
    def names(self) -> Iterator[str]:
        prefix = self.prefix or (self.sku or "cpu").replace("_", "-")
        return (f"{prefix}-{self.first + index}" for index in range(self.count))


def node_objects(nodes: GpuNodes) -> list[dict[str, object]]:
    """The Node objects, status included."""
    found = nodes.gpu
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "type": "kwok",
        **({} if found is None else gfd_labels(found, nodes.gpus_each, nodes.driver)),
        **({} if nodes.rdma is None else {"nvidia.com/rdma.present": "true"}),
        **({} if nodes.zone is None else {"topology.kubernetes.io/zone": nodes.zone}),
        **({} if nodes.rack is None else {"topology.kubernetes.io/rack": nodes.rack}),
    }
    capacity = {
        "cpu": str(24 * max(1, nodes.gpus_each)),
        "memory": f"{256 * max(1, nodes.gpus_each)}Gi",
        "ephemeral-storage": "4Ti",
        "pods": "250",
        **({} if found is None else {nodes.resource: str(nodes.gpus_each)}),
        **({} if nodes.rdma is None else {nodes.rdma: str(nodes.gpus_each)}),
    }
    key, value = KWOK_ANNOTATION
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": {key: value},
                "labels": {**labels, "kubernetes.io/hostname": name, **nodes.labels},
            },
            "status": {"capacity": capacity, "allocatable": capacity},
        }
        for name in nodes.names
    ]


def tenant_pods(nodes: GpuNodes) -> list[dict[str, object]]:
    """Pods of another tenant, one a node, that hold the occupied GPUs; none when none are occupied."""
    if not nodes.occupied:
        return []
    resources = {nodes.resource: str(nodes.occupied)}
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"tenant-{name}", "namespace": TENANT_NAMESPACE},
            "spec": {
                "nodeName": name,
                "containers": [
                    {
                        "name": "tenant",
                        "image": "tenant",
                        "resources": {"requests": resources, "limits": resources},
                    }
                ],
            },
        }
        for name in nodes.names
    ]


def gfd_labels(found: Gpu, count: int, driver: str) -> dict[str, str]:
    """What the vendor's node labeller says of a node with `count` of this GPU. driver: `major.minor.revision`."""
    if found.vendor == "AMD":
        return {
            "amd.com/gpu.product-name": found.name.replace(" ", "_"),
            "amd.com/gpu.vram": f"{round(found.vram_gib)}G",
            "amd.com/gpu.driver-version": driver,
        }
    major, minor, revision = driver.split(".")
    compute_major, compute_minor = _COMPUTE.get(found.architecture, ("10", "7"))
    if compute_major == "8" and found.sku not in ("a100_sxm", "a100_pcie", "a30") and compute_minor == "0":
        compute_minor = "6"
    labels = {
        "gpu.present": "true",
        "gpu.product": _product(found),
        "gpu.count": str(count),
        "gpu.memory": str(found.vram_bytes // _MIB),
        "gpu.family": _FAMILY.get(found.architecture, found.architecture.lower()),
        "gpu.compute.major": compute_major,
        "gpu.compute.minor": compute_minor,
        "gpu.machine": "armature-testbed",
        "gpu.mode": "compute",
        "gpu.replicas": "1",
        "gpu.sharing-strategy": "none",
        "mig.capable": str(found.sku.split("_")[0] in _MIG_CAPABLE).lower(),
        "mig.strategy": "single",
        "cuda.driver-version.full": driver,
        "cuda.driver-version.major": major,
        "cuda.driver-version.minor": minor,
        "cuda.driver-version.revision": revision,
        "cuda.driver.major": major,
        "cuda.driver.minor": minor,
        "cuda.driver.rev": revision,
        "cuda.runtime-version.full": "13.0",
        "cuda.runtime-version.major": "13",
        "cuda.runtime-version.minor": "0",
    }
    return {f"nvidia.com/{key}": value for key, value in labels.items()}


def _product(found: Gpu) -> str:
    """The product label that nodes with this GPU usually carry; of several, the one of the catalogue's memory."""
    usual = usual_products(found.sku)
    if not usual:
        return found.name.replace(" ", "-")
    return min(usual, key=lambda product: abs(match_product(product).gpu.vram_bytes - found.vram_bytes))
