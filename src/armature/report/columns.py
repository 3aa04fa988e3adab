"""Rows as padded columns, and how the columns give way on a narrow terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Column", "fitted"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """`give_way`: columns with a higher number leave first when the table is too wide; 0 never leaves.

    narrow: what takes its place when it leaves.
    """

    head: str
    cell: Callable[[T], str]
    left: bool = False
    give_way: int = 0
    narrow: Callable[[T], str] | None = None


def fitted(columns: Sequence[Column[T]], rows: Sequence[T], width: int) -> list[str]:
    """The head and the rows as lines; columns leave, the highest `give_way` first, until they fit; then gaps narrow."""
    kept = list(columns)
    while True:
        lines = _padded(kept, rows, "  ")
        if max(map(len, lines)) <= width:
            return lines
        leaving = max(column.give_way for column in kept)
        if leaving == 0:
            return _padded(kept, rows, " ")
        kept = [left for column in kept for left in _without(column, leaving)]


def _without(column: Column[T], leaving: int) -> list[Column[T]]:
    """The column, or what takes its place when it is its turn to leave."""
    if column.give_way != leaving:
        return [column]
    return [] if column.narrow is None else [Column(column.head, column.narrow)]


def _padded(columns: Sequence[Column[T]], rows: Sequence[T], gap: str) -> list[str]:
    padded = []
    for column in columns:
        cells = [column.head, *(column.cell(row) for row in rows)]
        size = max(map(len, cells))
        padded.append([cell.ljust(size) if column.left else cell.rjust(size) for cell in cells])
    return [gap.join(cells).rstrip() for cells in zip(*padded, strict=True)]
