"""A container's environment and command line, as a kubelet makes them: `$(NAME)`, envFrom, valueFrom, Services.

Pure: ConfigMaps and Secrets are handed in (`Objects`), and `references` says which a pod needs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from armature_testbed.process_node.downward import (
    ConfigError,
    Pod,
    all_containers,
    field_value,
    resource_value,
)

__all__ = [
    "Objects",
    "PodFacts",
    "command_line",
    "container_env",
    "expand",
    "keyed_bytes",
    "references",
    "service_env",
]

Kind = Literal["ConfigMap", "Secret"]
Objects = Mapping[tuple[Kind, str], Mapping[str, Any]]
"""ConfigMaps and Secrets of the pod's namespace, by kind and name; a missing one is absent."""
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the node knows about a pod beside its object."""

    pod_ip: str
    host_ip: str
    allocatable: Mapping[str, str] = field(default_factory=dict)


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` filled in where NAME is known, left as it is where not; `$$` stands for `$`."""
    made: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            made.append(text[at])
            at += 1
            continue
        following = text[at + 1]
        end = text.find(")", at) if following == "(" else -1
        if end >= 0:
            name = text[at + 2 : end]
            made.append(values.get(name, f"$({name})"))
            at = end + 1
        else:
            made.append("$" if following == "$" else f"${following}")
            at += 2
    return "".join(made)


def command_line(
    container: Mapping[str, Any], env: Mapping[str, str], entrypoint: Sequence[str]
) -> tuple[str, ...]:
    """`command` and `args` with variables filled in; the image's entrypoint where there is no command."""
    command = container.get("command") or []
    args = container.get("args") or []
    words = [expand(str(word), env) for word in (*command, *args)]
    return tuple(words if command else [*entrypoint, *words])


def container_env(
    container: Mapping[str, Any], pod: Pod, facts: PodFacts, objects: Objects, services: Mapping[str, str]
) -> dict[str, str]:
    """Variables that the pod gives a container. `services` are those every container has (`service_env`).

    Raises ConfigError with the kubelet's own words for the first thing that is missing.
    """
    made: dict[str, str] = {}
    namespace = str(pod["metadata"].get("namespace"))
    for source in container.get("envFrom") or []:
        made.update(_env_from(source, objects))
    for item in container.get("env") or []:
        name = str(item["name"])
        origin = item.get("valueFrom")
        if not origin:
            made[name] = expand(str(item.get("value") or ""), {**services, **made})
            continue
        value = _value_from(origin, str(container["name"]), pod, facts, objects, namespace)
        if value is not None:
            made[name] = value
    return {**services, **made}


def references(pod: Pod) -> set[tuple[Kind, str]]:
    """The ConfigMaps and Secrets that a pod's environment and volumes name."""
    found: set[tuple[Kind, str]] = set()
    for container in all_containers(pod):
        for source in container.get("envFrom") or []:
            found |= set(_named(source, "configMapRef", "secretRef"))
        for item in container.get("env") or []:
            found |= set(_named(item.get("valueFrom") or {}, "configMapKeyRef", "secretKeyRef"))
    for volume in (pod.get("spec") or {}).get("volumes") or []:
        sources = [volume, *((volume.get("projected") or {}).get("sources") or [])]
        for source in sources:
            found |= set(_named(source, "configMap", "secret"))
    return found


def service_env(services: Iterable[Mapping[str, Any]], namespace: str, *, links: bool) -> dict[str, str]:
    """`{NAME}_SERVICE_HOST` and `_PORT` of the API server, and with `links` of the namespace's Services too."""
    made: dict[str, str] = {}
    for service in services:
        metadata, spec = service["metadata"], service.get("spec") or {}
        address = spec.get("clusterIP")
        apiserver = metadata.get("namespace") == "default" and metadata.get("name") == "kubernetes"
        if address in (None, "", "None") or not (apiserver or (links and metadata["namespace"] == namespace)):
            continue
        prefix = str(metadata["name"]).upper().replace("-", "_")
        ports = spec.get("ports") or []
        made[f"{prefix}_SERVICE_HOST"] = str(address)
        if ports:
            made[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                made[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    return made


def keyed_bytes(kind: Kind, found: Mapping[str, Any]) -> dict[str, bytes]:
    """The entries of a ConfigMap or Secret as bytes."""
    if kind == "Secret":
        return {key: base64.b64decode(value or "") for key, value in (found.get("data") or {}).items()}
    entries = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
    return entries | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


def _env_from(source: Mapping[str, Any], objects: Objects) -> dict[str, str]:
    made: dict[str, str] = {}
    for kind, name in _named(source, "configMapRef", "secretRef"):
        reference = source["configMapRef" if kind == "ConfigMap" else "secretRef"]
        found = objects.get((kind, name))
        if found is None:
            if reference.get("optional"):
                continue
            raise ConfigError(f'{kind.lower()} "{name}" not found')
        prefix = str(source.get("prefix") or "")
        for key, value in sorted(keyed_bytes(kind, found).items()):
            if _NAME.fullmatch(prefix + key):
                made[prefix + key] = value.decode("utf-8", "replace")
    return made


def _value_from(
    origin: Mapping[str, Any], container: str, pod: Pod, facts: PodFacts, objects: Objects, namespace: str
) -> str | None:
    """None: an optional source is not there, and the variable is left out."""
    if (reference := origin.get("fieldRef")) is not None:
        path = str(reference.get("fieldPath"))
        return field_value(pod, path, pod_ip=facts.pod_ip, host_ip=facts.host_ip)
    if (reference := origin.get("resourceFieldRef")) is not None:
        return resource_value(pod, reference, container, facts.allocatable)
    for kind, name in _named(origin, "configMapKeyRef", "secretKeyRef"):
        reference = origin["configMapKeyRef" if kind == "ConfigMap" else "secretKeyRef"]
        key, optional = str(reference.get("key")), bool(reference.get("optional"))
        found = objects.get((kind, name))
        if found is None and not optional:
            raise ConfigError(f'{kind.lower()} "{name}" not found')
        value = keyed_bytes(kind, found).get(key) if found is not None else None
        if value is None and not optional:
            raise ConfigError(f"couldn't find key {key} in {kind} {namespace}/{name}")
        return None if value is None else value.decode("utf-8", "replace")
    raise ConfigError(f"valueFrom of a kind that this node does not know: {', '.join(origin)}")


def _named(source: Mapping[str, Any], config_map: str, secret: str) -> Iterator[tuple[Kind, str]]:
    if source.get(config_map):
        yield "ConfigMap", str(source[config_map].get("name"))
    if source.get(secret):
        yield "Secret", str(source[secret].get("name") or source[secret].get("secretName"))
