"""From a request to its profile and its graph: the order of the rooms, without a word of printing.

The command line and the operator come this way. Everything with an effect happens here, before the search: the GPUs
of this machine are looked up only when nobody says which were found and the request leaves them open, and the model's
config.json is fetched only when it is not at hand.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from armature.errors import ArmatureError, InvalidInput, ModelUnknown, NothingFits, Problem

if TYPE_CHECKING:
    from armature.api.v1beta1 import DynamoGraphDeploymentRequest
    from armature.graph.build import Graph
    from armature.hardware.catalog import Gpu
    from armature.hardware.inventory import Inventory
    from armature.model.facts import ModelFacts
    from armature.perf.estimate import Estimator
    from armature.search.candidates import Swept
    from armature.search.direct import Wanted
    from armature.search.profile import Profile
    from armature.search.question import Question
    from armature.workload.trace import Trace

__all__ = [
    "EstimatorKind",
    "Searched",
    "generate",
    "plan_request",
    "request_of",
    "search_request",
    "select_candidate",
    "step_times",
]

EstimatorKind = Literal["auto", "silicon", "roofline"]
Chooser = Literal["armature", "aic"]


class Searched(msgspec.Struct, frozen=True):
    """One search: the request with its defaults filled, the profile, and what it takes to ask on."""

    request: DynamoGraphDeploymentRequest
    profile: Profile
    swept: Swept
    estimator: Estimator

    def advised(self, *, catalogue: Iterable[Gpu] = ()) -> Profile:
        """The profile with what would change it; catalogue: other GPUs to look at where nothing meets the SLA."""
        from armature.search.advice import advised

        return advised(self.profile, self.swept, self.estimator, catalogue=catalogue)


def search_request(
    request: DynamoGraphDeploymentRequest,
    *,
    hardware_text: str | None = None,
    offline: bool = False,
    estimator: EstimatorKind | Estimator = "auto",
    prices: Mapping[str, float] | None = None,
    advice: bool = False,
    env: Mapping[str, str] | None = None,
    found: Inventory | None = None,
    model_cache: Path | None = None,
    tell: Callable[[str], None] = lambda step: None,
) -> Searched:
    """The search for a request; parameters and errors are those of `plan_request`.

    advice: whether NothingFits says what would hold the model. model_cache: a directory that holds the model's files or
    is a model cache. tell: hears each sub-phase as it begins, by its name in `status.profilingPhase` (LIFE-03).
    """
    from msgspec import structs

    from armature.search.engines import engines_for
    from armature.search.question import question_of
    from armature.search.rapid import profile_for, sweep

    request, inventory, facts, trace = _looked_up(request, hardware_text, offline, env, found, model_cache)
    question = question_of(request, inventory, facts, prices=prices, trace=trace)
    source = step_times(estimator, env) if isinstance(estimator, str) else estimator
    tell("SweepingPrefill")
    try:
        engines = engines_for(question, source)
        tell("SweepingDecode")
        swept = sweep(question, engines)
    except NothingFits as error:
        raise _advised(error, question, source) if advice else error from None
    profile = profile_for(request, swept, source, tell)
    if request.spec.search_strategy == "thorough":
        note = "searchStrategy thorough measures on the GPUs themselves; this plan is predicted (rapid)."
        profile = structs.replace(profile, notes=(*profile.notes, note))
    return Searched(request, profile, swept, source)


def _advised(error: NothingFits, question: Question, source: Estimator) -> NothingFits:
    from armature.search.hold import with_what_holds
    from armature.search.vary import Ask

    return with_what_holds(error, question, Ask(source))


def plan_request(
    request: DynamoGraphDeploymentRequest,
    *,
    hardware_text: str | None = None,
    offline: bool = False,
    estimator: EstimatorKind | Estimator = "auto",
    prices: Mapping[str, float] | None = None,
    candidate: str | None = None,
    advice: bool = False,
    objective: Chooser = "armature",
    env: Mapping[str, str] | None = None,
    found: Inventory | None = None,
) -> tuple[Profile, Graph]:
    """The profile of the request and the graph of its pick (or of `candidate`), proven able to start.

    candidate: an id, or a number in the table of the plan. estimator: a kind, or one that others use too. objective:
    whose rules choose; `aic` gives no advice, which is the search's own.
    hardware_text: GPUs as `--hardware` takes them, in place of what the request states. prices: per GPU-hour by
    SKU. advice: whether the profile says what would change it. env: the environment to read caches and tokens from.
    found: the GPUs that were discovered; without it those of this machine.
    Raises InvalidInput, ModelUnknown, HardwareUnknown, NothingFits or PreflightFailed.
    """
    from armature.graph.build import build
    from armature.graph.preflight import require
    from armature.report import candidate_named

    if objective == "aic":
        looked_up = _looked_up(request, hardware_text, offline, env, found)
        source = step_times(estimator, env) if isinstance(estimator, str) else estimator
        request, profile = looked_up[0], _chosen_as_aic(looked_up, source, prices)
    else:
        searched = search_request(
            request,
            hardware_text=hardware_text,
            offline=offline,
            estimator=estimator,
            prices=prices,
            advice=advice,
            env=env,
            found=found,
        )
        request, profile = searched.request, searched.advised() if advice else searched.profile
    chosen = None if candidate is None else candidate_named(profile, candidate).id
    graph = build(profile, request, candidate_id=chosen)
    require(graph, profile)
    return profile, graph


def _chosen_as_aic(
    looked_up: tuple[DynamoGraphDeploymentRequest, Inventory, ModelFacts, Trace | None],
    source: Estimator,
    prices: Mapping[str, float] | None,
) -> Profile:
    """By its rules on its library's own step times, or on the roofline's where that is asked for."""
    from armature.perf.silicon.raw import raw_steps
    from armature.search.aic_plan import aic_profile

    steps_of = None if source.name == "roofline" else raw_steps
    return aic_profile(*looked_up, source, steps_of, prices=prices)


def generate(
    request: DynamoGraphDeploymentRequest,
    wanted: Wanted,
    *,
    hardware_text: str | None = None,
    offline: bool = False,
    estimator: EstimatorKind = "auto",
    prices: Mapping[str, float] | None = None,
    found: Inventory | None = None,
) -> tuple[Profile, Graph]:
    """The profile and graph of one layout that nobody searched for (`search.direct`), proven able to start.

    Arguments and errors as in `plan_request`; wanted: what the user fixes of the layout.
    """
    from armature.graph.build import build
    from armature.graph.preflight import require
    from armature.search.direct import direct_profile

    request, inventory, facts, trace = _looked_up(request, hardware_text, offline, None, found)
    source = step_times(estimator)
    profile = direct_profile(request, inventory, facts, source, wanted, prices=prices, trace=trace)
    graph = build(profile, request)
    require(graph, profile)
    return profile, graph


def step_times(kind: EstimatorKind, env: Mapping[str, str] | None = None) -> Estimator:
    """Where step times come from; what measured tables say is kept between runs."""
    from armature.perf.choose import estimator_for
    from armature.perf.silicon import user_cache

    return estimator_for(kind, cache=user_cache(os.environ if env is None else env))


def _looked_up(
    request: DynamoGraphDeploymentRequest,
    hardware_text: str | None,
    offline: bool,
    env: Mapping[str, str] | None,
    found: Inventory | None,
    model_cache: Path | None = None,
) -> tuple[DynamoGraphDeploymentRequest, Inventory, ModelFacts, Trace | None]:
    """The request with its defaults, the GPUs to plan for, the model's facts, and the trace that it refers to."""
    from armature.api import default_request
    from armature.hardware.inventory import inventory_for_request, parse_hardware

    request = default_request(request)
    if hardware_text is not None:
        request = _with_inventory(request)
        there: Inventory | None = parse_hardware(hardware_text)
    else:
        there = found if found is not None else _discovered(request)
    inventory = inventory_for_request(request.spec.hardware, there)
    trace = _trace_of(request)
    facts = _facts(request.spec.model, offline, os.environ if env is None else env, model_cache)
    if trace is None:
        _require_context(request, facts)
    return request, inventory, facts, trace


