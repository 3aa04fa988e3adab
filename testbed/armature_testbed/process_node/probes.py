"""Liveness, readiness and startup probes: what is asked, when, and how answers become a verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from armature_testbed.process_node.downward import ConfigError

__all__ = ["Check", "ProbeKind", "ProbeSpec", "Verdict", "answered", "handler_check", "probe_of"]

ProbeKind = Literal["startup", "liveness", "readiness"]
_FIELDS: Mapping[ProbeKind, str] = {
    "startup": "startupProbe",
    "liveness": "livenessProbe",
    "readiness": "readinessProbe",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One question to a container: an HTTP GET, a TCP connection, or a command in it."""

    kind: Literal["http", "tcp", "exec", "sleep"]
    host: str = ""
    port: int = 0
    path: str = "/"
    https: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    command: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """A probe with the API's defaults filled in. Times in seconds; grace_s: None where the pod's own counts."""

    check: Check
    initial_delay_s: float = 0.0
    timeout_s: float = 1.0
    period_s: float = 10.0
    success_threshold: int = 1
    failure_threshold: int = 3
    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a probe's answers so far come to: None until a threshold is reached. Counts are of answers in a row."""

    passed: bool | None = None
    successes: int = 0
    failures: int = 0


def probe_of(container: Mapping[str, Any], kind: ProbeKind, pod_ip: str) -> ProbeSpec | None:
    """A container's probe of a kind; None when it has none. Raises ConfigError for one that cannot be asked here."""
    written = container.get(_FIELDS[kind])
    if not written:
        return None
    grace = written.get("terminationGracePeriodSeconds")
    return ProbeSpec(
        check=handler_check(written, container, pod_ip),
        initial_delay_s=float(written.get("initialDelaySeconds") or 0),
        timeout_s=float(written.get("timeoutSeconds") or 1),
        period_s=float(written.get("periodSeconds") or 10),
        success_threshold=int(written.get("successThreshold") or 1),
        failure_threshold=int(written.get("failureThreshold") or 3),
        grace_s=None if grace is None else float(grace),
    )


def handler_check(written: Mapping[str, Any], container: Mapping[str, Any], pod_ip: str) -> Check:
    """The question of a probe or a lifecycle hook. Raises ConfigError for an unknown port name or a gRPC probe."""
    if (http := written.get("httpGet")) is not None:
        return Check(
            "http",
            host=str(http.get("host") or pod_ip),
            port=_port(http.get("port"), container),
            path="/" + str(http.get("path") or "/").removeprefix("/"),
            https=str(http.get("scheme") or "HTTP").upper() == "HTTPS",
            headers=tuple((str(item["name"]), str(item["value"])) for item in http.get("httpHeaders") or []),
        )
    if (tcp := written.get("tcpSocket")) is not None:
        return Check("tcp", host=str(tcp.get("host") or pod_ip), port=_port(tcp.get("port"), container))
    if (command := written.get("exec")) is not None:
        return Check("exec", command=tuple(str(word) for word in command.get("command") or []))
    if (sleep := written.get("sleep")) is not None:
        return Check("sleep", seconds=float(sleep.get("seconds") or 0))
    name = container.get("name")
    raise ConfigError(
        f"container {name}: {', '.join(written)}: a process node asks by httpGet, tcpSocket and exec only"
    )


def answered(verdict: Verdict, ok: bool, spec: ProbeSpec) -> Verdict:
    """The verdict after one more answer: it turns only when a threshold of equal answers is reached."""
    if ok:
        count = verdict.successes + 1
        passed = True if count >= spec.success_threshold else verdict.passed
        return replace(verdict, passed=passed, successes=count, failures=0)
    count = verdict.failures + 1
    passed = False if count >= spec.failure_threshold else verdict.passed
    return replace(verdict, passed=passed, successes=0, failures=count)


def _port(written: object, container: Mapping[str, Any]) -> int:
    text = str(written)
    if text.isdigit():
        return int(text)
    for port in container.get("ports") or []:
        if port.get("name") == text:
            return int(port["containerPort"])
    raise ConfigError(f"container {container.get('name')}: no port is named {text!r}")
