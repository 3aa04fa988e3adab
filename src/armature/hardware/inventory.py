"""Which GPUs a deployment may use, and how we know.

An `Inventory` comes from the command line (`parse_hardware`), from a request and what was discovered
(`inventory_for_request`), from Kubernetes objects (`discover_nodes`) or from this machine (`discover_local`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Protocol

from armature.errors import HardwareUnknown, InvalidInput, Problem
from armature.hardware.catalog import Gpu, closest_sku, find, gpu
from armature.hardware.products import gpu_for_product, match_product, memory_in

__all__ = ["AUTO_GPU_LIMIT", "HardwareSpec", "Inventory", "Pool", "inventory_for_request", "parse_hardware"]

AUTO_GPU_LIMIT = 32
"""Auto-detection uses at most this many GPUs in all; a stated `totalGpus` is not capped (HW-03)."""

_MAX_GPUS_PER_NODE = 128
_MAX_NODES = 10_000
_MAX_GPUS = 100_000
_MIB = 2**20
_FLAG = "--hardware"
_EXAMPLE = "write it as h200_sxm, 8xh200_sxm or 2x8xh200_sxm (nodes x GPUs x SKU)"
_COUNT = re.compile(r"\s*([-+]?[\d.,]*\d)\s*[xX×*]\s*")


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


class HardwareSpec(Protocol):
    """What a request says about hardware; None where it says nothing. The API's `spec.hardware` is one."""

    @property
    def gpu_sku(self) -> str | None: ...
    @property
    def vram_mb(self) -> float | None: ...
    @property
    def total_gpus(self) -> int | None: ...
    @property
    def num_gpus_per_node(self) -> int | None: ...
    @property
    def interconnect(self) -> str | None: ...
    @property
    def rdma(self) -> bool | None: ...