def _facts(model: str, offline: bool, env: Mapping[str, str], model_cache: Path | None) -> ModelFacts:
    from armature.model.read import facts_from_directory
    from armature.model.resolve import resolve_model

    if model_cache is not None and (model_cache / "config.json").is_file():
        return facts_from_directory(model, model_cache, source=f"{model_cache / 'config.json'}")
    return resolve_model(model, offline=offline, env=env, cache=model_cache)


def select_candidate(
    profile: Profile, id: str, *, estimator: EstimatorKind | None = None, offline: bool = False
) -> tuple[Profile, Graph]:
    """The profile with this candidate as its pick, and the graph of it, proven able to start.

    Nothing but the profile is needed. When the pick's engines are others than before and the model's facts can be had,
    its curves and step tables are made anew, with step times from where the plan had them unless `estimator` says.
    Raises ArmatureError when the profile has no such candidate or no request, InvalidInput or PreflightFailed.
    """
    from armature.graph.build import build
    from armature.graph.preflight import require
    from armature.model.resolve import resolve_model
    from armature.search.select import engines_of, same_engines, selected

    request, candidate = request_of(profile), profile.candidate(id)
    engines = facts = None
    if not same_engines(profile, candidate):
        with contextlib.suppress(ModelUnknown):
            facts = resolve_model(profile.model, offline=offline, env=os.environ)
            engines = engines_of(
                profile, candidate, facts, step_times(estimator or cast("EstimatorKind", profile.estimator))
            )
    chosen = selected(profile, id, engines, facts)
    graph = build(chosen, request)
    require(graph, chosen)
    return chosen, graph


