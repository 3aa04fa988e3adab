"""The GPUs of this machine, read as NVML answers them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from armature.hardware.catalog import GPUS
from armature.hardware.discover_local import FakeReader, LocalGpu, NvmlReader, discover_local

H200 = LocalGpu("NVIDIA H200", 143_771 * 2**20, used_bytes=600 * 2**20, nvlinks=18)


def test_a_machine_without_driver_or_gpu_is_none():
    assert discover_local(FakeReader(None)) is None
    assert discover_local(FakeReader([])) is None


def test_the_real_reader_answers_on_this_machine_without_an_exception():
    gpus, driver = NvmlReader().read()
    assert (gpus is None) == (driver == "")
    assert gpus is None or all(isinstance(gpu, LocalGpu) for gpu in gpus)


def test_one_node_of_equal_gpus():
    inventory = discover_local(FakeReader([H200] * 8))
    assert inventory is not None
    (pool,) = inventory.pools
    assert pool.gpu == GPUS["h200_sxm"]
    assert (pool.gpus, pool.gpus_per_node, pool.nodes, pool.product) == (8, 8, 1, "NVIDIA-H200")
    assert inventory.source == "nvml"
    assert inventory.notes == ()


def test_gpus_in_use_are_not_offered():
    busy = LocalGpu(H200.name, H200.memory_bytes, processes=1, nvlinks=18)
    hidden = LocalGpu(
        H200.name, H200.memory_bytes, used_bytes=100 * 2**30, nvlinks=18
    )  # a process we cannot see
    inventory = discover_local(FakeReader([H200, H200, busy, hidden]))
    assert inventory is not None
    assert (inventory.pools[0].gpus, inventory.pools[0].gpus_per_node) == (2, 4)
    assert inventory.notes == ("2 of this machine's 4 h200_sxm GPUs are in use.",)
    full = discover_local(FakeReader([busy]))
    assert full is not None
    assert full.pools == ()


@pytest.mark.parametrize(
    ("name", "sku", "count", "nvlinks", "link"),
    [
        ("NVIDIA H200", "h200_sxm", 8, 18, "nvlink"),
        ("NVIDIA H200", "h200_sxm", 8, 0, "pcie"),
        ("NVIDIA H200", "h200_sxm", 8, None, "nvlink"),
        ("NVIDIA H200", "h200_sxm", 1, 0, "nvlink"),
        ("NVIDIA H100 PCIe", "h100_pcie", 2, 12, "nvlink"),  # a bridge joins two
        ("NVIDIA H100 PCIe", "h100_pcie", 8, 12, "pcie"),
        ("NVIDIA L40S", "l40s", 4, None, "pcie"),
    ],
)
def test_the_link_is_the_one_the_driver_reports(name, sku, count, nvlinks, link):
    local = LocalGpu(name, GPUS[sku].vram_bytes, nvlinks=nvlinks)
    inventory = discover_local(FakeReader([local] * count))
    assert inventory is not None
    assert inventory.pools[0].gpu.link == link
    assert any("the driver reports" in note for note in inventory.notes) == (link != GPUS[sku].link)


def test_mixed_machines_make_pools_and_old_drivers_are_noted():
    inventory = discover_local(
        FakeReader([LocalGpu("Tesla T4", 15_360 * 2**20), H200, H200], driver="550.54.15")
    )
    assert inventory is not None
    assert [(pool.gpu.sku, pool.gpus) for pool in inventory.pools] == [("h200_sxm", 2), ("t4", 1)]
    assert any("This machine: driver 550.54.15" in note for note in inventory.notes)  # HW-08


def test_memory_shared_with_the_cpu_falls_back_on_the_catalogue():
    inventory = discover_local(FakeReader([LocalGpu("NVIDIA GB10", None)]))
    assert inventory is not None
    assert inventory.pools[0].gpu == GPUS["gb10"]


class Nvml:
    """Stands in for the `pynvml` module: answers from `devices`, raises its real error for what it is not told."""

    NVMLError = pynvml.NVMLError
    NVML_NVLINK_MAX_LINKS = pynvml.NVML_NVLINK_MAX_LINKS

    def __init__(self, devices: list[dict[str, Any]], fails_init: bool = False) -> None:
        self.devices = devices
        self.fails_init = fails_init
        self.is_open = False

    def _ask(self, device: dict[str, Any], key: str) -> Any:
        if key not in device:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return device[key]

    def nvmlInit(self) -> None:
        if self.fails_init:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"580.65.06"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        device = self.devices[index]
        return self._ask({"lost": device} if "lost" not in device else {}, "lost")

    def nvmlDeviceGetName(self, device: dict[str, Any]) -> Any:
        return self._ask(device, "name")

    def nvmlDeviceGetMemoryInfo(self, device: dict[str, Any]) -> Any:
        total, used = self._ask(device, "memory")
        return SimpleNamespace(total=total, used=used)

    def nvmlDeviceGetComputeRunningProcesses(self, device: dict[str, Any]) -> Any:
        return self._ask(device, "processes")

    def nvmlDeviceGetNvLinkState(self, device: dict[str, Any], link: int) -> Any:
        links = self._ask(device, "nvlinks")
        if link >= len(links):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return links[link]

    def nvmlDeviceGetMigMode(self, device: dict[str, Any]) -> Any:
        return self._ask(device, "mig")

    def nvmlDeviceGetMaxMigDeviceCount(self, device: dict[str, Any]) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: dict[str, Any], index: int) -> Any:
        slices = self._ask(device, "slices")
        if index >= len(slices):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return slices[index]


def test_nvml_is_read_device_by_device_and_closed():
    full = {"name": "NVIDIA H200", "memory": (143_771 * 2**20, 0), "processes": [object()], "nvlinks": [1] * 18,
            "mig": (0, 0)}  # fmt: skip
    bare = {"name": b"NVIDIA GB10"}  # memory, processes, links, MIG: not supported
    nvml = Nvml([full, bare, {"lost": True}])
    gpus, driver = NvmlReader(nvml).read()
    assert gpus == [
        LocalGpu("NVIDIA H200", 143_771 * 2**20, processes=1, nvlinks=18),
        LocalGpu("NVIDIA GB10", None),
    ]
    assert driver == "580.65.06"
    assert not nvml.is_open


def test_a_driver_that_does_not_start_is_no_driver():
    assert NvmlReader(Nvml([], fails_init=True)).read() == (None, "")


def test_mig_slices_stand_for_the_gpu_they_cut_up():
    slices = [{"name": "NVIDIA H200 MIG 1g.18gb", "memory": (16_384 * 2**20, 0), "processes": []}] * 3
    cut = {"name": "NVIDIA H200", "memory": (143_771 * 2**20, 0), "mig": (1, 1), "slices": slices}
    inventory = discover_local(NvmlReader(Nvml([cut])))
    assert inventory is not None
    (pool,) = inventory.pools
    assert (pool.gpus, pool.gpu.estimated, pool.gpu.vram_bytes) == (3, True, 16 * 2**30)
    assert any("MIG slice is not a whole GPU" in note for note in inventory.notes)
