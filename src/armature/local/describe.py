"""What to tell a person who watches a deployment start and run: one line for each thing that changed."""

from __future__ import annotations

from armature.local.state import Deployment, Process

__all__ = ["changes", "describe", "progress"]


def progress(deployment: Deployment) -> str:
    """`2 of 3 workers ready, frontend ready`."""
    workers = [process for process in deployment.processes if process.kind == "worker"]
    frontends = [process for process in deployment.processes if process.kind == "frontend"]
    ready = sum(process.state == "ready" for process in workers)
    parts = [f"{ready} of {len(workers)} worker{'s' if len(workers) != 1 else ''} ready"]
    if frontends:
        up = all(process.state == "ready" for process in frontends)
        parts.append(f"frontend {'ready' if up else 'starting'}")
    return ", ".join(parts)


def changes(before: Deployment, now: Deployment) -> list[str]:
    """What happened to the processes between two looks."""
    known = {process.name: process for process in before.processes}
    return [
        line for process in now.processes if (line := _change(known.get(process.name), process)) is not None
    ]


def describe(deployment: Deployment, now: float) -> list[str]:
    """The deployment in lines of plain text. now: seconds since the epoch."""
    age = _duration(deployment.uptime_s(now))
    lines = [
        f"{deployment.name}: {deployment.phase} for {age}"
        + (f" ({deployment.message})" if deployment.message else ""),
        f"  {deployment.url}/v1  {', '.join(deployment.models)}",
    ]
    for process in deployment.processes:
        port = f" port {process.port}" if process.port else ""
        pid = f" pid {process.pid}" if process.pid else ""
        restarts = f" restarts {process.restarts}" if process.restarts else ""
        why = f" ({process.message})" if process.message else ""
        lines.append(f"  {process.name}: {process.state}{pid}{port}{restarts}{why}")
    return lines


def _change(before: Process | None, now: Process) -> str | None:
    if before is None or (before.state, before.restarts) == (now.state, now.restarts):
        return None
    if now.state in ("waiting", "failed"):
        return f"{now.name} {now.message}"
    if now.state == "ready":
        return (
            f"{now.name} is ready again (restart {now.restarts})" if now.restarts else f"{now.name} is ready"
        )
    return None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
