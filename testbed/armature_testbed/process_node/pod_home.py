"""What a pod holds on its node while its containers run: an address, namespaces, folders, volumes."""

from __future__ import annotations

import contextlib

from armature.kube.errors import ApiError
from armature_testbed.process_node import network
from armature_testbed.process_node.assemble import host_name
from armature_testbed.process_node.context import NodeContext
from armature_testbed.process_node.downward import ConfigError, Pod
from armature_testbed.process_node.environment import Objects, PodFacts
from armature_testbed.process_node.hosts import hosts_text
from armature_testbed.process_node.pod_volumes import PodVolumes
from armature_testbed.process_node.runtime import Sandbox
from armature_testbed.process_node.storage import PodFolder

__all__ = ["PodHome"]


class PodHome:
    """`make` it before the first container starts, `refresh` it as time goes on, `leave` it after the last one."""

    def __init__(self, node: NodeContext, pod: Pod) -> None:
        self.folder = PodFolder(node.run, str(pod["metadata"]["uid"]))
        self.sandbox: Sandbox | None = None
        self.volumes: PodVolumes | None = None
        self.refresh_at_s: float | None = None
        self._node = node
        self._host_network = bool((pod.get("spec") or {}).get("hostNetwork"))
        self._address = node.node.address if self._host_network else ""
        self._holds_address = False

    @property
    def pod_ip(self) -> str:
        """Empty before the pod has one; the last it had after it has left."""
        return self._address

    @property
    def facts(self) -> PodFacts:
        return PodFacts(self._address, self._node.node.address, self._node.node.capacity)

    @property
    def objects(self) -> Objects:
        return self.volumes.objects if self.volumes is not None else {}

    async def make(self, pod: Pod) -> None:
        """Makes what is missing. Raises ConfigError for what the pod's containers must wait for, and what its parts
        raise (ApiError, StartError, NetworkError, OSError)."""
        if not self._address:
            self._address = self._node.addresses.take() or ""
            if not self._address:
                raise ConfigError(f"node {self._node.node.name} has no free pod address")
            self._holds_address = True
        self.folder.make()
        if self.volumes is None:
            self.volumes = PodVolumes(
                self._node.client, self.facts, self.folder, self._node.claims, self._node.now_s
            )
        await self.volumes.refresh(pod)
        if (pod.get("spec") or {}).get("volumes"):
            self.refresh_at_s = self._node.now_s() + self._node.refresh_s
        if self.sandbox is None:
            own = self._node.own_network and not self._host_network
            sandbox = await Sandbox.start(host_name(pod), own_network=own)
            if own:
                try:
                    await network.join_pod(str(pod["metadata"]["uid"]), self._address, sandbox.pid)
                except network.NetworkError:
                    await sandbox.stop()
                    raise
            self.sandbox = sandbox
        self.names_changed(pod)

    async def refresh(self, pod: Pod) -> None:
        """Brings the volumes up to date when it is time; what cannot be read now stays as it was."""
        if self.volumes is None or self.refresh_at_s is None or self._node.now_s() < self.refresh_at_s:
            return
        self.refresh_at_s = self._node.now_s() + self._node.refresh_s
        with contextlib.suppress(ConfigError, ApiError):
            await self.volumes.refresh(pod)

    def names_changed(self, pod: Pod) -> None:
        if self.sandbox is not None:
            self.folder.write_hosts(hosts_text(pod, self._address, self._node.names()))

    async def leave(self, pod: Pod) -> None:
        """Gives everything back but the logs."""
        self.refresh_at_s = None
        self.volumes = None
        if self.sandbox is not None:
            sandbox, self.sandbox = self.sandbox, None
            await network.leave_pod(str(pod["metadata"]["uid"]))
            await sandbox.stop()
        self.folder.remove_work()
        if self._holds_address:
            self._holds_address = False
            self._node.addresses.give_back(self._address)
