"""What the pods of a profiling Job say about why it does not run, or did not end well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["is_active", "job_failure", "stuck_images", "trouble"]

_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_STUCK = (
    *_IMAGE,
    "CreateContainerConfigError",
    "CreateContainerError",
    "CrashLoopBackOff",
    "RunContainerError",
)


def is_active(job: Mapping[str, Any] | None) -> bool:
    return bool(((job or {}).get("status") or {}).get("active"))


def trouble(pods: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """(reason, message) of what keeps a pod from running, in the pod's own words; None when nothing does."""
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                reason = condition.get("reason") or "Unschedulable"
                return reason, f"pod {name} cannot be scheduled: {condition.get('message') or reason}"
        for container, waiting in _waiting(status):
            reason = str(waiting.get("reason") or "")
            if reason in _STUCK:
                message = waiting.get("message")
                return (
                    reason,
                    f"pod {name} container {container}: {reason}{f': {message}' if message else ''}",
                )
    return None


def stuck_images(pods: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str, str, str], ...]:
    """(pod, container, reason, message) of each container that cannot get its image."""
    return tuple(
        (str(pod["metadata"]["name"]), container, str(waiting["reason"]), str(waiting.get("message") or ""))
        for pod in pods
        for container, waiting in _waiting(pod.get("status") or {})
        if waiting.get("reason") in _IMAGE
    )


def job_failure(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> str | None:
    """Why the Job failed, with the last words of its pod; None when it has not."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            said = str(condition.get("message") or condition.get("reason") or "failed")
            details = next(iter(_ended_badly(pods)), "")
            return f"{said}. Details: {details}" if details else said
    return None


def _ended_badly(pods: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for pod in pods:
        for container, state in _states(pod.get("status") or {}):
            ended = state.get("terminated") or {}
            if ended.get("exitCode"):
                message = f", Message: {ended['message'].strip()}" if ended.get("message") else ""
                yield (
                    f"Pod: {pod['metadata']['name']}, Container: {container}, ExitCode: {ended['exitCode']}, "
                    f"Reason: {ended.get('reason') or 'Error'}{message}"
                )


def _waiting(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for container, state in _states(status):
        if state.get("waiting"):
            yield container, state["waiting"]


def _states(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or ():
            yield str(container.get("name")), container.get("state") or {}
