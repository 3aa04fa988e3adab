"""Where the Services' connections go: (ClusterIP, port) to ready addresses, from Services and EndpointSlices. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Backends", "Frontend", "backends", "slices_by_service"]

Frontend = tuple[str, int]
"""A ClusterIP and a port of its Service."""
Backends = dict[Frontend, tuple[tuple[str, int], ...]]
SERVICE_LABEL = "kubernetes.io/service-name"


def backends(services: Iterable[Mapping[str, Any]], slices: Iterable[Mapping[str, Any]]) -> Backends:
    """The ready addresses behind every TCP port of every Service with an IPv4 ClusterIP, sorted.

    Headless Services and those without a ready address are left out: nothing listens for them, so that a connection
    is refused as a real node refuses it.
    """
    by_service = slices_by_service(slices)
    made: Backends = {}
    for service in services:
        metadata, spec = service["metadata"], service.get("spec") or {}
        address = str(spec.get("clusterIP") or "None")
        if address == "None" or ":" in address or spec.get("type") == "ExternalName":
            continue
        own = by_service.get((str(metadata["namespace"]), str(metadata["name"])), [])
        unready_too = bool(spec.get("publishNotReadyAddresses"))
        for port in spec.get("ports") or []:
            if (port.get("protocol") or "TCP") != "TCP":
                continue
            found = {
                (str(ip), int(number))
                for item in own
                for number in _numbers(item, str(port.get("name") or ""))
                for ip in _addresses(item, unready_too)
            }
            if found:
                made[address, int(port["port"])] = tuple(sorted(found))
    return made


def slices_by_service(
    slices: Iterable[Mapping[str, Any]],
) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """IPv4 EndpointSlices by (namespace, Service)."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for item in slices:
        service = (item["metadata"].get("labels") or {}).get(SERVICE_LABEL)
        if service and item.get("addressType", "IPv4") == "IPv4":
            found[str(item["metadata"]["namespace"]), str(service)].append(item)
    return found


def _numbers(item: Mapping[str, Any], name: str) -> list[int]:
    return [
        int(port["port"])
        for port in item.get("ports") or []
        if (port.get("name") or "") == name and port.get("port") and (port.get("protocol") or "TCP") == "TCP"
    ]


def _addresses(item: Mapping[str, Any], unready_too: bool) -> list[str]:
    return [
        str(ip)
        for endpoint in item.get("endpoints") or []
        if unready_too or (endpoint.get("conditions") or {}).get("ready") is not False
        for ip in endpoint.get("addresses") or []
    ]
