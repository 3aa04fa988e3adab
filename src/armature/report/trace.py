"""What the trace contained and what it did to the choice, in a sentence each."""

from __future__ import annotations

from armature.report.words import UNICODE, Glyphs, amount, layout
from armature.search.profile import Candidate, Profile
from armature.workload.summary import Spread, TraceSummary

__all__ = ["trace_sentences"]


def trace_sentences(profile: Profile, glyphs: Glyphs = UNICODE) -> tuple[str, ...]:
    """Nothing for a workload that is stated by its means."""
    if profile.trace is None:
        return ()
    contained = _contained(profile.trace)
    if profile.means_choice is None:
        return (contained,)
    return contained, _effect(profile.picked, profile.means_choice, glyphs)


def _contained(trace: TraceSummary) -> str:
    parts = [f"{trace.source}: {trace.requests:,} requests"]
    if trace.rate_per_s > 0:
        parts[0] += f" in {_duration(trace.duration_s)}, {amount(trace.rate_per_s)}/s"
        parts.append(
            f"busiest minute {amount(trace.peak_rate_per_s)}/s, gaps vary {amount(trace.gap_cv)} times as much as "
            "those of a Poisson stream"
        )
    parts += [f"prompts {_spread(trace.isl)}", f"answers {_spread(trace.osl)}"]
    if trace.prefix_share is not None:
        parts.append(
            f"{100 * trace.prefix_share:.0f} % of prompt tokens repeat the beginning of an earlier prompt"
        )
    return "; ".join(parts) + "."


def _effect(pick: Candidate, by_means: Candidate, glyphs: Glyphs) -> str:
    means = "With nothing but mean lengths and the rate, the choice would be"
    figures = f"TTFT {amount(by_means.ttft_ms.value)} ms, ITL {amount(by_means.itl_ms.value)} ms"
    if layout(pick) == layout(by_means) and pick.gpus == by_means.gpus:
        return f"{means} the same, predicted at {figures}."
    gpus = f"{by_means.gpus} GPU{'s' if by_means.gpus != 1 else ''}"
    return f"{means} {layout(by_means, glyphs)} on {gpus}, predicted at {figures}."


def _spread(spread: Spread) -> str:
    return f"{spread.p50:,.0f} tokens in the median, {spread.p95:,.0f} at p95, {spread.max:,.0f} at most"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{amount(seconds / length)} {unit}"
    return f"{amount(seconds)} s"
