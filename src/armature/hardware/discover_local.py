"""The GPUs of this machine, over NVML. A machine without GPUs or driver answers None at once.

`NvmlReader` does the I/O and decides nothing; `inventory_from_gpus` is pure. `FakeReader` stands in for a machine.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from armature.hardware.catalog import Gpu
from armature.hardware.drivers import driver_note
from armature.hardware.inventory import Inventory, Pool
from armature.hardware.products import match_product

__all__ = [
    "SOURCE",
    "FakeReader",
    "GpuReader",
    "LocalGpu",
    "NvmlReader",
    "discover_local",
    "inventory_from_gpus",
]

SOURCE = "nvml"
_BUSY_SHARE = (
    0.1  # memory in use above this share means someone is on the GPU, also where their processes are hidden
)


@dataclass(frozen=True, slots=True)
class LocalGpu:
    """One GPU, or one MIG slice of one, as the driver describes it.

    memory_bytes: None where the memory is shared with the CPU and the driver names no size. processes: compute
    processes on it. used_bytes: memory in use. nvlinks: active NVLink links; None when the driver does not say.
    """

    name: str
    memory_bytes: int | None
    processes: int = 0
    used_bytes: int = 0
    nvlinks: int | None = None

    @property
    def is_free(self) -> bool:
        crowded = self.memory_bytes is not None and self.used_bytes > _BUSY_SHARE * self.memory_bytes
        return self.processes == 0 and not crowded


class GpuReader(Protocol):
    """Reads the machine's GPUs once. `gpus` is None when there is no driver; `driver` is then empty."""

    def read(self) -> tuple[Sequence[LocalGpu] | None, str]: ...


@dataclass(frozen=True, slots=True)
class FakeReader:
    """A machine with these GPUs and this driver; `gpus=None` is one without a driver."""

    gpus: Sequence[LocalGpu] | None
    driver: str = "580.65.06"

    def read(self) -> tuple[Sequence[LocalGpu] | None, str]:
        return self.gpus, self.driver if self.gpus is not None else ""


@dataclass(slots=True)
class NvmlReader:
    """Reads NVML through `pynvml`, imported on the first read. library: stands in for `pynvml` in tests."""

    library: Any = field(default=None)

    def read(self) -> tuple[Sequence[LocalGpu] | None, str]:
        nvml = self.library
        if nvml is None:
            try:
                nvml = importlib.import_module("pynvml")
            except ImportError:
                return None, ""
        try:
            nvml.nvmlInit()
        except (nvml.NVMLError, OSError):
            return None, ""
        try:
            driver = _str(_or(nvml, nvml.nvmlSystemGetDriverVersion, default=""))
            count = _or(nvml, nvml.nvmlDeviceGetCount, default=0)
            handles = (_or(nvml, nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count))
            return [gpu for handle in handles if handle is not None for gpu in _gpus_of(nvml, handle)], driver
        finally:
            _or(nvml, nvml.nvmlShutdown)


def discover_local(reader: GpuReader | None = None) -> Inventory | None:
    """The GPUs of this machine that nobody uses, as one node; None when it has no GPU or no driver."""
    gpus, driver = (reader if reader is not None else NvmlReader()).read()
    return inventory_from_gpus(gpus, driver) if gpus else None


def inventory_from_gpus(gpus: Sequence[LocalGpu], driver: str = "") -> Inventory:
    """One pool per kind of GPU of one machine; a GPU is free when no compute process and little memory is on it."""
    notes: list[str] = []
    groups: dict[tuple[str, int | None], list[LocalGpu]] = defaultdict(list)
    for local in gpus:
        groups[local.name, local.memory_bytes].append(local)
    pools: list[Pool] = []
    for (name, memory_bytes), group in groups.items():
        match = match_product(name, memory_bytes)
        gpu = _linked(match.gpu, group, notes)
        free = sum(local.is_free for local in group)
        if match.note:
            notes.append(f"{match.note}.")
        trouble = driver_note(driver, gpu.architecture, "This machine")
        if trouble:
            notes.append(trouble)
        if free < len(group):
            notes.append(f"{len(group) - free} of this machine's {len(group)} {gpu.sku} GPUs are in use.")
        if free:
            label = name.replace(" ", "-")  # as GPU Feature Discovery writes it into nvidia.com/gpu.product
            pools.append(Pool(gpu, free, len(group), 1, product=label or None))
    pools.sort(key=lambda pool: (pool.gpu.estimated, -pool.gpus, pool.gpu.sku))
    return Inventory(tuple(pools), SOURCE, tuple(dict.fromkeys(notes)))


def _linked(gpu: Gpu, group: Sequence[LocalGpu], notes: list[str]) -> Gpu:
    """The GPU with the link the driver reports between GPUs of this machine; a lone one keeps the catalogue's.

    A bridge joins two cards, so among more than two it does not make NVLink the link of the node.
    """
    links = {local.nvlinks for local in group if local.nvlinks is not None}
    if len(group) == 1 or not links:
        return gpu
    kind = "pcie" if 0 in links else "nvlink"
    if kind == "nvlink" and gpu.link == "pcie" and len(group) > 2:
        return gpu
    changed = gpu.linked_by(kind)
    if changed is not gpu:
        notes.append(f"{gpu.sku}: the driver reports {kind} between the GPUs; {gpu.link} is usual for it.")
    return changed


def _gpus_of(nvml: Any, handle: Any) -> list[LocalGpu]:
    """A device as one GPU, or its MIG slices when it is cut up (the whole cannot be used then)."""
    mode = _or(nvml, nvml.nvmlDeviceGetMigMode, handle, default=(0, 0))
    if mode[0] != 1:
        return [_gpu_of(nvml, handle, _nvlinks(nvml, handle))]
    slots = range(_or(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle, default=0))
    slices = [_or(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, slot) for slot in slots]
    return [_gpu_of(nvml, mig, None) for mig in slices if mig is not None]


def _gpu_of(nvml: Any, handle: Any, nvlinks: int | None) -> LocalGpu:
    memory = _or(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    processes = _or(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle, default=())
    return LocalGpu(
        name=_str(_or(nvml, nvml.nvmlDeviceGetName, handle, default="")),
        memory_bytes=int(memory.total) if memory is not None and memory.total else None,
        processes=len(processes),
        used_bytes=int(memory.used) if memory is not None else 0,
        nvlinks=nvlinks,
    )


def _nvlinks(nvml: Any, handle: Any) -> int | None:
    """Active links; None when the device answers for none of them (no NVLink, or hidden by a hypervisor)."""
    states = [
        _or(nvml, nvml.nvmlDeviceGetNvLinkState, handle, link) for link in range(nvml.NVML_NVLINK_MAX_LINKS)
    ]
    known = [state for state in states if state is not None]
    return sum(1 for state in known if state == 1) if known else None


def _or(nvml: Any, call: Callable[..., Any], *args: Any, default: Any = None) -> Any:
    """What NVML answers, or the default where this device or driver does not support the question."""
    try:
        return call(*args)
    except nvml.NVMLError:
        return default


def _str(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
