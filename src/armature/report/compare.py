"""Plans side by side: who wins, by how much, and whether the estimates can tell. Pure.

What counts is what the search itself goes by: cost per million tokens where every entry has prices, else tokens/s per
GPU (of the budget without a load, used with one), or end-to-end latency where that is all anybody asked for. What meets
its SLA goes before what does not; values within 1 % are level, and latency decides.

The band of throughput is derived from the latency's: with a fixed number in flight, tokens/s is that number over the
latency of a request (Little's law), so its band is the latency's, turned over, and so is the cost's. Errors of two
estimates are partly the same (one GPU's tables, one engine), so bands that overlap say only that the order is not sure.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from armature.errors import ArmatureError
from armature.report.columns import Column, fitted
from armature.report.words import Glyphs, amount, band, layout, plain, verdict
from armature.search.pick import EQUAL
from armature.search.profile import Candidate, Number, Profile

__all__ = ["Entry", "Verdict", "compare_json", "compare_lines", "judged"]

Measure = Literal["cost", "yield", "latency"]
_NAMES: dict[Measure, str] = {"cost": "cost", "yield": "tokens/s per GPU", "latency": "end-to-end latency"}
_MISSES = {"ttft_ms": "TTFT", "itl_ms": "ITL", "e2e_ms": "end-to-end latency"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was planned: its profile, or why there is none."""

    label: str
    profile: Profile | None
    error: ArmatureError | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who wins (its index, None when nobody does), whether that is beyond the error of the estimates, and why."""

    winner: int | None
    decided: bool
    measure: Measure | None
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Runner:
    """A planned entry with what it is judged by: the smaller `value`; the smaller `tie` where values are level."""

    index: int
    label: str
    pick: Candidate
    value: Number
    tie: float


def judged(entries: Sequence[Entry]) -> Verdict:
    """The verdict on entries in any order; each label stands for one."""
    planned = [(i, e.label, e.profile) for i, e in enumerate(entries) if e.profile is not None]
    if not planned:
        return Verdict(None, True, None, ("None of them can be planned.",))
    profiles = [profile for _, _, profile in planned]
    if any((p.workload, p.trace) != (profiles[0].workload, profiles[0].trace) for p in profiles):
        said = "They ask for different loads, so none wins. Options such as --isl and --request-rate ask all alike."
        return Verdict(None, True, None, (said,))
    measure = _measure(profiles)
    runners = [
        _Runner(i, label, p.picked, _value(p.picked, measure), _tie(p.picked, measure))
        for i, label, p in planned
    ]
    meeting = [runner for runner in runners if _meets(runner.pick)]
    notes = _notes(profiles, measure)
    if not meeting:
        first = min(runners, key=lambda runner: (_miss(runner.pick, profiles[0]), runner.value.value))
        said = f"None meets everything that is asked; {first.label} comes closest: {_missed(first.pick)}."
        return Verdict(first.index, False, measure, (said, *notes))
    missing = [runner for runner in runners if not _meets(runner.pick)]
    decided, first, said = _won(meeting, measure) if len(meeting) > 1 else _alone(meeting[0], missing)
    risks = _risks(first, meeting)
    misses = [f"{runner.label} does not meet what is asked: {_missed(runner.pick)}." for runner in missing]
    return Verdict(first.index, decided and not risks, measure, (said, *risks, *misses, *notes))


def compare_lines(
    entries: Sequence[Entry], width: int, glyphs: Glyphs, ascii_only: bool = False
) -> list[str]:
    """The table, an entry that could not be planned with its reason in its place, and the verdict; `width` columns."""
    found = judged(entries)
    size = max(len(entry.label) for entry in entries)
    marked = [
        (glyphs.pick if index == found.winner else " ") + entry.label.ljust(size)
        for index, entry in enumerate(entries)
    ]
    rows = [
        (mark, e.profile.picked) for mark, e in zip(marked, entries, strict=True) if e.profile is not None
    ]
    lines = iter(fitted(_columns(rows, size, glyphs), rows, width)) if rows else iter([" entry"])
    said = [next(lines)]
    for mark, entry in zip(marked, entries, strict=True):
        if entry.profile is not None:
            said.append(next(lines))
            continue
        reason = f"{mark}  not planned: {_reason(entry.error)}"
        said += textwrap.wrap(reason, width, subsequent_indent=" " * (size + 3), break_on_hyphens=False)
    said.append("")
    for sentence in found.sentences:
        said += textwrap.wrap(sentence, width, subsequent_indent="  ", break_on_hyphens=False)
    return [plain(line) for line in said] if ascii_only else said


def compare_json(entries: Sequence[Entry]) -> dict[str, Any]:
    """Entries in their order, each with its pick or its error, and the verdict. Units are in the names."""
    found = judged(entries)
    return {
        "entries": [_entry_json(entry) for entry in entries],
        "winner": None if found.winner is None else entries[found.winner].label,
        "decided": found.decided,
        "measure": found.measure,
        "verdict": list(found.sentences),
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    profile = entry.profile
    if profile is None:
        code = 1 if entry.error is None else entry.error.exit_code
        return {"label": entry.label, "error": str(entry.error), "exit_code": code}
    pick = profile.picked
    return {
        "label": entry.label,
        "model": profile.model,
        "inventory": msgspec.to_builtins(profile.inventory),
        "backend_asked": profile.backend_asked,
        "workload": profile.workload,
        "sla": profile.sla,
        "meets_sla": _meets(pick),
        "at_risk": pick.at_risk,
        "tokens_per_s_per_gpu": msgspec.to_builtins(_throughput(pick)),
        "pick": {"label": layout(pick), **msgspec.to_builtins(pick)},
        "reasons": list(profile.reasons),
    }


def _columns(
    rows: Sequence[tuple[str, Candidate]], size: int, glyphs: Glyphs
) -> list[Column[tuple[str, Candidate]]]:
    columns: list[Column[tuple[str, Candidate]]] = [
        Column(" entry".ljust(size + 1), lambda r: r[0], left=True),
        Column("pick", lambda r: layout(r[1], glyphs), left=True),
        Column("GPUs", lambda r: f"{r[1].gpus}"),
        Column(
            "TTFT ms", lambda r: band(r[1].ttft_ms, glyphs), True, 3, lambda r: amount(r[1].ttft_ms.value)
        ),
        Column("ITL ms", lambda r: band(r[1].itl_ms, glyphs), True, 2, lambda r: amount(r[1].itl_ms.value)),
        Column(
            "tok/s/GPU",
            lambda r: band(_throughput(r[1]), glyphs),
            give_way=5,
            narrow=lambda r: amount(r[1].tokens_per_s_per_gpu),
        ),
        Column("tok/s/user", lambda r: amount(r[1].tokens_per_s_per_user), give_way=1),
    ]
    if any(pick.cost_per_million_tokens is not None for _, pick in rows):
        columns.append(Column("cost/M", lambda r: _cost(r[1])))
    columns.append(Column("source", lambda r: r[1].source, left=True, give_way=4))
    if any(pick.margins or not pick.carries_load for _, pick in rows):
        columns.append(Column("SLA", lambda r: verdict(r[1], glyphs), left=True))
    return columns


def _reason(error: ArmatureError | None) -> str:
    problems = getattr(error, "problems", ())
    return "; ".join(map(str, problems)) if problems else " ".join(str(error).split())


def _cost(pick: Candidate) -> str:
    return "" if pick.cost_per_million_tokens is None else amount(pick.cost_per_million_tokens)


def _measure(profiles: Sequence[Profile]) -> Measure:
    if all(profile.sla.get("optimize") == "latency" for profile in profiles):
        return "latency"
    if all(profile.picked.cost_per_million_tokens is not None for profile in profiles):
        return "cost"
    return "yield"


def _value(pick: Candidate, measure: Measure) -> Number:
    """What is judged, smaller is better: latency in ms, cost, or seconds of a GPU per token."""
    if measure == "latency":
        return pick.e2e_ms
    value = pick.cost_per_million_tokens or 0.0 if measure == "cost" else 1.0 / pick.front_y
    e2e = pick.e2e_ms
    return Number(value, value * e2e.low / e2e.value, value * e2e.high / e2e.value)


def _throughput(pick: Candidate) -> Number:
    """Tokens/s per GPU used, with as many requests in flight as the pick has."""
    value, e2e = pick.tokens_per_s_per_gpu, pick.e2e_ms
    return Number(value, value * e2e.value / e2e.high, value * e2e.value / e2e.low)


def _tie(pick: Candidate, measure: Measure) -> float:
    return pick.e2e_ms.value if measure != "latency" else 1.0 / pick.front_y


def _won(meeting: Sequence[_Runner], measure: Measure) -> tuple[bool, _Runner, str]:
    """(whether the bands tell the first from all others, the first, the sentence)."""
    least = min(runner.value.value for runner in meeting)
    level = [runner for runner in meeting if runner.value.value <= least * (1.0 + EQUAL)]
    first = min(level, key=lambda runner: (runner.tie, runner.index))
    if len(level) > 1:
        names = _listed([first.label, *(runner.label for runner in level if runner is not first)])
        by = "tokens/s per GPU" if measure == "latency" else "latency"
        return (
            False,
            first,
            f"{names} are level: {_NAMES[measure]} within 1 %. {first.label} is ahead in {by}.",
        )
    others = sorted((r for r in meeting if r is not first), key=lambda runner: runner.value.value)
    close = [runner.label for runner in others if runner.value.low <= first.value.high]
    said = f"{first.label} wins: {_shown(first, measure)}, {_margin(first, others[0], measure)} than {others[0].label}"
    said += f" ({_shown(others[0], measure)})"
    if not close:
        return True, first, f"{said}; its 80 % band lies clear of the others'."
    return (
        False,
        first,
        f"{said}. Within the error of the estimate: its 80 % band overlaps that of {_listed(close)}.",
    )


def _alone(first: _Runner, missing: Sequence[_Runner]) -> tuple[bool, _Runner, str]:
    if not missing:
        return True, first, f"{first.label} is the only one that can be planned."
    near = [runner.label for runner in missing if _may_meet(runner.pick)]
    said = f"{first.label} alone meets what is asked"
    return (
        (False, first, f"{said}; within the error of the estimate {_listed(near)} may too.")
        if near
        else (
            True,
            first,
            f"{said}.",
        )
    )


def _risks(first: _Runner, meeting: Sequence[_Runner]) -> list[str]:
    """That the first may miss a target after all, and who would not."""
    if not first.pick.at_risk:
        return []
    safe = [runner.label for runner in meeting if not runner.pick.at_risk]
    said = f"{first.label} is at risk: within its 80 % band it may miss a target"
    return [f"{said}; {_listed(safe)} would not." if safe else f"{said}."]


def _shown(runner: _Runner, measure: Measure) -> str:
    value = runner.value.value
    if measure == "latency":
        return f"{amount(value)} ms a request"
    if measure == "cost":
        return f"{amount(value)} per million tokens"
    idle = runner.pick.front_y < 0.999 * runner.pick.tokens_per_s_per_gpu
    return f"{amount(1 / value)} tokens/s per GPU{', idle ones counted' if idle else ''}"


def _margin(first: _Runner, second: _Runner, measure: Measure) -> str:
    ratio = second.value.value / first.value.value
    return f"{100 * (ratio - 1):.3g} % more" if measure == "yield" else f"{100 * (1 - 1 / ratio):.3g} % less"


def _listed(labels: Sequence[str]) -> str:
    *most, last = labels
    return f"{', '.join(most)} and {last}" if most else last


def _notes(profiles: Sequence[Profile], measure: Measure) -> list[str]:
    notes = []
    if any(profile.sla != profiles[0].sla for profile in profiles):
        notes.append("Each is held against its own SLA, and these differ.")
    skus = {group.sku for profile in profiles for group in profile.picked.groups}
    if measure == "yield" and len(skus) > 1:
        notes.append("A GPU counts as a GPU, whatever its kind; with --price SKU=X for each, cost decides.")
    return notes


def _meets(pick: Candidate) -> bool:
    return pick.meets_sla and pick.carries_load


def _missed(pick: Candidate) -> str:
    said = [
        f"{_MISSES.get(m.name, m.name)} {amount(m.predicted)} of {amount(m.target)} ms"
        for m in pick.margins
        if not m.met
    ]
    if not pick.carries_load:
        said.append(
            f"it carries {amount(pick.request_rate)} requests/s with {amount(pick.concurrency)} in flight"
        )
    within = ", within the error of the estimate" if _may_meet(pick) else ""
    return " and ".join(said) + within


def _may_meet(pick: Candidate) -> bool:
    """Whether the bands of what it misses reach the targets."""
    lows = {"ttft_ms": pick.ttft_ms.low, "itl_ms": pick.itl_ms.low, "e2e_ms": pick.e2e_ms.low}
    missed = [m for m in pick.margins if not m.met]
    return (
        bool(missed) and pick.carries_load and all(lows.get(m.name, m.predicted) <= m.target for m in missed)
    )


def _miss(pick: Candidate, profile: Profile) -> float:
    """The largest of predicted to target and of asked to carried load."""
    asked = profile.workload.get("request_rate") or profile.workload.get("concurrency") or 0.0
    carried = pick.request_rate if profile.workload.get("request_rate") else pick.concurrency
    short = asked / carried if carried > 0 else 1.0
    return max(1.0, short if not pick.carries_load else 1.0, *(m.ratio for m in pick.margins))
