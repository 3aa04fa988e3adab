"""The Pareto front in plain characters: tokens/s/user across, tokens/s/GPU up (PAR-02).

ASCII only, so that the picture is the same in a terminal, a log and a bug report.
"""

from __future__ import annotations

from armature.report.words import amount, yield_title
from armature.search.profile import Candidate, Profile

__all__ = ["front_picture"]

_PICK = "*"
_BOTH = "#"
_FRONT = {"agg": "A", "disagg": "D"}
_BEHIND = {"agg": "a", "disagg": "d"}
_MIN_WIDTH, _MIN_HEIGHT = 40, 8


def front_picture(profile: Profile, width: int = 76, height: int = 14) -> str:
    """The candidates as a picture of at most `width` columns and `height` lines, its key included.

    `*` the pick, `A`/`D` aggregated and disaggregated layouts on the front (`#` both in one place), small
    letters those behind it. Both axes start at 0. A column of `:` marks the stated ITL: right of it a user
    gets tokens fast enough. Sizes below 40 x 8 are raised to that.
    """
    width, height = max(width, _MIN_WIDTH), max(height, _MIN_HEIGHT)
    rows = height - 4  # title, x axis, x labels, key
    top = _ceiling(max(candidate.front_y for candidate in profile.candidates))
    right = _ceiling(max(candidate.tokens_per_s_per_user for candidate in profile.candidates))
    labels = {
        0: amount(top),
        (rows - 1) // 2: amount(top * (1 - ((rows - 1) // 2) / (rows - 1))),
        rows - 1: "0",
    }
    margin = max(len(label) for label in labels.values())
    columns = width - margin - 2
    grid = [[" "] * columns for _ in range(rows)]

    target = _itl_column(profile, right, columns)
    if target is not None:
        for line in grid:
            line[target] = ":"
    marks = [(_place(candidate, right, top, columns, rows), mark) for candidate, mark in _marks(profile)]
    for (row, column), mark in marks:
        grid[row][column] = _over(grid[row][column], mark)

    lines = [yield_title(profile)]
    for row, line in enumerate(grid):
        lines.append(f"{labels.get(row, ''):>{margin}} |{''.join(line)}".rstrip())
    lines.append(f"{'':>{margin}} +{'-' * columns}")
    lines.append(_x_labels(right, margin, columns))
    lines.append(_key(profile, {mark for line in grid for mark in line}, target is not None, width))
    return "\n".join(lines)


def _marks(profile: Profile) -> list[tuple[Candidate, str]]:
    """Candidates with their marks, the least important first so that the pick is drawn last."""
    front = set(profile.pareto)
    behind = [(c, _BEHIND[c.mode]) for c in profile.candidates if c.id not in front and c.id != profile.pick]
    ahead = [(c, _FRONT[c.mode]) for c in profile.candidates if c.id in front and c.id != profile.pick]
    return [*behind, *ahead, (profile.picked, _PICK)]


def _place(candidate: Candidate, right: float, top: float, columns: int, rows: int) -> tuple[int, int]:
    column = round(candidate.tokens_per_s_per_user / right * (columns - 1))
    row = rows - 1 - round(candidate.front_y / top * (rows - 1))
    return row, column


def _over(old: str, new: str) -> str:
    if {old, new} == {"A", "D"} or (old == _BOTH and new in _FRONT.values()):
        return _BOTH
    return new


def _itl_column(profile: Profile, right: float, columns: int) -> int | None:
    """Where `1000 / ITL target` lies, or None when no ITL is stated or it lies outside the picture."""
    itl_ms = profile.sla.get("itl_ms")
    if not isinstance(itl_ms, int | float) or itl_ms <= 0:
        return None
    column = round(1000 / itl_ms / right * (columns - 1))
    return column if 0 < column < columns else None


def _x_labels(right: float, margin: int, columns: int) -> str:
    end = f"{amount(right)} tokens/s/user"
    middle = amount(right / 2)
    line = f"{'':>{margin}} 0"
    centred = line.ljust(margin + 2 + columns // 2 - len(middle) // 2) + middle
    if len(centred) + 2 + len(end) <= margin + 2 + columns:
        line = centred
    return line + end.rjust(margin + 2 + columns - len(line))


def _key(profile: Profile, used: set[str], target: bool, width: int) -> str:
    words = [
        ("*", "* pick"),
        ("A", "A agg"),
        ("D", "D disagg"),
        ("#", "# both"),
    ]
    key = [text for mark, text in words if mark in used]
    if used & {"a", "d"}:
        key.append("small: behind the front")
    if target:
        key.append(f": ITL {amount(float(profile.sla['itl_ms']))} ms")
    line = "   ".join(key)
    return line if len(line) <= width else " ".join(key).replace(" the front", "")[:width]


def _ceiling(value: float) -> float:
    """The next round number at or above the value (1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten); 1 at nothing."""
    if value < 1e-6:
        return 1.0
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)
