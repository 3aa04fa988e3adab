"""`armature plan`: a request in, the candidates, the choice and why out, and the graph as files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from armature.errors import SlaMissed

if TYPE_CHECKING:
    from armature.graph.build import Graph
    from armature.search.profile import Profile

__all__ = ["graph_files", "graph_yaml", "register"]

Estimator = Literal["auto", "silicon", "roofline"]
ApiVersion = Literal["v1beta1", "v1alpha1"]
Backend = Literal["auto", "vllm", "sglang", "trtllm"]

_FILE = typer.Argument(metavar="FILE", help="A DynamoGraphDeploymentRequest; `-` reads stdin.")
_HARDWARE = typer.Option(
    metavar="GPUS", help="GPUs to plan for, in place of the request's: h200_sxm, 8xh200_sxm, 2x8xh200_sxm."
)
_PRICE = typer.Option(metavar="SKU=X", help="Price of one GPU-hour; repeatable. Else $ARMATURE_PRICES.")
_OUTPUT = typer.Option(
    "-o", "--output", metavar="DIR", help="Write dgd.yaml, profile.json, extras.yaml there."
)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("plan")(plan)


def plan(
    file: Annotated[str, _FILE],
    hardware: Annotated[str | None, _HARDWARE] = None,
    backend: Annotated[Backend | None, typer.Option(help="In place of the request's.")] = None,
    estimator: Annotated[Estimator, typer.Option(help="Where step times come from.")] = "auto",
    price: Annotated[list[str] | None, _PRICE] = None,
    candidate: Annotated[
        str | None, typer.Option(metavar="N|ID", help="Build this candidate of the table, not the pick.")
    ] = None,
    output: Annotated[Path | None, _OUTPUT] = None,
    api_version: Annotated[ApiVersion, typer.Option(help="API version of the graph.")] = "v1beta1",
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    strict_sla: Annotated[bool, typer.Option("--strict-sla", help="Exit 5 when the SLA is missed.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never ask the model hub.")] = False,
    width: Annotated[int | None, typer.Option(min=40, max=400, help="Columns to use.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Do not print the plan.")] = False,
) -> None:
    """Find the best deployment for a request, and say why."""
    from armature.cli.files import read_request
    from armature.cli.flow import plan_request
    from armature.cli.output import console, output_width, say, write_files
    from armature.hardware.prices import parse_prices
    from armature.report import candidate_named

    request, notes = read_request(file)
    if backend is not None:
        request.spec.backend = backend
    profile, graph = plan_request(
        request,
        hardware_text=hardware,
        offline=offline,
        estimator=estimator,
        prices=parse_prices(price or [], os.environ),
        candidate=candidate,
    )
    notes = (*notes, *graph.notes)
    if candidate is not None:
        notes = (f"The graph is of candidate {candidate}, not of the pick.", *notes)
    if output is not None:
        written = write_files(output, graph_files(profile, graph, api_version))
    if as_json:
        _print_json(profile, graph, api_version, notes)
    elif not quiet:
        from armature.report import print_plan

        print_plan(profile, console(), width=output_width(width), notes=notes)
    if output is not None:
        say(f"wrote {', '.join(str(path) for path in written)}")
    chosen = profile.picked if candidate is None else candidate_named(profile, candidate)
    if strict_sla and not (chosen.meets_sla and chosen.carries_load):
        raise SlaMissed(_missed(chosen.margins), "Loosen the target, lower the load or give more GPUs.")


def graph_files(profile: Profile, graph: Graph, api_version: ApiVersion) -> dict[str, bytes]:
    """What `-o DIR` writes, by file name: the graph, the profile and, when there are any, the objects beside it."""
    *extras, dgd = _documents(graph, api_version)
    files = {"dgd.yaml": _yaml([dgd]), "profile.json": profile.to_json()}
    if extras:
        files["extras.yaml"] = _yaml(extras)
    return files


def graph_yaml(graph: Graph, api_version: ApiVersion) -> bytes:
    """The graph alone, as YAML."""
    return _yaml(_documents(graph, api_version)[-1:])


def _documents(graph: Graph, api_version: ApiVersion) -> list[dict[str, Any]]:
    from armature.graph.build import to_documents

    return to_documents(graph, "nvidia.com/v1beta1" if api_version == "v1beta1" else "nvidia.com/v1alpha1")


def _yaml(documents: Sequence[Mapping[str, Any]]) -> bytes:
    import yaml

    text: str = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=100)
    return text.encode()


def _print_json(profile: Profile, graph: Graph, api_version: ApiVersion, notes: Sequence[str]) -> None:
    from armature.report import plan_json

    *extras, dgd = _documents(graph, api_version)
    answer = plan_json(profile, dgd, notes=notes)
    if extras:
        answer["extras"] = extras
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    print(json.dumps(answer, indent=2, ensure_ascii=ascii_only, allow_nan=False))


def _missed(margins: Sequence[Any]) -> str:
    from armature.report.words import amount

    missed = [f"{m.name} {amount(m.predicted)} against {amount(m.target)}" for m in margins if not m.met]
    return f"The SLA is missed: {', '.join(missed) or 'the asked load is not carried'}."
