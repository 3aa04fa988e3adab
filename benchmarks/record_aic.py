"""Records what AIConfigurator's command line answers, for `tests/unit/search/test_search_aic.py` to compare with.

    python -m venv /tmp/aic && /tmp/aic/bin/pip install aiconfigurator==0.12.0
    python benchmarks/record_aic.py /tmp/aic/bin/aiconfigurator tests/data/aic

Each case is one file: the command, the chosen experiment, and the first rows of its two tables. Needs no network but
for the installation; a case takes 10 s to two minutes.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = 5
CASES = {
    "qwen3-32b_h200x8_trtllm": "Qwen/Qwen3-32B 8 h200_sxm trtllm 4000 1000 2000 30",
    "qwen3-32b_h200x8_vllm": "Qwen/Qwen3-32B 8 h200_sxm vllm 4000 1000 2000 30",
    "qwen3-32b_h100x16_sglang": "Qwen/Qwen3-32B 16 h100_sxm sglang 2000 500 1000 25",
    "llama-70b_h100x16_trtllm": "meta-llama/Meta-Llama-3.1-70B 16 h100_sxm trtllm 4000 1000 2000 30",
    "llama-8b_h100x4_vllm": "meta-llama/Meta-Llama-3.1-8B 4 h100_sxm vllm 1000 200 500 15",
    "qwen3-8b_a100x8_vllm": "Qwen/Qwen3-8B 8 a100_sxm vllm 3000 300 1500 40",
    "qwen3-8b_l40sx8_trtllm": "Qwen/Qwen3-8B 8 l40s trtllm 1000 500 2000 50",
    "qwen3-32b-fp8_h200x8_trtllm": "Qwen/Qwen3-32B-FP8 8 h200_sxm trtllm 4000 1000 2000 30",
    "qwen3-32b-fp8_h200x8_vllm": "Qwen/Qwen3-32B-FP8 8 h200_sxm vllm 4000 1000 2000 30",
    "qwen3-32b_b200x8_sglang": "Qwen/Qwen3-32B 8 b200_sxm sglang 8000 400 3000 20",
    "qwen3-30b-a3b_h200x8_vllm": "Qwen/Qwen3-30B-A3B 8 h200_sxm vllm 4000 1000 2000 30",
    "qwen3-30b-a3b_h200x8_trtllm": "Qwen/Qwen3-30B-A3B 8 h200_sxm trtllm 4000 1000 2000 30",
    "qwen3-235b_h200x16_sglang": "Qwen/Qwen3-235B-A22B 16 h200_sxm sglang 4000 1000 3000 40",
    "deepseek-r1_h200x32_sglang": "deepseek-ai/DeepSeek-R1 32 h200_sxm sglang 4000 1000 2000 30",
}
NUMBERS = ("isl", "osl", "concurrency", "ttft", "tpot", "request_latency", "seq/s", "tokens/s/gpu_cluster")


def record(program: str, case: str, folder: Path) -> None:
    """Run one case and write its file."""
    model, gpus, system, backend, isl, osl, ttft, tpot = CASES[case].split()
    options = {"--model-path": model, "--total-gpus": gpus, "--system": system, "--backend": backend}
    options |= {"--isl": isl, "--osl": osl, "--ttft": ttft, "--tpot": tpot}
    words = ["cli", "default", *(word for pair in options.items() for word in pair)]
    with tempfile.TemporaryDirectory() as saved:
        start = time.monotonic()
        done = subprocess.run(
            [program, *words, "--save-dir", saved], capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - start
        tables = {
            table.parent.name: list(csv.DictReader(table.open()))
            for table in Path(saved).rglob("best_config_topn.csv")
        }
    version = (
        subprocess.run(
            [str(Path(program).with_name("pip")), "show", "aiconfigurator"],
            capture_output=True,
            text=True,
            check=True,
        )
        .stdout.split("Version: ")[1]
        .split()[0]
    )
    chosen = re.search(
        r"Best Experiment Chosen:\S*\s*(?:\x1b\[\d+m)*\s*(agg|disagg)", done.stdout + done.stderr
    )
    answer = {
        "command": " ".join(["aiconfigurator", *words]),
        "version": version,
        "chosen": chosen[1] if chosen else None,
        "rows": {mode: [_row(row) for row in rows[:ROWS]] for mode, rows in sorted(tables.items())},
    }
    (folder / f"{case}.json").write_text(json.dumps(answer, indent=1) + "\n")
    print(f"{case:32} {seconds:6.1f} s  {answer['chosen']}", flush=True)


def _row(row: dict[str, str]) -> dict[str, object]:
    """The columns that say what was chosen and what it does, numbers as numbers."""
    kept: dict[str, object] = {name: float(row[name]) for name in NUMBERS}
    for prefix in ("", "(p)", "(d)"):
        names = ("tp", "pp", "dp", "moe_tp", "moe_ep", "bs", "workers", "ctx_tokens")
        kept |= {prefix + n: int(float(row[prefix + n])) for n in names if row.get(prefix + n)}
    return kept | {"num_total_gpus": int(float(row["num_total_gpus"]))}


if __name__ == "__main__":
    program, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[3:] or CASES:
        record(program, name, folder)
