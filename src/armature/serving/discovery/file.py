"""Discovery in a directory: one machine, no service to run.

`DIR/<namespace>/<component>/<instance_id>.json`, written whole or not at all (temporary name, then rename). A
heartbeat refreshes the file's modification time. A record is dropped by readers when it is older than
`stale_after_s`, or at once when its process, on this host, is gone; the file of a dead process is deleted by
the first reader that notices.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from armature.errors import InvalidInput, Problem
from armature.serving.discovery.base import Instance

__all__ = ["FileDiscovery", "process_lives"]

POLL_S = 0.1
"""How often a watch looks; a scan of a few files takes well under a millisecond."""

STALE_AFTER_S = 15.0
"""A record without a heartbeat for this long is not offered any more; workers beat every second."""

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}\Z")
log = logging.getLogger(__name__)


def process_lives(pid: int) -> bool:
    """Whether a process of this host runs. A zombie, killed and not yet reaped by its parent, does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # no /proc (macOS), or the process went between the two looks
        return True
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


class FileDiscovery:
    """Registry in `root`. Times are seconds; `now` is the clock of file times (seconds since the epoch)."""

    def __init__(
        self,
        root: Path,
        *,
        poll_s: float = POLL_S,
        stale_after_s: float = STALE_AFTER_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.root = root
        self._poll_s = poll_s
        self._stale_after_s = stale_after_s
        self._now = now
        self._host = socket.gethostname()
        self._read: dict[Path, tuple[int, Instance | None]] = {}

    async def register(self, instance: Instance) -> None:
        await asyncio.to_thread(self._write, instance)

    async def heartbeat(self, instance: Instance) -> None:
        await asyncio.to_thread(self._touch, instance)

    async def unregister(self, instance: Instance) -> None:
        path = self._path(instance)
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def list(self, namespace: str) -> tuple[Instance, ...]:
        return await asyncio.to_thread(self._scan, namespace)

    async def watch(self, namespace: str) -> AsyncIterator[tuple[Instance, ...]]:
        seen: tuple[Instance, ...] | None = None
        while True:
            now = await self.list(namespace)
            if now != seen:
                seen = now
                yield now
            await asyncio.sleep(self._poll_s)

    def _path(self, instance: Instance) -> Path:
        problems = [
            Problem(field, "must be letters, digits, '.', '_' and '-', at most 253", value=value)
            for field, value in (
                ("namespace", instance.namespace),
                ("component", instance.component),
                ("instance_id", instance.instance_id),
            )
            if not _SAFE.match(value)
        ]
        if problems:
            raise InvalidInput("discovery", problems)
        return self.root / instance.namespace / instance.component / f"{instance.instance_id}.json"

    def _write(self, instance: Instance) -> None:
        path = self._path(instance)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_bytes(msgspec.json.encode(instance))
        draft.replace(path)

    def _touch(self, instance: Instance) -> None:
        stamp = self._now()
        try:
            os.utime(self._path(instance), (stamp, stamp))
        except FileNotFoundError:
            self._write(instance)

    def _scan(self, namespace: str) -> tuple[Instance, ...]:
        found: list[Instance] = []
        present: set[Path] = set()
        for path in sorted((self.root / namespace).glob("*/*.json")):
            if path.name.startswith("."):
                continue
            try:
                stat = path.stat()
            except FileNotFoundError:  # removed between the listing and the look
                continue
            present.add(path)
            instance = self._load(path, stat.st_ino)
            if instance is None or self._now() - stat.st_mtime > self._stale_after_s:
                continue
            if instance.host == self._host and not process_lives(instance.pid):
                log.info(
                    "dropping %s/%s: process %d is gone",
                    instance.component,
                    instance.instance_id,
                    instance.pid,
                )
                path.unlink(missing_ok=True)
                continue
            found.append(instance)
        self._read = {path: entry for path, entry in self._read.items() if path in present}
        return tuple(found)

    def _load(self, path: Path, inode: int) -> Instance | None:
        """The record, read again only when the file was replaced; None for a file that is not a record."""
        known = self._read.get(path)
        if known is not None and known[0] == inode:
            return known[1]
        try:
            instance = msgspec.json.decode(path.read_bytes(), type=Instance)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s is not a record of an instance: %s", path, error)
            instance = None
        self._read[path] = (inode, instance)
        return instance
