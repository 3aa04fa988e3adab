"""Profile to graph: the `DynamoGraphDeployment` that runs a candidate, and what must be applied beside it.

The graph is written as a plain camelCase mapping by pure functions, overridden, and only then made the API's type,
so what is checked is what is printed. It holds no null and no number where Kubernetes wants a quantity (GEN-18).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from armature import api
from armature.api import v1beta1
from armature.api.meta import V1ALPHA1, V1BETA1
from armature.api.parse import parse_strict
from armature.api.planner_keys import planner_enabled
from armature.errors import InvalidInput
from armature.graph import planner
from armature.graph.backends import backend_named
from armature.graph.backends.base import EngineAsk, EngineContainer
from armature.graph.backends.mocker import raw_data
from armature.graph.images import Images, images_for
from armature.graph.merge import without_nulls
from armature.graph.names import component_cost, dgd_name, with_suffix
from armature.graph.overrides import apply_overrides
from armature.graph.pods import ModelCache, Rdma, main_container, model_cache_for, worker_pod
from armature.hardware.products import usual_products
from armature.perf.steptable import StepTable
from armature.search.profile import Candidate, Group, InventoryPool, Profile

__all__ = ["Graph", "build", "max_model_len", "to_documents"]

_SHORT_NAMES = {"agg": "worker", "prefill": "prefill", "decode": "decode"}
_FIELD_NAMES = {"agg": "Worker", "prefill": "PrefillWorker", "decode": "DecodeWorker"}
_HEADROOM_TOKENS = 1500
_HEADROOM_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph ready to apply. extras: ConfigMaps that its pods mount, to be applied first. notes: for the user.
    candidate_id: what it runs. overridden: whether `overrides.dgd` changed it."""

    dgd: v1beta1.DynamoGraphDeployment
    extras: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    candidate_id: str | None = None
    overridden: bool = False


class _Wish(msgspec.Struct, frozen=True):
    """What the request says that matters here, free of its type."""

    name: str
    namespace: str | None
    image: str | None
    version: str | None
    cache: ModelCache | None
    planner: Mapping[str, Any] | None
    kv_router: bool
    mocker: bool
    trust_remote_code: bool
    override: Mapping[str, Any] | None


def build(
    profile: Profile, request: v1beta1.DynamoGraphDeploymentRequest, *, candidate_id: str | None = None
) -> Graph:
    """The graph of a candidate, by default the pick.

    Raises InvalidInput for overrides and planner settings that fit nothing, ArmatureError for a candidate that the
    profile does not have.
    """
    candidate = profile.candidate(candidate_id or profile.pick)
    wish = _wish(request)
    dgd, extras, notes = build_dict(profile, candidate, wish)
    typed, found = parse_strict(v1beta1.DynamoGraphDeployment, dgd)
    if typed is None or found:
        raise InvalidInput("The graph with spec.overrides.dgd applied", [problem for _, problem in found])
    return Graph(typed, tuple(extras), tuple(dict.fromkeys(notes)), candidate.id, bool(wish.override))


def to_documents(graph: Graph, api_version: str = V1BETA1) -> list[dict[str, Any]]:
    """The documents to apply, extras first, then the graph in the asked version: in v1alpha1 with every claim under
    `pvcs` and `volumeMounts` (MC-04), where a mount cannot say `readOnly`."""
    dgd = without_nulls(api.to_dict(graph.dgd))
    if api_version == V1ALPHA1:
        from armature.api.convert.graph_to_alpha import graph_to_alpha  # few ask for the older version

        dgd = graph_to_alpha(dgd, {}, exact=False)
    return [*(copy.deepcopy(extra) for extra in graph.extras), dgd]


