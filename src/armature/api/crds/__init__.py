"""CustomResourceDefinitions of all seven kinds (OP-02), made from the types, ready to apply to a cluster.

`armature crds` prints them, and the operator applies them with its webhook's address. Without one, a kind whose
versions differ serves the stored version alone: an API server that only renames the version would lose fields.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from armature.api.crds.kinds import Kind, Version, kinds
from armature.api.crds.rules import root_rules_of
from armature.api.crds.schema import object_schema
from armature.api.meta import API_GROUP

__all__ = ["all_crds", "crd", "crd_kinds"]


def crd_kinds() -> tuple[str, ...]:
    """The kinds there are."""
    return tuple(kinds())


def crd(kind: str, client_config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind.

    client_config: where its conversion webhook answers, as Kubernetes' `clientConfig` (`service` or `url`, and
    `caBundle`). Raises KeyError for a kind that is not ours.
    """
    it = kinds()[kind]
    spec: dict[str, Any] = {
        "group": API_GROUP,
        "names": {
            "kind": kind,
            "listKind": f"{kind}List",
            "plural": it.plural,
            "singular": kind.lower(),
            "shortNames": [it.short],
            "categories": ["dynamo"],
        },
        "scope": "Namespaced",
        "versions": [
            _version(name, version, it, served=version.stored or it.alike or client_config is not None)
            for name, version in it.versions.items()
        ],
        "conversion": {"strategy": "None"},
    }
    if client_config is not None and not it.alike:
        webhook = {"conversionReviewVersions": ["v1"], "clientConfig": copy.deepcopy(dict(client_config))}
        spec["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{it.plural}.{API_GROUP}",
            "annotations": {"helm.sh/resource-policy": "keep"},  # removing a CRD removes the users' objects
        },
        "spec": spec,
    }


def all_crds(client_config: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The CustomResourceDefinitions of all kinds; the argument as in `crd`."""
    return [crd(kind, client_config) for kind in kinds()]


def _version(name: str, version: Version, kind: Kind, served: bool) -> dict[str, Any]:
    schema = object_schema(version.cls)
    text = {"type": "string"}
    schema["properties"] |= {"apiVersion": text, "kind": text, "metadata": {"type": "object"}}
    rules = root_rules_of(version.cls)
    if rules:
        schema["x-kubernetes-validations"] = rules
    out: dict[str, Any] = {
        "name": name,
        "served": served,
        "storage": version.stored,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [_column(*column) for column in version.columns],
    }
    if kind.subresources is not None:
        out["subresources"] = copy.deepcopy(dict(kind.subresources))
    return out


def _column(name: str, kind: str, path: str, about: str = "") -> dict[str, str]:
    column = {"name": name, "type": kind, "jsonPath": path}
    return {**column, "description": about} if about else column
