"""The downward API: what a pod may learn about itself, as environment values and as files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from armature_testbed.process_node.quantity import divided

__all__ = ["ConfigError", "Pod", "all_containers", "field_value", "resource_value"]

Pod = Mapping[str, Any]
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ConfigError(Exception):
    """A container cannot be started as its pod describes it; the text is what a kubelet would say."""


def field_value(pod: Pod, path: str, *, pod_ip: str, host_ip: str, in_volume: bool = False) -> str:
    """The value of a `fieldRef`. Whole labels and annotations exist in volumes only, one `key="value"` a line.

    Raises ConfigError for a path that the API does not offer there.
    """
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    if (keyed := _KEYED.fullmatch(path)) is not None:
        return str((metadata.get(keyed[1]) or {}).get(keyed[2], ""))
    if in_volume and path in ("metadata.labels", "metadata.annotations"):
        entries = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f"{key}={json.dumps(value)}" for key, value in sorted(entries.items()))
    values = {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
        "status.hostIP": host_ip,
        "status.hostIPs": host_ip,
    }
    if path not in values:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(values[path])


def resource_value(
    pod: Pod, reference: Mapping[str, Any], container: str, allocatable: Mapping[str, str]
) -> str:
    """The value of a `resourceFieldRef`; a limit that is not set is what the node has to give."""
    side, _, name = str(reference.get("resource", "")).partition(".")
    wanted = str(reference.get("containerName") or container)
    found = next((item for item in all_containers(pod) if item.get("name") == wanted), None)
    if found is None:
        raise ConfigError(f"container {wanted} not found")
    if side not in ("limits", "requests") or name not in ("cpu", "memory", "ephemeral-storage"):
        raise ConfigError(f"unsupported container resource: {reference.get('resource')}")
    amount = ((found.get("resources") or {}).get(side) or {}).get(name)
    if amount is None:
        amount = allocatable.get(name, "0") if side == "limits" else "0"
    return str(divided(amount, reference.get("divisor") or "1"))


def all_containers(pod: Pod) -> Sequence[Mapping[str, Any]]:
    """All containers of a pod, init containers first."""
    spec = pod.get("spec") or {}
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
