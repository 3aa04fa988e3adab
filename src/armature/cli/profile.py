"""`armature profile`: the program of a profiling Job, which the operator starts; by hand it writes into a directory."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from armature.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from armature.operator.profiling.program import Writer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("profile", hidden=True)(profile)


def profile(
    config: Annotated[str, typer.Option(metavar="JSON", help="spec of the request, v1beta1.")],
    output_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Write files here.")] = None,
    output_configmap: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write into this ConfigMap of $DGDR_NAMESPACE.")
    ] = None,
    inventory: Annotated[str | None, typer.Option(metavar="JSON", help="The GPUs found.")] = None,
    model_cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the model is.")] = None,
    trace: Annotated[Path | None, typer.Option(metavar="FILE", help="The trace of the workload.")] = None,
) -> None:
    """Answer one request as a profiling Job does."""
    from armature.hardware.inventory_json import inventory_from_json
    from armature.kube.connect import connect
    from armature.operator.profiling.config_map import ConfigMapWriter
    from armature.operator.profiling.program import into_directory
    from armature.operator.profiling.program import profile as answer

    request = _request(config)
    found = None if inventory is None else inventory_from_json(inventory)
    with ExitStack() as stack:
        writers: list[Writer] = []
        if output_dir is not None:
            output_dir.mkdir(parents=True, exist_ok=True)
            writers.append(into_directory(output_dir))
        if output_configmap is not None:
            writer = ConfigMapWriter(connect, output_configmap, request["metadata"]["namespace"])
            writers.append(stack.enter_context(writer))
        answer(request, found, writers, model_cache=model_cache, trace=trace)


def _request(config: str) -> dict[str, Any]:
    """The request around its spec; its name and namespace come as the operator gives them to the pod."""
    import msgspec

    try:
        spec = msgspec.json.decode(config, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        problem = Problem("--config", f"is not a JSON object ({error})", "give the spec of a request as JSON")
        raise InvalidInput("profile", [problem]) from None
    named = {"name": "DGDR_NAME", "namespace": "DGDR_NAMESPACE"}
    metadata = {key: os.environ.get(variable) or "default" for key, variable in named.items()}
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": metadata,
        "spec": spec,
    }
