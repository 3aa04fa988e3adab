"""`armature explain`: why this plan, why not another layout, and what would change it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from armature.cli import options
from armature.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from armature.cli.asked import Asked
    from armature.search.profile import Profile

__all__ = ["register"]

_WHY_NOT = typer.Option(
    "--why-not",
    metavar="KEY=VALUE,...",
    help="Why not this layout: mode, backend, sku, tp, pp, dp, moe_tp, moe_ep, replicas, prefill.tp, decode.tp, "
    "p, d; repeatable.",
)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("explain")(explain)


def explain(
    context: typer.Context,
    file: options.OptionalFile = None,
    why_not: Annotated[list[str] | None, _WHY_NOT] = None,
    model: options.Model = None,
    hardware: options.Hardware = None,
    system: options.System = None,
    total_gpus: options.TotalGpus = None,
    backend: options.Backend = None,
    isl: options.Isl = None,
    osl: options.Osl = None,
    request_rate: options.RequestRate = None,
    concurrency: options.Concurrency = None,
    trace: options.Trace = None,
    nextn: options.Nextn = None,
    acceptance: options.Acceptance = None,
    ttft: options.Ttft = None,
    itl: options.Itl = None,
    e2e: options.E2e = None,
    optimize: options.Optimize = None,
    estimator: options.Estimator = "auto",
    price: options.Price = None,
    as_json: options.Json = False,
    offline: options.Offline = False,
    width: options.Width = None,
) -> None:
    """Say why a plan is as it is, why not otherwise, and what would change it.

    FILE may also be a profile.json: then as much as it knows.
    """
    from armature.cli.asked import Asked, asked_request, in_option_names
    from armature.cli.output import console, output_width, print_json
    from armature.flow import search_request
    from armature.hardware.catalog import GPUS
    from armature.hardware.prices import parse_prices
    from armature.report.explained import explain_json, print_explanation
    from armature.search.selector import parse_selectors
    from armature.search.why_not import why_not as answer
    from armature.search.why_not import why_not_in

    selectors = parse_selectors(why_not or [])
    asked = Asked.of(context.params)
    known = None if file is None else _profile(file)
    notes: tuple[str, ...] = ()
    if known is not None:
        _refuse_options(asked, price, estimator, str(file))
        profile = known
        answers = [why_not_in(selector, profile) for selector in selectors]
    else:
        request, notes = asked_request(file, asked, "explain")
        try:
            searched = search_request(
                request,
                hardware_text=hardware,
                offline=offline,
                estimator=estimator,
                prices=parse_prices(price or [], os.environ),
                advice=True,
            )
        except InvalidInput as error:
            raise in_option_names(error, asked) from None
        profile = searched.advised(catalogue=tuple(GPUS.values()))
        answers = [answer(selector, searched.swept, searched.estimator) for selector in selectors]
    if as_json:
        print_json(explain_json(profile, answers, notes=notes))
    else:
        print_explanation(profile, answers, console(), width=output_width(width), notes=notes)


def _profile(file: str) -> Profile | None:
    """The profile that the file, or the directory of `plan -o`, holds; None for anything else, which is a request."""
    from armature.search.profile import Profile

    path = Path(file)
    if path.is_dir():
        return Profile.read(path / "profile.json")
    if path.suffix != ".json":
        return None
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None  # the reader of requests says what is wrong with it
    return Profile.read(path) if isinstance(data, dict) and "candidates" in data else None


def _refuse_options(asked: Asked, price: list[str] | None, estimator: str, file: str) -> None:
    """A profile answers for what it was made of: options that would change the question have no effect on it."""
    given = [f"--{name.replace('_', '-')}" for name in asked.given]
    given += ["--hardware"] if asked.hardware is not None else []
    given += ["--price"] if price else []
    given += ["--estimator"] if estimator != "auto" else []
    if given:
        mend = "explain the request instead, or leave the option out"
        problems = [Problem(option, "cannot change a finished profile", mend) for option in given]
        raise InvalidInput(file, problems)
