"""What a restarted agent knows about the pods it finds: its processes ended with it, as in a reboot of a node. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from armature_testbed.process_node.downward import Pod, all_containers
from armature_testbed.process_node.lifecycle import Ended, Record

__all__ = ["is_over", "records_found", "seconds"]

_LOST = "the node agent stopped, and the container's processes with it"
_LOST_CODE = 137


def is_over(pod: Pod) -> bool:
    """Whether a pod has come to its end; what it was stays as it is written."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def records_found(pod: Pod, now_s: float) -> dict[str, Record]:
    """Records of the containers that have run before, from the pod's own status.

    Init containers that are done start over (the pod's folders are gone), without counting as a restart.
    """
    status = pod.get("status") or {}
    mains = {str(item["name"]) for item in status.get("containerStatuses") or []}
    found: dict[str, Record] = {}
    known = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    names = {str(container["name"]) for container in all_containers(pod)}
    for item in known:
        name = str(item["name"])
        if name not in names:
            continue
        restarts = int(item.get("restartCount") or 0)
        end = _end(item, now_s)
        keep = end is not None and (name in mains or end.code != 0)
        if keep or restarts:
            found[name] = Record(
                last=end if keep else None, restarts=restarts, crashes=1 if keep else 0, lost=keep
            )
    return found


def _end(item: Mapping[str, Any], now_s: float) -> Ended | None:
    state, last = item.get("state") or {}, item.get("lastState") or {}
    container_id = str(item.get("containerID") or "").removeprefix("process://")
    if (running := state.get("running")) is not None:
        started_s = seconds(running.get("startedAt")) or now_s
        return Ended(_LOST_CODE, "ContainerStatusUnknown", started_s, now_s, _LOST, container_id)
    done = state.get("terminated") or last.get("terminated")
    if done is None:
        return None
    return Ended(
        int(done.get("exitCode") or 0),
        str(done.get("reason") or ""),
        seconds(done.get("startedAt")) or now_s,
        seconds(done.get("finishedAt")) or now_s,
        str(done.get("message") or ""),
        container_id,
    )


def seconds(text: object) -> float | None:
    """A time of the API as seconds since the epoch; None when there is none."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
