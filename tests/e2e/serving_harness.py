"""Serving processes for end-to-end tests: started as a user would, all ended on the way out, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx
import msgspec

from armature.perf.steptable import StepTable

WAIT_S = 30.0


def flat_table(*, prefill_ms_per_1k: float = 20.0, decode_ms: float = 4.0) -> StepTable:
    """Prefill linear in tokens; decode the same at any batch and context; a mixed step costs both."""
    tokens = (1.0, 1000.0, 32000.0)
    prefill = tuple(2.0 + prefill_ms_per_1k * n / 1000 for n in tokens)
    batch, context = (1.0, 512.0), (1.0, 32000.0)
    return StepTable(
        source="estimated",
        isl=tokens,
        prefill_ms=prefill,
        batch=batch,
        context=context,
        chunk=tokens,
        decode_ms=tuple(tuple(decode_ms for _ in batch) for _ in context),
        mixed_ms=tuple(tuple(tuple(p + decode_ms for _ in batch) for _ in context) for p in prefill),
    )


class Process:
    """A serving process that has said it is ready."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log = log
        self.port = 0
        with log.open("wb") as stderr:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True
            )

    def ready(self) -> dict[str, object]:
        """The ready line. Fails with the process's log when it ends first."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, f"exit {self.popen.wait(WAIT_S)}: {self.log.read_text()}"
        return json.loads(line)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(WAIT_S)

    def kill(self) -> None:
        """SIGKILL, and not reaped: what a supervisor that looks away leaves behind."""
        os.kill(self.popen.pid, signal.SIGKILL)


class Serving:
    """A frontend and workers over one discovery directory."""

    def __init__(self, root: Path, *, namespace: str = "test") -> None:
        self.root = root
        self.namespace = namespace
        self.processes: list[Process] = []
        self.port = 0

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            if process.popen.poll() is None:
                process.popen.kill()
        for process in self.processes:
            process.popen.wait(WAIT_S)
            if process.popen.stdout is not None:
                process.popen.stdout.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def frontend(self, *more: str) -> Process:
        process = self.start("armature.serving.frontend", "--port", "0", *self._place, *more)
        self.port = int(str(process.ready()["port"]))
        return process

    def workers(
        self, *roles: str, table: StepTable | None = None, model: str = "org/tiny", more: tuple[str, ...] = ()
    ) -> list[Process]:
        """One worker per role, started together."""
        path = self.root / "steps.json"
        path.write_bytes(msgspec.json.encode(table or flat_table()))
        name = ("--model", model, "--served-model-name", model, "--step-table", str(path))
        started = [
            self.start(
                *("armature.serving.mocker", *name, *self._place),
                *("--component", f"worker-{role}", "--role", role, *more),
            )
            for role in roles
        ]
        for process in started:
            process.port = int(str(process.ready()["port"]))
        return started

    def until_ready(self, instances: int = 1) -> None:
        """Waits until the frontend serves, with so many ready instances."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            answer = httpx.get(f"{self.url}/health")
            ready = [one for one in answer.json()["instances"] if one["ready"]]
            if answer.status_code == 200 and len(ready) == instances:
                return
            time.sleep(0.05)
        raise AssertionError(f"not ready: {answer.text}")

    def start(self, *arguments: str) -> Process:
        """A process that may or may not become ready."""
        process = Process(list(arguments), self.root / f"{len(self.processes)}.log")
        self.processes.append(process)
        return process

    @property
    def _place(self) -> tuple[str, ...]:
        return ("--discovery", str(self.root / "discovery"), "--namespace", self.namespace)
