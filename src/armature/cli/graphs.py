"""A graph to stdout or to a directory: how `select` and `generate` hand over what they made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from armature.cli.options import ApiVersion

if TYPE_CHECKING:
    from armature.graph.build import Graph
    from armature.search.profile import Profile

__all__ = ["hand_over"]


def hand_over(
    profile: Profile,
    graph: Graph,
    api_version: ApiVersion,
    *,
    output: Path | None,
    as_json: bool,
    remarks: Sequence[str],
) -> None:
    """The graph of the profile's pick: what `plan -o` writes into the directory when there is one, else YAML to stdout
    with the ConfigMaps it needs before it; as JSON the whole plan. The remarks go to stderr."""
    from armature.cli.output import print_json, say, write_files
    from armature.cli.plan import graph_files, graph_yaml, plan_answer

    for remark in remarks:
        say(remark)
    if output is not None:
        written = write_files(output, graph_files(profile, graph, api_version))
        say(f"wrote {', '.join(str(path) for path in written)}")
    if as_json:
        print_json(plan_answer(profile, graph, api_version, graph.notes))
    elif output is None:
        print(graph_yaml(graph, api_version, extras=True).decode(), end="")
