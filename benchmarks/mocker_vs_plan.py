"""Do the mockers do what the plan says? `python benchmarks/mocker_vs_plan.py` prints the table, over HTTP.

For each layout: the search predicts it, the graph builder writes it, the local runner starts it, and a load client
streams from it. Unloaded (at most one request in flight per worker): p50 TTFT and p50 ITL against the plan's unloaded
values, within 10 %. At the operating concurrency: mean ITL against the plan's, which is a mean too, within 15 %.
Where this machine cannot keep real time the mockers run slowed down (`--speedup-ratio` below 1, chosen from the
token rate and the shortest latency) and the measured times are scaled back; the table says by how much.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
from http_load import Sample, closed_loop, mean_ms, p50_ms

from armature import api
from armature.api import v1beta1
from armature.errors import ArmatureError
from armature.graph.build import build
from armature.graph.preflight import require
from armature.hardware.inventory import Inventory, parse_hardware
from armature.local.up import UpOptions, running
from armature.model.facts import ModelFacts
from armature.model.resolve import resolve_model
from armature.perf.choose import estimator_for
from armature.perf.estimate import EngineSpec
from armature.perf.steptable import StepTable, sample
from armature.search.profile import Candidate, Group, Profile
from armature.search.rapid import profile as search

__all__ = ["LAYOUTS", "Layout", "Row", "measure", "table"]

UNLOADED_LIMIT, LOADED_LIMIT = 0.10, 0.15
TOKENS_PER_S = 1500.0
"""Streamed tokens that one core's worth of frontend, mockers and client carry without falling behind."""
SHORTEST_TTFT_MS = 60.0
"""A TTFT is slowed to at least this, so that the two or three milliseconds of HTTP stay below a twentieth of it."""
SPREAD = 0.5
"""How far lengths vary under load. Equal ones march in step in a closed loop: each prefill then meets the same
moment of the others, a pattern that neither real traffic nor the plan has."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of layout: which candidates are it, how many replicas of the worker it has (None: any number), which
    candidates to prefer (highest), and the loads (requests in flight) to ask the search for, in turn."""

    name: str
    matches: Callable[[Candidate], bool]
    replicas: int | None
    prefer: Callable[[Candidate], float]
    loads: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. ratio: the speed-up at which it was measured; measured is already scaled back."""

    layout: str
    candidate: str
    what: str
    plan_ms: float
    measured_ms: float
    limit: float
    requests: int
    concurrency: int
    ratio: float

    @property
    def deviation(self) -> float:
        return self.measured_ms / self.plan_ms - 1.0

    @property
    def ok(self) -> bool:
        return abs(self.deviation) <= self.limit


def _is_agg(candidate: Candidate, tp: int) -> bool:
    group = candidate.group("agg")
    return group is not None and (group.tp, group.pp, group.dp) == (tp, 1, 1)


def _is_plain_disagg(candidate: Candidate) -> bool:
    return candidate.mode == "disagg" and all((group.pp, group.dp) == (1, 1) for group in candidate.groups)


def _fewest_replicas(candidate: Candidate) -> float:
    return min(group.replicas for group in candidate.groups)


def _quickest(candidate: Candidate) -> float:
    return -(candidate.unloaded_ttft_ms + 20 * candidate.unloaded_itl_ms)


LAYOUTS = (
    Layout("agg TP1", lambda c: _is_agg(c, 1), None, _fewest_replicas, (64, 48, 96, 32)),
    Layout("agg TP4x2", lambda c: _is_agg(c, 4), 2, _fewest_replicas, (40, 32, 48, 56, 64, 24)),
    Layout("disaggregated", _is_plain_disagg, None, _quickest, (24, 32, 40, 48, 16)),
)


@dataclass(frozen=True, slots=True)
class _Case:
    """A layout found by the search, ready to build: the profile's pick is the layout, its step tables its own."""

    layout: Layout
    profile: Profile
    request: v1beta1.DynamoGraphDeploymentRequest

    @property
    def candidate(self) -> Candidate:
        return self.profile.picked

    @property
    def concurrency(self) -> int:
        return max(1, round(self.candidate.concurrency))

    @property
    def lanes(self) -> int:
        """Requests that may be in flight with none beside another on a worker (routing is round-robin)."""
        return min(group.replicas for group in self.candidate.groups)

    def ratio(self, tokens_per_s: float, ttft_ms: float, slower: float) -> float:
        """Slow enough for this machine, and never faster than real."""
        return round(min(1.0, TOKENS_PER_S / tokens_per_s, ttft_ms / SHORTEST_TTFT_MS) / slower, 3)