def request_of(profile: Profile) -> DynamoGraphDeploymentRequest:
    from armature.api import check
    from armature.api.v1beta1 import DynamoGraphDeploymentRequest

    if not profile.request:
        raise ArmatureError("The profile holds no request.", "Make one with `armature plan FILE -o DIR`.")
    request, problems = check(profile.request)
    if problems or not isinstance(request, DynamoGraphDeploymentRequest):
        raise InvalidInput("The profile's request", problems)
    return request


def _trace_of(request: DynamoGraphDeploymentRequest) -> Trace | None:
    """The trace that the request refers to, read. Raises InvalidInput when it is not in a file, or is no trace."""
    ref = request.spec.workload.trace_ref
    if ref is None:
        return None
    from armature.workload.trace import read_trace

    if ref.path is None:
        place = "configMap" if ref.config_map is not None else "pvc"
        rule = "can be read in a cluster only"
        mend = "here, copy the trace to a file and write traceRef.path, or give --trace FILE"
        problem = Problem(f"spec.workload.traceRef.{place}", rule, mend)
        raise InvalidInput(request.metadata.name or "the request", [problem])
    return read_trace(Path(ref.path))


def _require_context(request: DynamoGraphDeploymentRequest, facts: ModelFacts) -> None:
    """Raises InvalidInput when a request of the workload is longer than the model's context."""
    from armature.model.context import check_context

    workload = request.spec.workload
    isl, osl = (workload.isl or 0, workload.osl or 0) if workload is not None else (0, 0)
    problem = check_context(facts, isl, osl)
    if problem is not None:
        raise InvalidInput(request.metadata.name or "the request", [problem])


def _with_inventory(request: DynamoGraphDeploymentRequest) -> DynamoGraphDeploymentRequest:
    """The request without the GPUs it counts, for `--hardware` is the only word on them; how they are linked stays."""
    hardware = request.spec.hardware
    if hardware is None:
        return request
    silent = {"gpu_sku": None, "vram_mb": None, "total_gpus": None, "num_gpus_per_node": None}
    spec = request.spec.model_copy(update={"hardware": hardware.model_copy(update=silent)})
    return request.model_copy(update={"spec": spec})


def _discovered(request: DynamoGraphDeploymentRequest) -> Inventory | None:
    """This machine's GPUs, looked up only when the request does not name a SKU."""
    hardware = request.spec.hardware
    if hardware is not None and hardware.gpu_sku:
        return None
    from armature.hardware.discover_local import discover_local

    return discover_local()
