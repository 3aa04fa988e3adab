"""The `armature-testbed` command: parse arguments, call one function, print."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from armature.cli.output import say, stopped_in_order
from armature.errors import ArmatureError
from armature_testbed import lifecycle
from armature_testbed.layout import Layout, default_directory
from armature_testbed.programs import build_all
from armature_testbed.testbed import Testbed

__all__ = ["app", "main"]

app = typer.Typer(
    name="armature-testbed",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A real Kubernetes control plane as ordinary processes, with simulated GPU nodes.",
)
nodes = typer.Typer(no_args_is_help=True, help="Simulated GPU nodes.")
app.add_typer(nodes, name="nodes")

Name = Annotated[
    str, typer.Option("--name", metavar="NAME", help="Which testbed; several may run side by side.")
]
Dir = Annotated[
    Path | None, typer.Option("--dir", metavar="DIR", help="Its directory, instead of one by name.")
]
_AS_GIVEN = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


@app.command()
def build() -> None:
    """Build etcd, Kubernetes, KWOK, LeaderWorkerSet and Helm, or find that they are there."""
    programs = build_all(say=say)
    for name, path in sorted(programs.paths.items()):
        print(f"{name:24} {path}")


@app.command()
def up(
    name: Name = "default",
    directory: Dir = None,
    kwok: Annotated[bool, typer.Option("--kwok/--no-kwok", help="Run nodes that KWOK simulates.")] = True,
    lws: Annotated[
        bool, typer.Option("--lws", help="Run LeaderWorkerSet's controller, with its CRDs.")
    ] = False,
) -> None:
    """Start a testbed and wait until it is ready."""
    where = _directory(name, directory)
    with stopped_in_order():
        lifecycle.up(where, say=say, kwok=kwok)
        if lws:
            from armature_testbed.lws import install_lws

            install_lws(Testbed.attach(where))
            say("        LeaderWorkerSet")
    say(f"Use it: armature-testbed shell{_flags(name, directory)}, then kubectl get nodes")


@app.command()
def down(name: Name = "default", directory: Dir = None) -> None:
    """End a testbed and remove its every trace."""
    if not lifecycle.down(_directory(name, directory)):
        say("There is none.")


@app.command()
def status(name: Name = "default", directory: Dir = None) -> None:
    """Which processes of a testbed run. Exit status 1 when it is not up."""
    where = _directory(name, directory)
    state = lifecycle.running_state(where)
    if state is None or state.ready_s is None:
        print(f"down ({where})" if state is None else f"starting ({where})")
        raise typer.Exit(1)
    print(f"up ({where}), ready after {state.ready_s:.1f} s, supervisor pid {state.supervisor_pid}")
    for component in state.components:
        running = f"pid {component.pid}" if component.running else f"ended ({component.exit_code})"
        print(f"  {component.name:24} {running}")


@app.command()
def logs(
    component: Annotated[str, typer.Argument(metavar="COMPONENT", help="etcd, kube-apiserver, ...")],
    name: Name = "default",
    directory: Dir = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many, from the end.")] = 100,
) -> None:
    """The last lines that one of a testbed's processes wrote."""
    from armature.local.logs import tail

    layout = Layout(_directory(name, directory))
    there = sorted(path.stem for path in layout.logs.glob("*.log"))
    if component not in there:
        raise ArmatureError(
            f"No log of {component!r}.", f"There are: {', '.join(there)}." if there else "No testbed is up."
        )
    for line in tail(layout.log(component), lines):
        print(line)


@app.command()
def shell(name: Name = "default", directory: Dir = None) -> None:
    """A shell inside a testbed: kubectl and helm speak to it, every pod's and Service's address can be reached."""
    testbed = Testbed.attach(_directory(name, directory))
    argv = testbed.command([os.environ.get("SHELL", "/bin/sh")])
    os.execvpe(argv[0], argv, testbed.environment())


@app.command(context_settings=_AS_GIVEN)
def run(
    context: typer.Context,
    name: Name = "default",
    directory: Dir = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="In a testbed of its own, which ends with the command.")
    ] = False,
    kwok: Annotated[bool, typer.Option("--kwok/--no-kwok", help="Run nodes that KWOK simulates.")] = True,
) -> None:
    """Run a command inside a testbed; one that is not up is started for the command alone. Put `--` before it."""
    if not context.args:
        raise ArmatureError("No command was given.", "armature-testbed run -- kubectl get nodes")
    where = _directory(name, directory)
    if not fresh and lifecycle.running_state(where) is not None:
        testbed = Testbed.attach(where)
        argv = testbed.command(context.args)
        os.execvpe(argv[0], argv, testbed.environment())
    with stopped_in_order():
        raise typer.Exit(_run_fresh(context.args, kwok=kwok))


