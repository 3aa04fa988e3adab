"""The /etc/hosts of a pod, which stands in for cluster DNS: its own name, every Service, and pods with a subdomain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from armature_testbed.process_node.downward import Pod
from armature_testbed.process_node.endpoints import slices_by_service

__all__ = ["hosts_text", "service_names"]

_DOMAIN = "cluster.local"


def service_names(
    services: Iterable[Mapping[str, Any]], slices: Iterable[Mapping[str, Any]]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Addresses by (name, namespace): a Service's ClusterIP, or the addresses behind a headless one; and each of
    its endpoints that has a hostname, as `<hostname>.<service>`."""
    by_service = slices_by_service(slices)
    made: dict[tuple[str, str], tuple[str, ...]] = {}
    for service in services:
        metadata, spec = service["metadata"], service.get("spec") or {}
        name, namespace = str(metadata["name"]), str(metadata["namespace"])
        address = spec.get("clusterIP")
        if address and address != "None":
            made[name, namespace] = (str(address),)
            continue
        unready_too = bool(spec.get("publishNotReadyAddresses"))
        found: set[str] = set()
        for item in by_service.get((namespace, name), []):
            for endpoint in item.get("endpoints") or []:
                if not unready_too and (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                addresses = tuple(str(ip) for ip in endpoint.get("addresses") or [])
                found.update(addresses)
                if endpoint.get("hostname"):
                    made[f"{endpoint['hostname']}.{name}", namespace] = addresses
        if found:
            made[name, namespace] = tuple(sorted(found))
    return made


def hosts_text(pod: Pod, pod_ip: str, names: Mapping[tuple[str, str], tuple[str, ...]]) -> str:
    """The file: one address and its names a line, Services in order of namespace and name."""
    spec, namespace = pod.get("spec") or {}, str(pod["metadata"]["namespace"])
    host = str(spec.get("hostname") or pod["metadata"]["name"])
    subdomain = spec.get("subdomain")
    own = [f"{host}.{subdomain}.{namespace}.svc.{_DOMAIN}", host] if subdomain else [host]
    lines = ["# Written by Armature's node agent.", "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost"]
    lines.append(f"{pod_ip}\t{' '.join(own)}")
    for alias in spec.get("hostAliases") or []:
        lines.append(f"{alias['ip']}\t{' '.join(alias.get('hostnames') or [])}")
    for (name, where), addresses in sorted(names.items(), key=lambda entry: (entry[0][1], entry[0][0])):
        known = [f"{name}.{where}.svc.{_DOMAIN}", f"{name}.{where}.svc", f"{name}.{where}"]
        if where == namespace:
            known.append(name)
        lines += [f"{address}\t{' '.join(known)}" for address in addresses]
    return "\n".join(lines) + "\n"
