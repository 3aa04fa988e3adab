"""The commands that run a graph on this machine: `up`, `status`, `logs`, `down`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from armature.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from armature.hardware.inventory import Inventory

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("up")(up)
    app.command("status")(status)
    app.command("logs")(logs)
    app.command("down")(down)


def up(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A request or a graph; `-` reads stdin.")],
    host: Annotated[str, typer.Option(metavar="HOST", help="Address of the frontend.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the frontend, 0: any. Default: the graph's, 8000."),
    ] = None,
    detach: Annotated[
        bool, typer.Option("-d", "--detach", help="Leave it running once it is ready.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Stop one of the same name first.")] = False,
    speedup_ratio: Annotated[
        float | None, typer.Option(metavar="X", help="Run mocker engines X times as fast as predicted.")
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(metavar="GPUS", help="GPUs to plan for, or to pretend to have: 8xh200_sxm.")
    ] = None,
    step_table: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Step times (JSON) for a model that nothing is known about."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never ask the model hub.")] = False,
    timeout: Annotated[
        float, typer.Option(metavar="S", min=1, help="Seconds to wait until it is ready.")
    ] = 120.0,
) -> None:
    """Run a request or a graph on this machine."""
    from armature.cli.output import say, stopped_in_order
    from armature.cli.runnable import runnable
    from armature.local.up import UpOptions
    from armature.local.up import up as run_graph

    _require_positive(speedup_ratio)
    options = UpOptions(
        host=host,
        port=port,
        speedup_ratio=speedup_ratio,
        hardware=_inventory(hardware),
        step_table=step_table,
        ready_timeout_s=timeout,
        detach=detach,
        replace=replace,
        offline=offline,
    )
    ready = runnable(file, hardware_text=hardware, offline=offline)
    for note in ready.notes:
        say(f"note: {note}")
    with stopped_in_order():
        run_graph(ready.dgd, profile=ready.profile, options=options, report=say, extras=ready.extras)


def _inventory(text: str | None) -> Inventory | None:
    from armature.hardware.inventory import parse_hardware

    return None if text is None else parse_hardware(text)


def _require_positive(ratio: float | None) -> None:
    if ratio is not None and not 0 < ratio <= 1e6:
        mend = "1 is real time, 10 is ten times as fast"
        raise InvalidInput(
            "up", [Problem("--speedup-ratio", "must lie above 0 and at most 1,000,000", mend, ratio)]
        )


def status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one.")] = None,
) -> None:
    """Show what runs on this machine."""
    from armature.local.describe import describe
    from armature.local.state import list_deployments
    from armature.local.state import status as status_of

    deployments = list_deployments() if name is None else (status_of(name),)
    for deployment in deployments:
        print("\n".join(describe(deployment, time.time())))
    if not deployments:
        print("Nothing runs here; `armature up FILE` starts a deployment.")


def logs(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    component: Annotated[
        str | None,
        typer.Argument(metavar="[COMPONENT]", help="A component, a process of it, or `supervisor`."),
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("-n", "--lines", min=0, help="Lines of each process to start with.")
    ] = 50,
) -> None:
    """Print the logs of a deployment."""
    from armature.local import state

    for line in state.logs(name, component, follow, lines=lines):
        print(line, flush=follow)


def down(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Stop all of them.")] = False,
) -> None:
    """Stop a deployment; its logs stay until one of its name starts again."""
    from armature.local import state

    if (name is None) != everything:
        mend = "give the name of one deployment (`armature status` lists them), or --all"
        raise InvalidInput("down", [Problem("NAME", "give a name or --all, and not both", mend)])
    if name is not None:
        state.status(name)
    for each in [name] if name is not None else [deployment.name for deployment in state.list_deployments()]:
        stopped = state.down(each)
        print(f"{each}: {'stopped' if stopped else 'was not running'}", flush=True)
