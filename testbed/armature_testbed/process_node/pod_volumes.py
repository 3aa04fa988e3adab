"""Fills a pod's volumes and keeps them up to date: ConfigMaps, Secrets, tokens, claims. The I/O of `volumes`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from armature.kube.client import Client
from armature.kube.errors import ApiError, NotFound
from armature.kube.kinds import CONFIG_MAP, PVC, SECRET, Kind
from armature_testbed.process_node.downward import ConfigError, Pod
from armature_testbed.process_node.environment import Objects, PodFacts, references
from armature_testbed.process_node.provisioner import PV
from armature_testbed.process_node.storage import PodFolder, write_files
from armature_testbed.process_node.volumes import File, Folder, TokenAsk, token_asks, volume_content

__all__ = ["PodVolumes"]

_RENEW_AT = 0.8  # of a token's life, as a kubelet does


class PodVolumes:
    """`where`: each volume's place on this machine; `objects`: the ConfigMaps and Secrets as last read."""

    def __init__(
        self,
        client: Client,
        facts: PodFacts,
        folder: PodFolder,
        claims_root: Path,
        now_s: Callable[[], float],
    ) -> None:
        self.where: dict[str, Path] = {}
        self.objects: Objects = {}
        self._client = client
        self._facts = facts
        self._folder = folder
        self._claims_root = claims_root
        self._now_s = now_s
        self._tokens: dict[TokenAsk, tuple[str, float]] = {}
        self._written: dict[str, Mapping[str, File]] = {}

    async def refresh(self, pod: Pod) -> None:
        """Reads what the pod refers to and writes what has changed.

        Raises ConfigError for what a container must wait for, and ApiError when the server could not be asked.
        """
        namespace = str(pod["metadata"]["namespace"])
        self.objects = await self._read(pod, namespace)
        tokens = await self._current_tokens(pod, namespace)
        for volume in (pod.get("spec") or {}).get("volumes") or []:
            name = str(volume["name"])
            try:
                content = volume_content(volume, pod, self._facts, self.objects, tokens)
                if isinstance(content, Folder):
                    self.where[name] = (
                        await self._claimed(content.claim, namespace)
                        if content.claim
                        else self._folder.volume(name)
                    )
                    continue
            except ConfigError as error:
                raise ConfigError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from None
            folder = self._folder.volume(name)
            if self._written.get(name) != content.files:
                await asyncio.to_thread(write_files, folder, content.files)
                self._written[name] = content.files
            self.where[name] = folder

    async def _read(self, pod: Pod, namespace: str) -> Objects:
        found: dict[Any, Mapping[str, Any]] = {}
        for kind, name in references(pod):
            try:
                found[kind, name] = await self._client.get(
                    CONFIG_MAP if kind == "ConfigMap" else SECRET, name, namespace
                )
            except NotFound:
                continue
        return found

    async def _current_tokens(self, pod: Pod, namespace: str) -> dict[TokenAsk, str]:
        made: dict[TokenAsk, str] = {}
        for asked in token_asks(pod):
            known = self._tokens.get(asked)
            if known is None or self._now_s() >= known[1]:
                token = await self._ask_token(asked, pod, namespace)
                known = token, self._now_s() + _RENEW_AT * asked.lifetime_s
                self._tokens[asked] = known
            made[asked] = known[0]
        return made

    async def _ask_token(self, asked: TokenAsk, pod: Pod, namespace: str) -> str:
        account = str((pod.get("spec") or {}).get("serviceAccountName") or "default")
        kind = Kind("", "v1", "TokenRequest", f"serviceaccounts/{account}/token")
        bound = {
            "kind": "Pod",
            "apiVersion": "v1",
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        }
        spec: dict[str, Any] = {"expirationSeconds": asked.lifetime_s, "boundObjectRef": bound}
        if asked.audience:
            spec["audiences"] = [asked.audience]
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"namespace": namespace},
            "spec": spec,
        }
        try:
            answer = await self._client.create(kind, body, namespace)
        except NotFound:
            raise ConfigError(
                f'MountVolume.SetUp failed for volume "{asked.volume}" : failed to fetch token: '
                f'serviceaccounts "{account}" not found'
            ) from None
        return str(answer["status"]["token"])

    async def _claimed(self, claim: str, namespace: str) -> Path:
        try:
            volume_name = ((await self._client.get(PVC, claim, namespace)).get("spec") or {}).get(
                "volumeName"
            )
            if not volume_name:
                raise ConfigError(f'persistentvolumeclaim "{claim}" is not bound')
            volume = await self._client.get(PV, str(volume_name))
        except NotFound:
            raise ConfigError(f'persistentvolumeclaim "{claim}" not found') from None
        except ApiError as error:
            raise ConfigError(f'persistentvolumeclaim "{claim}": {error.message}') from None
        spec = volume.get("spec") or {}
        path = str((spec.get("hostPath") or spec.get("local") or {}).get("path") or "")
        if not path or not Path(path).resolve().is_relative_to(self._claims_root.resolve()):
            raise ConfigError(
                f"volume {volume_name} is none of this testbed's process nodes (class process-local)"
            )
        Path(path).mkdir(parents=True, exist_ok=True)
        return Path(path)