def build_dict(
    profile: Profile, candidate: Candidate, wish: _Wish
) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """(the v1beta1 graph, its ConfigMaps, notes) as plain mappings."""
    images = images_for(wish.image, wish.version)
    notes = list(images.notes)
    names: dict[str, str] = {
        group.role: _component_name(candidate, group, wish.mocker) for group in candidate.groups
    }
    costs = [component_cost("Frontend"), component_cost(planner.COMPONENT)]
    costs += [component_cost(names[group.role], _nodes(group, wish.mocker)) for group in candidate.groups]
    name = dgd_name(wish.name, costs)
    name = ((wish.override or {}).get("metadata") or {}).get("name") or name
    labels = {
        "dgdr.nvidia.com/name": with_suffix(wish.name, "", 63),
        "dgdr.nvidia.com/namespace": wish.namespace or "default",
    }

    components = [_frontend(candidate, images, wish)]
    extras: list[dict[str, Any]] = []
    for group in candidate.groups:
        component, files = _worker(profile, candidate, group, names, images, name, wish, notes)
        components.append(component)
        if files:
            extras.append(planner.config_map(_files_name(name, names[group.role]), files, labels))
    if wish.planner is not None:
        config = planner.planner_config(wish.planner, profile, candidate, mocker=wish.mocker)
        component, maps = planner.planner_component(
            config, images, name, labels=labels, files=_planner_files(profile, candidate)
        )
        components.append(component)
        extras.extend(maps)
        for worker in components:
            if worker["type"] in ("worker", "prefill", "decode"):
                # The planner scales through the scaling adapter (PLAN-07) and looks for workers of type decode.
                worker["scalingAdapter"] = {}
                worker["type"] = "decode" if worker["type"] == "worker" else worker["type"]

    metadata: dict[str, Any] = {"name": name}
    if wish.namespace:
        metadata["namespace"] = wish.namespace
        for extra in extras:
            extra["metadata"]["namespace"] = wish.namespace
    spec: dict[str, Any] = {} if wish.mocker else {"backendFramework": candidate.backend}
    spec["components"] = components
    dgd = {
        "apiVersion": V1BETA1,
        "kind": "DynamoGraphDeployment",
        "metadata": metadata | {"labels": labels},
        "spec": spec,
    }
    return apply_overrides(dgd, wish.override), extras, notes


def max_model_len(profile: Profile, kv_room_tokens: int) -> int:
    """Tokens of the longest request to allow: ISL + OSL and a headroom, because those are means.

    The headroom is a quarter, at least 1500 tokens (what the field's generator adds), cut to what one rank's KV
    cache holds and to the model's context; a trace names its longest request and needs none. Left at the model's
    maximum, an engine would reserve for, or refuse to start over, requests that nobody sends.
    """
    asked = round(profile.workload["isl"] + profile.workload["osl"])
    longest = round(profile.workload.get("longest_tokens", 0))
    if longest > asked:
        return min(longest, profile.model_max_context) if profile.model_max_context > 0 else longest
    length = asked + max(_HEADROOM_TOKENS, round(asked * _HEADROOM_SHARE))
    length = min(length, max(asked, kv_room_tokens))
    return min(length, profile.model_max_context) if profile.model_max_context > 0 else length


def _wish(request: v1beta1.DynamoGraphDeploymentRequest) -> _Wish:
    spec = request.spec
    cache = None
    if spec.model_cache is not None and spec.model_cache.pvc_name:
        mount = spec.model_cache.pvc_mount_path or "/opt/model-cache"
        cache = model_cache_for(spec.model_cache.pvc_name, mount, spec.model_cache.pvc_model_path)
    features, overrides = spec.features, spec.overrides
    planned = features.planner if features is not None else None
    return _Wish(
        name=request.metadata.name or "dgdr",
        namespace=request.metadata.namespace,
        image=spec.image,
        version=spec.runtime_version_override,
        cache=cache,
        planner=planned if planner_enabled(planned) else None,
        kv_router=bool(features and features.kv_router and features.kv_router.enabled),
        mocker=bool(features and features.mocker and features.mocker.enabled),
        trust_remote_code=bool(overrides and overrides.trust_remote_code),
        override=overrides.dgd if overrides is not None else None,
    )


def _frontend(candidate: Candidate, images: Images, wish: _Wish) -> dict[str, Any]:
    container = main_container(
        images.planner if wish.mocker else images.runtime(candidate.backend),
        command=("python3", "-m", "dynamo.frontend"),
        env={"DYN_ROUTER_MODE": "kv"} if wish.kv_router else {},
        cache=wish.cache,
    )
    spec: dict[str, Any] = {"containers": [container]}
    if wish.cache:
        spec["volumes"] = [wish.cache.volume]
    return {"name": "Frontend", "type": "frontend", "replicas": 1, "podTemplate": {"spec": spec}}


