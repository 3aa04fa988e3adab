"""A pod's network: a namespace of its own joined to the testbed's by a veth pair, reachable at the pod's address.

All of 10.244.0.0/16 is local to the testbed, so a pod's /32 goes into its table of local routes, where the longer
prefix wins. The veth disappears with the pod's namespace, and the route with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
from pathlib import Path

__all__ = ["NetworkError", "join_pod", "leave_pod", "prepare_node"]

_GATEWAY = "169.254.1.1"
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


class NetworkError(Exception):
    """A pod's network could not be made; the text says why."""


async def prepare_node(address: str) -> None:
    """The node's address answers and pods reach each other. Raises NetworkError where this is not possible."""
    if shutil.which("ip") is None:
        raise NetworkError("the command `ip` is not here (Debian: apt-get install iproute2)")
    try:
        _FORWARD.write_text("1")
    except OSError as error:
        raise NetworkError(f"pods could not reach each other: {_FORWARD}: {error.strerror}") from None
    found = await _run("ip", "-o", "route", "get", address)
    if not found.startswith("local "):
        raise NetworkError(
            f"{address} is not local here: the agent must run in a testbed's network namespace"
        )


async def join_pod(uid: str, address: str, sandbox_pid: int) -> None:
    """Gives the network namespace of `sandbox_pid` the pod's address."""
    link = _link(uid)
    await _batch(
        f"link add {link} type veth peer name eth0 netns {sandbox_pid}",
        f"address add {_GATEWAY}/32 dev {link}",
        f"link set {link} up",
        f"route replace unicast {address}/32 dev {link} table local",
    )
    await _batch(
        "link set lo up",
        f"address add {address}/32 dev eth0",
        "link set eth0 up",
        f"route add {_GATEWAY} dev eth0 scope link",
        f"route add default via {_GATEWAY} src {address}",
        within=sandbox_pid,
    )


async def leave_pod(uid: str) -> None:
    """Takes the pod's link away at once rather than when the kernel gets round to it; no error when it is gone."""
    process = await asyncio.create_subprocess_exec(
        "ip",
        "link",
        "delete",
        _link(uid),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await process.wait()


def _link(uid: str) -> str:
    return f"pod{hashlib.sha256(uid.encode()).hexdigest()[:10]}"  # a link's name has at most 15 characters


async def _batch(*commands: str, within: int | None = None) -> None:
    enter = ["nsenter", f"--net=/proc/{within}/ns/net"] if within is not None else []
    await _run(*enter, "ip", "-batch", "-", told="\n".join(commands) + "\n")


async def _run(*argv: str, told: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate(told.encode())
    if process.returncode:
        raise NetworkError(f"{' '.join(argv[-3:])}: {err.decode(errors='replace').strip()}")
    return out.decode(sys.getdefaultencoding(), "replace")