def parse_hardware(text: str) -> Inventory:
    """The inventory a `--hardware` value states: pools separated by commas, each `[NODESx][GPUSx]NAME`.

    NAME is a SKU or a vendor's product string; without counts it is one usual node. A single count is GPUs, spread
    over usual nodes. A name that is neither known nor carries a memory size is refused: nothing could be said about
    it. Raises InvalidInput with every problem.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    pools: dict[tuple[str, int], Pool] = {}
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        pool = _stated_pool(part, problems, notes)
        if pool is None:
            continue
        key = (pool.gpu.sku, pool.gpu.vram_bytes)
        if key in pools:
            problems.append(
                Problem(_FLAG, f"lists {pool.gpu.sku} twice", "write it once, with all its nodes", part)
            )
        pools[key] = pool
    if problems:
        raise InvalidInput(_FLAG, problems)
    return Inventory(tuple(pools.values()), "stated", tuple(notes))


def inventory_for_request(hardware: HardwareSpec | None, discovered: Inventory | None) -> Inventory:
    """What a request may use: each value the user states wins over what was discovered (HW-04).

    - `gpuSku` picks the discovered pools of that SKU; where there are none, it states one.
    - `totalGpus` is the budget, taken as said even above what was found; without it, detection is capped at
      `AUTO_GPU_LIMIT` GPUs in all (HW-03), and without detection it is one usual node.
    - `vramMb`, `numGpusPerNode`, `rdma`, `interconnect` replace what is known of every pool.

    `discovered` may also be what `parse_hardware` made of a flag: its counts are stated and so not capped.
    Every assumption is in the notes. Raises InvalidInput for values that cannot be, HardwareUnknown when there is
    neither a GPU stated nor one found.
    """
    _require_sane(hardware)
    notes = list(discovered.notes) if discovered is not None else []
    found = tuple(pool for pool in discovered.pools if pool.gpus > 0) if discovered is not None else ()
    source = discovered.source if discovered is not None and found else "stated"
    limit = None if source == "stated" else AUTO_GPU_LIMIT
    if hardware is None:
        return Inventory(_capped(_some(found, notes), limit, notes), source, tuple(notes))

    pools, is_stated = _chosen_pools(hardware, found, notes)
    if is_stated:
        source = "stated"
    if hardware.num_gpus_per_node is not None:
        per_node = hardware.num_gpus_per_node
        pools = tuple(_with_node_size(pool, per_node, is_stated, notes) for pool in pools)
    if hardware.total_gpus is not None:
        pools = _with_budget(pools, hardware.total_gpus, is_stated, notes)
    elif is_stated:
        pool = pools[0]
        notes.append(
            f"Taken as one node of {pool.gpus} {pool.gpu.sku}; state spec.hardware.totalGpus for another."
        )
    else:
        pools = _capped(pools, limit, notes)
    if hardware.vram_mb is not None:
        vram_bytes = int(hardware.vram_mb * _MIB)
        pools = tuple(replace(pool, gpu=pool.gpu.with_vram(vram_bytes)) for pool in pools)
    if hardware.interconnect is not None:
        pools = tuple(_linked(pool, hardware.interconnect, notes) for pool in pools)
    if hardware.rdma is not None:
        pools = tuple(_with_rdma(pool, hardware.rdma, notes) for pool in pools)
    if not is_stated and source != "stated" and _states_anything(hardware):
        source = f"{source}, with stated values"
    return Inventory(pools, source, tuple(dict.fromkeys(notes)))


def _stated_pool(part: str, problems: list[Problem], notes: list[str]) -> Pool | None:
    """One pool of `--hardware`; None when it has a problem, which is then in `problems`."""
    if not part:
        problems.append(Problem(_FLAG, "names no GPU", _EXAMPLE))
        return None
    before = len(problems)
    counts: list[str] = []
    name = part
    while (match := _COUNT.match(name)) is not None:
        counts.append(match[1])
        name = name[match.end() :]
    if len(counts) > 2:
        problems.append(Problem(_FLAG, "has more than two counts", _EXAMPLE, part))
    limits = (_MAX_NODES, _MAX_GPUS_PER_NODE) if len(counts) == 2 else (_MAX_GPUS,)
    numbers = [_count(count, limit, part, problems) for count, limit in zip(counts, limits, strict=False)]
    known = match_product(name)
    mistyped_sku = (
        name.islower() and "_" in name and find(name) is None
    )  # a100_pci must not pass for an A100 SXM
    if mistyped_sku or (not known.known and memory_in(name) is None):
        close = closest_sku(name) if name else None
        mend = f"did you mean {close}?" if close else f"{_EXAMPLE}, or add its memory: {name or 'NAME'}-48GB"
        problems.append(Problem(_FLAG, "is not a GPU we know", mend, name or part))
    if len(problems) > before:
        return None
    if known.note:
        notes.append(known.note)
    usual = known.gpu.gpus_per_node
    if not numbers:
        notes.append(f"{name}: taken as one node of {usual}.")
        return Pool(known.gpu, usual, usual, 1)
    if len(numbers) == 2:
        nodes, per_node = numbers
        return Pool(known.gpu, nodes * per_node, per_node, nodes)
    gpus = numbers[0]
    pool = _pool_of(known.gpu, gpus)
    if pool.nodes > 1:
        notes.append(f"{part}: taken as {pool.nodes} nodes of {usual}; write 1x{part} for one node.")
    return pool


def _count(text: str, limit: int, part: str, problems: list[Problem]) -> int:
    """A whole number from 1 to limit; otherwise 1, with a problem."""
    if text.isdecimal() and 1 <= int(text[:12]) <= limit and len(text) <= 12:
        return int(text)
    rule = f"{text} is not a count: a whole number from 1 to {limit:,}"
    problems.append(Problem(_FLAG, rule, _EXAMPLE, part))
    return 1


def _pool_of(gpu: Gpu, gpus: int, per_node: int | None = None) -> Pool:
    """A stated pool of `gpus` GPUs on usual nodes (or nodes of `per_node`); fewer than a node make a smaller one."""
    size = min(per_node or gpu.gpus_per_node, gpus)
    return Pool(gpu, gpus, size, -(-gpus // size))


def _require_sane(hardware: HardwareSpec | None) -> None:
    if hardware is None:
        return
    checks: tuple[tuple[str, float | None, float], ...] = (
        ("vramMb", hardware.vram_mb, 2**24),
        ("totalGpus", hardware.total_gpus, _MAX_GPUS),
        ("numGpusPerNode", hardware.num_gpus_per_node, _MAX_GPUS_PER_NODE),
    )
    problems = []
    for field, value, limit in checks:
        least = 256 if field == "vramMb" else 1
        if value is not None and not (math.isfinite(value) and least <= value <= limit):
            unit = " MiB" if field == "vramMb" else ""
            rule = f"must be from {least} to {limit:,}{unit}"
            problems.append(
                Problem(f"spec.hardware.{field}", rule, "correct it or leave it out to detect it", value)
            )
    if problems:
        raise InvalidInput("spec.hardware", problems)


def _chosen_pools(
    hardware: HardwareSpec, found: tuple[Pool, ...], notes: list[str]
) -> tuple[tuple[Pool, ...], bool]:
    """The pools the request is about, and whether they are stated (nothing found backs their counts)."""
    if hardware.gpu_sku is not None:
        asked = gpu(hardware.gpu_sku, path="spec.hardware.gpuSku")
        same = tuple(pool for pool in found if pool.gpu.sku == asked.sku)
        whole = tuple(pool for pool in same if not pool.gpu.estimated)
        if same:
            return whole or same, False
        if found:
            have = ", ".join(f"{pool.gpus} {pool.gpu.sku}" for pool in found)
            notes.append(f"No free {asked.sku} was found (found: {have}); it is taken as stated.")
        if hardware.vram_mb is not None:
            asked = gpu_for_product(asked.sku, int(hardware.vram_mb * _MIB))
    elif found:
        return found, False
    elif hardware.vram_mb is not None:
        asked = gpu_for_product("", int(hardware.vram_mb * _MIB))
        notes.append(
            f"No gpuSku: classed by its {hardware.vram_mb:.0f} MiB as {asked.sku}; figures are estimated."
        )
    else:
        return _some(found, notes), False
    per_node = hardware.num_gpus_per_node or asked.gpus_per_node
    return (_pool_of(asked, hardware.total_gpus or per_node, per_node),), True


def _some(pools: tuple[Pool, ...], notes: list[str]) -> tuple[Pool, ...]:
    if pools:
        return pools
    seen = "".join(f"\n  {note}" for note in notes)
    raise HardwareUnknown(
        f"No GPU was stated and none that is free was found.{seen}",
        "State it: --hardware 8xh200_sxm, or spec.hardware.gpuSku and totalGpus in the request. "
        "Planning needs no GPU on this machine.",
    )


def _with_node_size(pool: Pool, per_node: int, is_stated: bool, notes: list[str]) -> Pool:
    if per_node == pool.gpus_per_node or is_stated:
        return pool
    notes.append(
        f"{pool.gpu.sku}: numGpusPerNode {per_node} as stated; nodes with {pool.gpus_per_node} were found."
    )
    if per_node < pool.gpus_per_node:
        return replace(pool, gpus=min(pool.gpus, pool.nodes * per_node), gpus_per_node=per_node)
    return replace(pool, gpus_per_node=per_node, nodes=-(-pool.gpus // per_node))


def _with_budget(pools: tuple[Pool, ...], total: int, is_stated: bool, notes: list[str]) -> tuple[Pool, ...]:
    """Pools holding exactly `total` GPUs, the first ones first; what was not found is taken to be of the first kind."""
    found = sum(pool.gpus for pool in pools)
    if total <= found:
        return _limited(pools, total)
    if not is_stated:
        notes.append(
            f"totalGpus {total} as stated; {found} free were found, the others are taken to be {pools[0].gpu.sku}."
        )
    first = pools[0]
    gpus = first.gpus + total - found
    nodes = max(first.nodes, -(-gpus // first.gpus_per_node))
    return (replace(first, gpus=gpus, nodes=nodes), *pools[1:])


def _capped(pools: tuple[Pool, ...], limit: int | None, notes: list[str]) -> tuple[Pool, ...]:
    found = sum(pool.gpus for pool in pools)
    if limit is None or found <= limit:
        return pools
    notes.append(
        f"Found {found} free GPUs and uses {limit}, the limit of auto-detection; "
        "state spec.hardware.totalGpus to use more."
    )
    return _limited(pools, limit)


def _limited(pools: tuple[Pool, ...], total: int) -> tuple[Pool, ...]:
    """The first `total` GPUs of the pools, in order."""
    taken: list[Pool] = []
    left = total
    for pool in pools:
        gpus = min(pool.gpus, left)
        if gpus == 0:
            break
        nodes = pool.nodes if gpus == pool.gpus else min(pool.nodes, -(-gpus // pool.gpus_per_node))
        taken.append(replace(pool, gpus=gpus, nodes=nodes))
        left -= gpus
    return tuple(taken)


def _linked(pool: Pool, interconnect: str, notes: list[str]) -> Pool:
    text = re.sub(r"[^a-z]", "", interconnect.lower())
    kinds = {
        "nvlink": "nvlink",
        "nvswitch": "nvlink",
        "pcie": "pcie",
        "xgmi": "xgmi",
        "infinityfabric": "xgmi",
    }
    kind = next((kind for word, kind in kinds.items() if word in text), None)
    if kind is None:
        notes.append(
            f"interconnect {interconnect!r} is not nvlink, pcie or xgmi: {pool.gpu.link} is assumed."
        )
        return pool
    changed = pool.gpu.linked_by(kind)
    if changed.link != kind:
        notes.append(f"{pool.gpu.sku} has no {kind}: {pool.gpu.link} is assumed.")
    elif changed is not pool.gpu:
        speed = changed.link_bytes_per_s / 1e9
        notes.append(
            f"{pool.gpu.sku}: interconnect {kind} as stated, {speed:.0f} GB/s per GPU and direction."
        )
    return replace(pool, gpu=changed)


def _with_rdma(pool: Pool, rdma: bool, notes: list[str]) -> Pool:
    if not rdma:
        return replace(pool, rdma=False, rdma_resource=None)
    if pool.rdma_resource is None:
        notes.append(
            f"{pool.gpu.sku}: RDMA as stated, but no RDMA resource was found on the nodes; its name, "
            "such as rdma/ib, has to be given in overrides.dgd."
        )
    return replace(pool, rdma=True)


def _states_anything(hardware: HardwareSpec) -> bool:
    values = (hardware.gpu_sku, hardware.vram_mb, hardware.total_gpus, hardware.num_gpus_per_node,
              hardware.interconnect, hardware.rdma)  # fmt: skip
    return any(value is not None for value in values)