def _worker(
    profile: Profile,
    candidate: Candidate,
    group: Group,
    names: Mapping[str, str],
    images: Images,
    dgd: str,
    wish: _Wish,
    notes: list[str],
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """(the component, the files its engine reads)."""
    name = names[group.role]
    module = backend_named("mocker" if wish.mocker else candidate.backend)
    pool = profile.pool_of(group)
    fabric = candidate.mode == "disagg" or _nodes(group, wish.mocker) > 1
    rdma = Rdma(pool.rdma_resource if pool and fabric and not wish.mocker else None)
    if pool and pool.rdma and fabric and not wish.mocker and rdma.resource is None:
        notes.append(
            f"{group.sku} nodes have RDMA, but the name of its resource is not known: none is requested, and KV "
            "moves over TCP until overrides.dgd adds it."
        )
    if pool and not wish.mocker and len(profile.inventory) > 1 and not pool.product:
        notes.append(_selection_note(name, pool))
    if not wish.mocker and group.sku.startswith("mi"):
        notes.append(
            "The field's runtime images are built for CUDA; set an image for AMD GPUs in overrides.dgd."
        )
    engine: EngineContainer = module.container(
        EngineAsk(
            group=group,
            model=profile.model,
            model_path=(wish.cache.model_dir if wish.cache else None) or profile.model,
            max_model_len=max_model_len(profile, group.kv_room_tokens),
            disaggregated=candidate.mode == "disagg",
            trust_remote_code=wish.trust_remote_code,
            kv_events=wish.kv_router,
            efa=rdma.efa,
            version=images.version,
            component=name,
            step_table=_step_table(profile, candidate, group),
            nextn=profile.speculation.nextn if profile.speculation is not None else 0,
        )
    )
    notes.extend(engine.notes)
    other = next((names[role] for role in names if role != group.role), None)
    component: dict[str, Any] = {
        "name": name,
        "type": "worker" if group.role == "agg" else group.role,
        "replicas": group.replicas,
    }
    if (nodes := _nodes(group, wish.mocker)) > 1:
        component["multinode"] = {"nodeCount": nodes}
    if module.SHARED_MEMORY:
        component["sharedMemorySize"] = module.SHARED_MEMORY
    component["podTemplate"] = worker_pod(
        engine,
        image=images.planner if wish.mocker else images.runtime(candidate.backend),
        group=group,
        pool=pool,
        cache=wish.cache,
        rdma=rdma,
        gpus=not wish.mocker,
        choose_node=len(profile.inventory) > 1,
        config_map=_files_name(dgd, name),
        spread=other,
    )
    return component, engine.files


def _selection_note(component: str, pool: InventoryPool) -> str:
    """How a worker finds the nodes of its pool when nobody read their labels."""
    usual = usual_products(pool.sku)
    if usual:
        return (
            f"{component} goes to nodes labelled {' or '.join(usual)}, as {pool.sku} nodes usually are; where yours "
            "are not, change its node affinity in overrides.dgd."
        )
    return (
        f"{component} is for {pool.sku} nodes, but their product label is not known: add a nodeSelector in "
        "overrides.dgd, or its pods may start on other GPUs."
    )


def _component_name(candidate: Candidate, group: Group, mocker: bool) -> str:
    """The field's names; short ones for multi-node workers, whose name counts twice (see `names`)."""
    if mocker or _nodes(group, mocker) > 1:
        return _SHORT_NAMES[group.role]
    return backend_named(candidate.backend).PREFIX + _FIELD_NAMES[group.role]


def _nodes(group: Group, mocker: bool) -> int:
    return 1 if mocker else group.nodes_per_worker


def _files_name(dgd: str, component: str) -> str:
    return f"{dgd}-{component.lower()}-files"


def _step_table(profile: Profile, candidate: Candidate, group: Group) -> StepTable | None:
    """The profile holds the pick's tables; another candidate may use one only when its engine is the same."""
    own = profile.picked.group(group.role)
    same = (
        own is not None
        and profile.picked.backend == candidate.backend
        and own.sku == group.sku
        and own.parallelism == group.parallelism
        and own.kv_dtype == group.kv_dtype
    )
    return profile.step_tables.get(group.role) if same else None


def _planner_files(profile: Profile, candidate: Candidate) -> dict[str, str]:
    """The profile's curves, and the field's two files where the step tables are this candidate's."""
    files = planner.curves_files(profile.curves)
    decode = candidate.group("decode") or candidate.group("agg")
    prefill = candidate.group("prefill") or decode
    if decode is None or prefill is None:
        return files
    tables = _step_table(profile, candidate, prefill), _step_table(profile, candidate, decode)
    if tables[0] is not None and tables[1] is not None:
        own = raw_data(tables[0], prefill.kv_room_tokens, prefill.gpus_per_worker)
        other = raw_data(tables[1], decode.kv_room_tokens, decode.gpus_per_worker)
        files |= {
            "prefill_raw_data.json": own["prefill_raw_data.json"],
            "decode_raw_data.json": other["decode_raw_data.json"],
        }
    return files
