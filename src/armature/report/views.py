"""A Profile as JSON for scripts (`armature plan --json`): the answer without its big tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from armature.report.table import table_candidates
from armature.report.words import layout
from armature.search.profile import Profile

__all__ = ["plan_json", "points_json"]


def plan_json(profile: Profile, dgd: Mapping[str, Any], *, notes: Sequence[str] = ()) -> dict[str, Any]:
    """The plan as plain data: the pick and its margins, why, inputs, every candidate, the front, the graph.

    `dgd` is the graph as it is written to dgd.yaml. Curves, step tables and the request stay out: profile.json has
    them. notes: besides the profile's.
    Units are in the names (`_ms`, `_bytes`); each candidate has `label`, the layout as the table shows it.
    """
    data: dict[str, Any] = msgspec.to_builtins(profile)
    for left_out in ("curves", "step_tables", "request"):
        del data[left_out]
    labels = {candidate.id: layout(candidate) for candidate in profile.candidates}
    data["candidates"] = [{"label": labels[c["id"]], **c} for c in data["candidates"]]
    pick = next(c for c in data["candidates"] if c["id"] == profile.pick)
    data["table"] = [candidate.id for candidate in table_candidates(profile)]
    answer = {
        "pick": pick,
        "meets_sla": profile.picked.meets_sla and profile.picked.carries_load,
        "at_risk": profile.picked.at_risk,
        "reasons": data.pop("reasons"),
        "notes": list(dict.fromkeys([*notes, *data.pop("notes")])),
    }
    return {
        **{k: data.pop(k) for k in ("version", "armature", "name", "model")},
        **answer,
        **{key: value for key, value in data.items() if key != "pick"},
        "dgd": dict(dgd),
    }


def points_json(profile: Profile) -> list[dict[str, Any]]:
    """The front by rising tokens/s/user: each point with its number for `armature select`, whether it is the pick, its
    label and its candidate."""
    points = [profile.candidate(id) for id in profile.pareto]
    return [
        {
            "point": number,
            "picked": candidate.id == profile.pick,
            "label": layout(candidate),
            **msgspec.to_builtins(candidate),
        }
        for number, candidate in enumerate(points, start=1)
    ]
