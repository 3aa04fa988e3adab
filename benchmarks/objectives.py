"""What we choose beside what AIConfigurator's command line chose, for every case recorded in tests/data/aic.

    python benchmarks/objectives.py

Prints for each case its choice, ours, and tokens/s/GPU of both as each side predicts them. docs/search.md explains the
differences. About a minute.
"""

from __future__ import annotations

import json
from pathlib import Path

from armature.api import default_request, load_documents
from armature.hardware.inventory import parse_hardware
from armature.model.parallelism import Parallelism
from armature.model.resolve import resolve_model
from armature.perf.choose import estimator_for
from armature.report.words import layout
from armature.search.rapid import profile

RECORDED = Path(__file__).parents[1] / "tests/data/aic"
WIDTH = "{:28} {:34} {:>7}   {:38} {:>7}"


def theirs(case: dict) -> tuple[str, float]:
    """(layout on all GPUs, tokens/s/GPU) of the recorded choice."""
    row = case["rows"][case["chosen"]][0]
    total = int(case["command"].split("--total-gpus ")[1].split()[0])
    replicas = total // row["num_total_gpus"]

    def part(prefix: str) -> str:
        degrees = (row[prefix + name] for name in ("tp", "pp", "dp", "moe_tp", "moe_ep"))
        return f"{row.get(prefix + 'workers', 1) * replicas}×{Parallelism(*degrees).label}"

    parts = [part("(p)"), part("(d)")] if "(d)tp" in row else [part("")]
    return f"{case['chosen']} {' → '.join(parts)}", row["tokens/s/gpu_cluster"]


def ours(case: dict) -> tuple[str, float]:
    words = case["command"].split()
    o = dict(zip(words[3::2], words[4::2], strict=True))
    document = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "case"},
        "spec": {
            "model": o["--model-path"],
            "backend": o["--backend"],
            "workload": {"isl": int(o["--isl"]), "osl": int(o["--osl"])},
            "sla": {"ttft": float(o["--ttft"]), "itl": float(o["--tpot"])},
        },
    }
    (request,) = load_documents(json.dumps(document), "case")
    gpus, facts = (
        parse_hardware(f"{o['--total-gpus']}x{o['--system']}"),
        resolve_model(o["--model-path"], offline=True),
    )
    made = profile(default_request(request), gpus, facts, estimator_for())
    return layout(made.picked, backend=False), made.picked.tokens_per_s / made.gpus_budget


if __name__ == "__main__":
    print(WIDTH.format("case", "AIConfigurator 0.12", "tok/s", "Armature", "tok/s"))
    for path in sorted(RECORDED.glob("*.json")):
        case = json.loads(path.read_text())
        a, b = theirs(case), ours(case)
        print(WIDTH.format(path.stem, a[0], f"{a[1]:,.0f}", b[0], f"{b[1]:,.0f}"), flush=True)
