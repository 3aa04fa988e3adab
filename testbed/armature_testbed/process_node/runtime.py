"""Starts pods' sandboxes and containers as processes, through `launch`, and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from armature_testbed.process_node.asking import Answer
from armature_testbed.process_node.container_log import ContainerLog

__all__ = ["Bind", "Container", "ContainerPlan", "Sandbox", "StartError"]

_LAUNCH = Path(__file__).with_name("launch.py")
_READ_BYTES = 65536
_OUTPUT_SHOWN = 512


class StartError(Exception):
    """A container's command could not be started; the text says why."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of this machine at a path of the container."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """One container, ready to be started. scratch: an empty folder of its own, where its root is put together."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    mounts: tuple[Bind, ...]
    scratch: str
    read_only_root: bool = False


class Sandbox:
    """The process that holds a pod's namespaces."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, hostname: str, *, own_network: bool) -> Sandbox:
        process = await _launch("sandbox", {"hostname": hostname, "network": own_network}, ())
        assert process.stdout is not None
        if await process.stdout.readline() != b"ready\n":
            _, said = await process.communicate()
            raise StartError(f"a pod's namespaces could not be made: {said.decode(errors='replace').strip()}")
        return cls(process)

    async def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class Container:
    """One run of a container. `pid` is its first process as this machine sees it."""

    def __init__(
        self, process: asyncio.subprocess.Process, pid: int, plan: ContainerPlan, log: ContainerLog
    ) -> None:
        self.id = secrets.token_hex(32)
        self.pid = pid
        self.log = log
        self._process = process
        self._plan = plan
        self._pumps = [
            asyncio.create_task(_pump(pipe, stream, log))
            for pipe, stream in ((process.stdout, "stdout"), (process.stderr, "stderr"))
            if pipe is not None
        ]

    @classmethod
    async def start(cls, plan: ContainerPlan, sandbox: Sandbox, log: ContainerLog) -> Container:
        """Returns once the command runs. Raises StartError when it does not."""
        body = asdict(plan) | {"sandbox_pid": sandbox.pid}
        process, told = await _started("container", body)
        if "error" in told or "pid" not in told:
            _, said = await process.communicate()
            log.close()
            raise StartError(
                str(told.get("error") or said.decode(errors="replace").strip() or "it did not start")
            )
        return cls(process, int(told["pid"]), plan, log)

    async def wait(self) -> int:
        """The exit code, 128 + N after signal N, once its output is written."""
        code = await self._process.wait()
        await asyncio.gather(*self._pumps)
        self.log.close()
        return code if code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        """To its first process, which ignores all but SIGKILL unless it handles the signal, as in any container."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def execute(self, argv: Sequence[str], timeout_s: float) -> Answer:
        """One more command in this container: whether it ended with 0, and its output where not."""
        body = {"argv": list(argv), "env": dict(self._plan.env), "cwd": self._plan.cwd, "pid": self.pid}
        process, told = await _started("exec", body)
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate()
        except TimeoutError:
            return False, f"command timed out after {timeout_s:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        said = str(told.get("error") or (out + err).decode(errors="replace").strip()[:_OUTPUT_SHOWN])
        return process.returncode == 0, said or f"command ended with exit code {process.returncode}"


async def _started(mode: str, plan: dict[str, Any]) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    """The process, and what it told about its command's start."""
    ours, theirs = os.pipe()
    try:
        process = await _launch(mode, plan | {"status_fd": theirs}, (theirs,))
    finally:
        os.close(theirs)
    told: dict[str, Any] = {}
    with os.fdopen(ours, "rb") as pipe:
        for line in (await asyncio.to_thread(pipe.read)).splitlines():
            told |= json.loads(line)
    return process, told


async def _launch(mode: str, plan: dict[str, Any], pass_fds: tuple[int, ...]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(_LAUNCH), mode),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(json.dumps(plan | {"agent": os.getpid()}).encode())
        await process.stdin.drain()
    process.stdin.close()
    return process


async def _pump(pipe: asyncio.StreamReader, stream: str, log: ContainerLog) -> None:
    while data := await pipe.read(_READ_BYTES):
        log.write(stream, data)
