"""The commands that write manifests for a cluster: `crds`, `convert`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from armature.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from armature.api import Resource

__all__ = ["register"]

_COMMENT = re.compile(r"(^|\s)#", re.MULTILINE)


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("crds")(crds)
    app.command("convert")(convert)


def crds(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND]...", help="Kinds, plurals or short names; default: all."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write a file per kind there.")
    ] = None,
) -> None:
    """Print the CustomResourceDefinitions, for `kubectl apply --server-side -f -`."""
    from armature.api import to_yaml_documents
    from armature.api.crds import all_crds
    from armature.cli.output import say, write_files

    wanted = _chosen(all_crds(), kinds or [])
    if output is None:
        print(to_yaml_documents(wanted), end="")
        return
    files = {f"{crd['metadata']['name']}.yaml": to_yaml_documents([crd]).encode() for crd in wanted}
    say(f"wrote {', '.join(str(path) for path in write_files(output, files))}")


def _chosen(crds: Sequence[dict[str, Any]], kinds: Sequence[str]) -> list[dict[str, Any]]:
    from armature.api.problems import closest

    called: dict[str, dict[str, Any]] = {}
    for crd in crds:
        names = crd["spec"]["names"]
        for name in (names["kind"], names["plural"], crd["metadata"]["name"], *names["shortNames"]):
            called[name.lower()] = crd
    problems = []
    for kind in kinds:
        if kind.lower() not in called:
            own = [crd["spec"]["names"]["kind"] for crd in crds]
            close = closest(kind, own)
            mend = f"did you mean {close}?" if close else f"one of {', '.join(own)}"
            problems.append(Problem("KIND", "is no kind of ours", mend, kind))
    if problems:
        raise InvalidInput("armature crds", problems)
    wanted = [called[kind.lower()] for kind in kinds] or list(crds)
    return [crd for at, crd in enumerate(wanted) if crd not in wanted[:at]]


def convert(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A manifest; `-` reads stdin.")],
    to: Annotated[
        Literal["v1alpha1", "v1beta1"] | None,
        typer.Option("--to", metavar="VERSION", help="v1alpha1 or v1beta1; default: the other one."),
    ] = None,
) -> None:
    """Print a file's documents in the other API version; nothing is lost."""
    from armature.api import to_yaml_documents
    from armature.cli.files import parse_resources, read_text
    from armature.cli.output import say

    text, source = read_text(file)
    documents = []
    for resource in parse_resources(text, source):
        data, notes = _converted(resource, to)
        documents.append(data)
        for note in notes:
            say(f"note: {resource.kind} {resource.metadata.name}: {note}")
    if _COMMENT.search(text):
        say("note: comments of the file are not in the output")
    print(to_yaml_documents(documents), end="")


def _converted(resource: Resource, to: str | None) -> tuple[dict[str, Any], list[str]]:
    """The document in the other version, and what its owner should know."""
    from armature.api import Foreign, convert_object, to_dict, to_v1beta1
    from armature.api.convert.lens import kept_places
    from armature.api.meta import V1ALPHA1, V1BETA1
    from armature.api.parse import served_versions

    data = to_dict(resource)
    if isinstance(resource, Foreign):
        return data, []
    version = f"nvidia.com/{to}" if to else V1BETA1 if resource.api_version == V1ALPHA1 else V1ALPHA1
    if version not in served_versions(resource.kind):
        return data, [f"is served in {resource.api_version} alone, and left as it is"]
    if version == resource.api_version:
        return data, []
    notes = list(to_v1beta1(resource)[1])
    out = convert_object(data, version)
    annotation, places = kept_places(out)
    if places:
        notes.append(f"for the way back, the annotation {annotation} keeps {', '.join(places)}")
    return out, notes
