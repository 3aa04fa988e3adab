"""One container, ready to be started: its pod, its volumes and the image, put together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armature_testbed.process_node.downward import ConfigError, Pod
from armature_testbed.process_node.environment import Objects, PodFacts, command_line, container_env
from armature_testbed.process_node.image import Image
from armature_testbed.process_node.runtime import Bind, ContainerPlan
from armature_testbed.process_node.storage import PodFolder
from armature_testbed.process_node.volumes import Mount, mounts

__all__ = ["TERMINATION_MESSAGE", "assemble", "host_name"]

TERMINATION_MESSAGE = "/dev/termination-log"


def host_name(pod: Pod) -> str:
    """What a pod calls itself."""
    return str((pod.get("spec") or {}).get("hostname") or pod["metadata"]["name"])[:63]


def assemble(
    container: Mapping[str, Any],
    pod: Pod,
    *,
    facts: PodFacts,
    objects: Objects,
    services: Mapping[str, str],
    image: Image,
    entrypoint: Sequence[str],
    folder: PodFolder,
    volumes: Mapping[str, Path],
) -> ContainerPlan:
    """`volumes`: where each of the pod's volumes lies on this machine. Makes the folders that its mounts name.

    Raises ConfigError for what keeps the container from being started.
    """
    name = str(container["name"])
    given = container_env(container, pod, facts, objects, services)
    env = image.environment({"HOSTNAME": host_name(pod), **given})
    binds = [
        *image.binds,
        Bind(str(folder.hosts), "/etc/hosts"),
        Bind(str(folder.resolv), "/etc/resolv.conf"),
        Bind(
            str(folder.termination_message(name)),
            str(container.get("terminationMessagePath") or TERMINATION_MESSAGE),
        ),
    ]
    folder.termination_message(name).write_bytes(b"")
    binds += [_bound(mount, volumes) for mount in mounts(container, pod, given)]
    security = container.get("securityContext") or {}
    return ContainerPlan(
        argv=command_line(container, given, entrypoint),
        env=env,
        cwd=str(container.get("workingDir") or "/"),
        mounts=tuple(binds),
        scratch=str(folder.scratch(name)),
        read_only_root=bool(security.get("readOnlyRootFilesystem")),
    )


def _bound(mount: Mount, volumes: Mapping[str, Path]) -> Bind:
    volume = volumes[mount.volume].resolve()
    source = (volume / mount.sub_path).resolve()
    if not source.is_relative_to(volume):
        raise ConfigError(f'volumeMounts "{mount.volume}": subPath {mount.sub_path!r} leaves the volume')
    if not source.exists():
        if mount.read_only:
            raise ConfigError(
                f'failed to prepare subPath for volumeMount "{mount.volume}": {mount.sub_path} not found'
            )
        os.makedirs(source)
    return Bind(str(source), mount.target, mount.read_only)
