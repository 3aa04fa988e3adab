"""Proves that a graph can start, or says every reason why it cannot.

Works on what `build` made (with its Profile: everything is judged) and on any other graph (only what the graph
itself can tell). A finding is something that would make pods fail, hang or be refused; a matter of taste is none.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from armature import api
from armature.errors import PreflightFailed, Problem
from armature.graph import component_view
from armature.graph.build import Graph, max_model_len
from armature.graph.component_view import WORKER_TYPES, ComponentView, views
from armature.graph.engine_flags import unknown_flags
from armature.graph.names import COMBINED_LIMIT, component_cost, is_dns_label
from armature.search.profile import Candidate, Group, Profile

if TYPE_CHECKING:
    from armature.api import v1alpha1, v1beta1

__all__ = ["gpu_count", "preflight", "require"]

AnyGraph: TypeAlias = (
    "Graph | v1beta1.DynamoGraphDeployment | v1alpha1.DynamoGraphDeployment | Mapping[str, Any]"
)
_COMPONENT_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?")
_MAX_COMPONENTS = 25
_TOLERANCE = 1.01


def preflight(
    graph: AnyGraph, profile: Profile | None = None, *, candidate_id: str | None = None
) -> tuple[Problem, ...]:
    """Every reason why the graph cannot start; empty when it can.

    candidate_id: which candidate the graph runs; by default what `build` noted, else the profile's pick.
    """
    dgd, extras = _plain(graph)
    components = views(dgd, extras or ())
    found = [*_name_problems(dgd, components), *_graph_problems(dgd, components)]
    for view in components:
        found.extend(_container_problems(view))
        found.extend(_gpu_problems(view))
        found.extend(_path_problems(view))
    if extras is not None:
        found.extend(_reference_problems(graph, dgd, components, extras))
    if profile is not None:
        noted = graph.candidate_id if isinstance(graph, Graph) else None
        candidate = profile.candidate(candidate_id or noted or profile.pick)
        found.extend(_profile_problems(profile, candidate))
        found.extend(_budget_problems(graph, components, profile, candidate))
        for view in components:
            if view.role is not None and view.flags.is_engine:
                found.extend(_operating_problems(view, profile, candidate))
    return tuple(dict.fromkeys(found))


def require(graph: AnyGraph, profile: Profile | None = None, *, candidate_id: str | None = None) -> None:
    """Raises PreflightFailed with every reason when the graph cannot start."""
    problems = preflight(graph, profile, candidate_id=candidate_id)
    if problems:
        dgd, _ = _plain(graph)
        raise PreflightFailed(f"Graph {(dgd.get('metadata') or {}).get('name', '')} cannot start", problems)


def gpu_count(graph: AnyGraph) -> int:
    """GPUs that a graph asks for."""
    return component_view.gpu_count(_plain(graph)[0])


def _plain(graph: AnyGraph) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]] | None]:
    """(v1beta1 mapping, extras); extras are None for a graph that came without them."""
    if isinstance(graph, Graph):
        return api.to_dict(graph.dgd), graph.extras
    if isinstance(graph, Mapping):
        return graph, None
    return api.to_dict(api.to_v1beta1(graph)[0]), None


def _name_problems(dgd: Mapping[str, Any], components: Sequence[ComponentView]) -> Iterator[Problem]:
    metadata = dgd.get("metadata") or {}
    name = str(metadata.get("name") or "")
    if not is_dns_label(name):
        yield Problem(
            "metadata.name",
            "must be a DNS label that starts with a letter, at most 63 characters",
            value=name,
        )
    grove = (metadata.get("annotations") or {}).get("nvidia.com/enable-grove") != "false"
    for view in components:
        path = f"{view.path}.name"
        if not view.name or len(view.name) > 63 or _COMPONENT_NAME.fullmatch(view.name) is None:
            yield Problem(path, "must be 1 to 63 letters, digits and inner dashes", value=view.name)
            continue
        length = len(name) + component_cost(view.name, view.nodes)
        if grove and length > COMBINED_LIMIT:
            yield Problem(
                path,
                f"makes pod names of {length} characters with {name!r}; Grove allows {COMBINED_LIMIT}",
                "shorten the graph's or the component's name",
            )
        elif len(name) + len(view.name) + 1 > 63:
            yield Problem(
                path, f"makes a Service name over 63 characters with {name!r}", "shorten one of them"
            )
    for twice, count in Counter(view.name.lower() for view in components).items():
        if count > 1:
            yield Problem(
                "spec.components", f"{count} components are called {twice!r}", "names must be unique"
            )


def _graph_problems(dgd: Mapping[str, Any], components: Sequence[ComponentView]) -> Iterator[Problem]:
    if not components:
        yield Problem("spec.components", "must have at least one component")
    if len(components) > _MAX_COMPONENTS:
        yield Problem("spec.components", f"has {len(components)} components; {_MAX_COMPONENTS} are allowed")
    roles = {view.role for view in components}
    if "prefill" in roles and not roles & {"decode", "agg"}:
        yield Problem("spec.components", "has prefill workers but nobody to decode", "add a decode component")
    engines = {view.flags.module for view in components if view.role and view.flags.is_engine}
    framework = (dgd.get("spec") or {}).get("backendFramework")
    if len(engines) > 1:
        yield Problem(
            "spec.components", f"mixes engines {', '.join(sorted(engines))}", "use one engine in a graph"
        )
    elif framework and engines and framework not in engines and "mocker" not in engines:
        yield Problem(
            "spec.backendFramework", f"is {framework}, but the workers run {engines.pop()}", "make them agree"
        )


def _container_problems(view: ComponentView) -> Iterator[Problem]:
    image = view.container.get("image")
    if not image:
        yield Problem(f"{view.container_path}.image", "is required", "name the runtime image")
    elif not isinstance(image, str) or re.search(r"[\s${}<>]", image):
        yield Problem(
            f"{view.container_path}.image", "is not an image reference", "fill in the version", image
        )
    for flag, close in unknown_flags(view.flags):
        rule = f"dynamo.{view.flags.module} does not know {flag}"
        yield Problem(f"{view.container_path}.args", rule, f"did you mean {close}?")
    for flag, values in view.flags.options.items():
        if any(value.lower() in ("nan", "inf", "-inf", "infinity", "none", "null") for value in values):
            yield Problem(f"{view.container_path}.args", f"{flag} is not a number", value=values[-1])


def _gpu_problems(view: ComponentView) -> Iterator[Problem]:
    """What the parallelism needs is what the pods ask for, over all nodes of a worker."""
    flags = view.flags
    if view.type not in WORKER_TYPES or not flags.is_engine or flags.module == "mocker" or not flags.sized:
        return
    if view.gpus_per_pod == 0:
        if not (view.container.get("resources") or {}).get("claims"):
            yield Problem(f"{view.container_path}.resources.limits", "asks for no GPU", "set nvidia.com/gpu")
        return
    have = view.gpus_per_pod * view.nodes
    if flags.gpus != have:
        yield Problem(
            f"{view.path}",
            f"{view.name}: its flags need {flags.gpus} GPUs per worker, its pods ask for {view.gpus_per_pod} on "
            f"{view.nodes} node{'s' if view.nodes > 1 else ''}, {have} in all",
            "make tp x pp x dp, GPUs per node and multinode.nodeCount agree",
        )


def _path_problems(view: ComponentView) -> Iterator[Problem]:
    path = view.flags.model
    if path is None or not path.startswith("/"):
        return
    path = posixpath.normpath(path)
    for mount in view.mounts:
        if path == mount or path.startswith(mount.rstrip("/") + "/"):
            if mount != "/" and mount + "/" in path[len(mount) :] + "/":
                where = f"{view.container_path}.args"
                yield Problem(where, f"the model path repeats its mount {mount}", "join them once", path)
            return
    yield Problem(f"{view.container_path}.args", "no volume is mounted over the model path", "mount it", path)


def _reference_problems(
    graph: AnyGraph,
    dgd: Mapping[str, Any],
    components: Sequence[ComponentView],
    extras: Sequence[Mapping[str, Any]],
) -> Iterator[Problem]:
    """Every volume that is mounted exists, and every ConfigMap of ours is among the extras."""
    maps = {str(extra["metadata"]["name"]) for extra in extras if extra.get("kind") == "ConfigMap"}
    own = f"{(dgd.get('metadata') or {}).get('name')}-"
    overridden = isinstance(graph, Graph) and graph.overridden
    for view in components:
        for path, volume in view.mounts.items():
            if volume not in view.volumes:
                yield Problem(
                    f"{view.container_path}.volumeMounts", f"{path} mounts no volume of the pod", value=volume
                )
        for name, source in view.volumes.items():
            wanted = (source.get("configMap") or {}).get("name")
            if wanted and wanted not in maps and (not overridden or wanted.startswith(own)):
                where = f"{view.path}.podTemplate.spec.volumes"
                yield Problem(where, f"{name} needs ConfigMap {wanted}, which is not among the documents")
        for flag in ("--extra-engine-args", "--config"):
            file = view.flags.value(flag)
            if file and file.startswith("/") and posixpath.dirname(file) not in view.mounts:
                yield Problem(
                    f"{view.container_path}.args", f"{flag} names a file that nothing mounts", value=file
                )


def _profile_problems(profile: Profile, candidate: Candidate) -> Iterator[Problem]:
    for name, value in _numbers(msgspec.to_builtins(candidate), f"profile.candidates[{candidate.id}]"):
        if not math.isfinite(value):
            yield Problem(name, "is not finite", "make a new profile", value)
    for group in candidate.groups:
        where = f"profile.candidates[{candidate.id}].{group.role}"
        pool = profile.pool_of(group)
        if pool is None:
            yield Problem(where, f"needs {group.sku}, which the inventory does not have")
        elif (need := group.weight_bytes_per_gpu + group.kv_bytes_per_gpu) > pool.vram_bytes:
            rule = f"needs {need / 2**30:.1f} GiB per GPU; {group.sku} has {pool.vram_bytes / 2**30:.1f} GiB"
            yield Problem(where, rule, "choose a candidate that fits")


def _numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    """Every number below a plain value, with its path."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield path, float(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{key}")
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{path}[{index}]")


