"""`overrides.dgd`: a partial graph of either version, merged onto the generated one in one place.

The override is brought to v1beta1 first (C-41), its services are matched to generated components, and one strategic
merge applies it. `spec.envs` (`spec.env`) goes to every component, by name (GEN-07, GEN-10). Lists of scalars, such
as `args`, replace; `$patch: delete` in an item removes it. Nothing is dropped in silence: a service that matches
nothing is an error, and the set of components cannot be changed. `overrides.profilingJob` never comes here (GEN-09).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from armature.api.meta import V1ALPHA1, V1BETA1
from armature.api.problems import closest, from_validation_error
from armature.api.unknown import unknown_keys
from armature.errors import InvalidInput, Problem
from armature.graph.merge import strategic_merge, without_nulls

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
    override = {key: value for key, value in override.items() if value is not None}
    problems = _shape_problems(override)
    if problems:
        raise InvalidInput(_ROOT, problems)
    spec = override.get("spec", {})
    patches = _component_patches(dgd["spec"]["components"], spec, problems)
    if problems:
        raise InvalidInput(_ROOT, problems)
    merged = strategic_merge(dgd, {"metadata": dict(override.get("metadata", {}))})
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
    for part in ("metadata", "spec"):
        if not isinstance(override.get(part, {}), Mapping):
            return [*problems, Problem(f"{_ROOT}.{part}", "must be a mapping", value=override[part])]
    for key in override.get("metadata", {}):
        if key not in _METADATA:
            problems.append(_unknown(f"{_ROOT}.metadata.{key}", key, _METADATA))
    spec = override.get("spec", {})
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
    key = "envs" if "envs" in spec else "env"
    env = spec.get(key) or []
    if not (isinstance(env, list) and all(isinstance(item, Mapping) and item.get("name") for item in env)):
        problems.append(Problem(f"{_ROOT}.spec.{key}", "must be a list of variables with names"))
    elif env:
        container = {"name": "main", "env": without_nulls(env)}
        for component in components:
            template = {"spec": {"containers": [container]}}
            patches.append({"name": component["name"], "podTemplate": template})
    for at, claim in enumerate(spec.get("pvcs") or []):
        if isinstance(claim, Mapping) and claim.get("create"):
            path = f"{_ROOT}.spec.pvcs[{at}].create"
            problems.append(Problem(path, "no PVC is created from an override", "create it first", True))
    services, parts = spec.get("services") or {}, spec.get("components") or []
    for path, value, kind in (("services", services, Mapping), ("components", parts, list)):
        if not isinstance(value, kind):
            what = "a mapping" if kind is Mapping else "a list"
            problems.append(Problem(f"{_ROOT}.spec.{path}", f"must be {what}", value=value))
            return patches
    written: list[tuple[str, str, Mapping[str, Any]]] = []
    for name, service in services.items():
        path = f"{_ROOT}.spec.services.{name}"
        if not isinstance(service, Mapping):
            problems.append(Problem(path, "must be a mapping", value=service))
            continue
        converted, found = _from_service(without_nulls(service), path)
        problems.extend(found)
        written.append((str(name), path, converted))
    for at, wanted in enumerate(parts):
        path = f"{_ROOT}.spec.components[{at}]"
        if not isinstance(wanted, Mapping) or not wanted.get("name"):
            problems.append(Problem(path, "must name the component it changes", mend="add `name`"))
            continue
        written.append((str(wanted["name"]), path, wanted))
    for name, path, partial in written:
        target = find_component(components, name)
        if target is None:
            names = [str(component["name"]) for component in components]
            close = closest(name, names)
            hint = f"did you mean {close}? " if close else ""
            problems.append(
                Problem(
                    path, "matches no component of the generated graph", f"{hint}it has {', '.join(names)}"
                )
            )
            continue
        patches.append({**partial, "name": target["name"]})
    return patches


def _from_service(service: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[Problem]]:
    """A partial v1alpha1 service as a partial component, and what is wrong with it or would have no effect."""
    from armature.api.convert.service_to_beta import (
        convert_service,
    )  # only an override in v1alpha1 needs them
    from armature.api.v1alpha1 import Service

    unknown = [
        replace(problem, path=f"{path}.{problem.path}") for _, problem in unknown_keys(Service, service)
    ]
    try:
        Service.model_validate(service, by_alias=True, by_name=False)
    except ValidationError as error:
        wrong = [
            replace(problem, path=f"{path}.{problem.path}") for _, problem in from_validation_error(error)
        ]
        return {}, [*unknown, *wrong]
    component, notes, _ = convert_service("", service, path)
    del component["name"]
    if (service.get("scalingAdapter") or {}).get("enabled") is False:
        component["scalingAdapter"] = None
    return component, [*unknown, *(Problem(path, note.removeprefix(f"{path}.")) for note in notes)]


def _unknown(path: str, key: str, known: Sequence[str]) -> Problem:
    close = closest(key, known)
    return Problem(
        path, "cannot be overridden", f"did you mean {close}?" if close else f"use {', '.join(known)}"
    )
