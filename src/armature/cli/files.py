"""A path or `-` into resources: the only place of the command line that reads the user's file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from armature.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from armature.api import Resource
    from armature.api.v1beta1 import DynamoGraphDeploymentRequest

__all__ = [
    "parse_resources",
    "read_main",
    "read_request",
    "read_resources",
    "read_text",
    "with_absolute_paths",
    "with_paths_from",
]


def read_resources(file: str) -> list[Resource]:
    """Every document of the file, or of stdin for `-`. Raises InvalidInput with all problems."""
    return parse_resources(*read_text(file))


def parse_resources(text: str, source: str) -> list[Resource]:
    """Every document of a text that `read_text` gave. Raises InvalidInput with all problems."""
    from armature.api import load_documents

    return load_documents(text, source)


def read_text(file: str) -> tuple[str, str]:
    """The text of the file, or of stdin for `-`, and what to call it. Raises InvalidInput."""
    from armature.api.load import read_file

    if file != "-":
        return read_file(Path(file)), file
    try:
        return sys.stdin.buffer.read().decode("utf-8"), "stdin"
    except UnicodeDecodeError as error:
        problem = Problem("stdin", f"byte {error.start} is not UTF-8", "give a YAML text file")
        raise InvalidInput("stdin", [problem]) from None


def read_main(file: str) -> tuple[Resource, tuple[Resource, ...]]:
    """The one request or graph of the file or of stdin, and what else it holds (ConfigMaps, Secrets).

    Raises InvalidInput when there is no such document, or more than one.
    """
    from armature.api import Foreign

    resources = read_resources(file)
    ours = [resource for resource in resources if not isinstance(resource, Foreign)]
    others = tuple(resource for resource in resources if isinstance(resource, Foreign))
    if len(ours) != 1:
        names = ", ".join(f"{resource.kind} {resource.metadata.name}" for resource in ours)
        rule = f"holds {len(ours)} documents ({names}), not one" if ours else "holds no request and no graph"
        mend = "give one DynamoGraphDeploymentRequest or DynamoGraphDeployment per file"
        raise InvalidInput(file, [Problem("file", rule, mend)])
    if ours[0].kind not in ("DynamoGraphDeploymentRequest", "DynamoGraphDeployment"):
        mend = "give a DynamoGraphDeploymentRequest or a DynamoGraphDeployment"
        raise InvalidInput(file, [Problem("kind", "is not a request and not a graph", mend, ours[0].kind)])
    return ours[0], others


def read_request(file: str) -> tuple[DynamoGraphDeploymentRequest, tuple[str, ...]]:
    """The one request of the file as v1beta1, and what the user should know about it. Raises InvalidInput."""
    from armature.api import to_v1beta1, warnings_of
    from armature.api.v1beta1 import DynamoGraphDeploymentRequest

    resource, _ = read_main(file)
    newest, _ = to_v1beta1(resource)
    if not isinstance(newest, DynamoGraphDeploymentRequest):
        mend = "a graph is already planned: `armature up` runs it"
        raise InvalidInput(
            file, [Problem("kind", "is not a DynamoGraphDeploymentRequest", mend, resource.kind)]
        )
    return with_paths_from(file, newest), warnings_of(resource)


def with_paths_from(file: str, request: DynamoGraphDeploymentRequest) -> DynamoGraphDeploymentRequest:
    """The request with its own relative paths, which start at its file, made to start at the working directory."""
    return request if file == "-" else _moved(request, Path(file).parent)


def with_absolute_paths(request: DynamoGraphDeploymentRequest) -> DynamoGraphDeploymentRequest:
    """The request with paths that hold wherever it is written."""
    return _moved(request, Path.cwd())


def _moved(request: DynamoGraphDeploymentRequest, base: Path) -> DynamoGraphDeploymentRequest:
    ref = request.spec.workload.trace_ref
    if ref is None or ref.path is None:
        return request
    moved = request.model_copy(deep=True)
    assert moved.spec.workload.trace_ref is not None
    moved.spec.workload.trace_ref.path = str(base / ref.path)
    return moved
