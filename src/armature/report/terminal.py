"""The plan for a person in a hurry: what was asked, the candidates, the front, the choice and why.

At most about 60 lines; made for 100 columns and readable at 80. Colour and Unicode come only where the
console has them (`NO_COLOR`, pipes and other encodings get plain text).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from armature.report.picture import front_picture
from armature.report.table import candidate_table
from armature.report.trace import trace_sentences
from armature.report.words import (
    ASCII,
    UNICODE,
    Glyphs,
    amount,
    band,
    gpus,
    layout,
    load,
    plain,
    pools,
    summary,
    targets,
)
from armature.search.considered import considered_text
from armature.search.pick import EQUAL
from armature.search.profile import Candidate, Profile, Relaxation

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Line", "front_picture", "plan_lines", "print_plan"]

_MAX_REASONS, _MAX_NOTES = 6, 5
_TABLE_ROWS = 10


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output and its rich style ("" for none)."""

    text: str
    style: str = ""


def print_plan(
    profile: Profile, console: Console, *, width: int | None = None, notes: Sequence[str] = ()
) -> None:
    """Print the plan to the console; `width` columns, the console's own when None. notes: besides the profile's."""
    from rich.text import Text

    unicode = not console.options.ascii_only
    for line in plan_lines(profile, width or console.width, unicode=unicode, notes=notes):
        console.print(Text(line.text, style=line.style), no_wrap=True, overflow="ignore", crop=False)


def plan_lines(
    profile: Profile, width: int = 100, *, unicode: bool = True, notes: Sequence[str] = ()
) -> tuple[Line, ...]:
    """The whole plan as lines of at most `width` columns (60 at least; a long layout name may need more)."""
    width = max(width, 60)
    glyphs = UNICODE if unicode else ASCII
    pick = profile.picked
    lines = [
        *_wrapped(_header(profile, glyphs), width, "", "  ", "bold"),
        Line(""),
        *_table(profile, width, glyphs),
        Line(""),
        *(Line(text, "cyan" if text[:1].isalpha() else "") for text in _picture(profile, width)),
        Line(""),
        Line(f"Choice: {layout(pick, glyphs)}, {gpus(pick.gpus)}: {summary(pick)}", _style(pick)),
        *_wrapped(_figures(pick, glyphs), width, "  ", "  "),
        *_list("Trace", trace_sentences(profile, glyphs), 2, width, glyphs),
        *_list("Why", profile.reasons, _MAX_REASONS, width, glyphs),
        *change_lines(profile, width, glyphs),
        *_list("Notes", _notes(profile, notes), _MAX_NOTES, width, glyphs, style="dim"),
    ]
    return tuple(lines) if unicode else tuple(Line(plain(line.text), line.style) for line in lines)


def changes(profile: Profile) -> tuple[str, list[str]]:
    """(a title, sentences) on what would change the choice: what would meet the SLA where it is missed, else the steps
    worth taking. No sentence where nothing was looked at."""
    if profile.suggestions:
        return "What would meet it", [suggestion.text for suggestion in profile.suggestions]
    said = [step.text for step in profile.relaxations if worth_saying(step, profile)]
    if profile.relaxations and not said:
        said = ["No step of 10 % or of one GPU would change anything for the better."]
    return "What one step would change", said


def change_lines(profile: Profile, width: int, glyphs: Glyphs, most: int = 3) -> Iterable[Line]:
    """`changes`, the first of them."""
    title, said = changes(profile)
    return _list(title, said if profile.suggestions else said[:most], max(most, 5), width, glyphs)


def worth_saying(step: Relaxation, profile: Profile) -> bool:
    """A step that buys something, or a tighter one that costs nothing; GPUs that a plan for a load leaves unused are
    no news."""
    if step.relaxes or step.buys:
        return step.buys
    loaded = "request_rate" in profile.workload or "concurrency" in profile.workload
    return (
        step.outcome.meets_sla
        and step.gpus_saved >= 0
        and not (loaded and step.what == "gpus")
        and (loaded or step.tokens_per_s_gain > -EQUAL)
    )


def _header(profile: Profile, glyphs: Glyphs) -> str:
    sources = sorted({candidate.source for candidate in profile.candidates})
    parts = [
        f"{profile.name}: {profile.model}",
        load(profile, glyphs),
        targets(profile, glyphs),
        pools(profile, glyphs),
        f"numbers: {' and '.join(sources)}",
    ]
    return f" {glyphs.dot} ".join(parts)


def _table(profile: Profile, width: int, glyphs: Glyphs) -> Iterable[Line]:
    rows = candidate_table(profile, width, glyphs, _TABLE_ROWS)
    for id, text in rows:
        if id == "":
            yield Line(text, "bold")
        else:
            candidate = profile.candidate(id)
            met = candidate.meets_sla and candidate.carries_load
            yield Line(text, _style(candidate) if id == profile.pick else "" if met else "dim")
    hidden = len(profile.candidates) - (len(rows) - 1)
    words = [f"{hidden:,} more candidates in the profile"] if hidden else []
    if profile.considered.get("layouts"):
        words.append(f"considered: {considered_text(profile.considered)}")
    if words:
        yield from _wrapped("; ".join(words), width, "    ", "    ", "dim")


def _picture(profile: Profile, width: int) -> list[str]:
    return front_picture(profile, min(width, 100), 13).splitlines()


def _style(candidate: Candidate) -> str:
    if not (candidate.meets_sla and candidate.carries_load):
        return "bold red"
    return "bold yellow" if candidate.at_risk else "bold green"


def _figures(pick: Candidate, glyphs: Glyphs) -> str:
    parts = [
        f"TTFT {band(pick.ttft_ms, glyphs)} ms",
        f"ITL {band(pick.itl_ms, glyphs)} ms",
        f"request {amount(pick.e2e_ms.value / 1000)} s",
        f"{amount(pick.tokens_per_s)} tokens/s",
        f"{amount(pick.request_rate)} requests/s with {amount(pick.concurrency)} in flight",
    ]
    if pick.cost_per_million_tokens is not None:
        parts.append(f"{amount(pick.cost_per_million_tokens)} per million tokens")
    if pick.joules_per_token is not None:
        parts.append(f"{glyphs.at_most} {amount(pick.joules_per_token)} J/token at board power")
    return f" {glyphs.dot} ".join(parts)


def _notes(profile: Profile, others: Sequence[str]) -> list[str]:
    """What is said about the user's own file and options comes first, for the list is cut."""
    return list(dict.fromkeys([*others, *profile.picked.notes, *profile.notes]))


def _list(
    title: str, items: Sequence[str], most: int, width: int, glyphs: Glyphs, style: str = ""
) -> Iterable[Line]:
    """A titled list of at most `most` items; what is left out is counted."""
    if not items:
        return
    yield Line(title, "bold")
    for item in items[:most]:
        yield from _wrapped(item, width, "  - ", "    ", style)
    if len(items) > most:
        yield Line(f"  - {glyphs.more} {len(items) - most} more with --json", style)


def _wrapped(text: str, width: int, first: str, rest: str, style: str = "") -> Iterable[Line]:
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
