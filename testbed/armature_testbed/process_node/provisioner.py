"""Binds claims of the class `process-local`: each gets a folder of this machine, which all process nodes share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from armature.kube.client import Client
from armature.kube.errors import AlreadyExists, ApiError, NotFound
from armature.kube.kinds import Kind

__all__ = [
    "CLASS",
    "PV",
    "STORAGE_CLASS",
    "class_body",
    "provision",
    "volume_body",
    "volumes_due",
    "volumes_over",
]

PV = Kind("", "v1", "PersistentVolume", "persistentvolumes", False)
STORAGE_CLASS = Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", False)
CLASS = "process-local"
_PROVISIONER = "armature.dev/process-local"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_log = logging.getLogger(__name__)


def class_body(others: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The StorageClass; the default one unless another is."""
    taken = any((item["metadata"].get("annotations") or {}).get(_DEFAULT) == "true" for item in others)
    return {
        "apiVersion": STORAGE_CLASS.api_version,
        "kind": STORAGE_CLASS.kind,
        "metadata": {"name": CLASS, "annotations": {_DEFAULT: "false" if taken else "true"}},
        "provisioner": _PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def volumes_due(claims: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The claims that wait for a volume of ours."""
    return [
        claim
        for claim in claims
        if (claim.get("spec") or {}).get("storageClassName") == CLASS
        and not (claim.get("spec") or {}).get("volumeName")
        and not claim["metadata"].get("deletionTimestamp")
    ]


def volumes_over(volumes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Our volumes whose claim is gone."""
    return [
        volume
        for volume in volumes
        if (volume["metadata"].get("annotations") or {}).get(_PROVISIONED_BY) == _PROVISIONER
        and (volume.get("status") or {}).get("phase") == "Released"
        and (volume.get("spec") or {}).get("persistentVolumeReclaimPolicy") == "Delete"
        and not volume["metadata"].get("deletionTimestamp")
    ]


def volume_body(claim: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The volume of one claim, named after its uid so that a second attempt is the same one."""
    metadata, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{metadata['uid']}"
    reference = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    return {
        "apiVersion": "v1",
        "kind": PV.kind,
        "metadata": {"name": name, "annotations": {_PROVISIONED_BY: _PROVISIONER}},
        "spec": {
            "storageClassName": CLASS,
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Delete",
            "hostPath": {"path": str(root / name), "type": "DirectoryOrCreate"},
            "claimRef": reference,
        },
    }


async def provision(
    client: Client, root: Path, claims: Iterable[Mapping[str, Any]], volumes: Iterable[Mapping[str, Any]]
) -> None:
    """One pass: a folder and a volume for each claim that waits, and none for those that are over."""
    for claim in volumes_due(claims):
        body = volume_body(claim, root)
        Path(body["spec"]["hostPath"]["path"]).mkdir(parents=True, exist_ok=True)
        try:
            await client.create(PV, body)
        except AlreadyExists:
            continue
        except ApiError as error:
            _log.warning("no volume for claim %s: %s", claim["metadata"]["name"], error.message)
    for volume in volumes_over(volumes):
        name = str(volume["metadata"]["name"])
        await asyncio.to_thread(shutil.rmtree, root / name, True)
        with contextlib.suppress(NotFound):
            await client.delete(PV, name)
