"""Reads a user's file: YAML text to typed resources, or one error that lists everything wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from armature.api.meta import Foreign
from armature.api.parse import Resource, class_of, parse_strict, without_nulls
from armature.api.problems import UNKNOWN, dotted, under
from armature.api.validate import validate
from armature.errors import InvalidInput, Problem

__all__ = ["check", "load_documents", "load_file", "load_one", "read_file"]


def load_documents(text: str, source: str) -> list[Resource]:
    """The resources in `text`, in order. Objects of other API groups come as `Foreign`.

    `source` names the text in errors (a path, `stdin`). Raises InvalidInput with every problem of every document.
    """
    from armature.api.yaml_text import parse_yaml  # a command without a file reads no YAML

    documents, stopped = parse_yaml(text)
    filled = [document for document in documents if document.value is not None or document.problems]
    if not filled and not stopped:
        mend = "write at least apiVersion, kind, metadata.name and spec"
        raise InvalidInput(source, [Problem("file", "empty", mend)])
    resources: list[Resource] = []
    problems: list[Problem] = []
    for number, document in enumerate(filled, start=1):
        resource, found = check(document.value)
        found = [*document.problems, *found]
        if len(filled) > 1:
            found = [_in_document(problem, number) for problem in found]
        problems += found
        if resource is not None:
            resources.append(resource)
    problems += stopped
    if problems:
        raise InvalidInput(source, problems)
    return resources


def load_file(path: Path) -> list[Resource]:
    """The resources of a file. Raises InvalidInput also when it cannot be read."""
    return load_documents(read_file(path), str(path))


def load_one(path: Path) -> Resource:
    """The one document of a file. Raises InvalidInput when there are more, or when it is not one of ours."""
    resources = load_file(path)
    if len(resources) > 1:
        kinds = ", ".join(f"{resource.kind} {resource.metadata.name}" for resource in resources)
        mend = "put each in a file of its own"
        raise InvalidInput(
            str(path), [Problem("file", f"holds {len(resources)} documents ({kinds}), not one", mend)]
        )
    only = resources[0]
    if isinstance(only, Foreign):
        mend = "give a DynamoGraphDeploymentRequest or a DynamoGraphDeployment"
        raise InvalidInput(str(path), [Problem("kind", "not a kind of nvidia.com", mend, only.kind)])
    return only


def check(data: Any) -> tuple[Resource | None, list[Problem]]:
    """One document's value as a resource, strictly, and every problem: structure first, then the rules.

    The resource is None when a problem leaves none to speak of.
    """
    if not isinstance(data, Mapping):
        mend = "start with apiVersion, kind, metadata and spec"
        return None, [Problem("document", f"must be a mapping, not a {_kind_of(data)}", mend)]
    cls, problems = class_of(data)
    if cls is None:
        return None, problems
    clean = without_nulls(data)
    if problems:  # judge the rest as the kind that was meant
        clean = {key: value for key, value in clean.items() if key not in ("apiVersion", "kind")}
    parsed, structural = parse_strict(cls, clean)
    problems += [problem for _, problem in structural]
    if parsed is None:
        return None, problems
    resource = cast(Resource, parsed)
    refused = [dotted(location) for location, problem in structural if problem.rule != UNKNOWN]
    problems += [problem for problem in validate(resource) if not _shadowed(problem.path, refused)]
    return resource, problems


def _shadowed(path: str, refused: list[str]) -> bool:
    """Whether a rule speaks of a value that was already refused, or of one that holds it."""
    return any(under(path, bad) or under(bad, path) for bad in refused)


def _in_document(problem: Problem, number: int) -> Problem:
    return Problem(f"document {number}: {problem.path}", problem.rule, problem.mend, problem.value)


def _kind_of(value: Any) -> str:
    return {list: "list", str: "string", bool: "boolean", int: "number", float: "number"}.get(
        type(value), "null"
    )


def read_file(path: Path) -> str:
    """The text of a file. Raises InvalidInput, with what to do, when it cannot be had."""
    from armature.api.yaml_text import MAX_BYTES

    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InvalidInput(str(path), [Problem("file", "not found", "check the path")]) from None
    except IsADirectoryError:
        raise InvalidInput(str(path), [Problem("file", "is a directory", "name a file in it")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(
            str(path), [Problem("file", f"cannot be read: {reason}", "check the path")]
        ) from error
    if len(raw) > MAX_BYTES:
        rule = f"larger than {MAX_BYTES / 1e6:.0f} MB"
        raise InvalidInput(str(path), [Problem("file", rule, "split the file")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        rule = f"not UTF-8 text (byte {error.start})"
        raise InvalidInput(str(path), [Problem("file", rule, "save the file as UTF-8")]) from error
