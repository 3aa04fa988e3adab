"""Reading plain Kubernetes objects without trusting their shape: a malformed object gives nothing, never a crash.

Only what GPU discovery needs: nested mappings, counts of extended resources, what a pod asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

__all__ = ["as_count", "at", "items", "mapping", "pod_request", "quantity", "text"]

_QUANTITY = re.compile(r"([+-]?\d{1,20}(?:\.\d{1,20})?)(?:[eE]([+-]?\d{1,2})|(m|k|Ki|[MGTPE]i?))?")
_SUFFIX: dict[str, Decimal] = {"m": Decimal("0.001"), "k": Decimal(1000), "Ki": Decimal(1024)} | {
    f"{letter}{binary}": Decimal(1024 if binary else 1000) ** power
    for power, letter in enumerate("MGTPE", start=2)
    for binary in ("", "i")
}
_LARGEST = 10**15


def mapping(value: object) -> Mapping[str, object]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def at(value: object, *keys: str) -> object:
    """The value under nested keys, or None."""
    for key in keys:
        value = mapping(value).get(key)
    return value


def items(value: object) -> Iterator[Mapping[str, object]]:
    """The mappings of a list; nothing when it is no list."""
    if isinstance(value, list | tuple):
        yield from (entry for entry in value if isinstance(entry, Mapping))


def text(value: object) -> str:
    """A string as it is, anything else as an empty one."""
    return value if isinstance(value, str) else ""


def quantity(value: object) -> Decimal | None:
    """A Kubernetes quantity (`1`, `500m`, `16Gi`) as a number; None when it is not one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    number, exponent, suffix = match.groups()
    return Decimal(number) * Decimal(10) ** int(exponent or 0) * _SUFFIX.get(suffix or "", Decimal(1))


def as_count(value: object) -> int | None:
    """A Kubernetes quantity as a whole number of devices, rounded down; None when it is not one or negative."""
    amount = quantity(value)
    return None if amount is None or not 0 <= amount <= _LARGEST else int(amount)


def pod_request(pod: object, resource: str) -> int | None:
    """Devices of an extended resource a pod holds, by the scheduler's rule; None when a quantity is malformed.

    The larger of what all containers ask together and what any init container asks while it runs; an init container
    that restarts (a sidecar) counts with the containers and beside the later init containers. Where only a limit is
    set, it is the request.
    """
    spec = at(pod, "spec")
    running = [_container_request(container, resource) for container in items(at(spec, "containers"))]
    sidecars = peak = 0
    for container in items(at(spec, "initContainers")):
        asked = _container_request(container, resource)
        if asked is None:
            return None
        if container.get("restartPolicy") == "Always":
            sidecars += asked
            peak = max(peak, sidecars)
        else:
            peak = max(peak, sidecars + asked)
    total = sidecars
    for asked in running:
        if asked is None:
            return None
        total += asked
    return max(total, peak)


def _container_request(container: Mapping[str, object], resource: str) -> int | None:
    for kind in ("requests", "limits"):
        amounts = mapping(at(container, "resources", kind))
        if resource in amounts:
            return as_count(amounts[resource])
    return 0