def _budget_problems(
    graph: AnyGraph, components: Sequence[ComponentView], profile: Profile, candidate: Candidate
) -> Iterator[Problem]:
    if any(view.flags.module == "mocker" for view in components):
        return
    count = sum(view.gpus for view in components)
    if count > profile.gpus_budget:
        rule = f"asks for {count} GPUs; the budget is {profile.gpus_budget}"
        yield Problem("spec.components", rule, "lower replicas, or raise spec.hardware.totalGpus")
        return
    asked = _gpus_by_pool(components, candidate)
    for number, pool in enumerate(profile.inventory):
        if asked[number] > pool.gpus:
            rule = f"asks for {asked[number]} {pool.sku}; {pool.gpus} are there"
            yield Problem("spec.components", rule, "lower the replicas of the workers that run on them")
    if isinstance(graph, Graph) and not graph.overridden and count != candidate.gpus:
        yield Problem(
            "spec.components", f"asks for {count} GPUs; candidate {candidate.id} has {candidate.gpus}"
        )


def _gpus_by_pool(components: Sequence[ComponentView], candidate: Candidate) -> Counter[int]:
    """GPUs that the workers of a candidate ask for, by the pool that each runs on."""
    asked: Counter[int] = Counter()
    for view in components:
        group = _group(view, candidate) if view.role is not None else None
        if group is not None:
            asked[group.pool] += view.gpus
    return asked