def measure(
    layouts: Sequence[Layout] = LAYOUTS,
    *,
    model: str = "Qwen/Qwen3-32B-FP8",
    hardware: str = "8xh200_sxm",
    isl: int = 1500,
    osl: int = 24,
    requests: int = 300,
    slower: float = 1.0,
    report: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Runs every layout and compares; three rows each. slower: slows the mockers down that much more, for machines
    that are busy. Raises ArmatureError when a layout cannot be had."""
    facts, inventory = resolve_model(model), parse_hardware(hardware)
    rows: list[Row] = []
    for layout in layouts:
        case = _case(layout, facts, inventory, isl=isl, osl=osl)
        rows += _measured(case, isl=isl, osl=osl, requests=requests, slower=slower, report=report)
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    head = (
        "layout",
        "candidate",
        "what",
        "plan ms",
        "measured ms",
        "off",
        "limit",
        "n",
        "in flight",
        "speed",
    )
    lines = [
        (
            *(row.layout, row.candidate, row.what, f"{row.plan_ms:.2f}", f"{row.measured_ms:.2f}"),
            *(f"{row.deviation:+.1%}", f"{row.limit:.0%}" + ("" if row.ok else " MISSED")),
            *(str(row.requests), str(row.concurrency), f"{row.ratio:g}x"),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *lines)
    )


def _case(layout: Layout, facts: ModelFacts, inventory: Inventory, *, isl: int, osl: int) -> _Case:
    """The layout as the search plans it, under the first of its loads at which it is kept.

    The search keeps the fewest replicas that do; where the layout has more, an ITL target just out of their reach
    makes it keep one more.
    """
    for load in layout.loads:
        itl_ms: float | None = None
        for _ in range(layout.replicas or 1):
            request = _request(facts.name, isl, osl, load, itl_ms)
            found = search(request, inventory, facts, estimator_for("auto"))
            kept = [c for c in found.candidates if layout.matches(c) and c.carries_load]
            fitting = [c for c in kept if layout.replicas in (None, c.groups[0].replicas)]
            if fitting:
                picked = max(fitting, key=layout.prefer)
                tables = {
                    group.role: _steps(group, picked, facts, inventory, isl + osl) for group in picked.groups
                }
                return _Case(layout, structs.replace(found, pick=picked.id, step_tables=tables), request)
            if not kept:
                break
            itl_ms = 0.95 * min(c.itl_ms.value for c in kept)
    raise ArmatureError(
        f"The search keeps no {layout.name} layout of {facts.name} at any of these loads: {layout.loads}."
    )


def _steps(
    group: Group, candidate: Candidate, facts: ModelFacts, inventory: Inventory, tokens: int
) -> StepTable:
    """The group's step table, as the search makes it for its pick."""
    pool = next(pool for pool in inventory.pools if pool.gpu.sku == group.sku)
    spec = EngineSpec(facts, pool.gpu, candidate.backend, group.parallelism, group.kv_dtype)
    times = estimator_for("auto").engine(spec)
    longest = min(facts.max_context, 2 * tokens)
    return sample(times, max_isl=longest, max_batch=256, max_context=longest, max_chunk=group.chunk_tokens)


def _request(
    model: str, isl: int, osl: int, load: int, itl_ms: float | None
) -> v1beta1.DynamoGraphDeploymentRequest:
    document = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "bench"},
        "spec": {
            "model": model,
            "backend": "vllm",
            "workload": {"isl": isl, "osl": osl, "concurrency": load},
            "sla": {} if itl_ms is None else {"itl": itl_ms},
        },
    }
    return api.default_request(v1beta1.DynamoGraphDeploymentRequest.model_validate(document))


