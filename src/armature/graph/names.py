"""Names that Kubernetes and Grove take: of the graph, of its components and of what belongs to it.

Grove builds a pod's name from graph, scaling group and clique, and the operator refuses more than 45 characters
of them together. A single-node component costs its own name; a multi-node one costs its name twice and the role
suffix (`-ldr`, `-wkr`), which is why multi-node workers get short names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

__all__ = ["COMBINED_LIMIT", "component_cost", "dgd_name", "is_dns_label", "with_suffix"]

COMBINED_LIMIT = 45
"""Characters of graph, scaling group and clique name together (the operator's Grove limit)."""

_ROLE_SUFFIX = 4
_HASH = 6
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def component_cost(name: str, nodes: int = 1) -> int:
    """Characters that a component takes from `COMBINED_LIMIT`."""
    return len(name) if nodes <= 1 else 2 * len(name) + _ROLE_SUFFIX


def dgd_name(request_name: str, costs: Iterable[int]) -> str:
    """`<dgdr>-dgd` (C-14), shortened with a stable hash so that it fits beside the dearest component.

    The result is a DNS label that starts with a letter, because Services are named after it.
    """
    clean = re.sub(r"[^a-z0-9]+", "-", request_name.lower()).strip("-")
    if not clean or not clean[0].isalpha():
        clean = f"r-{clean}".rstrip("-")
    return with_suffix(clean, "-dgd", COMBINED_LIMIT - max(costs, default=0))


def with_suffix(name: str, suffix: str, limit: int) -> str:
    """`name + suffix` in at most `limit` characters; a cut name carries a hash of the whole one."""
    if len(name) + len(suffix) <= limit:
        return name + suffix
    digest = hashlib.sha256((name + suffix).encode()).hexdigest()[:_HASH]
    kept = max(1, limit - len(suffix) - _HASH - 1)
    return f"{name[:kept].rstrip('-')}-{digest}{suffix}"


def is_dns_label(name: str, limit: int = 63) -> bool:
    """Whether a Service may be named so: RFC 1035, at most `limit` characters."""
    return len(name) <= limit and _LABEL.fullmatch(name) is not None
