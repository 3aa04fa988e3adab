"""What one agent does for all process nodes, whichever holds the lock: the proxy of Services, volumes of claims."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from pathlib import Path

from armature.kube.client import Client
from armature.kube.errors import AlreadyExists, ApiError
from armature.kube.kinds import PVC
from armature.kube.reflector import Reflector
from armature_testbed.process_node.folders import NodeFolders
from armature_testbed.process_node.provisioner import PV, STORAGE_CLASS, class_body, provision

__all__ = ["be_steward"]

_TRY_S = 1.0
_AGAIN_S = 1.0
_SETTLE_S = 0.05
_log = logging.getLogger(__name__)


async def be_steward(client: Client, folders: NodeFolders, kubeconfig: Path) -> None:
    """Waits for the lock, then does the steward's work, until cancelled."""
    while not folders.become_steward():
        await asyncio.sleep(_TRY_S)
    async with asyncio.TaskGroup() as group:
        group.create_task(_keep_proxy(kubeconfig))
        group.create_task(_keep_volumes(client, folders.volumes))


async def _keep_proxy(kubeconfig: Path) -> None:
    """The proxy's process, started again whenever it ends."""
    while True:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "armature_testbed.process_node.proxy", "--kubeconfig", str(kubeconfig)),
            stdin=asyncio.subprocess.PIPE,
        )
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        _log.warning("the proxy of Services ended with %d and is started again", code)
        await asyncio.sleep(_AGAIN_S)


async def _keep_volumes(client: Client, root: Path) -> None:
    claims, volumes = Reflector(client, PVC), Reflector(client, PV)
    changed = asyncio.Event()
    for reflector in (claims, volumes):
        reflector.on_change(lambda _: changed.set())
    async with asyncio.TaskGroup() as group:
        group.create_task(claims.run())
        group.create_task(volumes.run())
        await _make_class(client)
        await claims.wait_synced()
        await volumes.wait_synced()
        while True:
            changed.clear()
            try:
                await provision(client, root, claims.store.all(), volumes.store.all())
            except ApiError as error:
                _log.warning("claims wait: %s", error.message)
                await asyncio.sleep(_AGAIN_S)
                continue
            await changed.wait()
            await asyncio.sleep(_SETTLE_S)


async def _make_class(client: Client) -> None:
    while True:
        try:
            others = (await client.list(STORAGE_CLASS)).items
            with contextlib.suppress(AlreadyExists):
                await client.create(STORAGE_CLASS, class_body(others))
            return
        except ApiError as error:
            _log.warning("the storage class waits: %s", error.message)
            await asyncio.sleep(_AGAIN_S)
