"""The network namespace a testbed runs in: made with a command, entered by commands, and searched for processes.

In it every Service and pod address is local, so that Services need no per-pod set-up, and no port is ever taken. It
lives exactly as long as a process in it, so that ending those processes is all that there is to clean up.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from armature.errors import StartFailed
from armature_testbed.components import POD_CIDR, SERVICE_CIDR
from armature_testbed.layout import State

__all__ = [
    "enter_command",
    "environment_of",
    "kill_all",
    "make_addresses",
    "namespace_of",
    "new_namespace_command",
    "processes_in",
]


def new_namespace_command(*, root: bool) -> list[str]:
    """The command that runs its arguments in a new network namespace. Raises StartFailed where there is none."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        raise StartFailed(
            "A testbed needs the commands `unshare` and `ip`.", "Debian: apt-get install util-linux iproute2"
        )
    return ["unshare", "--net"] if root else ["unshare", "--user", "--map-root-user", "--net"]


def enter_command(state: State) -> list[str]:
    """The command that runs its arguments in the testbed's namespace; empty when this process is in it already."""
    if namespace_of(os.getpid()) == state.namespace:
        return []
    enter = ["nsenter", f"--target={state.supervisor_pid}", "--net"]
    return [*enter, "--user", "--preserve-credentials"] if state.user_namespace else enter


def make_addresses(run: Callable[[Sequence[str]], object] = subprocess.check_call) -> None:
    """In a new namespace: loopback up, and every pod's and Service's address local."""
    run(["ip", "link", "set", "lo", "up"])
    for cidr in (POD_CIDR, SERVICE_CIDR):
        run(["ip", "address", "add", cidr, "dev", "lo"])


def namespace_of(pid: int, proc: Path = Path("/proc")) -> int | None:
    """The inode that names a process's network namespace; None when it has ended or is not ours to see."""
    try:
        return (proc / str(pid) / "ns" / "net").stat().st_ino
    except OSError:
        return None


def processes_in(namespace: int, proc: Path = Path("/proc")) -> Iterator[int]:
    """The processes in a network namespace, without the caller."""
    for directory in proc.iterdir():
        if not directory.name.isdigit() or int(directory.name) == os.getpid():
            continue
        if namespace_of(int(directory.name), proc) == namespace:
            yield int(directory.name)


def environment_of(pid: int, name: str, proc: Path = Path("/proc")) -> str | None:
    """A variable of another process's environment as it was started with."""
    try:
        entries = (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    head = f"{name}=".encode()
    return next((entry[len(head) :].decode() for entry in entries if entry.startswith(head)), None)


def kill_all(namespace: int, *, limit_s: float = 10.0, sleep: Callable[[float], None] = time.sleep) -> bool:
    """SIGKILL to every process in a namespace but the caller, until none is left; says whether none is."""
    end = time.monotonic() + limit_s
    while pids := list(processes_in(namespace)):
        if time.monotonic() > end:
            return False
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        sleep(0.02)
    return True
