"""What profiling a request leads to, as plain data that a ConfigMap and a process pool can carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from armature.errors import ArmatureError
from armature.hardware.inventory import Inventory
from armature.search.profile import Candidate, Profile

if TYPE_CHECKING:
    from armature.graph.build import Graph
    from armature.perf.estimate import Estimator

__all__ = [
    "MOST_POINTS",
    "Answer",
    "Failure",
    "Outcome",
    "Running",
    "another_point",
    "answer_of",
    "in_one_line",
]

MOST_POINTS = 50
"""Pareto points in the status at most, so that an object stays small for every watcher."""


_LOADS = (("request_rate", "requests/s"), ("concurrency", "in flight"))


class Answer(msgspec.Struct, frozen=True):
    """graph: the DynamoGraphDeployment, v1beta1. extras: ConfigMaps that it mounts. pareto: entries of
    `status.profilingResults.pareto` by rising tokens/s/user. point: the candidate that the graph runs, by its id.
    missed: each thing asked that it misses and by how much, as a clause; empty when it meets all. would_meet: what was
    found that would, as sentences. targets: how many latencies the request states. at_risk: whether one is missed
    within the 80 % band. notes: for the user. profile: all of it as JSON, to choose another point from."""

    graph: dict[str, Any]
    extras: list[dict[str, Any]]
    pareto: list[dict[str, Any]]
    point: str
    missed: list[str]
    would_meet: list[str]
    targets: int
    at_risk: bool
    notes: list[str]
    profile: bytes


class Failure(msgspec.Struct, frozen=True):
    """Profiling came to nothing; message: why, fit for a user, in one line."""

    message: str

    @classmethod
    def of(cls, error: ArmatureError) -> Failure:
        return cls(in_one_line(str(error)))


class Running(msgspec.Struct, frozen=True):
    """Profiling goes on; step: the sub-phase that it last told of, empty before the first."""

    step: str = ""
    message: str = ""


Outcome = Answer | Failure | Running


def answer_of(
    request: Mapping[str, Any],
    *,
    found: Inventory | None,
    model_cache: Path | None = None,
    trace: Path | None = None,
    point: str | None = None,
    estimator: Estimator | None = None,
    tell: Callable[[str], None] = lambda step: None,
) -> Answer:
    """The answer to a v1beta1 request.

    found: the GPUs of the cluster; None where the request states them. model_cache: the model's directory or a model
    cache, mounted here. trace: the file that `traceRef` names, mounted here. point: another candidate in place of the
    pick, by id or by its number in `pareto`. estimator: where step times come from, when others use it too. tell: hears
    each sub-phase as it begins.
    Raises ArmatureError.
    """
    from armature.api.parse import parse_tolerant_as
    from armature.api.v1beta1 import DynamoGraphDeploymentRequest
    from armature.flow import search_request, select_candidate
    from armature.graph.build import build
    from armature.graph.preflight import require

    typed = parse_tolerant_as(DynamoGraphDeploymentRequest, request)
    if trace is not None and typed.spec.workload.trace_ref is not None:
        typed.spec.workload.trace_ref = type(typed.spec.workload.trace_ref)(path=str(trace))
    searched = search_request(
        typed,
        found=found or Inventory((), "stated"),
        model_cache=model_cache,
        estimator=estimator or "auto",
        tell=tell,
    )
    profile = searched.profile if not _missed(searched.profile) else searched.advised()
    tell("GeneratingDGD")
    if point is not None:
        profile, graph = select_candidate(profile, _named(profile, point))
    else:
        graph = build(profile, searched.request)
        require(graph, profile)
    return _answer(profile, graph)


def in_one_line(text: str) -> str:
    """As a condition or a file's value has it."""
    return " ".join(text.split())


def another_point(profile: bytes, point: str) -> Answer:
    """The answer that has this point of a profile as its choice. Raises ArmatureError when there is none."""
    from armature.flow import select_candidate

    known = msgspec.json.decode(profile, type=Profile)
    chosen, graph = select_candidate(known, _named(known, point))
    return _answer(chosen, graph)


def _named(profile: Profile, point: str) -> str:
    """The id of a point given by its number on the front, or by its id. Raises ArmatureError."""
    if point.isdecimal() and 1 <= int(point) <= len(profile.pareto):
        return profile.pareto[int(point) - 1]
    return profile.candidate(point).id


def _answer(profile: Profile, graph: Graph) -> Answer:
    from armature.api import to_dict
    from armature.graph.merge import without_nulls

    pick = profile.picked
    points = [
        _pareto_item(number, profile.candidate(id)) for number, id in enumerate(profile.pareto, start=1)
    ]
    return Answer(
        graph=without_nulls(to_dict(graph.dgd)),
        extras=list(graph.extras),
        pareto=_thinned(points, profile.pareto.index(pick.id) if pick.id in profile.pareto else 0),
        point=pick.id,
        missed=_missed(profile),
        would_meet=[suggestion.text for suggestion in profile.suggestions if suggestion.holds],
        targets=len(pick.margins),
        at_risk=pick.at_risk,
        notes=list(dict.fromkeys([*profile.notes, *graph.notes])),
        profile=profile.to_json(),
    )


def _pareto_item(number: int, candidate: Candidate) -> dict[str, Any]:
    """One point of the front under the keys of the proposal (DGDR-20), with its band and where it comes from."""
    from armature.report.words import ASCII, layout

    workers = [
        {
            "role": group.role,
            "sku": group.sku,
            "replicas": group.replicas,
            "parallelism": group.parallelism.label,
        }
        for group in candidate.groups
    ]
    return {
        "config": {"mode": candidate.mode, "workers": workers},
        "point": number,
        "id": candidate.id,
        "backend": candidate.backend,
        "parallelization": layout(candidate, ASCII, backend=False),
        "gpus": candidate.gpus,
        "throughput": round(candidate.tokens_per_s, 1),
        "ttft": round(candidate.ttft_ms.value, 2),
        "ttftLow": round(candidate.ttft_ms.low, 2),
        "ttftHigh": round(candidate.ttft_ms.high, 2),
        "itl": round(candidate.itl_ms.value, 3),
        "itlLow": round(candidate.itl_ms.low, 3),
        "itlHigh": round(candidate.itl_ms.high, 3),
        "source": candidate.source,
        "meetsSla": candidate.meets_sla and candidate.carries_load,
    }


def _thinned(points: Sequence[dict[str, Any]], pick: int) -> list[dict[str, Any]]:
    """At most `MOST_POINTS` of them, evenly along the front, both ends and the pick among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (MOST_POINTS - 2)
    kept = {round(index * step) for index in range(MOST_POINTS - 1)} | {pick}
    return [points[index] for index in sorted(kept)]


def _missed(profile: Profile) -> list[str]:
    """What of the request the pick misses, by how much."""
    from armature.report.words import TARGET_NAMES, amount

    pick = profile.picked
    missed = [
        f"{TARGET_NAMES[m.name]} is predicted at {amount(m.predicted)} ms, {m.ratio - 1:.0%} above the "
        f"{amount(m.target)} ms asked"
        for m in pick.margins
        if not m.met
    ]
    if not pick.carries_load:
        asked = [
            f"{profile.workload[key]:g} {unit} asked" for key, unit in _LOADS if profile.workload.get(key)
        ]
        missed.append(
            f"it carries {amount(pick.request_rate)} requests/s with {amount(pick.concurrency)} in flight, less than "
            f"the {' and '.join(asked)}"
        )
    return missed
