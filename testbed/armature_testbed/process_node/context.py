"""What all pods of a node share: the API, the node's own facts and knobs, and what the agent watches for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armature.kube.client import Client
from armature.kube.events import Recorder
from armature_testbed.process_node.addresses import AddressPool
from armature_testbed.process_node.image import Image
from armature_testbed.process_node.images import ImageRule
from armature_testbed.process_node.lifecycle import Policy
from armature_testbed.process_node.node_object import NodeSpec

__all__ = ["NodeContext"]

Names = Mapping[tuple[str, str], tuple[str, ...]]


@dataclass(slots=True)
class NodeContext:
    """run: a folder in memory for all that goes with the agent; claims: the folder of persistent volumes. names: of
    Services, as `hosts` takes them; services: the Services themselves. refresh_s: between two looks at what mounted
    ConfigMaps and Secrets hold. now_s: seconds since the epoch."""

    client: Client
    node: NodeSpec
    recorder: Recorder
    image: Image
    rules: Sequence[ImageRule]
    policy: Policy
    addresses: AddressPool
    run: Path
    claims: Path
    now_s: Callable[[], float]
    names: Callable[[], Names]
    services: Callable[[], Sequence[Mapping[str, Any]]]
    own_network: bool = True
    refresh_s: float = 30.0
    _events: set[asyncio.Task[None]] = field(default_factory=set)

    def say(self, pod: Mapping[str, Any], kind: str, reason: str, message: str, again: str = "") -> None:
        """Records an event about a pod, in its own time. again: sets it apart from an equal one before."""
        about = {"apiVersion": "v1", "kind": "Pod", **pod}
        told = "Normal" if kind == "Normal" else "Warning"
        task = asyncio.create_task(self.recorder.record(about, told, reason, message, discriminator=again))
        self._events.add(task)
        task.add_done_callback(self._events.discard)