def _measured(
    case: _Case, *, isl: int, osl: int, requests: int, slower: float, report: Callable[[str], None]
) -> list[Row]:
    candidate = case.candidate
    unloaded_rate = 1000.0 * case.lanes / candidate.unloaded_itl_ms
    unloaded = case.ratio(unloaded_rate, candidate.unloaded_ttft_ms, slower)
    loaded = case.ratio(candidate.tokens_per_s, candidate.ttft_ms.value, slower)
    life_s = candidate.e2e_ms.value / 1000.0 / loaded
    report(f"{case.layout.name}: {candidate.id}, unloaded at {unloaded:g}x, loaded at {loaded:g}x")

    alone = _run(case, unloaded, isl=isl, osl=osl, requests=requests, concurrency=case.lanes, ramp_s=0.2)
    together = _run(
        case,
        loaded,
        isl=isl,
        osl=osl,
        requests=requests,
        concurrency=case.concurrency,
        ramp_s=life_s,
        spread=SPREAD,
    )

    def row(
        what: str, plan: float, got: float, limit: float, many: list[Sample], flight: int, ratio: float
    ) -> Row:
        scaled = got * ratio
        return Row(case.layout.name, candidate.id, what, plan, scaled, limit, len(many), flight, ratio)

    ttft, itl = p50_ms([s.ttft_ms for s in alone]), p50_ms([s.itl_ms for s in alone])
    busy = mean_ms([s.itl_ms for s in together])
    return [
        row(
            "TTFT p50, unloaded",
            candidate.unloaded_ttft_ms,
            ttft,
            UNLOADED_LIMIT,
            alone,
            case.lanes,
            unloaded,
        ),
        row("ITL p50, unloaded", candidate.unloaded_itl_ms, itl, UNLOADED_LIMIT, alone, case.lanes, unloaded),
        row(
            "ITL mean, loaded", candidate.itl_ms.value, busy, LOADED_LIMIT, together, case.concurrency, loaded
        ),
    ]


def _run(
    case: _Case,
    ratio: float,
    *,
    isl: int,
    osl: int,
    requests: int,
    concurrency: int,
    ramp_s: float,
    spread: float = 0.0,
) -> list[Sample]:
    graph = build(case.profile, case.request, candidate_id=case.candidate.id)
    require(graph, case.profile)
    with tempfile.TemporaryDirectory(prefix="armature-bench-") as home:
        options = UpOptions(port=0, speedup_ratio=ratio, home=Path(home), offline=True)
        with running(graph.dgd, profile=case.profile, options=options, report=lambda _: None) as deployment:
            return asyncio.run(
                closed_loop(
                    deployment.url,
                    deployment.models[0],
                    isl=isl,
                    osl=osl,
                    requests=requests,
                    concurrency=concurrency,
                    ramp_s=ramp_s,
                    spread=spread,
                )
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300, help="per layout and load (default 300)")
    parser.add_argument("--isl", type=int, default=1500)
    parser.add_argument("--osl", type=int, default=24)
    parser.add_argument(
        "--slower", type=float, default=1.0, help="slow down more, on a busy machine (default 1)"
    )
    parser.add_argument("--layout", action="append", help="only layouts with this in their name (repeatable)")
    args = parser.parse_args()
    layouts = [
        layout
        for layout in LAYOUTS
        if not args.layout or any(part.lower() in layout.name.lower() for part in args.layout)
    ]
    began = time.monotonic()
    try:
        rows = measure(
            layouts, isl=args.isl, osl=args.osl, requests=args.requests, slower=args.slower, report=print
        )
    except ArmatureError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(rows))
    print(f"{time.monotonic() - began:.0f} s in all")
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
