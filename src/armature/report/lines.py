"""Lines of text in a given width, with a style each: what the views for a terminal are made of."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from armature.report.words import Glyphs

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Line", "print_lines", "titled", "wrapped"]


class Line(msgspec.Struct, frozen=True):
    """One line of output and its rich style ("" for none)."""

    text: str
    style: str = ""


def print_lines(lines: Iterable[Line], console: Console) -> None:
    """Print the lines as they are, whatever the console's width."""
    from rich.text import Text

    for line in lines:
        console.print(Text(line.text, style=line.style), no_wrap=True, overflow="ignore", crop=False)


def titled(
    title: str, items: Sequence[str], most: int, width: int, glyphs: Glyphs, style: str = ""
) -> Iterable[Line]:
    """A titled list of at most `most` items; what is left out is counted."""
    if not items:
        return
    yield Line(title, "bold")
    for item in items[:most]:
        yield from wrapped(item, width, "  - ", "    ", style)
    if len(items) > most:
        yield Line(f"  - {glyphs.more} {len(items) - most} more with --json", style)


def wrapped(text: str, width: int, first: str, rest: str, style: str = "") -> Iterable[Line]:
    """The text in lines of at most `width`; a number and its unit stay together."""
    for line in textwrap.wrap(
        text.replace(" ms", "\u00a0ms").replace(" %", "\u00a0%"),
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    ):
        yield Line(line.replace("\u00a0", " "), style)
