"""`armature explain` for a person: the choice, the answers to `--why-not`, every reason, every step, nothing cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from armature.report.lines import Line, print_lines, titled, wrapped
from armature.report.terminal import all_notes, figures, header, style_of
from armature.report.trace import trace_sentences
from armature.report.words import ASCII, UNICODE, gpus, layout, plain, summary
from armature.search.considered import considered_text
from armature.search.profile import Profile
from armature.search.why_not import WhyNot

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["explain_json", "explain_lines", "print_explanation"]

_ALL = 1000


def print_explanation(
    profile: Profile, answers: Sequence[WhyNot], console: Console, *, width: int, notes: Sequence[str] = ()
) -> None:
    """Print everything that is known of why; notes: besides the profile's."""
    unicode = not console.options.ascii_only
    print_lines(explain_lines(profile, answers, width, unicode=unicode, notes=notes), console)


def explain_lines(
    profile: Profile,
    answers: Sequence[WhyNot] = (),
    width: int = 100,
    *,
    unicode: bool = True,
    notes: Sequence[str] = (),
) -> tuple[Line, ...]:
    """The explanation as lines of at most `width` columns, 60 at least."""
    width = max(width, 60)
    glyphs = UNICODE if unicode else ASCII
    pick = profile.picked
    asked = [f"{answer.asked}: {answer.text}" for answer in answers]
    considered = [considered_text(profile.considered) + "."] if profile.considered.get("layouts") else []
    lines = [
        *wrapped(header(profile, glyphs), width, "", "  ", "bold"),
        Line(""),
        Line(f"Choice: {layout(pick, glyphs)}, {gpus(pick.gpus)}: {summary(pick)}", style_of(pick)),
        *wrapped(figures(pick, glyphs), width, "  ", "  "),
        *titled("Trace", trace_sentences(profile, glyphs), _ALL, width, glyphs),
        *titled("Why not", asked, _ALL, width, glyphs),
        *titled("Why", profile.reasons, _ALL, width, glyphs),
        *titled("Considered", considered, _ALL, width, glyphs),
        *titled("What would meet it", [s.text for s in profile.suggestions], _ALL, width, glyphs),
        *titled("What one step would change", [r.text for r in profile.relaxations], _ALL, width, glyphs),
        *titled("Notes", all_notes(profile, notes), _ALL, width, glyphs, style="dim"),
    ]
    return tuple(lines) if unicode else tuple(Line(plain(line.text), line.style) for line in lines)


def explain_json(
    profile: Profile, answers: Sequence[WhyNot] = (), *, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """The same as plain data: fields as in the Profile, and `why_not` with one answer for each that was asked."""
    pick = profile.picked
    data: dict[str, Any] = {
        "version": profile.version,
        "armature": profile.armature,
        "name": profile.name,
        "model": profile.model,
        "pick": {"label": layout(pick), **msgspec.to_builtins(pick)},
        "meets_sla": pick.meets_sla and pick.carries_load,
        "at_risk": pick.at_risk,
        "binding": profile.binding,
        "reasons": list(profile.reasons),
        "modes": msgspec.to_builtins(profile.modes),
        "relaxations": msgspec.to_builtins(profile.relaxations),
        "suggestions": msgspec.to_builtins(profile.suggestions),
        "considered": dict(profile.considered),
        "runner_up": profile.runner_up,
        "trace": list(trace_sentences(profile)),
        "notes": all_notes(profile, notes),
    }
    return data | ({"why_not": msgspec.to_builtins(tuple(answers))} if answers else {})
