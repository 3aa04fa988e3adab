"""A request and what belongs to it, to which passes are applied as the API server would."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from armature.operator.profiling.answer import Answer
from armature.operator.request.decide import decide
from armature.operator.request.results import graph_of
from armature.operator.request.state import Event, Observed, Pass

NOW = datetime(2026, 11, 25, 5, tzinfo=UTC)


def request(**spec: Any) -> dict[str, Any]:
    hardware = {"gpuSku": "h200_sxm", "vramMb": 143771, "totalGpus": 8, "numGpusPerNode": 8}
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "chat", "namespace": "ml", "uid": "u-1", "generation": 1},
        "spec": {"model": "Qwen/Qwen3-0.6B", "hardware": hardware, **spec},
    }


def answer(point: str = "agg-1", **more: Any) -> Answer:
    graph = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "chat-dgd", "labels": {"mine": "yes"}},
        "spec": {"components": [{"name": "Frontend", "type": "frontend"}]},
    }
    items = [
        {"point": 1, "id": "agg-1", "backend": "vllm"},
        {"point": 2, "id": "disagg-1", "backend": "vllm"},
    ]
    values: dict[str, Any] = {
        "graph": graph,
        "extras": [],
        "pareto": items,
        "point": point,
        "missed": [],
        "would_meet": [],
        "targets": 2,
        "at_risk": False,
        "notes": [],
        "profile": b"{}",
    }
    return Answer(**values | more)


@dataclass
class World:
    """What is observed next; `step` decides and applies."""

    seen: Observed
    inline: bool = False
    told: list[Event] = field(default_factory=list)
    writes: int = 0

    def step(self, **observed: Any) -> Pass | None:
        self.seen = replace(self.seen, **observed)
        found = decide(self.seen, inline=self.inline)
        if found is None:
            return None
        seen = copy.deepcopy(self.seen.request)
        self.told += found.events
        for name, value in (found.patch.get("metadata", {}).get("annotations") or {}).items():
            seen["metadata"].setdefault("annotations", {})[name] = value
        if "spec" in found.patch:
            for name, value in found.patch["spec"].items():
                seen["spec"][name] = {**(seen["spec"].get(name) or {}), **value}
            seen["metadata"]["generation"] += 1
        status = dict(found.status)
        if "spec" in found.patch:
            status["observedGeneration"] = seen["metadata"]["generation"]
        self.writes += seen != self.seen.request
        seen["status"] = status
        self.writes += status != (self.seen.request.get("status") or {})
        graph = self.seen.graph
        if found.deploy:
            graph = copy.deepcopy(graph_of(status))
        if found.replace:
            graph = None
        self.seen = replace(self.seen, request=seen, graph=graph)
        return found

    @property
    def phase(self) -> str:
        return str((self.seen.request.get("status") or {}).get("phase") or "")

    def condition(self, type: str) -> tuple[str, str, str]:
        found = next(c for c in self.seen.request["status"]["conditions"] if c["type"] == type)
        return found["status"], found["reason"], found["message"]

    @property
    def events(self) -> list[str]:
        return [event.reason for event in self.told]


def world(inline: bool = False, **spec: Any) -> World:
    return World(Observed(request(**spec), NOW), inline)


def profiled(inline: bool = False, **spec: Any) -> World:
    """A request that is being profiled."""
    made = world(inline, **spec)
    made.step()
    made.step()
    assert made.phase == "Profiling"
    return made


def deployed(**spec: Any) -> World:
    made = profiled(**spec)
    made.step(outcome=answer())
    made.step()
    graph = copy.deepcopy(made.seen.graph)
    assert graph is not None
    graph["status"] = {
        "state": "successful",
        "components": {"Frontend": {"replicas": 1, "availableReplicas": 1}},
    }
    made.step(graph=graph)
    assert made.phase == "Deployed"
    return made
