"""What every command prints with and writes with: the console, a spinner-free progress line, files as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from armature.errors import OutputFailed

if TYPE_CHECKING:
    from rich.console import Console

    from armature.report.words import Glyphs

__all__ = [
    "console",
    "glyphs",
    "output_width",
    "print_json",
    "print_rows",
    "say",
    "stopped_in_order",
    "write_files",
]

_PIPE_WIDTH = 100


def console() -> Console:
    """A rich console on stdout that lets a closed pipe be handled in `main`.

    With NO_COLOR it prints plain text: rich alone would still print bold and dim.
    """
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Ours(color_system=colours, highlight=False, emoji=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def stopped_in_order() -> Iterator[None]:
    """In this block SIGTERM and SIGHUP do what Ctrl-C does, so that the command ends when all it started has.

    A signal that is ignored stays so (`nohup`). Main thread only.
    """

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def output_width(asked: int | None) -> int:
    """Columns to use: what was asked, else the terminal's, else $COLUMNS, else 100 (a pipe has no width)."""
    if asked is not None:
        return asked
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _PIPE_WIDTH
    except (OSError, ValueError):
        return _PIPE_WIDTH


def say(text: str) -> None:
    """One line of progress or remark, to stderr, so that stdout holds only results."""
    print(text, file=sys.stderr, flush=True)


def glyphs() -> Glyphs:
    """The signs that stdout can show."""
    from armature.report.words import ASCII, UNICODE

    return UNICODE if _unicode() else ASCII


def print_json(data: object) -> None:
    """Print plain data as JSON; ASCII where stdout shows no more."""
    import json

    print(json.dumps(data, indent=2, ensure_ascii=not _unicode(), allow_nan=False))


def _unicode() -> bool:
    return "utf" in (sys.stdout.encoding or "").lower()


def print_rows(rows: Sequence[Sequence[str]], left: set[int]) -> None:
    """Print columns padded to their widest cell; numbers to the right."""
    sizes = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(size) if index in left else cell.rjust(size)
            for index, (cell, size) in enumerate(zip(row, sizes, strict=True))
        ]
        print("  ".join(cells).rstrip())


def write_files(directory: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write all files into the directory, or none; returns their paths.

    Every file is complete and on disk under a temporary name before the first takes its own, so a full disk
    leaves what was there untouched. Raises OutputFailed.
    """
    made = not directory.exists()
    temporary: list[tuple[Path, Path]] = []
    current = directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            current = directory / name
            part = directory / f".{name}.{os.getpid()}.part"
            temporary.append((part, current))
            _write_through(part, content)
        for part, final in temporary:
            current = final
            os.replace(part, final)
    except OSError as error:
        for part, _ in temporary:
            with contextlib.suppress(OSError):  # where nothing can be written, nothing can be removed
                part.unlink(missing_ok=True)
        if made and directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
        raise OutputFailed(
            f"Cannot write {current}: {error.strerror or error}.",
            "Nothing was written; free space or choose another directory with -o.",
        ) from None
    return tuple(final for _, final in temporary)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
