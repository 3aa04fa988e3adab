"""Does the load model say what the engines do? `python benchmarks/load_model.py` prints predicted against replayed.

For each model, workload and layout: the rate at which the layout breaks its SLA is worked out; at shares of it the plan
predicts p50 and p95 of TTFT and ITL, and the mocker's own engines, limited as the plan limits them, are replayed in
virtual time over the same requests: Poisson streams of equal requests (several seeds), and the two traces of
`tests/data/traces`, their gaps stretched to the rate, and with a fixed number in flight (`=8`). The first tenth of the
requests is left out. Aim: p50 within 15 %, p95 within 25 %. The worst cell of each figure is named, and the SLA's means
are checked at each share of capacity.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from armature import api
from armature.hardware.inventory import parse_hardware
from armature.model.resolve import resolve_model
from armature.perf.choose import estimator_for
from armature.search.engines import Engines, engines_for
from armature.search.headroom import capacity_per_s
from armature.search.question import Question, question_of
from armature.simulation.compare import Cell, Layout, cells, poisson_stream, predicted
from armature.simulation.replay import Stream
from armature.workload.requests import Requests
from armature.workload.shape import Workload
from armature.workload.trace import trace_of

TRACES = Path(__file__).parents[1] / "tests" / "data" / "traces"
SHARES = (0.5, 0.7, 0.85)
LEAST_S = 30
"""Seconds of a stream: several lifetimes of a request, or the deployment never fills up."""
LIMITS = {"p50": 0.15, "p95": 0.25}


@dataclass(frozen=True, slots=True)
class Case:
    """trace: a file of TRACES, or None for a Poisson stream of equal requests. sla: TTFT and ITL, milliseconds.
    in_flight: fixed numbers of requests that are looked at too."""

    name: str
    model: str
    isl: int
    osl: int
    sla: tuple[float, float]
    layouts: tuple[str, ...]
    trace: str | None = None
    in_flight: tuple[int, ...] = ()


CASES = (
    Case("chat", "Qwen/Qwen3-32B-FP8", 4000, 500, (1500, 30), ("1xtp2", "3xtp2", "2xtp1:1xtp2", "3xtp1:2xtp1")),
    Case("short", "Qwen/Qwen3-32B-FP8", 500, 150, (500, 40), ("1xtp1", "4xtp1", "1xtp1:1xtp2", "2xtp1:2xtp2")),
    Case(
        "moe", "Qwen/Qwen3-30B-A3B", 2000, 300, (600, 20),
        ("1xtp1", "2xtp2", "1xtp1:1xtp2", "1xdep4", "2xdep2", "1xdep2:1xdep4"),
    ),
    Case("moe-short", "Qwen/Qwen3-30B-A3B", 500, 150, (500, 40), ("1xdep4", "1xdep4:1xdep2")),
    Case("moe-long", "Qwen/Qwen3-30B-A3B", 15000, 200, (4000, 40), ("1xdep4", "1xdep2:1xdep4")),
    Case("long", "Qwen/Qwen3-32B-FP8", 15000, 200, (4000, 40), ("2xtp4", "2xtp2:1xtp2")),
    Case(
        "conversation", "Qwen/Qwen3-32B-FP8", 0, 0, (5000, 40), ("4xtp2", "2xtp4", "2xtp2:2xtp2"),
        "mooncake_conversation_trace_first5000.jsonl.xz", (8, 16),
    ),
    Case(
        "synthetic", "Qwen/Qwen3-32B-FP8", 0, 0, (5000, 50), ("4xtp2", "2xtp4", "2xtp2:2xtp2"),
        "mooncake_synthetic_trace.jsonl.xz", (8, 16),
    ),
)  # fmt: skip


def question_for(case: Case) -> tuple[Question, Requests | None]:
    document = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": case.name},
        "spec": {
            "model": case.model,
            "backend": "vllm",
            "workload": {"isl": case.isl or 1000, "osl": case.osl or 100, "requestRate": 1.0},
            "sla": {"ttft": case.sla[0], "itl": case.sla[1]},
        },
    }
    (request,) = api.load_documents(json.dumps(document), case.name)
    asked = question_of(api.default_request(request), parse_hardware("8xh200_sxm"), resolve_model(case.model))
    if case.trace is None:
        return asked, None
    with lzma.open(TRACES / case.trace) as file:
        requests = trace_of(file, case.name).requests
    return replace(asked, workload=Workload.of(requests, request_rate=1.0)), requests


def streams(case: Case, requests: Requests | None, rate: float, seeds: int, tokens: int) -> Iterator[Stream]:
    """`seeds` Poisson streams of about `tokens` output tokens each, at least LEAST_S seconds, or the trace's own
    requests once."""
    if requests is None:
        count = int(np.clip(tokens // case.osl, max(1500, LEAST_S * rate), 20_000))
        for seed in range(seeds):
            yield poisson_stream(count, rate, case.isl, case.osl, seed=seed)
        return
    scaled = requests.scaled(rate)
    ids = np.split(scaled.block_ids, scaled.block_ends[:-1])
    yield Stream(
        np.cumsum(scaled.gap_s) * 1000.0,
        scaled.isl,
        scaled.osl,
        [own.tolist() for own in ids],
        scaled.block_tokens,
    )


def measured(
    case: Case,
    asked: Question,
    engines: Engines,
    layout: Layout,
    rate: float,
    many: Iterator[Stream],
    in_flight: int | None = None,
) -> tuple[list[Cell], bool]:
    """(cells, replayed figures averaged over the streams; whether the means of the replays meet the SLA)."""
    plan = predicted(asked, engines, layout, rate, in_flight)
    runs = [layout.replayed(asked, engines, s, rate, in_flight).after(len(s) // 10) for s in many]
    found = [
        replace(group[0], replayed_ms=float(np.mean([cell.replayed_ms for cell in group])))
        for group in zip(*(cells(plan, layout, run) for run in runs), strict=True)
    ]
    ttft, itl = (
        float(np.mean([getattr(run, name).mean() for run in runs])) for name in ("ttft_ms", "itl_ms")
    )
    return found, ttft <= case.sla[0] and itl <= case.sla[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", help="only these cases (repeatable)")
    parser.add_argument("--seeds", type=int, default=3, help="Poisson streams per cell (default 3)")
    parser.add_argument("--tokens", type=int, default=1_500_000, help="output tokens per stream")
    args = parser.parse_args()
    began, rows, late = time.monotonic(), [], []
    print(f"{'case':13}{'layout':15}{'rate/s':>7}{'load':>6}" + "".join(
        f"{name:>24}" for name in ("TTFT p50", "TTFT p95", "ITL p50", "ITL p95")
    ))  # fmt: skip
    for case in CASES:
        if args.case and case.name not in args.case:
            continue
        asked, requests = question_for(case)
        engines = engines_for(asked, estimator_for("auto"))
        for name in case.layouts:
            layout = Layout.of(name, engines)
            capacity = capacity_per_s(asked, engines, **layout.indices)
            loads: list[tuple[str, float, int | None]] = [(f"{s:.0%}", s * capacity, None) for s in SHARES]
            for load, rate, in_flight in [*loads, *((f"={n}", 1.0, n) for n in case.in_flight)]:
                many = streams(case, requests, rate, args.seeds, args.tokens)
                found, held = measured(case, asked, engines, layout, rate, many, in_flight)
                rows += [(case.name, load, cell) for cell in found]
                if not held and in_flight is None:
                    late.append(f"{case.name} {name} at {load}")
                text = "".join(
                    f"{cell.predicted_ms:9.1f}/{cell.replayed_ms:8.1f}{100 * cell.error:+5.0f}%"
                    + ("*" if abs(cell.error) > LIMITS[cell.percentile] else " ")
                    for cell in found
                )
                print(f"{case.name:13}{name:15}{found[0].rate:7.2f}{load:>6}{text}", flush=True)
    missed = [row for row in rows if abs(row[2].error) > LIMITS[row[2].percentile]]
    print(f"{len(rows) - len(missed)} of {len(rows)} cells within 15 % (p50) and 25 % (p95)")
    for figure in ("TTFT", "ITL"):
        for percentile in LIMITS:
            group = [row for row in rows if (row[2].figure, row[2].percentile) == (figure, percentile)]
            case_name, load, cell = max(group, key=lambda row: abs(row[2].error))
            print(f"worst {figure} {percentile}: {cell.error:+.0%}, {case_name} {cell.layout} at {load}")
    print("means beyond the SLA in the replay: " + (", ".join(late) or "none"))
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if not missed and not late else 1


if __name__ == "__main__":
    sys.exit(main())
