"""The shapes of a pod template that every reader of it relies on: mappings and lists where Kubernetes has them.

Templates are open mappings, so their types say nothing; a wrong shape is named here rather than met as a crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from armature.api.problems import MISSING
from armature.errors import Problem

__all__ = ["containers_of", "env_problems", "pod_template_problems"]


def containers_of(pod_template: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The containers of a pod template, in order; entries that are no mappings are left out."""
    spec = pod_template.get("spec")
    containers = spec.get("containers") if isinstance(spec, Mapping) else None
    return [item for item in containers if isinstance(item, Mapping)] if isinstance(containers, list) else []


def env_problems(env: Sequence[Any], path: str) -> list[Problem]:
    """Each entry has a name, and its value is a string, as a container's environment needs."""
    problems = []
    for index, entry in enumerate(env):
        where = f"{path}[{index}]"
        if not isinstance(entry, Mapping):
            problems.append(Problem(where, "must be a mapping", "write name and value", entry))
            continue
        if not isinstance(entry.get("name"), str) or not entry.get("name"):
            problems.append(Problem(f"{where}.name", MISSING, "add name", entry.get("name")))
        value = entry.get("value")
        if value is not None and not isinstance(value, str):
            shown = str(value).lower() if isinstance(value, bool) else value
            problems.append(
                Problem(f"{where}.value", "must be a string", f'put it in quotes: "{shown}"', value)
            )
    return problems


def pod_template_problems(template: Mapping[str, Any], path: str) -> list[Problem]:
    """Wrong shapes in metadata, volumes and containers, and containers without a name of their own."""
    problems = _mapping(template, "metadata", path)
    for key in ("labels", "annotations"):
        metadata = template.get("metadata")
        if isinstance(metadata, Mapping):
            problems += _mapping(metadata, key, f"{path}.metadata")
    problems += _mapping(template, "spec", path)
    spec = template.get("spec")
    if not isinstance(spec, Mapping):
        return problems
    at = f"{path}.spec"
    problems += _list_of_mappings(spec, "volumes", at) + _list_of_mappings(spec, "containers", at)
    problems += _mapping(spec, "nodeSelector", at) + _list_of_mappings(spec, "tolerations", at)
    names: set[str] = set()
    entries = spec.get("containers")
    for index, container in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(container, Mapping):
            problems += _container_problems(container, f"{at}.containers[{index}]", names)
    return problems


def _container_problems(container: Mapping[str, Any], path: str, names: set[str]) -> list[Problem]:
    """`names` holds the containers seen before and takes this one's."""
    problems: list[Problem] = []
    name = container.get("name")
    if not isinstance(name, str) or not name:
        problems.append(Problem(f"{path}.name", MISSING, "the engine's container is main"))
    elif name in names:
        problems.append(
            Problem(f"{path}.name", "is taken by an earlier container", "rename one of them", name)
        )
    else:
        names.add(name)
    image = container.get("image")
    if image is not None and not isinstance(image, str):
        problems.append(Problem(f"{path}.image", "must be a string", _quoted(image), image))
    for key in ("command", "args"):
        problems += _words_problems(container.get(key), f"{path}.{key}")
    env = container.get("env")
    if isinstance(env, list):
        problems += env_problems(env, f"{path}.env")
    elif env is not None:
        problems.append(Problem(f"{path}.env", "must be a list", "write `- name: X` below it", env))
    for key in ("envFrom", "volumeMounts", "ports"):
        problems += _list_of_mappings(container, key, path)
    problems += _mapping(container, "resources", path)
    resources = container.get("resources")
    if isinstance(resources, Mapping):
        for key in ("limits", "requests"):
            problems += _amounts_problems(resources, key, f"{path}.resources")
    return problems


def _amounts_problems(resources: Mapping[str, Any], key: str, path: str) -> list[Problem]:
    problems = _mapping(resources, key, path)
    amounts = resources.get(key)
    for name, amount in amounts.items() if isinstance(amounts, Mapping) else ():
        if isinstance(amount, bool) or not isinstance(amount, str | int | float):
            rule = "must be an amount, such as 1 or 8Gi"
            problems.append(Problem(f'{path}.{key}["{name}"]', rule, "", amount))
    return problems


def _words_problems(words: Any, path: str) -> list[Problem]:
    if words is None:
        return []
    if not isinstance(words, list):
        return [Problem(path, "must be a list of strings", f"write it as a list: [{words}]", words)]
    return [
        Problem(f"{path}[{index}]", "must be a string", _quoted(word), word)
        for index, word in enumerate(words)
        if not isinstance(word, str)
    ]


def _quoted(value: Any) -> str:
    """The mend for a scalar that should be a string; none for anything else."""
    if not isinstance(value, bool | int | float):
        return ""
    return f'put it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'


def _mapping(parent: Mapping[str, Any], key: str, path: str) -> list[Problem]:
    value = parent.get(key)
    if value is None or isinstance(value, Mapping):
        return []
    return [Problem(f"{path}.{key}", "must be a mapping", "write `key: value` lines below it", value)]


def _list_of_mappings(parent: Mapping[str, Any], key: str, path: str) -> list[Problem]:
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        return [Problem(f"{path}.{key}", "must be a list", "write `- ` before each entry", value)]
    return [
        Problem(f"{path}.{key}[{index}]", "must be a mapping", "write `key: value` lines", item)
        for index, item in enumerate(value)
        if not isinstance(item, Mapping)
    ]
