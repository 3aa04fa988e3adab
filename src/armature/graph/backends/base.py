"""What every backend is asked for: the container of one group of workers, as the field writes it.

A backend is a small pure module. It turns an `EngineAsk` into an `EngineContainer`; pods, GPUs, caches and RDMA
are the business of `pods`, the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from armature.perf.steptable import StepTable
from armature.search.profile import Group

__all__ = ["Backend", "EngineAsk", "EngineContainer", "flag_list", "graph_batches"]


class EngineAsk(msgspec.Struct, frozen=True):
    """One group of workers to write down.

    model_path: what the engine loads (a hub id or a directory). max_model_len: tokens of the longest request.
    kv_events: whether the router needs the engine's KV events. version: the runtime's (major, minor, patch).
    component: the worker's name, for notes. efa: whether KV travels over AWS EFA. nextn: tokens drafted per step by the
    model's multi-token-prediction layers, on prefill workers too, which fill those layers' cache.
    """

    group: Group
    model: str
    model_path: str
    max_model_len: int
    disaggregated: bool
    trust_remote_code: bool
    kv_events: bool
    efa: bool
    version: tuple[int, int, int]
    component: str
    step_table: StepTable | None = None
    nextn: int = 0

    @property
    def step_tokens(self) -> int | None:
        """Most tokens of a step: a chunk of prompts, and at least what every sequence decodes; None without chunks."""
        group = self.group
        return max(group.chunk_tokens, group.max_num_seqs * (1 + self.nextn)) if group.chunk_tokens else None


@dataclass(frozen=True, slots=True)
class EngineContainer:
    """The backend's part of a worker: command, arguments and the files they need.

    files: ConfigMap data (file name to text) to be mounted at `files_path`.
    """

    command: tuple[str, ...]
    args: tuple[str, ...]
    working_dir: str
    env: tuple[tuple[str, str], ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    files_path: str = ""
    notes: tuple[str, ...] = ()


class Backend(Protocol):
    """A backend module's two constants and one function."""

    SHARED_MEMORY: str | None
    PREFIX: str

    def container(self, ask: EngineAsk) -> EngineContainer: ...


def flag_list(flags: Mapping[str, Any]) -> tuple[str, ...]:
    """`{"--a": 1, "--b": True, "--c": None, "--d": [1, 2]}` as words; False and None leave a flag out."""
    words: list[str] = []
    for name, value in flags.items():
        if value is None or value is False:
            continue
        words.append(name)
        if isinstance(value, list | tuple):
            words.extend(str(item) for item in value)
        elif value is not True:
            words.append(str(value))
    return tuple(words)


def graph_batches(limit: int) -> list[int]:
    """Batch sizes to capture CUDA graphs for: rising, without repeats, ending at `limit`.

    Powers of two to 16, then steps of a quarter of the size: a batch is padded by at most a quarter.
    """
    sizes = {limit}
    size = 1
    while size < limit:
        sizes.add(size)
        size += max(1, size if size < 16 else size // 4)
    return sorted(sizes)
