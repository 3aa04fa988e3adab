"""`armature plan`: a request in, the candidates, the choice and why out, and the graph as files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from armature.cli import options
from armature.errors import InvalidInput, SlaMissed

if TYPE_CHECKING:
    from armature.graph.build import Graph
    from armature.search.profile import Profile

__all__ = ["graph_files", "graph_yaml", "plan_answer", "register"]

_CANDIDATE = typer.Option(metavar="N|ID", help="Build this candidate of the table, not the pick.")
_WRITE = typer.Option("--write-request", help="Print the request as a file, and plan nothing.")
_OPEN = typer.Option("--open", help="Show the plan as a page in the browser.")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("plan")(plan)


def plan(
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
    ttft: options.Ttft = None,
    itl: options.Itl = None,
    e2e: options.E2e = None,
    optimize: options.Optimize = None,
    write_request: Annotated[bool, _WRITE] = False,
    estimator: options.Estimator = "auto",
    objective: options.Objective = "armature",
    price: options.Price = None,
    candidate: Annotated[str | None, _CANDIDATE] = None,
    output: options.Output = None,
    open_browser: Annotated[bool, _OPEN] = False,
    api_version: options.Version = "v1beta1",
    as_json: options.Json = False,
    strict_sla: Annotated[bool, typer.Option("--strict-sla", help="Exit 5 when the SLA is missed.")] = False,
    offline: options.Offline = False,
    width: options.Width = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the best deployment for a request, and say why.

    The request is a file, or options alone, or a file with options over its fields.
    """
    from armature.cli.asked import Asked, asked_request, in_option_names, request_yaml
    from armature.cli.output import console, output_width, print_json, say, write_files
    from armature.flow import plan_request, select_candidate
    from armature.hardware.prices import parse_prices
    from armature.report import candidate_named

    asked = Asked.of(context.params)
    request, notes = asked_request(file, asked)
    if write_request:
        print(request_yaml(request, hardware), end="")
        return
    try:
        profile, graph = plan_request(
            request,
            hardware_text=hardware,
            offline=offline,
            estimator=estimator,
            prices=parse_prices(price or [], os.environ),
            candidate=candidate,
            advice=True,
            objective=objective,
        )
    except InvalidInput as error:
        raise in_option_names(error, asked) from None
    notes = (*notes, *graph.notes)
    if candidate is not None:
        notes = (f"The graph is of candidate {candidate}, not of the pick.", *notes)
    if output is not None:
        kept = (profile, graph)
        if candidate is not None:  # what runs dgd.yaml reads the step times in profile.json beside it
            id = candidate_named(profile, candidate).id
            kept = select_candidate(profile, id, estimator=estimator, offline=offline)
        written = write_files(output, graph_files(*kept, api_version))
    if as_json:
        print_json(plan_answer(profile, graph, api_version, notes))
    elif not quiet:
        from armature.report import print_plan

        print_plan(profile, console(), width=output_width(width), notes=notes)
    if output is not None:
        say(f"wrote {', '.join(str(path) for path in written)}")
    if open_browser:
        from armature.cli.page import open_page

        say(open_page(profile, graph, api_version, output))
    chosen = profile.picked if candidate is None else candidate_named(profile, candidate)
    if strict_sla and not (chosen.meets_sla and chosen.carries_load):
        raise SlaMissed(_missed(chosen.margins), "Loosen the target, lower the load or give more GPUs.")


def graph_files(profile: Profile, graph: Graph, api_version: options.ApiVersion) -> dict[str, bytes]:
    """What `-o DIR` writes, by file name: the graph, the profile, its candidates and its front as tables, the page,
    and, when there are any, the objects beside the graph."""
    from armature.api import to_yaml_documents
    from armature.cli.page import PAGE, report_page
    from armature.report.csv import candidates_csv, pareto_csv

    *extras, dgd = _documents(graph, api_version)
    files = {
        "dgd.yaml": to_yaml_documents([dgd]).encode(),
        "profile.json": profile.to_json(),
        "candidates.csv": candidates_csv(profile),
        "pareto.csv": pareto_csv(profile),
        PAGE: report_page(profile, graph, api_version),
    }
    if extras:
        files["extras.yaml"] = to_yaml_documents(extras).encode()
    return files


def graph_yaml(graph: Graph, api_version: options.ApiVersion, *, extras: bool = False) -> bytes:
    """The graph alone, or after the objects that it needs, as YAML."""
    from armature.api import to_yaml_documents

    documents = _documents(graph, api_version)
    return to_yaml_documents(documents if extras else documents[-1:]).encode()


def plan_answer(
    profile: Profile, graph: Graph, api_version: options.ApiVersion, notes: Sequence[str]
) -> dict[str, Any]:
    """What `--json` prints."""
    from armature.report import plan_json

    *extras, dgd = _documents(graph, api_version)
    answer = plan_json(profile, dgd, notes=notes)
    if extras:
        answer["extras"] = extras
    return answer


def _documents(graph: Graph, api_version: options.ApiVersion) -> list[dict[str, Any]]:
    from armature.graph.build import to_documents

    return to_documents(graph, "nvidia.com/v1beta1" if api_version == "v1beta1" else "nvidia.com/v1alpha1")


def _missed(margins: Sequence[Any]) -> str:
    from armature.report.words import amount

    missed = [f"{m.name} {amount(m.predicted)} against {amount(m.target)}" for m in margins if not m.met]
    return f"The SLA is missed: {', '.join(missed) or 'the asked load is not carried'}."
