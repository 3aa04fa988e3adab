"""Prediction beside replay: what a plan says of a layout at a rate, and what its engines do with a stream.

Used by `benchmarks/load_model.py` and by the tests that hold the load model to the engine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from armature.search.candidates import Swept
from armature.search.engines import Engines
from armature.search.follow import followed
from armature.search.headroom import layout_surface
from armature.search.operating import Engine, moved_ms
from armature.search.profile import Candidate
from armature.search.question import Question
from armature.search.rapid import step_table
from armature.search.surface import sender
from armature.search.sweep import judged_points
from armature.simulation.layout import deployment_of
from armature.simulation.replay import Outcome, Stream, replay, replay_closed

__all__ = ["Cell", "Layout", "cells", "compared", "poisson_stream", "predicted"]

WARM_UP = 0.1
"""Share of the requests that come before a deployment is as full as it gets."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout by the indices of its engines; prefill -1 and prefill_count 0 when aggregated."""

    name: str
    main: int
    prefill: int
    main_count: int
    prefill_count: int

    @classmethod
    def of(cls, name: str, engines: Engines) -> Layout:
        """`2xtp1`: aggregated; `2xtp1:1xtp2`: prefill and decode. Raises ValueError when there is no such engine."""
        parts = [re.fullmatch(r"(\d+)x(\w+)", part) for part in name.split(":")]
        if not all(parts) or len(parts) > 2:
            raise ValueError(f"not a layout: {name!r}")
        sides = [(int(part[1]), part[2]) for part in parts if part]
        count, label = sides[-1]
        main = _index(engines.mains, label)
        if len(sides) == 1:
            return cls(name, main, -1, count, 0)
        return cls(name, main, _index(engines.prefills, sides[0][1]), count, sides[0][0])

    @property
    def indices(self) -> dict[str, int]:
        """Arguments of `headroom.capacity_per_s`."""
        return {
            "main": self.main,
            "prefill": self.prefill,
            "main_count": self.main_count,
            "prefill_count": self.prefill_count,
        }

    def replayed(
        self, question: Question, engines: Engines, stream: Stream, rate: float, in_flight: int | None = None
    ) -> Outcome:
        """What its engines, limited as the plan for this load limits them, do with the stream; in_flight: instead of
        the rate."""
        candidate = predicted(question, engines, self, rate, in_flight)
        workload, facts, main = question.workload, question.facts, engines.mains[self.main]
        sides: dict[str, Engine] = {candidate.groups[-1].role: main}
        transfer = 0.0
        if self.prefill >= 0:
            sides["prefill"] = other = engines.prefills[self.prefill]
            held = sender(0, other, workload, facts).kv_bytes_per_gpu
            node = main.pool.gpus_per_node
            transfer = moved_ms(held, other, main, within_node=candidate.gpus <= node) / workload.isl
        longest = float(max((stream.isl + stream.osl).max(), workload.longest_tokens))
        tables = {
            role: step_table(engine, facts, workload.isl, workload.osl, longest)
            for role, engine in sides.items()
        }
        deployment = deployment_of(
            candidate, tables, max_model_len=int(longest) + 1, transfer_ms_per_token=transfer
        )
        return (
            replay(deployment, stream) if in_flight is None else replay_closed(deployment, stream, in_flight)
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One predicted figure beside the replayed one, milliseconds. figure: TTFT or ITL; percentile: p50 or p95."""

    layout: str
    rate: float
    figure: str
    percentile: str
    predicted_ms: float
    replayed_ms: float

    @property
    def error(self) -> float:
        return self.predicted_ms / self.replayed_ms - 1.0


def predicted(
    question: Question, engines: Engines, layout: Layout, rate: float, in_flight: int | None = None
) -> Candidate:
    """The layout at a request rate, or with a fixed number in flight, as the search would have it."""
    workload = question.workload
    if in_flight is not None:
        load = replace(workload, request_rate=None, concurrency=float(in_flight))
    else:
        requests = None if workload.requests is None else workload.requests.scaled(rate)
        load = replace(workload, request_rate=rate, concurrency=None, requests=requests)
    asked = replace(question, workload=load)
    surface = layout_surface(asked, engines, **layout.indices)
    points, verdicts = judged_points(surface, asked.workload, asked.sla)
    points = followed(points, [lambda: surface], asked.workload, np.arange(1))
    (made,) = Swept(asked, engines, verdicts, points, (lambda: surface,)).candidates([0])
    return made


def compared(question: Question, engines: Engines, layout: Layout, stream: Stream, rate: float) -> list[Cell]:
    """p50 and p95 of TTFT and ITL, the first tenth of the requests left out."""
    outcome = layout.replayed(question, engines, stream, rate).after(int(WARM_UP * len(stream)))
    return cells(predicted(question, engines, layout, rate), layout, outcome)


def cells(plan: Candidate, layout: Layout, outcome: Outcome) -> list[Cell]:
    """p50 and p95 of TTFT and ITL of a replay beside what the plan says."""
    found = []
    for figure, values in (("ttft", outcome.ttft_ms), ("itl", outcome.itl_ms)):
        for percentile in (50, 95):
            said: Any = getattr(plan, f"{figure}_p{percentile}_ms")
            met = float(np.quantile(values, percentile / 100))
            rate = plan.request_rate
            found.append(Cell(layout.name, rate, figure.upper(), f"p{percentile}", said.value, met))
    return found


def poisson_stream(requests: int, rate: float, isl: int, osl: int, *, seed: int) -> Stream:
    """A Poisson stream of equal requests, `rate` per second."""
    gaps = np.random.default_rng(seed).exponential(1000.0 / rate, requests)
    return Stream(np.cumsum(gaps), np.full(requests, isl), np.full(requests, osl))


def _index(engines: Sequence[Engine], label: str) -> int:
    for index, engine in enumerate(engines):
        if engine.parallelism.label == label:
            return index
    raise ValueError(f"no {label} among {', '.join(engine.parallelism.label for engine in engines)}")
