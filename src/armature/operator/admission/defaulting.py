"""What a mutating webhook fills in, as a JSON patch (reference §3.9, WH-02).

Mutation comes before the object's schema is checked, so any shape may come; what is not the right shape is left alone,
for the schema to refuse. The defaults of the CRDs are the API server's; here is what they cannot say.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from armature.operator.admission.kinds import ALPHA
from armature.operator.admission.plain import mapping_at
from armature.operator.admission.policy import Object, Policy, Write

__all__ = ["default_patch"]

_ORIGIN_VERSION = "nvidia.com/dynamo-operator-origin-version"
_ENABLE_GROVE = "nvidia.com/enable-grove"
_SEMVER = re.compile(r"v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")


def default_patch(write: Write, policy: Policy) -> list[dict[str, Any]]:
    """JSON patch (RFC 6902) operations; none where nothing is to be filled in."""
    filled = copy.deepcopy(write.new)
    if write.kind == "DynamoGraphDeploymentRequest" and write.operation == "CREATE":
        _default_request(filled, write, policy)
    elif write.kind == "DynamoGraphDeployment":
        _default_graph(filled, write, policy)
    return _difference(write.new, filled, "")


def _fill(fields: dict[str, Any], **defaults: Any) -> None:
    for name, value in defaults.items():
        if fields.get(name) is None or fields[name] == "":
            fields[name] = value


def _default_request(request: Object, write: Write, policy: Policy) -> None:
    """v1alpha1 has other defaults: `autoApply` is false in its shipped form (C-11); its strategy and its backend are
    those of v1beta1 and are filled in when it is converted."""
    spec = request.get("spec")
    if not isinstance(spec, dict):
        return
    if write.version == ALPHA:
        _fill(spec, autoApply=spec.get("profilingConfig") is None)
        return
    _fill(spec, backend="auto", searchStrategy="rapid", autoApply=True)
    if policy.default_image:
        _fill(spec, image=policy.default_image)


def _default_graph(graph: Object, write: Write, policy: Policy) -> None:
    grove = policy.grove and not _without_grove(graph)
    for component in _components(graph, write.version):
        _fill(component, replicas=1)
        if grove and write.version != ALPHA:
            _fill(component, minAvailable=1)
    metadata = graph.get("metadata")
    if write.operation != "CREATE" or not isinstance(metadata, dict):
        return
    annotations = metadata.get("annotations")
    if _SEMVER.fullmatch(policy.origin_version) and (annotations is None or isinstance(annotations, dict)):
        metadata["annotations"] = {_ORIGIN_VERSION: policy.origin_version, **(annotations or {})}


def _without_grove(graph: Object) -> bool:
    return str(mapping_at(graph, "metadata", "annotations").get(_ENABLE_GROVE, "")).lower() == "false"


def _components(graph: Object, version: str) -> list[dict[str, Any]]:
    spec = mapping_at(graph, "spec")
    entries = spec.get("services" if version == ALPHA else "components")
    listed = entries.values() if version == ALPHA and isinstance(entries, dict) else entries
    return (
        []
        if listed is None or isinstance(listed, str | int | float)
        else [entry for entry in listed if isinstance(entry, dict)]
    )


def _difference(old: Any, new: Any, path: str) -> list[dict[str, Any]]:
    """From `old` to `new`, where nothing is removed and no list grows."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        operations = []
        for key, value in new.items():
            below = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in old:
                operations.append({"op": "add", "path": below, "value": value})
            else:
                operations += _difference(old[key], value, below)
        return operations
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [step for index, (one, other) in pairs for step in _difference(one, other, f"{path}/{index}")]
    return [] if old == new else [{"op": "replace", "path": path, "value": new}]
