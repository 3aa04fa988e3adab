"""What a pod's volumes hold and where its containers see them: a pure plan that `storage` writes to disk."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from armature_testbed.process_node.downward import ConfigError, Pod, field_value, resource_value
from armature_testbed.process_node.environment import Kind, Objects, PodFacts, expand, keyed_bytes

__all__ = ["File", "Folder", "Mount", "TokenAsk", "VolumeContent", "mounts", "token_asks", "volume_content"]

_DEFAULT_MODE = 0o644
_KNOWN = ("emptyDir", "configMap", "secret", "projected", "downwardAPI", "persistentVolumeClaim")


@dataclass(frozen=True, slots=True)
class File:
    data: bytes
    mode: int = _DEFAULT_MODE


@dataclass(frozen=True, slots=True)
class VolumeContent:
    """Files that the node writes and keeps up to date, by relative path."""

    files: Mapping[str, File] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory: the pod's own and empty at its start (`claim` None), or the one behind a claim."""

    claim: str | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class TokenAsk:
    """A service-account token that a projected volume wants; lifetime in seconds."""

    volume: str
    path: str
    audience: str
    lifetime_s: int


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of a container. `volume` is its name, `sub_path` within it; target is absolute."""

    volume: str
    target: str
    sub_path: str = ""
    read_only: bool = False


def volume_content(
    volume: Mapping[str, Any], pod: Pod, facts: PodFacts, objects: Objects, tokens: Mapping[TokenAsk, str]
) -> VolumeContent | Folder:
    """What one volume holds. `tokens` answer `token_asks`.

    Raises ConfigError, in the kubelet's words where it has some, for what is missing or refused here.
    """
    name = str(volume["name"])
    if "emptyDir" in volume:
        return Folder()
    if (claim := volume.get("persistentVolumeClaim")) is not None:
        return Folder(str(claim["claimName"]), bool(claim.get("readOnly")))
    maker = _Files(pod, facts, objects)
    if (projected := volume.get("projected")) is not None:
        default = projected.get("defaultMode", _DEFAULT_MODE)
        for source in projected.get("sources") or []:
            maker.source(source, default, tokens, name)
    elif any(key in volume for key in ("configMap", "secret", "downwardAPI")):
        body = volume.get("configMap") or volume.get("secret") or volume.get("downwardAPI") or {}
        maker.source(volume, body.get("defaultMode", _DEFAULT_MODE), tokens, name)
    else:
        kinds = [key for key in volume if key != "name"] or ["of no kind"]
        raise ConfigError(
            f'volume "{name}": {", ".join(kinds)} is refused on a process node; it offers {", ".join(_KNOWN)}'
        )
    return VolumeContent(maker.files)


def token_asks(pod: Pod) -> list[TokenAsk]:
    """The tokens that a pod's projected volumes want."""
    return [
        TokenAsk(
            str(volume["name"]),
            str(token["path"]),
            str(token.get("audience") or ""),
            int(token.get("expirationSeconds") or 3600),
        )
        for volume in (pod.get("spec") or {}).get("volumes") or []
        for source in (volume.get("projected") or {}).get("sources") or []
        if (token := source.get("serviceAccountToken"))
    ]


def mounts(container: Mapping[str, Any], pod: Pod, env: Mapping[str, str]) -> list[Mount]:
    """A container's mounts, outer directories before those within them.

    Raises ConfigError for an unknown volume, or a path that leaves its volume.
    """
    known = {str(volume["name"]): volume for volume in (pod.get("spec") or {}).get("volumes") or []}
    found = []
    for item in container.get("volumeMounts") or []:
        name = str(item["name"])
        if name not in known:
            raise ConfigError(f'volumeMounts name "{name}" is no volume of the pod')
        written = item.get("subPath") or expand(str(item.get("subPathExpr") or ""), env)
        if written.startswith("/") or ".." in PurePosixPath(written).parts:
            raise ConfigError(f'volumeMounts "{name}": subPath {written!r} leaves the volume')
        target = posixpath.normpath(posixpath.join("/", str(item["mountPath"])))
        claim = known[name].get("persistentVolumeClaim") or {}
        read_only = bool(item.get("readOnly") or claim.get("readOnly")) or _kept_up_to_date(known[name])
        found.append(Mount(name, target, written, read_only))
    return sorted(found, key=lambda mount: mount.target.count("/") if mount.target != "/" else 0)


def _kept_up_to_date(volume: Mapping[str, Any]) -> bool:
    """Volumes whose files the node writes are read-only to containers, as on every node."""
    return any(key in volume for key in ("configMap", "secret", "downwardAPI", "projected"))


class _Files:
    """Gathers the files of one volume; a later source wins."""

    def __init__(self, pod: Pod, facts: PodFacts, objects: Objects) -> None:
        self.pod, self.facts, self.objects = pod, facts, objects
        self.files: dict[str, File] = {}

    def source(
        self, source: Mapping[str, Any], default: int, tokens: Mapping[TokenAsk, str], volume: str
    ) -> None:
        if (body := source.get("configMap")) is not None:
            self._keyed("ConfigMap", str(body.get("name")), body, default)
        elif (body := source.get("secret")) is not None:
            self._keyed("Secret", str(body.get("secretName") or body.get("name")), body, default)
        elif (body := source.get("downwardAPI")) is not None:
            self._downward(body, default)
        elif (token := source.get("serviceAccountToken")) is not None:
            path = str(token["path"])
            value = next(
                (text for ask, text in tokens.items() if (ask.volume, ask.path) == (volume, path)), ""
            )
            self._add(path, value.encode(), default)
        else:
            raise ConfigError(f'volume "{volume}": projected source {", ".join(source)} is refused here')

    def _keyed(self, kind: Kind, name: str, body: Mapping[str, Any], default: int) -> None:
        found = self.objects.get((kind, name))
        optional = bool(body.get("optional"))
        if found is None:
            if not optional:
                raise ConfigError(f'{kind.lower()} "{name}" not found')
            return
        entries = keyed_bytes(kind, found)
        items = body.get("items")
        if items is None:
            items = [{"key": key, "path": key} for key in entries]
        for item in items:
            if item["key"] in entries:
                self._add(str(item["path"]), entries[item["key"]], item.get("mode", default))
            elif not optional:
                noun = "config" if kind == "ConfigMap" else "secret"
                raise ConfigError(f"references non-existent {noun} key: {item['key']}")

    def _downward(self, body: Mapping[str, Any], default: int) -> None:
        for item in body.get("items") or []:
            if (reference := item.get("fieldRef")) is not None:
                text = field_value(
                    self.pod,
                    str(reference["fieldPath"]),
                    pod_ip=self.facts.pod_ip,
                    host_ip=self.facts.host_ip,
                    in_volume=True,
                )
            else:
                text = resource_value(
                    self.pod, item.get("resourceFieldRef") or {}, "", self.facts.allocatable
                )
            self._add(str(item["path"]), text.encode(), item.get("mode", default))

    def _add(self, path: str, data: bytes, mode: int | None) -> None:
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise ConfigError(f"path {path!r} leaves its volume")
        self.files[posixpath.normpath(path)] = File(data, _DEFAULT_MODE if mode is None else int(mode))
