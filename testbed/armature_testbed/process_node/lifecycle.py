"""When a pod's containers start, stop and start again: init containers in order, sidecars, restarts with back-off.

Pure and level-triggered: `next_step` looks at what is known about each container and says what is due now and when to
look again. Times are seconds of one clock, handed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from armature_testbed.process_node.downward import Pod

__all__ = [
    "Ended",
    "Policy",
    "Record",
    "Step",
    "all_done",
    "begun",
    "doubled_s",
    "ended",
    "init_failed",
    "is_sidecar",
    "next_step",
    "probed",
    "restart_due_s",
    "waiting",
    "will_restart",
]

Container = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Policy:
    """Restart back-off as a kubelet has it: at once after the first end, then `first_s`, twice as long each time up to
    `cap_s`, forgotten when a run lasted `reset_s`. config_retry_s: between looks at what keeps a container from
    starting. Tests shrink them."""

    first_s: float = 10.0
    cap_s: float = 300.0
    reset_s: float = 600.0
    config_retry_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Ended:
    """One finished run of a container. `code` is 128 + N after signal N."""

    code: int
    reason: str
    started_at_s: float
    finished_at_s: float
    message: str = ""
    container_id: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known about one container over its lives.

    running_since_s: None while it does not run. last: how its latest run ended; before_last: the one before. restarts:
    starts after the first. crashes: ends in a row that the back-off counts. not_before_s: no start sooner, because of
    `reason` and `message` (what it waits for). pulls: failed looks for its image. started, ready: what its
    probes say, as in the API. lost: its latest run was before the agent's start, so its pod's folders are gone.
    """

    running_since_s: float | None = None
    container_id: str = ""
    last: Ended | None = None
    before_last: Ended | None = None
    restarts: int = 0
    crashes: int = 0
    not_before_s: float = 0.0
    reason: str = ""
    message: str = ""
    pulls: int = 0
    started: bool = False
    ready: bool = False
    lost: bool = False

    @property
    def running(self) -> bool:
        return self.running_since_s is not None

    @property
    def ever_ran(self) -> bool:
        """Whether it has been started since the pod's folders were made."""
        return self.running or (self.last is not None and not self.lost)


@dataclass(frozen=True, slots=True)
class Step:
    """What is due: containers to start, in order, and to stop; `wake_at_s` when time alone changes something."""

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    wake_at_s: float | None = None


_NEVER = Record()


def is_sidecar(container: Container) -> bool:
    """Whether an init container runs beside the others (meaningless for those that are no init containers)."""
    return container.get("restartPolicy") == "Always"


def begun(record: Record, container_id: str, now_s: float) -> Record:
    """The record of a container that has just been started."""
    return replace(
        record,
        running_since_s=now_s,
        container_id=container_id,
        restarts=record.restarts + (1 if record.last is not None else 0),
        reason="",
        message="",
        pulls=0,
        not_before_s=0.0,
        started=False,
        ready=False,
        lost=False,
    )


def ended(record: Record, end: Ended, policy: Policy) -> Record:
    """The record of a container whose run has just ended; the back-off begins anew after a long enough time."""
    before = record.last
    long_ago = before is not None and end.finished_at_s - before.finished_at_s > policy.reset_s
    return replace(
        record,
        running_since_s=None,
        last=end,
        before_last=before,
        crashes=1 if long_ago else record.crashes + 1,
        started=False,
        ready=False,
    )


def waiting(record: Record, reason: str, message: str, not_before_s: float, pulls: int = 0) -> Record:
    """The record of a container that could not be started, with why and when to try again."""
    return replace(record, reason=reason, message=message, not_before_s=not_before_s, pulls=pulls)


def probed(record: Record, started: bool, ready: bool) -> Record:
    """The record of a running container with what its probes say now."""
    return replace(record, started=started, ready=ready) if record.running else record


def doubled_s(times: int, policy: Policy) -> float:
    """The back-off after `times` failures that count: first_s, then twice as long each, at most cap_s."""
    return min(policy.cap_s, policy.first_s * 2.0 ** max(0, min(times, 60) - 1))


def restart_due_s(record: Record, policy: Policy) -> float:
    """When a container that has ended may start again."""
    if record.last is None or record.crashes <= 1:
        return record.not_before_s
    return max(record.not_before_s, record.last.finished_at_s + doubled_s(record.crashes - 1, policy))


def will_restart(container: Container, record: Record, pod: Pod, *, init: bool) -> bool:
    """Whether a container that has ended is started again while its pod lives."""
    policy = _policy(pod)
    if init and is_sidecar(container):
        return True
    failed = record.last is not None and record.last.code != 0
    if init:
        return failed and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and failed)


def init_failed(pod: Pod, records: Mapping[str, Record]) -> bool:
    """Whether an init container has failed for good."""
    return any(
        not is_sidecar(container) and _failed_for_good(container, records.get(container["name"], _NEVER), pod)
        for container in _init(pod)
    )


def all_done(pod: Pod, records: Mapping[str, Record]) -> bool:
    """Whether the pod's work is over: every main container has ended for good, or initialisation has failed."""
    return init_failed(pod, records) or all(
        (record := records.get(container["name"], _NEVER)).last is not None
        and not record.running
        and not will_restart(container, record, pod, init=False)
        for container in _main(pod)
    )


def next_step(pod: Pod, records: Mapping[str, Record], now_s: float, policy: Policy) -> Step:
    """What is due for a pod that is meant to run."""
    if all_done(pod, records):
        left = [name for name in _names(_init(pod)) if records.get(name, _NEVER).running]
        return Step(stop=tuple(reversed(left)))
    due = _Due(now_s, policy)
    mains_ran = any(records.get(name, _NEVER).ever_ran for name in _names(_main(pod)))
    for container in _init(pod):
        record = records.get(container["name"], _NEVER)
        if mains_ran and not is_sidecar(container):
            continue
        if is_sidecar(container):
            if not record.running:
                due.start(container["name"], record)
            if not mains_ran and not (record.running and record.started):
                return due.step()
        elif record.running or record.last is None or record.last.code != 0:
            if not record.running:
                due.start(container["name"], record)
            return due.step()
    for container in _main(pod):
        record = records.get(container["name"], _NEVER)
        if not record.running and (record.last is None or will_restart(container, record, pod, init=False)):
            due.start(container["name"], record)
    return due.step()


@dataclass(slots=True)
class _Due:
    now_s: float
    policy: Policy
    names: list[str] = field(default_factory=list)
    wake_at_s: float | None = None

    def start(self, name: str, record: Record) -> None:
        at_s = restart_due_s(record, self.policy)
        if at_s <= self.now_s:
            self.names.append(name)
        else:
            self.wake_at_s = at_s if self.wake_at_s is None else min(self.wake_at_s, at_s)

    def step(self) -> Step:
        return Step(start=tuple(self.names), wake_at_s=self.wake_at_s)


def _failed_for_good(container: Container, record: Record, pod: Pod) -> bool:
    return (
        not record.running
        and record.last is not None
        and record.last.code != 0
        and not will_restart(container, record, pod, init=True)
    )


def _policy(pod: Pod) -> str:
    return str((pod.get("spec") or {}).get("restartPolicy") or "Always")


def _init(pod: Pod) -> Sequence[Container]:
    return (pod.get("spec") or {}).get("initContainers") or []


def _main(pod: Pod) -> Sequence[Container]:
    return (pod.get("spec") or {}).get("containers") or []


def _names(containers: Sequence[Container]) -> Iterator[str]:
    return (str(container["name"]) for container in containers)
