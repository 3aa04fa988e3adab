"""`overrides.dgd`: a partial graph of either version, merged onto the generated one in one place.

The override is brought to v1beta1 first (C-41), its services are matched to generated components, and one strategic
merge applies it. `spec.envs` (`spec.env`) goes to every component, by name (GEN-07, GEN-10). Lists of scalars, such
as `args`, replace. Nothing is dropped in silence: a service that matches nothing is an error, and the set of
components cannot be changed. `overrides.profilingJob` never comes here (GEN-09).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from armature.errors import InvalidInput, Problem
from armature.graph.alpha import V1ALPHA1, V1BETA1, component_from_service
from armature.graph.merge import strategic_merge, without_nulls
from armature.graph.names import did_you_mean

__all__ = ["apply_overrides", "find_component"]

_ROOT = "spec.overrides.dgd"
_TOP = ("apiVersion", "kind", "metadata", "spec")
_SPEC_V1ALPHA1 = {"envs": None, "services": None, "pvcs": None}
_SPEC_SAME = ("annotations", "labels", "priorityClassName", "backendFramework", "topologyConstraint")
_SPEC_V1BETA1 = ("experimental", "providerOverride")
_METADATA = ("name", "labels", "annotations", "namespace")
_FIELD_NAME = re.compile(
    r"(?:vllm|sglang|trtllm|tensorrtllm|mocker)?(prefill|decode|)worker|(prefill|decode)", re.I
)


def apply_overrides(dgd: Mapping[str, Any], override: Mapping[str, Any] | None) -> dict[str, Any]:
    """The generated v1beta1 graph with the override on it; applying it again changes nothing.

    Raises InvalidInput with every problem found, each at its path under `spec.overrides.dgd`.
    """
    if not override:
        return copy.deepcopy(dict(dgd))
    override = without_nulls_at_top(override)
    problems = _shape_problems(override)
    spec = override.get("spec") or {}
    if problems or not isinstance(spec, Mapping):
        raise InvalidInput(_ROOT, problems or [Problem(f"{_ROOT}.spec", "must be a mapping", value=spec)])
    patches = _component_patches(dgd["spec"]["components"], spec, problems)
    if problems:
        raise InvalidInput(_ROOT, problems)
    merged = strategic_merge(dgd, {"metadata": dict(override.get("metadata") or {})})
    common = {key: spec[key] for key in (*_SPEC_SAME, *_SPEC_V1BETA1) if key in spec}
    merged["spec"] = strategic_merge(merged["spec"], common)
    merged["spec"] = strategic_merge(merged["spec"], {"components": patches})
    return merged


def find_component(components: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The component that a user means by `name`: its own name, without regard to case; its type; or the name
    that the field gives a component of its role (`VllmDecodeWorker`, `decode`, `worker`). An aggregated graph's
    only worker answers to `decode`, as the field's samples call it. None when nothing, or more than one, fits."""
    for component in components:
        if str(component["name"]).lower() == name.lower():
            return component
    wanted = name.lower()
    workers = [item for item in components if item.get("type") in ("worker", "prefill", "decode")]
    match = _FIELD_NAME.fullmatch(name)
    if match is not None:
        role = (match[1] or match[2] or "worker").lower()
        fits = [item for item in workers if item.get("type") == role]
        if not fits and len(workers) == 1 and role != "prefill":
            fits = workers
    else:
        fits = [item for item in components if item.get("type") == wanted]
    return fits[0] if len(fits) == 1 else None


def without_nulls_at_top(override: Mapping[str, Any]) -> dict[str, Any]:
    """An explicit null at the top counts as absent; deeper ones delete."""
    return {key: value for key, value in override.items() if value is not None}


def _shape_problems(override: Mapping[str, Any]) -> list[Problem]:
    problems = []
    for key in override:
        if key not in _TOP:
            problems.append(_unknown(f"{_ROOT}.{key}", key, _TOP))
    version, kind = override.get("apiVersion"), override.get("kind")
    if version not in (None, V1ALPHA1, V1BETA1):
        problems.append(Problem(f"{_ROOT}.apiVersion", f"must be {V1BETA1} or {V1ALPHA1}", value=version))
    if kind not in (None, "DynamoGraphDeployment"):
        problems.append(Problem(f"{_ROOT}.kind", "must be DynamoGraphDeployment", value=kind))
    for key in override.get("metadata") or {}:
        if key not in _METADATA:
            problems.append(_unknown(f"{_ROOT}.metadata.{key}", key, _METADATA))
    spec = override.get("spec") or {}
    if not isinstance(spec, Mapping):
        return problems
    alpha = version == V1ALPHA1 or (version is None and "components" not in spec and "env" not in spec)
    known = (*_SPEC_V1ALPHA1, *_SPEC_SAME) if alpha else ("env", "components", *_SPEC_SAME, *_SPEC_V1BETA1)
    for key in spec:
        if key not in known:
            problems.append(_unknown(f"{_ROOT}.spec.{key}", key, known))
    return problems


def _component_patches(
    components: Sequence[Mapping[str, Any]], spec: Mapping[str, Any], problems: list[Problem]
) -> list[dict[str, Any]]:
    """One patch per generated component, by name, in the override's order."""
    patches: list[dict[str, Any]] = []
    env = spec.get("envs") or spec.get("env") or []
    if env:
        container = {"name": "main", "env": without_nulls(env)}
        for component in components:
            template = {"spec": {"containers": [container]}}
            patches.append({"name": component["name"], "podTemplate": template})
    written: list[tuple[str, str, Mapping[str, Any]]] = []
    for name, service in (spec.get("services") or {}).items():
        path = f"{_ROOT}.spec.services.{name}"
        partial, found = component_from_service(service or {}, path)
        problems.extend(found)
        written.append((str(name), path, partial))
    for at, component in enumerate(spec.get("components") or []):
        path = f"{_ROOT}.spec.components[{at}]"
        if not isinstance(component, Mapping) or not component.get("name"):
            problems.append(Problem(path, "must name the component it changes", mend="add `name`"))
            continue
        written.append((str(component["name"]), path, component))
    for name, path, partial in written:
        target = find_component(components, name)
        if target is None:
            names = [str(component["name"]) for component in components]
            close = did_you_mean(name, names)
            hint = f"did you mean {close}? " if close else ""
            problems.append(
                Problem(
                    path, "matches no component of the generated graph", f"{hint}it has {', '.join(names)}"
                )
            )
            continue
        patches.append({**partial, "name": target["name"]})
    return patches


def _unknown(path: str, key: str, known: Sequence[str]) -> Problem:
    close = did_you_mean(key, known)
    return Problem(
        path, "cannot be overridden", f"did you mean {close}?" if close else f"use {', '.join(known)}"
    )
