"""`armature select`: another point of a finished plan as the pick, from its profile.json alone (UI-01)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from armature.cli import options
from armature.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from armature.search.profile import Profile

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("select")(select)


def select(
    profile: Annotated[
        str,
        typer.Argument(metavar="PROFILE", help="A profile.json, or the directory of `plan -o`."),
    ],
    point: Annotated[
        int | None, typer.Option("--point", metavar="N", help="A point of the front, as --list numbers them.")
    ] = None,
    candidate: Annotated[
        str | None, typer.Option("--candidate", metavar="N|ID", help="A candidate of the plan's table.")
    ] = None,
    list_points: Annotated[bool, typer.Option("--list", help="List the points of the front.")] = False,
    output: options.Output = None,
    api_version: options.Version = "v1beta1",
    as_json: options.Json = False,
    estimator: options.SameEstimator = None,
    offline: options.Offline = False,
    width: options.Width = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No remarks.")] = False,
) -> None:
    """Make another point of a plan the pick, and print its graph."""
    from armature.cli.graphs import hand_over
    from armature.cli.output import output_width
    from armature.flow import select_candidate

    found = _read(profile)
    if list_points:
        _list(found, as_json, output_width(width))
        return
    id = _id(found, point, candidate)
    chosen, graph = select_candidate(found, id, estimator=estimator, offline=offline)
    said = chosen.reasons if chosen.pick != found.pick else ("It is the plan's pick already.",)
    remarks = () if quiet else (*said, *(f"note: {note}" for note in graph.notes))
    hand_over(chosen, graph, api_version, output=output, as_json=as_json, remarks=remarks)


def _read(where: str) -> Profile:
    from armature.search.profile import Profile

    path = Path(where)
    return Profile.read(path / "profile.json" if path.is_dir() else path)


def _id(profile: Profile, point: int | None, candidate: str | None) -> str:
    from armature.report import candidate_named

    if (point is None) == (candidate is None):
        rule = (
            "cannot be combined with --candidate"
            if point is not None
            else "is missing, and so is --candidate"
        )
        raise InvalidInput(
            "armature select", [Problem("--point", rule, "choose one; --list shows the points")]
        )
    if candidate is not None:
        return candidate_named(profile, candidate).id
    assert point is not None
    if not 1 <= point <= len(profile.pareto):
        rule = f"must be from 1 to {len(profile.pareto)}"
        raise InvalidInput("armature select", [Problem("--point", rule, "--list shows the points", point)])
    return profile.pareto[point - 1]


def _list(profile: Profile, as_json: bool, width: int) -> None:
    from armature.cli.output import glyphs, print_json
    from armature.report import front_table, points_json

    if as_json:
        print_json(points_json(profile))
    else:
        print("\n".join(front_table(profile, width, glyphs())))
