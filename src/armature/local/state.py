"""What runs on this machine: one directory per deployment, read by `status`, `logs`, `down` and `list_deployments`.

`<home>/run/<name>/` holds `state.json` (written by the supervisor alone, whole or not at all), `launch.json`,
`logs/`, `discovery/` and `step_tables/`. Home is `$ARMATURE_HOME` or `~/.armature`. A supervisor that was killed
leaves its state behind; it is recognised by pid and start time, and cleaned by whoever finds it. Logs stay until
the next start.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from armature.errors import ArmatureError, InvalidInput, OutputFailed, Problem
from armature.local.logs import follow as follow_logs
from armature.local.logs import tail
from armature.local.proc import ProcessId, signal_group
from armature.local.spec import Kind, Role

__all__ = [
    "Deployment",
    "Phase",
    "Process",
    "RunDirectory",
    "default_home",
    "down",
    "end_orphans",
    "list_deployments",
    "logs",
    "output_failed",
    "read",
    "status",
    "write",
]

Phase = Literal["starting", "ready", "degraded", "failed", "stopping", "stopped"]
_STOP_LIMIT_S = 30.0


class Process(msgspec.Struct, frozen=True):
    """One process as its supervisor last saw it.

    state: `waiting` (for its next start), `starting`, `ready`, `stopping`, `stopped` or `failed`; message says why.
    started: start time as the system tells it, so that a pid is never taken for another's. ready_at: seconds since
    the epoch.
    """

    name: str
    component: str
    kind: Kind
    state: str
    log_path: str
    role: Role | None = None
    pid: int | None = None
    started: str = ""
    port: int | None = None
    restarts: int = 0
    exit_code: int | None = None
    message: str = ""
    ready_at: float | None = None


class Deployment(msgspec.Struct, frozen=True):
    """A graph that runs here: what `state.json` holds and what `up` and `status` return.

    started_at, ready_at: seconds since the epoch. port: of the first frontend, 0 until it is known.
    """

    name: str
    phase: Phase
    host: str
    port: int
    models: tuple[str, ...]
    processes: tuple[Process, ...]
    notes: tuple[str, ...]
    supervisor_pid: int
    supervisor_started: str
    started_at: float
    ready_at: float | None = None
    message: str = ""
    detached: bool = False
    version: int = 1

    @property
    def url(self) -> str:
        """Where clients reach it, `http://127.0.0.1:8000`; a wildcard address is reached over loopback."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def supervisor(self) -> ProcessId:
        return ProcessId(self.supervisor_pid, self.supervisor_started)

    @property
    def running(self) -> bool:
        """Whether its supervisor lives; what it wrote last is stale when not."""
        return self.supervisor.alive

    def uptime_s(self, now: float) -> float:
        return max(0.0, now - self.started_at)


class RunDirectory:
    """The files of one deployment."""

    def __init__(self, home: Path, name: str) -> None:
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise InvalidInput(
                "name", [Problem("metadata.name", "cannot be the name of a directory", value=name)]
            )
        self.name = name
        self.path = home / "run" / name
        self.lock = home / "run" / f"{name}.lock"
        self.state = self.path / "state.json"
        self.launch = self.path / "launch.json"
        self.logs = self.path / "logs"
        self.discovery = self.path / "discovery"
        self.step_tables = self.path / "step_tables"
        self.supervisor_log = self.logs / "supervisor.log"

    def make(self) -> None:
        """Raises OutputFailed when the directories cannot be made."""
        try:
            for path in (self.path, self.logs, self.discovery, self.step_tables):
                path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_failed(Path(error.filename or self.path), error) from None

    def clean(self, *, logs: bool = False) -> None:
        """Removes what a run leaves, the logs only when asked. Files that are gone already are no error."""
        shutil.rmtree(self.discovery, ignore_errors=True)
        shutil.rmtree(self.step_tables, ignore_errors=True)
        for path in (self.state, self.launch):
            path.unlink(missing_ok=True)
        if logs:
            shutil.rmtree(self.path, ignore_errors=True)


def default_home(env: Mapping[str, str] | None = None) -> Path:
    """`$ARMATURE_HOME`, else `~/.armature`."""
    stated = (os.environ if env is None else env).get("ARMATURE_HOME")
    return Path(stated).expanduser() if stated else Path.home() / ".armature"