@app.command()
def kubeconfig(
    name: Name = "default",
    directory: Dir = None,
    user: Annotated[
        str | None, typer.Option(metavar="USER", help="Of this user, with no rights yet.")
    ] = None,
    group: Annotated[list[str] | None, typer.Option(metavar="GROUP", help="A group of the user's.")] = None,
) -> None:
    """Print the path of a kubeconfig: the administrator's, or one made for a user."""
    testbed = Testbed.attach(_directory(name, directory))
    print(testbed.kubeconfig if user is None else testbed.user_kubeconfig(user, group or ()))


@nodes.command("add")
def add(
    sku: Annotated[
        str | None, typer.Option(metavar="SKU", help="h200_sxm, ...; without it nodes have no GPUs.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many nodes.")] = 1,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs of each. Default: the SKU's usual number.")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="topology.kubernetes.io/zone")] = None,
    rack: Annotated[str | None, typer.Option(help="topology.kubernetes.io/rack")] = None,
    rdma: Annotated[
        str | None, typer.Option(metavar="RESOURCE", help="rdma/ib, ...: one for each GPU.")
    ] = None,
    occupied: Annotated[int, typer.Option(min=0, help="GPUs of each that another tenant holds.")] = 0,
    driver: Annotated[str, typer.Option(metavar="VERSION", help="Driver of the GPUs.")] = "580.95.05",
    prefix: Annotated[str, typer.Option(help="Of their names. Default: the SKU.")] = "",
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="One more label.")] = None,
    name: Name = "default",
    directory: Dir = None,
) -> None:
    """Add nodes that KWOK keeps Ready, labelled as GPU Feature Discovery labels real ones."""
    from armature_testbed.gpu_nodes import GpuNodes
    from armature_testbed.simulate import add_nodes

    labels = {key: value for key, _, value in (text.partition("=") for text in label or ())}
    asked = GpuNodes(
        sku, count, gpus=gpus, zone=zone, rack=rack, rdma=rdma, occupied=occupied, driver=driver, prefix=prefix,
        labels=labels,
    )  # fmt: skip
    for node in add_nodes(Testbed.attach(_directory(name, directory)), asked):
        print(node)


@nodes.command("add-process")
def add_process(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Its name.")],
    cpu: Annotated[str, typer.Option(help="CPUs it offers.")] = "16",
    memory: Annotated[str, typer.Option(help="Memory it offers.")] = "64Gi",
    gpus: Annotated[
        int, typer.Option(min=0, help="nvidia.com/gpu it offers; nothing stands behind them.")
    ] = 0,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="One more label.")] = None,
    name: Name = "default",
    directory: Dir = None,
) -> None:
    """Add a node that runs pods of Armature's own image as real processes."""
    from armature_testbed.process_node.add import add_process_node

    testbed = Testbed.attach(_directory(name, directory))
    add_process_node(testbed, node, cpu=cpu, memory=memory, gpus=gpus, labels=label or ())
    print(node)


@nodes.command("remove")
def remove(
    names: Annotated[list[str], typer.Argument(metavar="NODE...")],
    name: Name = "default",
    directory: Dir = None,
) -> None:
    """Remove nodes, and the pods that held their GPUs."""
    from armature_testbed.simulate import remove_nodes

    remove_nodes(Testbed.attach(_directory(name, directory)), names)


def _run_fresh(argv: list[str], *, kwok: bool) -> int:
    directory = Path(
        tempfile.mkdtemp(prefix="armature-testbed-")
    )  # its supervisor removes it, whatever befalls us
    try:
        lifecycle.up(directory, say=say, kwok=kwok, stay=False)
        testbed = Testbed.attach(directory)
        inside = testbed.command(argv)
        try:
            return subprocess.run(inside, env=testbed.environment(), check=False).returncode
        except OSError as error:
            raise ArmatureError(f"{argv[0]} cannot be run: {error}.") from None
    finally:
        lifecycle.down(directory)


def _directory(name: str, directory: Path | None) -> Path:
    return directory if directory is not None else default_directory(name)


def _flags(name: str, directory: Path | None) -> str:
    if directory is not None:
        return f" --dir {directory}"
    return "" if name == "default" else f" --name {name}"


def main() -> int:
    """Runs one command; returns its exit code. Every foreseen error is printed to stderr as `error: ...`."""
    try:
        result = app(standalone_mode=False)
    except ArmatureError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
            raise
        print(f"error: {error.format_message()}", file=sys.stderr)  # typer refused the arguments
        return 2
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