def _operating_problems(view: ComponentView, profile: Profile, candidate: Candidate) -> Iterator[Problem]:
    """The flags hold the operating point, and the KV cache holds what the flags let in."""
    group = _group(view, candidate)
    if group is None:
        yield Problem(
            view.path, f"{view.name} has role {view.role}, which candidate {candidate.id} does not have"
        )
        return
    flags, args = view.flags, f"{view.container_path}.args"
    isl, osl = profile.workload["isl"], profile.workload["osl"]
    if flags.module != "mocker":
        if view.nodes != group.nodes_per_worker:
            rule = f"{view.nodes} nodes per worker; {group.gpus_per_worker} GPUs at {group.gpus_per_node} per node"
            yield Problem(f"{view.path}.multinode", f"has {rule} need {group.nodes_per_worker}")
        if flags.sized and not _same(flags.parallelism, group):
            rule = f"{flags.module} runs this as {flags.parallelism.label}, the candidate is {group.parallelism.label}"
            yield Problem(args, rule, "this engine cannot express it, or an override changed it")
        longest = flags.max_model_len
        expected = max_model_len(profile, group.kv_room_tokens)
        if longest is None or (longest >= profile.model_max_context > expected):
            yield Problem(args, f"leaves the longest request at the model's {profile.model_max_context} tokens",
                          f"set it near {expected}")  # fmt: skip
        elif longest < isl + osl:
            yield Problem(
                args, f"allows {longest} tokens; ISL + OSL is {isl + osl:.0f}", f"set it near {expected}"
            )
        elif longest > profile.model_max_context > 0:
            yield Problem(args, f"allows {longest} tokens; the model has {profile.model_max_context}")
    tokens = isl if group.role == "prefill" else isl + osl
    sequences = flags.max_num_seqs
    if sequences is None:
        yield Problem(args, "has no limit of concurrent requests", f"set {group.max_num_seqs}")
    elif sequences * tokens > group.kv_room_tokens * _TOLERANCE:
        rule = f"lets in {sequences} requests of {tokens:.0f} tokens; a rank's KV cache holds {group.kv_room_tokens}"
        yield Problem(args, rule, f"let in {int(group.kv_room_tokens // tokens)} at most")


def _group(view: ComponentView, candidate: Candidate) -> Group | None:
    """An aggregated graph's workers count as such whatever their type says (a planner wants `decode`)."""
    if candidate.mode == "agg":
        return candidate.group("agg")
    return candidate.group(view.role) if view.role is not None else None


def _same(found: Any, group: Group) -> bool:
    return (found.tp, found.pp, found.dp, found.moe_ep) == (group.tp, group.pp, group.dp, group.moe_ep)
