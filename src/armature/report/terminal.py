"""The plan for a person in a hurry: what was asked, the candidates, the front, the choice and why.

At most about 60 lines; made for 100 columns and readable at 80. Colour and Unicode come only where the
console has them (`NO_COLOR`, pipes and other encodings get plain text).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from armature.report.changes import change_lines
from armature.report.lines import Line, print_lines, titled, wrapped
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
from armature.search.profile import Candidate, Number, Profile

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["all_notes", "figures", "front_picture", "header", "plan_lines", "print_plan", "style_of"]

_MAX_REASONS, _MAX_NOTES = 6, 5
_TABLE_ROWS = 10


def print_plan(
    profile: Profile, console: Console, *, width: int | None = None, notes: Sequence[str] = ()
) -> None:
    """Print the plan to the console; `width` columns, the console's own when None. notes: besides the profile's."""
    unicode = not console.options.ascii_only
    print_lines(plan_lines(profile, width or console.width, unicode=unicode, notes=notes), console)


def plan_lines(
    profile: Profile, width: int = 100, *, unicode: bool = True, notes: Sequence[str] = ()
) -> tuple[Line, ...]:
    """The whole plan as lines of at most `width` columns (60 at least; a long layout name may need more)."""
    width = max(width, 60)
    glyphs = UNICODE if unicode else ASCII
    pick = profile.picked
    lines = [
        *wrapped(header(profile, glyphs), width, "", "  ", "bold"),
        Line(""),
        *_table(profile, width, glyphs),
        Line(""),
        *(Line(text, "cyan" if text[:1].isalpha() else "") for text in _picture(profile, width)),
        Line(""),
        Line(f"Choice: {layout(pick, glyphs)}, {gpus(pick.gpus)}: {summary(pick)}", style_of(pick)),
        *wrapped(figures(pick, glyphs), width, "  ", "  "),
        *titled("Trace", trace_sentences(profile, glyphs), 2, width, glyphs),
        *titled("Why", profile.reasons, _MAX_REASONS, width, glyphs),
        *change_lines(profile, width, glyphs),
        *titled("Notes", all_notes(profile, notes), _MAX_NOTES, width, glyphs, style="dim"),
    ]
    return tuple(lines) if unicode else tuple(Line(plain(line.text), line.style) for line in lines)


def header(profile: Profile, glyphs: Glyphs) -> str:
    """What was asked, of which GPUs, and where the numbers are from."""
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
            yield Line(text, style_of(candidate) if id == profile.pick else "" if met else "dim")
    hidden = len(profile.candidates) - (len(rows) - 1)
    words = [f"{hidden:,} more candidates in the profile"] if hidden else []
    if profile.considered.get("layouts"):
        words.append(f"considered: {considered_text(profile.considered)}")
    if words:
        yield from wrapped("; ".join(words), width, "    ", "    ", "dim")


def _picture(profile: Profile, width: int) -> list[str]:
    return front_picture(profile, min(width, 100), 13).splitlines()


def style_of(candidate: Candidate) -> str:
    if not (candidate.meets_sla and candidate.carries_load):
        return "bold red"
    return "bold yellow" if candidate.at_risk else "bold green"


def figures(pick: Candidate, glyphs: Glyphs) -> str:
    """What a candidate does, in one paragraph."""
    parts = [
        f"TTFT {band(pick.ttft_ms, glyphs)} ms{_spread(pick.ttft_p50_ms, pick.ttft_p95_ms)}",
        f"ITL {band(pick.itl_ms, glyphs)} ms{_spread(pick.itl_p50_ms, pick.itl_p95_ms)}",
        f"request {amount(pick.e2e_ms.value / 1000)} s",
        f"{amount(pick.tokens_per_s)} tokens/s",
        f"{amount(pick.request_rate)} requests/s with {amount(pick.concurrency)} in flight",
    ]
    if pick.capacity is not None and pick.capacity > 0:
        more = f" ({pick.headroom:.2f} times what is asked)" if pick.headroom is not None else ""
        what = "meets the SLA" if pick.margins else "carries"
        parts.append(f"{what} up to {amount(pick.capacity)} requests/s{more}")
    if pick.cost_per_million_tokens is not None:
        parts.append(f"{amount(pick.cost_per_million_tokens)} per million tokens")
    if pick.joules_per_token is not None:
        parts.append(f"{glyphs.at_most} {amount(pick.joules_per_token)} J/token at board power")
    return f" {glyphs.dot} ".join(parts)


def _spread(p50: Number | None, p95: Number | None) -> str:
    """` (p50 171, p95 517)` behind a mean."""
    return f" (p50 {amount(p50.value)}, p95 {amount(p95.value)})" if p50 and p95 else ""


def all_notes(profile: Profile, others: Sequence[str]) -> list[str]:
    """What is said about the user's own file and options comes first, for the list is cut."""
    return list(dict.fromkeys([*others, *profile.notes, *profile.picked.notes]))