def write(path: Path, data: bytes) -> None:
    """The file holds all of `data` or what it held before. Raises OutputFailed."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise output_failed(path, error) from None


def output_failed(path: Path, error: OSError) -> OutputFailed:
    return OutputFailed(
        f"{path} could not be written: {error.strerror or error}.",
        "Free space or permissions there, or choose another directory with $ARMATURE_HOME.",
    )


def read(directory: RunDirectory) -> Deployment | None:
    """What the state file says, stale or not; None when there is none (or none that we can read)."""
    try:
        return msgspec.json.decode(directory.state.read_bytes(), type=Deployment)
    except (OSError, msgspec.MsgspecError):
        return None


def list_deployments(home: Path | None = None) -> tuple[Deployment, ...]:
    """All running deployments, and those that failed; what crashed supervisors left is cleaned away."""
    home = home or default_home()
    names = sorted(path.parent.name for path in (home / "run").glob("*/state.json"))
    found = (_current(RunDirectory(home, name)) for name in names)
    return tuple(deployment for deployment in found if deployment is not None)


def status(name: str, home: Path | None = None) -> Deployment:
    """One deployment. Raises ArmatureError when nothing of this name runs here."""
    home = home or default_home()
    deployment = _current(RunDirectory(home, name))
    if deployment is None:
        raise _not_here(name, home)
    return deployment


def logs(
    name: str,
    component: str | None = None,
    follow: bool = False,
    *,
    home: Path | None = None,
    lines: int = 100,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Lines of the processes' logs, `lines` of each from the end; with `follow`, also what comes until it stops.

    component: a component or a process of it (`VllmWorker-1`); `supervisor` for the supervisor's own. Lines bear
    their process's name when there are several. Raises ArmatureError for a name or component that is not here.
    """
    home = home or default_home()
    directory = RunDirectory(home, name)
    paths = {path.stem: path for path in sorted(directory.logs.glob("*.log"))}
    if not paths:
        raise _not_here(name, home)
    if component is None:
        paths = {process: path for process, path in paths.items() if process != "supervisor"} or paths
    else:
        chosen = {
            process: path
            for process, path in paths.items()
            if component in (process, process.rpartition("-")[0])
        }
        if not chosen:
            raise ArmatureError(f"{name} has no component {component!r}.", f"It has: {', '.join(paths)}.")
        paths = chosen
    return _log_lines(directory, paths, follow, lines, sleep)


def down(
    name: str,
    *,
    home: Path | None = None,
    limit_s: float = _STOP_LIMIT_S,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Stops a deployment and cleans up after it; says whether there was anything to stop.

    The supervisor gets SIGTERM and `limit_s` to stop its processes in order; then it is killed, and they with it.
    Stopping what does not run is no error.
    """
    directory = RunDirectory(home or default_home(), name)
    deployment = read(directory)
    if deployment is None:
        return False
    was_running = deployment.running
    if was_running:
        os.kill(deployment.supervisor_pid, signal.SIGTERM)
        end = clock() + limit_s
        while deployment.running and clock() < end:
            sleep(0.05)
        if deployment.running:
            os.kill(deployment.supervisor_pid, signal.SIGKILL)
    end_orphans(read(directory) or deployment)
    directory.clean()
    return was_running


def end_orphans(deployment: Deployment) -> int:
    """Kills the processes that outlived their supervisor, and counts them. On Linux the kernel has done so."""
    count = 0
    for process in deployment.processes:
        if process.pid is not None and ProcessId(process.pid, process.started).alive:
            count += signal_group(process.pid, signal.SIGKILL)
    return count


def _current(directory: RunDirectory) -> Deployment | None:
    """The deployment as it is; None, after cleaning up, when its supervisor is gone without a word."""
    deployment = read(directory)
    if deployment is None or deployment.running or deployment.phase == "failed":
        return deployment
    deployment = read(directory)  # it may have stopped between the two looks
    if deployment is not None and not deployment.running:
        end_orphans(deployment)
        directory.clean()
    return None


def _log_lines(
    directory: RunDirectory,
    paths: dict[str, Path],
    follow: bool,
    lines: int,
    sleep: Callable[[float], None],
) -> Iterator[str]:
    def over() -> bool:
        deployment = read(directory)
        return deployment is None or not deployment.running

    found = (
        follow_logs(paths, lines=lines, until=over, sleep=sleep)
        if follow
        else ((process, line) for process, path in paths.items() for line in tail(path, lines))
    )
    for process, line in found:
        yield line if len(paths) == 1 else f"{process} | {line}"


def _not_here(name: str, home: Path) -> ArmatureError:
    others = [deployment.name for deployment in list_deployments(home)]
    mend = (
        f"Running here: {', '.join(others)}."
        if others
        else "Nothing runs here; start it with `armature up FILE`."
    )
    return ArmatureError(f"No deployment {name!r} on this machine.", mend)
