"""A mount namespace for the agent, in which its files are memory: when it ends, however it ends, they are gone."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from armature.errors import StartFailed

__all__ = ["private_memory_folder"]

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_REC, _MS_PRIVATE = 2, 16384, 1 << 18


def private_memory_folder(path: Path) -> None:
    """Makes `path` an empty folder in memory that this process and its children alone see.

    Call it before the process has threads. Raises StartFailed where it is not allowed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    path.mkdir(parents=True, exist_ok=True)

    def must(result: int, what: str) -> None:
        if result < 0:
            raise StartFailed(
                f"A process node cannot {what}: {os.strerror(ctypes.get_errno())}.",
                "Run the testbed as root, or where users may make namespaces (`unshare -Urmn true` must work).",
            )

    must(libc.unshare(_CLONE_NEWNS), "have mounts of its own")
    flags = ctypes.c_ulong(_MS_REC | _MS_PRIVATE)
    must(libc.mount(None, b"/", None, flags, None), "keep its mounts to itself")
    made = libc.mount(b"tmpfs", str(path).encode(), b"tmpfs", ctypes.c_ulong(_MS_NOSUID), b"mode=0700")
    must(made, f"mount memory on {path}")
