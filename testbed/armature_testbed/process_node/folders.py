"""The folders that the process nodes of one testbed share, and what only one of them may hold at a time.

`<testbed>/process-nodes/`: `discovery` (our workers' records), `volumes` (claims), `numbers` and `steward.lock` (locks,
free again whenever their holder ends), and a folder a node.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from armature.errors import StartFailed
from armature_testbed.process_node.addresses import MOST_NODES

__all__ = ["NodeFolders"]


class NodeFolders:
    def __init__(self, testbed: Path) -> None:
        self.root = testbed / "process-nodes"
        self.discovery = self.root / "discovery"
        self.volumes = self.root / "volumes"
        self._held: list[int] = []

    def make(self) -> None:
        for path in (self.discovery, self.volumes, self.root / "numbers"):
            path.mkdir(parents=True, exist_ok=True)

    def run(self, node: str) -> Path:
        """What goes with the node's agent."""
        return self.root / node / "run"

    def take_number(self) -> int:
        """A number that no other agent holds, until this process ends. Raises StartFailed when there is none left."""
        for number in range(1, MOST_NODES + 1):
            if self._lock(self.root / "numbers" / str(number)):
                return number
        raise StartFailed(f"{MOST_NODES} process nodes run already; a testbed has no more addresses.")

    def become_steward(self) -> bool:
        """Whether this process now does what is done once for all nodes: the proxy of Services, volumes of claims."""
        return self._lock(self.root / "steward.lock")

    def _lock(self, path: Path) -> bool:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._held.append(handle)
        return True
