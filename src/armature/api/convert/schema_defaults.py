"""The defaults of v1alpha1's CRD, put into an object that is read in it.

An API server defaults what a client writes and not what it converts for one who reads. If both did not look alike, a
v1alpha1 client that writes back what it read would change the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from armature.api.crds.kinds import ALPHA, kinds
from armature.api.crds.schema import object_schema

__all__ = ["with_alpha_defaults"]

Tree = Mapping[str, Any]
"""A schema without all that has no default in it."""


def with_alpha_defaults(value: dict[str, Any]) -> dict[str, Any]:
    """The v1alpha1 object with its defaults; what has none to add is shared with the object given."""
    filled: dict[str, Any] = _filled(_tree_of(value["kind"]), value)
    return filled


@cache
def _tree_of(kind: str) -> Tree:
    schema = object_schema(kinds()[kind].versions[ALPHA].cls)
    parts = {part: schema["properties"][part] for part in ("spec", "status") if part in schema["properties"]}
    return _pruned({"properties": parts})


def _pruned(schema: Mapping[str, Any]) -> Tree:
    fields: dict[str, Any] = {}
    for name, inner in schema.get("properties", {}).items():
        tree = _pruned(inner)
        if tree:
            fields[name] = tree
    tree = {"default": schema["default"]} if "default" in schema else {}
    if fields:
        tree["fields"] = fields
    for key in ("items", "additionalProperties"):
        inner = _pruned(schema[key]) if key in schema else {}
        if inner:
            tree["each"] = inner
    return tree


def _filled(tree: Tree, value: Any) -> Any:
    if isinstance(value, dict):
        new = {}
        for name, inner in tree.get("fields", {}).items():
            if name in value:
                item = _filled(inner, value[name])
                if item is not value[name]:
                    new[name] = item
            elif "default" in inner:
                new[name] = inner["default"]
        if "each" in tree:
            new |= {key: _filled(tree["each"], item) for key, item in value.items()}
        return {**value, **new} if new else value
    if isinstance(value, list) and "each" in tree:
        return [_filled(tree["each"], item) for item in value]
    return value
