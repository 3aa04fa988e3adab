"""`armature generate`: the graph of the smallest layout that fits, or of a fixed one, without a search (AIC-04)."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated

import typer

from armature.cli import options
from armature.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from armature.search.direct import Side
    from armature.search.profile import Profile

__all__ = ["register"]

_SIDE = re.compile(r"\s*(\d{1,5})\s*(?:[xX×]\s*([a-z0-9]+))?\s*")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("generate")(generate)


def generate(
    context: typer.Context,
    file: options.OptionalFile = None,
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
    tp: Annotated[int | None, typer.Option("--tp", min=1, help="Tensor parallelism of a worker.")] = None,
    pp: Annotated[int | None, typer.Option("--pp", min=1, help="Pipeline stages of a worker.")] = None,
    dp: Annotated[int | None, typer.Option("--dp", min=1, help="Attention-DP ranks of a worker.")] = None,
    ep: Annotated[int | None, typer.Option("--ep", min=1, help="Expert parallelism of a worker.")] = None,
    replicas: Annotated[int | None, typer.Option("--replicas", min=1, help="How many workers.")] = None,
    disagg: Annotated[
        str | None,
        typer.Option("--disagg", metavar="P:D", help="Prefill and decode workers: 2:1, or 3xtp1:1xtp4."),
    ] = None,
    output: options.Output = None,
    api_version: options.Version = "v1beta1",
    as_json: options.Json = False,
    estimator: options.Estimator = "auto",
    price: options.Price = None,
    offline: options.Offline = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No remarks.")] = False,
) -> None:
    """Write a graph that fits, without searching for the best.

    The smallest worker whose memory holds the model and some requests, as often as the load needs; or what the
    options fix.
    """
    from armature import flow
    from armature.cli.asked import Asked, asked_request, in_option_names
    from armature.cli.graphs import hand_over
    from armature.hardware.prices import parse_prices
    from armature.search.direct import Wanted

    asked = Asked.of(context.params)
    request, notes = asked_request(file, asked, "generate")
    wanted = Wanted(tp, pp, dp, ep, replicas, None if disagg is None else _sides(disagg))
    try:
        profile, graph = flow.generate(
            request,
            wanted,
            hardware_text=hardware,
            offline=offline,
            estimator=estimator,
            prices=parse_prices(price or [], os.environ),
        )
    except InvalidInput as error:
        raise in_option_names(error, asked) from None
    said = [*profile.reasons, _estimate(profile), *(f"note: {note}" for note in (*notes, *graph.notes))]
    remarks = () if quiet else said
    hand_over(profile, graph, api_version, output=output, as_json=as_json, remarks=remarks)


def _sides(text: str) -> tuple[Side, Side]:
    """`2:1` or `3xtp1:1xtp4` as prefill and decode. Raises InvalidInput."""
    from armature.search.direct import Side

    found = [_SIDE.fullmatch(part) for part in text.split(":")]
    if len(found) != 2 or any(match is None or int(match[1]) < 1 for match in found):
        mend = "write workers of prefill and of decode: 2:1, or 3xtp1:1xtp4"
        raise InvalidInput("armature generate", [Problem("--disagg", "is no P:D", mend, text)])
    prefill, decode = (Side(int(match[1]), match[2]) for match in found if match is not None)
    return prefill, decode


def _estimate(profile: Profile) -> str:
    from armature.cli.output import glyphs
    from armature.report.words import amount, band

    pick, signs = profile.picked, glyphs()
    return (
        f"Estimate ({pick.source}): TTFT {band(pick.ttft_ms, signs)} ms, ITL {band(pick.itl_ms, signs)} ms,"
        f" {amount(pick.tokens_per_s)} tokens/s with {amount(pick.concurrency)} in flight on {pick.gpus} of"
        f" {profile.gpus_budget} GPUs."
    )
