"""Small files in a cache directory: whole or not there, at most so many bytes in all, and never an error.

A cache that cannot be read or written is no cache: one line in the debug log says so.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

__all__ = ["Disk", "Store", "default_folder"]

LIMIT_BYTES = 64 * 2**20
"""Some 4,700 engines."""
_LARGEST_BYTES = 2**20
_ABANDONED_S = 3600.0
_BETWEEN_EVICTIONS = 256

_log = logging.getLogger(__name__)


class Store(Protocol):
    """Bytes by name."""

    def read(self, name: str) -> bytes | None:
        """None where there is nothing, or nothing that can be read."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Keep `data`, or not: never raises OSError."""
        ...


class Disk:
    """A `Store` in one directory, made when first written to; `limit_bytes` of the newest files stay in it."""

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._writes = 0
        self._broken = False

    def read(self, name: str) -> bytes | None:
        try:
            with (self._folder / name).open("rb") as file:
                return file.read(_LARGEST_BYTES)
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Atomic: another process reads the old file, the new one, or none; of two writers one is last."""
        if self._broken:
            return
        partial = self._folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(self._folder / name)
            if self._writes % _BETWEEN_EVICTIONS == 0:
                self._evict()
            self._writes += 1
        except OSError as error:
            self._broken = True
            _log.debug("no cache in %s: %s", self._folder, error.strerror)
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def _evict(self) -> None:
        """Remove the oldest files until a fifth of the limit is free, and what writers left behind."""
        files: list[tuple[float, int, str]] = []
        for entry in os.scandir(self._folder):
            with suppress(OSError):
                stat = entry.stat(follow_symlinks=False)
                if entry.name.startswith(".") and time.time() - stat.st_mtime < _ABANDONED_S:
                    continue  # being written
                age = -1.0 if entry.name.startswith(".") else stat.st_mtime
                files.append((age, stat.st_size, entry.path))
        files.sort()
        size = sum(each[1] for each in files)
        wanted = size if size <= self._limit else self._limit * 4 // 5
        for age, bytes_, path in files:
            if size <= wanted and age >= 0:
                break
            with suppress(OSError):
                os.unlink(path)
            size -= bytes_


def default_folder(env: Mapping[str, str]) -> Path:
    """Where a user's caches are: `$ARMATURE_CACHE`, else `$XDG_CACHE_HOME/armature`, else `~/.cache/armature`."""
    if env.get("ARMATURE_CACHE"):
        return Path(env["ARMATURE_CACHE"]).expanduser()
    root = env.get("XDG_CACHE_HOME", "")
    if os.path.isabs(root):
        return Path(root) / "armature"
    home = env.get("HOME")
    return (Path(home) if home else Path.home()) / ".cache" / "armature"
