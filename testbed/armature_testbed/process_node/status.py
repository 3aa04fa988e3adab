"""A pod's status as its node reports it: phase, conditions and container statuses from what is known. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from armature_testbed.process_node.downward import Pod
from armature_testbed.process_node.lifecycle import (
    Container,
    Ended,
    Policy,
    Record,
    doubled_s,
    init_failed,
    is_sidecar,
    restart_due_s,
    will_restart,
)

__all__ = ["Override", "phase_of", "pod_status", "rfc3339"]

_NEVER = Record()


@dataclass(frozen=True, slots=True)
class Override:
    """A phase that no container says, with its reason: a deadline that has passed, say."""

    phase: str
    reason: str
    message: str


def rfc3339(at_s: float) -> str:
    """Seconds since the epoch as the API writes times."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def phase_of(pod: Pod, records: Mapping[str, Record]) -> str:
    """Pending, Running, Succeeded or Failed, by the kubelet's rules."""
    spec = pod.get("spec") or {}
    if init_failed(pod, records):
        return "Failed"
    if not _initialised(pod, records):
        return "Pending"
    mains = [records.get(container["name"], _NEVER) for container in spec.get("containers") or []]
    if any(not record.ever_ran for record in mains):
        return "Pending"
    if any(record.running for record in mains):
        return "Running"
    policy = spec.get("restartPolicy") or "Always"
    if policy == "Always":
        return "Running"
    if all(record.last is not None and record.last.code == 0 for record in mains):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def pod_status(
    pod: Pod,
    records: Mapping[str, Record],
    *,
    pod_ip: str,
    host_ip: str,
    start_time_s: float,
    now_s: float,
    policy: Policy,
    override: Override | None = None,
) -> dict[str, Any]:
    """The whole status; unchanged conditions keep the times that the pod's present status has."""
    spec = pod.get("spec") or {}
    phase = override.phase if override else phase_of(pod, records)
    statuses = [
        _container_status(container, pod, records, policy, init=False)
        for container in spec.get("containers") or []
    ]
    init_statuses = [
        _container_status(container, pod, records, policy, init=True)
        for container in spec.get("initContainers") or []
    ]
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": _conditions(pod, records, phase, now_s),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": rfc3339(start_time_s),
        "containerStatuses": statuses,
        "qosClass": (pod.get("status") or {}).get("qosClass") or "BestEffort",
    }
    if pod_ip:
        status |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    if init_statuses:
        status["initContainerStatuses"] = init_statuses
    if override:
        status |= {"reason": override.reason, "message": override.message}
    return status


def _initialised(pod: Pod, records: Mapping[str, Record]) -> bool:
    spec = pod.get("spec") or {}
    if any(records.get(item["name"], _NEVER).ever_ran for item in spec.get("containers") or []):
        return True
    for container in spec.get("initContainers") or []:
        record = records.get(container["name"], _NEVER)
        if is_sidecar(container):
            if not record.started:
                return False
        elif record.running or record.last is None or record.last.code != 0:
            return False
    return True


def _container_status(
    container: Container, pod: Pod, records: Mapping[str, Record], policy: Policy, *, init: bool
) -> dict[str, Any]:
    name = str(container["name"])
    record = records.get(name, _NEVER)
    state, last = _states(container, record, pod, records, policy, init=init)
    done_well = init and not is_sidecar(container) and record.last is not None and record.last.code == 0
    ready = (done_well and not record.running) or (record.running and record.ready)
    made: dict[str, Any] = {
        "name": name,
        "image": str(container.get("image") or ""),
        "imageID": f"process://{container.get('image')}" if record.ever_ran else "",
        "ready": ready,
        "started": record.running and record.started,
        "restartCount": record.restarts,
        "state": state,
        "lastState": last,
    }
    if record.container_id:
        made["containerID"] = f"process://{record.container_id}"
    return made


