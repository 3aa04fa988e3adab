"""Log files of the processes: written up to a size, read from the end, followed as they grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["LOG_BYTES", "CappedLog", "follow", "new_bytes", "tail"]

LOG_BYTES = 8 * 1024 * 1024
"""Size at which a log is moved to `NAME.log.1` (replacing an older one) and begun anew."""


class CappedLog:
    """Appends to a file of at most `max_bytes`, and keeps one predecessor.

    A full disk must not stop the process that logs: writing then stops, and `failed` says why.
    """

    def __init__(self, path: Path, max_bytes: int = LOG_BYTES) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.failed = ""
        self._file = path.open("ab", buffering=0)
        self._size = path.stat().st_size

    def write(self, data: bytes) -> None:
        try:
            if self._size and self._size + len(data) > self.max_bytes:
                self._file.close()
                self.path.replace(self.path.with_name(self.path.name + ".1"))
                self._file = self.path.open("ab", buffering=0)
                self._size = 0
            self._file.write(data)
            self._size += len(data)
            self.failed = ""
        except OSError as error:
            self.failed = f"{self.path} could not be written: {error.strerror}"

    def close(self) -> None:
        self._file.close()


def tail(path: Path, lines: int, max_bytes: int = 64 * 1024) -> list[str]:
    """The last lines of a log, at most `lines` of them and `max_bytes` bytes; empty when there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - max_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    found = text.splitlines()
    if size > max_bytes:
        del found[:1]  # its beginning was cut off
    return found[-lines:] if lines > 0 else []


def follow(
    paths: dict[str, Path],
    *,
    lines: int,
    until: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
    every_s: float = 0.2,
) -> Iterator[tuple[str, str]]:
    """(name, line) of each log: first the last `lines`, then new ones as they come, until `until()`; a log that
    starts anew (moved away at its size limit) is read from its beginning."""
    offsets = {name: path.stat().st_size if path.exists() else 0 for name, path in paths.items()}
    rests = dict.fromkeys(paths, b"")
    for name, path in paths.items():
        for line in tail(path, lines):
            yield name, line
    while True:
        done = until()
        for name, path in paths.items():
            data, offsets[name] = new_bytes(path, offsets[name])
            *complete, rests[name] = (rests[name] + data).split(b"\n")
            for whole in complete:
                yield name, whole.decode("utf-8", "replace")
        if done:
            return
        sleep(every_s)


def new_bytes(path: Path, offset: int) -> tuple[bytes, int]:
    """What a file has after an offset, and the offset after that; a shorter one is read from its start."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(offset if offset <= size else 0)
            data = file.read()
            return data, file.tell()
    except OSError:
        return b"", 0
