"""Resources as YAML text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from armature.api.base import Model
from armature.api.parse import to_dict

__all__ = ["to_yaml", "to_yaml_documents"]


def to_yaml(resource: Model) -> str:
    """The resource as one YAML document: only what was set."""
    from armature.api.yaml_text import dump_yaml  # most commands write no YAML

    return dump_yaml(to_dict(resource))


def to_yaml_documents(documents: Iterable[Mapping[str, Any]]) -> str:
    """Several documents in one text, divided by `---`."""
    from armature.api.yaml_text import dump_yaml

    return "---\n".join(dump_yaml(dict(document)) for document in documents)
