"""The log of one run of a container, as nodes keep it: a line per line of output, with its time and stream.

`<time> stdout F <text>`; `P` in place of `F` where a line has no end. One file a run, of a limited size: the older half
goes first.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from armature.local.logs import CappedLog, new_bytes

__all__ = ["ContainerLog", "LogAsk", "last_words", "log_lines", "read_log"]

MAX_BYTES = 8 * 1024 * 1024
_MAX_LINE = 16 * 1024
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class LogAsk:
    """What a reader wants: the last `tail` lines, those since a time (RFC 3339), at most so many bytes; with times."""

    tail: int | None = None
    since: str = ""
    limit_bytes: int | None = None
    timestamps: bool = False
    follow: bool = False


class ContainerLog:
    """Writes the log of one run. `now_s`: seconds since the epoch."""

    def __init__(self, path: Path, now_s: Callable[[], float]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = CappedLog(path, MAX_BYTES)
        self._now_s = now_s
        self._rest = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        stamp = _stamp(self._now_s())
        made = [_entry(stamp, stream, b"F", line) for line in lines]
        while len(rest) > _MAX_LINE:
            made.append(_entry(stamp, stream, b"P", rest[:_MAX_LINE]))
            rest = rest[_MAX_LINE:]
        self._rest[stream] = rest
        if made:
            self._file.write(b"".join(made))

    def close(self) -> None:
        """Writes what came without a line's end."""
        for stream, rest in self._rest.items():
            if rest:
                self._file.write(_entry(_stamp(self._now_s()), stream, b"P", rest))
        self._file.close()


def log_lines(path: Path) -> Iterator[bytes]:
    """The entries of a log, oldest first."""
    for part in (path.with_name(path.name + ".1"), path):
        try:
            yield from _entries(part.read_bytes())
        except OSError:
            continue


def last_words(path: Path, *, lines: int = 80, max_bytes: int = 2048) -> str:
    """The end of a log as text, as `terminationMessagePolicy: FallbackToLogsOnError` has it."""
    kept = deque(log_lines(path), lines)
    return b"".join(_text(entry, timestamps=False) for entry in kept)[-max_bytes:].decode("utf-8", "replace")


async def read_log(path: Path, ask: LogAsk, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The asked part of a log; with `follow` also what comes, until the run has `ended`."""
    entries = [entry for entry in log_lines(path) if _at_or_after(entry, ask.since)]
    if ask.tail is not None:
        entries = entries[-ask.tail :] if ask.tail > 0 else []
    size = path.stat().st_size if path.exists() else 0
    left = ask.limit_bytes if ask.limit_bytes is not None else sys.maxsize
    text = b"".join(_text(entry, timestamps=ask.timestamps) for entry in entries)
    rest = b""
    over = not ask.follow
    while True:
        if text:
            yield text[:left]
            left -= len(text)
        if over or left <= 0:
            return
        over = ended()  # before the look, so that nothing written until then is missed
        new, size = await asyncio.to_thread(new_bytes, path, size)
        at = (rest + new).rfind(b"\n") + 1
        whole, rest = (rest + new)[:at], (rest + new)[at:]
        text = b"".join(_text(entry, timestamps=ask.timestamps) for entry in _entries(whole))
        if not over and not text:
            await asyncio.sleep(_POLL_S)


def _entries(data: bytes) -> list[bytes]:
    """Whole lines; a carriage return within one is part of it."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


def _entry(stamp: bytes, stream: str, tag: bytes, line: bytes) -> bytes:
    return b" ".join((stamp, stream.encode(), tag, line)) + b"\n"


def _stamp(at_s: float) -> bytes:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode()


def _at_or_after(entry: bytes, since: str) -> bool:
    """Both are UTC in RFC 3339, so text compares as time does (to whole seconds)."""
    return not since or entry[:19] >= since.encode()[:19]


def _text(entry: bytes, *, timestamps: bool) -> bytes:
    stamp, _, tag, line = entry.split(b" ", 3)
    body = line.removesuffix(b"\n") if tag == b"P" else line
    return stamp + b" " + body if timestamps else body
