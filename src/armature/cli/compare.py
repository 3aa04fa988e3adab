"""`armature compare`: several requests, or one with several models, GPUs or engines, planned side by side (AIC-03)."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from armature.cli import options
from armature.errors import ArmatureError, InvalidInput, Problem

if TYPE_CHECKING:
    from armature.cli.asked import Asked, Read
    from armature.perf.estimate import Estimator
    from armature.report.compare import Entry

__all__ = ["register"]

MOST = 64


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("compare")(compare)


def compare(
    context: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE...", help="Requests; `-` reads stdin. None: --model.", show_default=False
        ),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "--model-path", metavar="NAME", help="Repeatable.")
    ] = None,
    hardware: Annotated[
        list[str] | None, typer.Option("--hardware", metavar="GPUS", help="8xh200_sxm; repeatable.")
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option("--backend", metavar="NAME", help="vllm, sglang, trtllm; repeatable.")
    ] = None,
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
) -> int:
    """Plan several things side by side and name the best.

    Several files, or one request with --model, --hardware or --backend given more than once: every combination.
    """
    from armature.cli.asked import Asked
    from armature.cli.output import glyphs, output_width, print_json, say
    from armature.flow import step_times
    from armature.hardware.prices import parse_prices
    from armature.report.compare import compare_json, compare_lines

    shared = Asked.of({k: v for k, v in context.params.items() if k not in ("model", "hardware", "backend")})
    asked = _combined(files or [], model or [], hardware or [], backend or [], shared)
    prices, source, read = parse_prices(price or [], os.environ), step_times(estimator), _once()
    entries = [_planned(each, read, source, prices, offline) for each in asked]
    errors = [entry.error for entry in entries if entry.error is not None]
    if len(errors) == len(entries) and len(set(map(str, errors))) == 1:
        raise errors[0]
    if as_json:
        print_json(compare_json(entries))
    else:
        signs = glyphs()
        print("\n".join(compare_lines(entries, output_width(width), signs, ascii_only=signs.pick == ">")))
    if errors:
        say(f"error: {len(errors)} of {len(entries)} could not be planned; the table says why.")
    return errors[0].exit_code if errors else 0


class _Ask(NamedTuple):
    """One thing to plan, and what tells it from the others."""

    label: str
    file: str | None
    asked: Asked


def _combined(
    files: Sequence[str],
    models: Sequence[str],
    hardware: Sequence[str],
    backends: Sequence[str],
    shared: Asked,
) -> list[_Ask]:
    """Every combination, told apart by what differs. Raises InvalidInput for fewer than two, or too many."""
    names = [Path(file).name for file in files]
    called = files if len(set(names)) < len(names) else names
    axes: list[list[tuple[str, str | None]]] = [
        [(name, value) for name, value in zip(called if axis is files else axis, axis, strict=True)]
        or [("", None)]
        for axis in (files, models, hardware, backends)
    ]
    varied = [len(axis) > 1 for axis in axes]
    found = []
    for combination in itertools.product(*axes):
        label = ", ".join(name for (name, _), shown in zip(combination, varied, strict=True) if shown)
        file, model, gpus, backend = (value for _, value in combination)
        found.append(_Ask(label, file, replace(shared, model=model, hardware=gpus, backend=backend)))
    twice = [label for label, count in Counter(ask.label for ask in found).items() if count > 1]
    if len(found) < 2:
        mend = "name two files, or give --hardware, --backend or --model twice"
        raise InvalidInput("armature compare", [Problem("FILE", "there is nothing to compare with", mend)])
    if twice:
        raise InvalidInput(
            "armature compare", [Problem("FILE", "is there twice", "name each once", twice[0])]
        )
    if len(found) > MOST:
        rule = f"makes {len(found)} combinations, more than {MOST}"
        raise InvalidInput("armature compare", [Problem("FILE", rule, "compare fewer at a time")])
    return found


def _planned(ask: _Ask, read: Read, source: Estimator, prices: dict[str, float], offline: bool) -> Entry:
    """The entry planned, or why it cannot be: an error of one does not lose the others."""
    from armature.cli.asked import asked_request, in_option_names
    from armature.flow import plan_request
    from armature.report.compare import Entry

    try:
        try:
            request, _ = asked_request(ask.file, ask.asked, "compare", read=read)
            profile, _ = plan_request(
                request,
                hardware_text=ask.asked.hardware,
                offline=offline,
                estimator=source,
                prices=prices,
            )
        except InvalidInput as error:
            raise in_option_names(error, ask.asked) from None
    except ArmatureError as error:
        return Entry(ask.label, None, error)
    return Entry(ask.label, profile)


def _once() -> Read:
    """Reads each file once, stdin too, however many entries it is in; what is refused is refused every time."""
    from armature.cli.files import read_request

    kept: dict[str, Any] = {}

    def read(file: str) -> Any:
        if file not in kept:
            try:
                kept[file] = read_request(file)
            except ArmatureError as error:
                kept[file] = error
        if isinstance(kept[file], ArmatureError):
            raise kept[file]
        return kept[file]

    return read
