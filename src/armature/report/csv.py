"""Candidates as CSV, for spreadsheets and notebooks: AIConfigurator's report columns first, then ours.

The first columns carry the names of that tool's two tables (AIC-06), aggregated and disaggregated in one: the columns
of the other mode stay empty. Its cells show sums (`8 (=2x4)`); ours hold the number alone. TTFT and request_latency
are milliseconds; a *replica* is the smallest xPyD unit that repeats, as there. After them come all figures of a
`Candidate` in the order of its fields, a `Number` as three columns (NAME, NAME_low, NAME_high), so that what a
search learns to say is in the file without a word here.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_type_hints

from armature.report.table import replicas, table_candidates
from armature.report.words import layout, plain
from armature.search.profile import Candidate, Group, Number, Profile

__all__ = ["AGG_COLUMNS", "DISAGG_COLUMNS", "candidates_csv", "pareto_csv"]

_BOTH = (
    "Rank",
    "backend",
    "tokens/s/gpu",
    "tokens/s/user",
    "TTFT",
    "request_latency",
    "concurrency",
    "total_gpus (used)",
    "replicas",
    "gpus/replica",
)
AGG_COLUMNS = (*_BOTH, "gpus/worker", "parallel", "bs")
"""The columns of the aggregated table of AIConfigurator's report (AIC-06)."""
DISAGG_COLUMNS = (
    *_BOTH,
    *(f"({side}){name}" for side in "pd" for name in ("workers", "gpus/worker", "parallel", "bs")),
)
"""The columns of its disaggregated table."""

_AIC = tuple(dict.fromkeys((*AGG_COLUMNS, *DISAGG_COLUMNS)))
_OURS = ("point", "picked", "id", "mode", "layout", "skus")
_SAID = frozenset(("id", "mode", "backend", "groups", "gpus", "concurrency", "margins", "notes"))
"""Fields of a Candidate that other columns hold, or that no cell can."""


def candidates_csv(profile: Profile) -> bytes:
    """Every candidate of the profile, UTF-8. `Rank` is its number in the plan's table, and goes on after that."""
    return _csv(profile, _ranked(profile))


def pareto_csv(profile: Profile) -> bytes:
    """The points of the front by rising tokens/s/user. `point` is the number that `armature select` takes."""
    by_id = {candidate.id: (rank, candidate) for rank, candidate in _ranked(profile)}
    return _csv(profile, [by_id[id] for id in profile.pareto])


def _ranked(profile: Profile) -> list[tuple[int, Candidate]]:
    first = table_candidates(profile)
    shown = {candidate.id for candidate in first}
    return list(enumerate([*first, *(c for c in profile.candidates if c.id not in shown)], start=1))


def _csv(profile: Profile, rows: Iterable[tuple[int, Candidate]]) -> bytes:
    figures = _figure_columns()
    out = io.StringIO()
    writer = csv.DictWriter(
        out, [*_AIC, *_OURS, *(name for _, names in figures for name in names)], lineterminator="\n"
    )
    writer.writeheader()
    points = {id: number for number, id in enumerate(profile.pareto, start=1)}
    for rank, candidate in rows:
        ours = {
            "point": points.get(candidate.id),
            "picked": candidate.id == profile.pick,
            "id": candidate.id,
            "mode": candidate.mode,
            "layout": plain(layout(candidate)),
            "skus": " ".join(dict.fromkeys(group.sku for group in candidate.groups)),
        }
        row = {"Rank": rank, **_aic_cells(candidate), **ours}
        for field, names in figures:
            row.update(zip(names, _figures(getattr(candidate, field), len(names)), strict=True))
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return out.getvalue().encode()


def _aic_cells(candidate: Candidate) -> dict[str, Any]:
    repeats = replicas(candidate)
    cells: dict[str, Any] = {
        "backend": candidate.backend,
        "tokens/s/gpu": candidate.tokens_per_s_per_gpu,
        "tokens/s/user": candidate.tokens_per_s_per_user,
        "TTFT": candidate.ttft_ms.value,
        "request_latency": candidate.e2e_ms.value,
        "concurrency": candidate.concurrency,
        "total_gpus (used)": candidate.gpus,
        "replicas": repeats,
        "gpus/replica": candidate.gpus // repeats,
    }
    for group in candidate.groups:
        if group.role == "agg":
            cells |= {"gpus/worker": group.gpus_per_worker, "parallel": _parallel(group), "bs": group.batch}
            continue
        side = f"({group.role[0]})"
        cells |= {
            f"{side}workers": group.replicas // repeats,
            f"{side}gpus/worker": group.gpus_per_worker,
            f"{side}parallel": _parallel(group),
            f"{side}bs": group.batch,
        }
    return cells


def _parallel(group: Group) -> str:
    """`tp4pp1`; with what else is not one, in that tool's order: `tp1pp1dp8etp1ep8`."""
    p = group.parallelism
    moe = f"dp{p.dp}etp{p.moe_tp}ep{p.moe_ep}" if p.dp * p.moe_tp * p.moe_ep > 1 else ""
    return f"tp{p.tp}pp{p.pp}{moe}"


def _figure_columns() -> list[tuple[str, tuple[str, ...]]]:
    """(field, its columns) of every figure of a Candidate that no other column holds."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for field, hint in get_type_hints(Candidate).items():
        if field in _SAID or field.startswith("_"):
            continue
        kinds = {hint, *get_args(hint)}
        if Number in kinds:
            found.append((field, (field, f"{field}_low", f"{field}_high")))
        elif kinds & {float, int, bool, str} or all(isinstance(kind, str) for kind in get_args(hint)):
            found.append((field, (field,)))
    return found


def _figures(value: Any, columns: int) -> Sequence[Any]:
    if isinstance(value, Number):
        return value.value, value.low, value.high
    return (value,) * columns


def _cell(value: Any) -> Any:
    """Empty for none; true and false as JSON has them. Floats in full: what is read back is what was written."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a figure is not finite: {value}")
    return value
