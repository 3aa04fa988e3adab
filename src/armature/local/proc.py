"""What the operating system knows about processes and ports, and how to start a child that cannot outlive us.

Linux reads /proc; elsewhere `ps` answers, and a child of a killed supervisor is found and ended by the next
command that reads its state (there is no parent-death signal to ask for).
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ProcessId", "cannot_listen", "die_with_parent", "port_holder", "signal_group", "spawn"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be confused with a later one of the same pid.

    started: what the system says about its start (clock ticks since boot on Linux), as text; empty when unknown.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        return cls(pid, _started(pid) or "")

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        started = _started(self.pid)
        return started is not None and started == self.started


def spawn(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """A child in its own session, with pipes on stdout and stderr, killed by the kernel when this thread dies.

    Call it from the main thread of a process without other threads: `PR_SET_PDEATHSIG` watches the thread that
    forked, and code runs between fork and exec. Raises OSError when the program cannot be started.
    """
    return subprocess.Popen(
        list(argv),
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent(),
    )


def die_with_parent() -> Callable[[], None] | None:
    """What a child does before exec so that it dies with its parent; None where the system offers nothing."""
    if not _LINUX:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between: the signal will never come
            os._exit(127)

    return arrange


def signal_group(pid: int, number: int) -> bool:
    """Sends a signal to the process group that `spawn` made; says whether there was anyone to get it."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def cannot_listen(host: str, port: int) -> OSError | None:
    """Why a server could not bind here now: EADDRINUSE, EADDRNOTAVAIL, a name that does not resolve; else None."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def port_holder(port: int, proc: Path = Path("/proc")) -> str | None:
    """Who listens on a TCP port: `python3 (pid 4711)`. None when nobody does or the system will not say."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listeners(proc / "net" / table, port)}
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for directory in proc.iterdir():
        if not directory.name.isdigit():
            continue
        try:
            if any(_link(path) in wanted for path in (directory / "fd").iterdir()):
                return f"{(directory / 'comm').read_text().strip()} (pid {directory.name})"
        except OSError:  # not ours to look at, or it has just ended
            continue
    return None


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed since it was listed
        return ""


def _listeners(table: Path, port: int) -> list[str]:
    """Inodes of listening sockets on `port`. Columns: sl, local, remote, state (0A listens), ..., inode (10th)."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [
        row[9]
        for row in rows
        if len(row) > 9 and row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port
    ]


def _started(pid: int) -> str | None:
    """When a live process started, None when there is none. Fields after the name in /proc/PID/stat: the state is
    the first, the start time the 20th (proc(5): 3rd and 22nd)."""
    if _LINUX:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    found = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = found.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()
