"""The table of candidates: which ones are worth a line, and what is said of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from armature.report.columns import Column, fitted
from armature.report.words import Glyphs, amount, band, layout, verdict
from armature.search.profile import Candidate, Profile

__all__ = ["candidate_named", "candidate_table", "front_table", "replicas", "table_candidates"]


def table_candidates(profile: Profile, limit: int = 10) -> tuple[Candidate, ...]:
    """The candidates worth a line: the pick, then what meets the SLA by tokens/s/GPU, then the rest (PAR-04).

    One line per layout. The runner-up and the best of each mode are always among them, and the front comes before
    what lies behind it. Where the table shows the same tokens/s/GPU, the search's own order stands: so the table
    and the reasons agree on who is second.
    """
    place = {candidate.id: number for number, candidate in enumerate(profile.candidates)}

    def order(candidate: Candidate) -> tuple[float, int]:
        return -float(f"{candidate.tokens_per_s_per_gpu:.3g}"), place[candidate.id]

    by_yield = sorted(profile.candidates, key=order)
    meets = [c for c in by_yield if _meets(c)]
    front = set(profile.pareto)
    wanted = [profile.picked]
    if profile.runner_up is not None:
        wanted.append(profile.candidate(profile.runner_up))
    for mode in ("agg", "disagg"):
        wanted += [c for c in meets or by_yield if c.mode == mode][:1]
    wanted += [c for c in meets if c.id in front]
    wanted += [c for c in by_yield if c.id in front]
    wanted += [*meets, *by_yield]
    best: dict[tuple[object, ...], Candidate] = {}
    for candidate in wanted:
        best.setdefault(_layout_key(candidate), candidate)
    chosen = list(best.values())[:limit]
    chosen.sort(key=lambda c: (c.id != profile.pick, not _meets(c), order(c)))
    return tuple(chosen)


def candidate_named(profile: Profile, name: str) -> Candidate:
    """The candidate with this id, or with this number in the table. Raises ArmatureError."""
    rows = table_candidates(profile)
    if name.isdecimal() and 1 <= int(name) <= len(rows):
        return rows[int(name) - 1]
    return profile.candidate(name)


def replicas(candidate: Candidate) -> int:
    """How often the smallest unit of the layout repeats: xPyD of a disaggregated one, else one worker (AIC-06)."""
    return math.gcd(*(group.replicas for group in candidate.groups))


def candidate_table(
    profile: Profile, width: int, glyphs: Glyphs, limit: int = 10
) -> tuple[tuple[str, str], ...]:
    """Lines of the table as (candidate id, text); the head has id "".

    No line is wider than `width` unless the columns that never leave need more. Wide ones show all that AIC-06 lists.
    """
    candidates = table_candidates(profile, limit)
    numbers = {c.id: str(number) for number, c in enumerate(candidates, start=1)}
    lines = fitted(_columns(profile, candidates, "#", numbers, glyphs), candidates, width)
    return tuple(zip(["", *(c.id for c in candidates)], lines, strict=True))


def front_table(profile: Profile, width: int, glyphs: Glyphs) -> tuple[str, ...]:
    """The points of the front by rising tokens/s/user, numbered as `armature select --point` takes them; head first."""
    candidates = [profile.candidate(id) for id in profile.pareto]
    numbers = {c.id: str(number) for number, c in enumerate(candidates, start=1)}
    return tuple(fitted(_columns(profile, candidates, "point", numbers, glyphs), candidates, width))


def _columns(
    profile: Profile, candidates: Sequence[Candidate], head: str, numbers: Mapping[str, str], glyphs: Glyphs
) -> list[Column[Candidate]]:
    one_backend = len({c.backend for c in profile.candidates}) == 1
    one_source = len({c.source for c in profile.candidates}) == 1  # the header names it
    columns: list[Column[Candidate]] = [
        Column(head, lambda c: (glyphs.pick if c.id == profile.pick else " ") + numbers[c.id]),
        Column("layout", lambda c: layout(c, glyphs, backend=not one_backend), left=True),
        Column("GPUs", lambda c: f"{c.gpus}"),
        Column("replicas", lambda c: f"{replicas(c)}", give_way=7),
        Column("GPUs/replica", lambda c: f"{c.gpus // replicas(c)}", give_way=7),
        Column("GPUs/worker", lambda c: "+".join(f"{g.gpus_per_worker}" for g in c.groups), give_way=7),
        Column("batch", lambda c: "+".join(f"{g.batch}" for g in c.groups), give_way=6),
        Column("TTFT ms", lambda c: amount(c.ttft_ms.value)),
        Column(
            "ITL ms",
            lambda c: band(c.itl_ms, glyphs),
            left=True,
            give_way=2,
            narrow=lambda c: amount(c.itl_ms.value),
        ),
        Column("request ms", lambda c: amount(c.e2e_ms.value), give_way=5),
        Column("tok/s/GPU", lambda c: amount(c.tokens_per_s_per_gpu)),
        Column("tok/s/user", lambda c: amount(c.tokens_per_s_per_user)),
        Column("in flight", lambda c: f"{c.concurrency:,.0f}", give_way=4),
        Column("req/s", lambda c: amount(c.request_rate), give_way=1),
        Column("source", lambda c: c.source, left=True, give_way=3 if one_source else 1),
        Column("SLA", lambda c: verdict(c, glyphs), left=True),
    ]
    if not any(c.margins or not c.carries_load for c in candidates):
        columns.pop()
    return columns


def _layout_key(candidate: Candidate) -> tuple[object, ...]:
    """What two points of one layout share."""
    groups = tuple((group.role, group.sku, group.replicas, group.parallelism) for group in candidate.groups)
    return (candidate.backend, *groups)


def _meets(candidate: Candidate) -> bool:
    return candidate.meets_sla and candidate.carries_load
