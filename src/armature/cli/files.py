"""A path or `-` into resources: the only place of the command line that reads the user's file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from armature.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from armature.api import Resource
    from armature.api.v1beta1 import DynamoGraphDeploymentRequest

__all__ = ["read_request", "read_resource", "read_resources"]


def read_resources(file: str) -> list[Resource]:
    """Every document of the file, or of stdin for `-`. Raises InvalidInput with all problems."""
    from armature.api import load_documents, load_file

    if file != "-":
        return load_file(Path(file))
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        problem = Problem("stdin", f"byte {error.start} is not UTF-8", "give a YAML text file")
        raise InvalidInput("stdin", [problem]) from None
    return load_documents(text, "stdin")


def read_resource(file: str) -> Resource:
    """The one document of the file or of stdin. Raises InvalidInput."""
    from armature.api import load_one

    if file != "-":
        return load_one(Path(file))
    resources = read_resources("-")
    if len(resources) != 1:
        problem = Problem("stdin", "must hold exactly one document", "split it", len(resources))
        raise InvalidInput("stdin", [problem])
    return resources[0]


def read_request(file: str) -> tuple[DynamoGraphDeploymentRequest, tuple[str, ...]]:
    """The one request of the file as v1beta1, and notes on what the conversion changed. Raises InvalidInput."""
    from armature.api import to_v1beta1
    from armature.api.v1beta1 import DynamoGraphDeploymentRequest

    resource, notes = to_v1beta1(read_resource(file))
    if not isinstance(resource, DynamoGraphDeploymentRequest):
        mend = "plan takes a DynamoGraphDeploymentRequest"
        if resource.kind == "DynamoGraphDeployment":
            mend += "; a DynamoGraphDeployment is already planned: `armature up` runs it"
        raise InvalidInput(file, [Problem("kind", "is not a request", mend, resource.kind)])
    return resource, notes
