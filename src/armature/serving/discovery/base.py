"""Who serves what, and where: the records workers publish and the interface every backend implements.

A worker registers one `Instance` with its `ModelCard` (the frontend configures tokenising and limits from the
card, so it needs no model configuration of its own), refreshes it while it lives and removes it when it goes.
Backends: `file` (one machine), `MemoryDiscovery` (in one process; the fake that tests use).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal, Protocol

import msgspec

__all__ = ["Discovery", "Instance", "MemoryDiscovery", "ModelCard", "Role"]

Role = Literal["agg", "prefill", "decode"]


class ModelCard(msgspec.Struct, frozen=True):
    """What a frontend must know to serve a worker's model.

    name: as clients ask for it. model: the checkpoint behind it. max_model_len, block_size: tokens. kv_blocks,
    max_num_seqs: per attention-DP rank; dp: ranks. tokenizer: directory with `tokenizer.json`, or None when the
    worker speaks bytes.
    """

    name: str
    model: str
    max_model_len: int
    block_size: int
    kv_blocks: int
    dp: int = 1
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    tokenizer: str | None = None

    @property
    def longest_sequence(self) -> int:
        """Tokens, prompt and output, that one request can have at most."""
        return min(self.max_model_len, self.kv_blocks * self.block_size)


class Instance(msgspec.Struct, frozen=True):
    """One worker process. address: where its transport listens (`tcp://127.0.0.1:40001`). system_address: host and
    port of its health and metrics. started: seconds since the epoch."""

    namespace: str
    component: str
    instance_id: str
    role: Role
    address: str
    host: str
    pid: int
    card: ModelCard
    system_address: str | None = None
    started: float = 0.0


class Discovery(Protocol):
    """Registry of instances. Level-triggered: `watch` yields whole sets, never differences."""

    async def register(self, instance: Instance) -> None:
        """Makes the instance visible; registering it again replaces its record."""
        ...

    async def heartbeat(self, instance: Instance) -> None:
        """Says that the instance lives; puts its record back where it was lost."""
        ...

    async def unregister(self, instance: Instance) -> None:
        """Removes the instance; no error when it is gone already."""
        ...

    async def list(self, namespace: str) -> tuple[Instance, ...]:
        """Live instances, ordered by component and id."""
        ...

    def watch(self, namespace: str) -> AsyncIterator[tuple[Instance, ...]]:
        """Yields the live instances now and after every change."""
        ...


class MemoryDiscovery:
    """Discovery within one process."""

    def __init__(self) -> None:
        self._instances: dict[tuple[str, str, str], Instance] = {}
        self._changed = asyncio.Condition()

    async def register(self, instance: Instance) -> None:
        await self._put(instance)

    async def heartbeat(self, instance: Instance) -> None:
        await self._put(instance)

    async def unregister(self, instance: Instance) -> None:
        async with self._changed:
            self._instances.pop(_key(instance), None)
            self._changed.notify_all()

    async def list(self, namespace: str) -> tuple[Instance, ...]:
        return tuple(self._instances[key] for key in sorted(self._instances) if key[0] == namespace)

    async def watch(self, namespace: str) -> AsyncIterator[tuple[Instance, ...]]:
        seen: tuple[Instance, ...] | None = None
        while True:
            async with self._changed:
                now = await self.list(namespace)
                if now == seen:
                    await self._changed.wait()
                    continue
            seen = now
            yield now

    async def _put(self, instance: Instance) -> None:
        async with self._changed:
            self._instances[_key(instance)] = instance
            self._changed.notify_all()


def _key(instance: Instance) -> tuple[str, str, str]:
    return (instance.namespace, instance.component, instance.instance_id)
