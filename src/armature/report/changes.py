"""What would change the choice, in the few lines that a plan has room for."""

from __future__ import annotations

from collections.abc import Iterable

from armature.report.lines import Line, titled
from armature.report.words import Glyphs
from armature.search.pick import EQUAL
from armature.search.profile import Profile, Relaxation

__all__ = ["change_lines", "changes", "worth_saying"]


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
    return titled(title, said if profile.suggestions else said[:most], max(most, 5), width, glyphs)


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
