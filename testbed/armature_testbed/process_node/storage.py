"""A pod's folders on disk: its volumes, its hosts file, its logs; written whole, and changed as nodes change them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from armature_testbed.process_node.volumes import File

__all__ = ["PodFolder", "write_files"]

_DATA = "..data"
_NO_DNS = "# Names are in /etc/hosts; there is no DNS server.\noptions timeout:1 attempts:1\n"


class PodFolder:
    """`<run>/pods/<uid>`: everything of one pod that is on disk."""

    def __init__(self, run: Path, uid: str) -> None:
        self.path = run / "pods" / uid
        self.hosts = self.path / "etc" / "hosts"
        self.resolv = self.path / "etc" / "resolv.conf"

    def make(self) -> None:
        self.hosts.parent.mkdir(parents=True, exist_ok=True)
        self.resolv.write_text(_NO_DNS)

    def volume(self, name: str) -> Path:
        path = self.path / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, container: str, run: int) -> Path:
        return self.path / "logs" / container / f"{run}.log"

    def scratch(self, container: str) -> Path:
        """Where the container's root is put together, in its own mount namespace."""
        path = self.path / "roots" / container
        path.mkdir(parents=True, exist_ok=True)
        return path

    def termination_message(self, container: str) -> Path:
        path = self.path / "etc" / f"termination-{container}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_hosts(self, text: str) -> None:
        """In place: containers have this very file mounted."""
        if not self.hosts.exists() or self.hosts.read_text() != text:
            self.hosts.write_text(text)

    def forget_logs(self, container: str, before_run: int) -> None:
        """Keeps the latest run and the one before it."""
        for run in range(before_run - 1):
            for path in (self.log(container, run), self.log(container, run).with_suffix(".log.1")):
                path.unlink(missing_ok=True)

    def remove_work(self) -> None:
        """All but the logs, which stay until the pod is deleted."""
        for name in ("volumes", "roots", "etc"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def write_files(folder: Path, files: Mapping[str, File]) -> None:
    """Makes `folder` hold exactly these files, so that a reader sees all of the old ones or all of the new.

    The layout is a node's own: `..data` points at a directory of this version, and each name at `..data/<name>`.
    """
    version = folder / f"..{time.time_ns()}"
    version.mkdir()
    for name, file in files.items():
        path = version / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        path.chmod(file.mode)
    data = folder / _DATA
    old = data.resolve() if data.is_symlink() else None
    draft = folder / "..data_tmp"
    draft.symlink_to(version.name)
    os.replace(draft, data)
    wanted = {name.partition("/")[0] for name in files}
    for name in wanted:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{_DATA}/{name}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