def _states(
    container: Container,
    record: Record,
    pod: Pod,
    records: Mapping[str, Record],
    policy: Policy,
    *,
    init: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state, lastState)."""
    if record.running_since_s is not None:
        return {"running": {"startedAt": rfc3339(record.running_since_s)}}, _terminated(record.last)
    if record.last is None:
        reason, message = record.reason, record.message
        if not reason:
            reason = (
                "PodInitializing" if (pod.get("spec") or {}).get("initContainers") else "ContainerCreating"
            )
        return {"waiting": _said(reason, message)}, {}
    dying = bool(pod["metadata"].get("deletionTimestamp"))
    if dying or not will_restart(container, record, pod, init=init) or _over(pod, records):
        return _terminated(record.last), _terminated(record.before_last)
    if record.reason:
        return {"waiting": _said(record.reason, record.message)}, _terminated(record.last)
    if restart_due_s(record, policy) > record.last.finished_at_s:
        metadata = pod["metadata"]
        delay = doubled_s(record.crashes - 1, policy)
        message = (
            f"back-off {_duration(delay)} restarting failed container={container['name']} "
            f"pod={metadata['name']}_{metadata['namespace']}({metadata['uid']})"
        )
        return {"waiting": _said("CrashLoopBackOff", message)}, _terminated(record.last)
    return _terminated(record.last), _terminated(record.before_last)


def _over(pod: Pod, records: Mapping[str, Record]) -> bool:
    return phase_of(pod, records) in ("Succeeded", "Failed")


def _said(reason: str, message: str) -> dict[str, str]:
    return {"reason": reason, "message": message} if message else {"reason": reason}


def _terminated(end: Ended | None) -> dict[str, Any]:
    if end is None:
        return {}
    body: dict[str, Any] = {
        "exitCode": end.code,
        "reason": end.reason,
        "startedAt": rfc3339(end.started_at_s),
        "finishedAt": rfc3339(end.finished_at_s),
    }
    if end.message:
        body["message"] = end.message
    if end.container_id:
        body["containerID"] = f"process://{end.container_id}"
    return {"terminated": body}


def _conditions(pod: Pod, records: Mapping[str, Record], phase: str, now_s: float) -> list[dict[str, Any]]:
    spec = pod.get("spec") or {}
    before = {item["type"]: item for item in (pod.get("status") or {}).get("conditions") or []}
    over = phase in ("Succeeded", "Failed")
    done = "PodCompleted" if phase == "Succeeded" else "PodFailed"
    unready = [
        str(item["name"])
        for item in [
            *(i for i in spec.get("initContainers") or [] if is_sidecar(i)),
            *(spec.get("containers") or []),
        ]
        if not (record := records.get(item["name"], _NEVER)).running or not record.ready
    ]
    incomplete = [
        str(item["name"])
        for item in spec.get("initContainers") or []
        if not is_sidecar(item)
        and ((record := records.get(item["name"], _NEVER)).last is None or record.last.code != 0)
    ]
    initialised = _initialised(pod, records)
    all_ready = not unready and not over and initialised
    missing = f"containers with unready status: [{' '.join(unready)}]"
    not_ready = (done, "") if over else ("ContainersNotReady", missing)
    gates = [str(gate["conditionType"]) for gate in spec.get("readinessGates") or []]
    closed = [gate for gate in gates if before.get(gate, {}).get("status") != "True"]
    gate_text = f"the status of pod readiness gate {', '.join(closed)} is not True"
    ready_why = not_ready if not all_ready else ("ReadinessGatesNotReady", gate_text) if closed else ("", "")
    any_ran = any(record.ever_ran for record in records.values())
    wanted: Sequence[tuple[str, bool, tuple[str, str]]] = (
        ("PodReadyToStartContainers", any_ran and not over, ("", "")),
        (
            "Initialized",
            initialised and not init_failed(pod, records),
            ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]"),
        ),
        ("ContainersReady", all_ready, not_ready),
        ("Ready", all_ready and not closed, ready_why),
        ("PodScheduled", True, ("", "")),
    )
    made = []
    for kind, holds, why in wanted:
        value = "True" if holds else "False"
        item: dict[str, Any] = {"type": kind, "status": value, "lastProbeTime": None}
        if not holds and why[0]:
            item["reason"] = why[0]
        if not holds and why[1]:
            item["message"] = why[1]
        old = before.get(kind) or {}
        kept = old.get("lastTransitionTime") if old.get("status") == value else None
        item["lastTransitionTime"] = kept or rfc3339(now_s)
        made.append(item)
    return made


def _duration(seconds: float) -> str:
    """As Go prints it: `10s`, `1m20s`, `5m0s`; fractions (of shrunken tests) as they are."""
    if seconds < 60:
        return f"{seconds:g}s"
    return f"{int(seconds // 60)}m{seconds % 60:g}s"
