"""What `up` starts: a graph as it is in a file, or that of a request planned now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from armature.cli.files import read_main, with_paths_from
from armature.flow import plan_request

if TYPE_CHECKING:
    from armature.api.v1beta1 import DynamoGraphDeployment
    from armature.search.profile import Profile

__all__ = ["Runnable", "runnable"]


class Runnable(msgspec.Struct, frozen=True):
    """What `up` starts: a graph, the profile it came from when there is one, the ConfigMaps that go with it."""

    dgd: DynamoGraphDeployment
    profile: Profile | None = None
    extras: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


def runnable(file: str, *, hardware_text: str | None = None, offline: bool = False) -> Runnable:
    """The graph to run: of a request, planned now; of a graph, as it is, with what `plan -o` wrote beside it.

    A file may also hold the ConfigMaps of its graph. Raises what `plan_request` raises.
    """
    from armature.api import to_dict, to_v1beta1, warnings_of
    from armature.api.v1beta1 import DynamoGraphDeployment, DynamoGraphDeploymentRequest
    from armature.report.words import layout

    main, others = read_main(file)
    newest, _ = to_v1beta1(main)
    notes = warnings_of(main)
    if isinstance(newest, DynamoGraphDeploymentRequest):
        newest = with_paths_from(file, newest)
        profile, graph = plan_request(newest, hardware_text=hardware_text, offline=offline)
        pick = f"{layout(profile.picked)} on {profile.picked.gpus} GPUs; `armature plan {file}` says why."
        return Runnable(graph.dgd, profile, graph.extras, (f"planned: {pick}", *notes, *graph.notes))
    assert isinstance(newest, DynamoGraphDeployment)
    profile_beside, extras = (None, ()) if file == "-" else _written_beside(Path(file))
    return Runnable(newest, profile_beside, (*extras, *map(to_dict, others)), notes)


def _written_beside(file: Path) -> tuple[Profile | None, tuple[Mapping[str, Any], ...]]:
    """The profile.json and extras.yaml that `plan -o` wrote beside a dgd.yaml; nothing for other files."""
    from armature.api import load_file, to_dict
    from armature.search.profile import Profile

    profile, extras = file.parent / "profile.json", file.parent / "extras.yaml"
    if file.name != "dgd.yaml":
        return None, ()
    return (
        Profile.read(profile) if profile.is_file() else None,
        tuple(map(to_dict, load_file(extras))) if extras.is_file() else (),
    )
