"""How long a plan takes, beside AIConfigurator's: `python benchmarks/rapid.py` prints the table.

Four cases, ISL 4000, OSL 1000, TTFT at most 2000 ms, ITL at most 30 ms. Of each program, in seconds:

    cold        a process that starts with nothing but files in the system's page cache
    warm        the same with the step times of an earlier run on disk (Armature's cache; the peer has none)
    cpu         processor time of that process, user and system; on a busy machine the figure to compare
    in process  a search in a process that has made one before: for Armature from the request to the Profile, engines
                from memory, and of that the sweep and the pick alone; for the peer its `cli_default` again
    RSS         peak resident memory of the cold process
    choice      the layout picked, and its tokens/s per GPU of the budget by that program's own prediction

The median of --runs (in process: of 15 for Armature, of one for the peer, which takes up to a minute). The peer is
`aiconfigurator` 0.12.0 from PyPI in a virtual environment of its own, made on first use under the cache directory
(`--peer DIR` for another one, `--no-peer` for none); without it its columns stay empty.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from armature.perf.silicon.disk import default_folder

PEER = "aiconfigurator==0.12.0"
IN_PROCESS = 15


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked of both programs."""

    name: str
    model: str
    system: str
    nodes: int
    backend: str

    @property
    def ours(self) -> list[str]:
        hardware = f"{self.nodes}x8x{self.system}"
        return [
            *("plan", "--offline", "--model", self.model, "--hardware", hardware, "--backend", self.backend),
            *("--isl", "4000", "--osl", "1000", "--ttft", "2000", "--itl", "30"),
        ]

    @property
    def peers(self) -> dict[str, object]:
        return {
            "model_path": self.model, "system": self.system, "backend": self.backend, "total_gpus": 8 * self.nodes,
            "isl": 4000, "osl": 1000, "ttft": 2000.0, "tpot": 30.0,
        }  # fmt: skip


CASES = (
    Case("Qwen3-32B-FP8 H200x8 vLLM", "Qwen/Qwen3-32B-FP8", "h200_sxm", 1, "vllm"),
    Case("Llama-3.1-70B H100x16 TRT-LLM", "meta-llama/Meta-Llama-3.1-70B", "h100_sxm", 2, "trtllm"),
    Case("DeepSeek-R1 H200x32 SGLang", "deepseek-ai/DeepSeek-R1", "h200_sxm", 4, "sglang"),
    Case("Qwen3-30B-A3B H200x8 vLLM", "Qwen/Qwen3-30B-A3B", "h200_sxm", 1, "vllm"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One process: wall and processor seconds, peak resident MiB, what it printed."""

    wall_s: float
    cpu_s: float
    rss_mib: float
    stdout: str


@dataclass(frozen=True, slots=True)
class Row:
    """One program on one case; None where it was not measured."""

    case: str
    program: str
    cold_s: float
    cpu_s: float
    rss_mib: float
    in_process_s: float
    choice: str
    warm_s: float | None = None
    warm_cpu_s: float | None = None
    sweep_s: float | None = None


def run(command: Sequence[str], env: Mapping[str, str]) -> Run:
    """Run to the end. Raises RuntimeError with its last words when it fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=dict(env))
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode(errors="replace")
        if process.returncode:
            err.seek(0)
            last = (err.read().decode(errors="replace") or text).strip().splitlines()[-3:]
            raise RuntimeError(f"{command[0]} exited {process.returncode}: {' / '.join(last)}")
    rss = usage.ru_maxrss / (2**20 if platform.system() == "Darwin" else 2**10)
    return Run(wall, usage.ru_utime + usage.ru_stime, rss, text)


def environment(**changes: str) -> dict[str, str]:
    """Ours, as a user has it: bytecode is kept."""
    return {**{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}, **changes}


def ours(case: Case, runs: int) -> Row:
    """Armature on a case."""
    command = [sys.executable, "-m", "armature", *case.ours]
    with tempfile.TemporaryDirectory() as cache:
        plan = json.loads(run([*command, "--json"], environment(ARMATURE_CACHE=cache)).stdout)
        warm = [run(command, environment(ARMATURE_CACHE=cache)) for _ in range(runs)]
    cold = [run(command, environment(ARMATURE_CACHE="off")) for _ in range(runs)]
    inside = json.loads(
        run([sys.executable, __file__, "--inside", case.name], environment(ARMATURE_CACHE="off")).stdout
    )
    pick = plan["pick"]
    label = pick["label"].replace(f" {case.backend} ", " ")
    return Row(
        case=case.name,
        program="armature",
        cold_s=statistics.median(each.wall_s for each in cold),
        cpu_s=statistics.median(each.cpu_s for each in cold),
        rss_mib=max(each.rss_mib for each in cold),
        in_process_s=inside["search_s"],
        choice=f"{label}, {pick['tokens_per_s'] / (8 * case.nodes):.0f} tokens/s/GPU",
        warm_s=statistics.median(each.wall_s for each in warm),
        warm_cpu_s=statistics.median(each.cpu_s for each in warm),
        sweep_s=inside["sweep_s"],
    )


def inside(case: Case) -> dict[str, float]:
    """Medians of a search in this process, and of its part after the engines are known, in seconds."""
    from armature.api import default_request
    from armature.api.v1beta1 import DynamoGraphDeploymentRequest
    from armature.hardware.inventory import parse_hardware
    from armature.model.resolve import resolve_model
    from armature.perf.choose import estimator_for
    from armature.search.engines import engines_for
    from armature.search.question import question_of
    from armature.search.rapid import profile_of, sweep

    spec = {
        "model": case.model, "backend": case.backend, "workload": {"isl": 4000, "osl": 1000},
        "sla": {"ttft": 2000.0, "itl": 30.0},
    }  # fmt: skip
    request = default_request(
        DynamoGraphDeploymentRequest.model_validate({"metadata": {"name": "case"}, "spec": spec})
    )
    inventory, estimator = parse_hardware(f"{case.nodes}x8x{case.system}"), estimator_for("auto")
    facts = resolve_model(case.model, offline=True)
    whole, part = [], []
    for _ in range(1 + IN_PROCESS):
        start = time.perf_counter()
        question = question_of(request, inventory, facts)
        engines = engines_for(question, estimator)
        known = time.perf_counter()
        profile_of(sweep(question, engines))
        end = time.perf_counter()
        whole.append(end - start)
        part.append(end - known)
    return {"search_s": statistics.median(whole[1:]), "sweep_s": statistics.median(part[1:])}


AGAIN = """
import json, sys, time
from aiconfigurator.cli import cli_default
asked = json.loads(sys.argv[1])
cli_default(**asked)
start = time.perf_counter()
cli_default(**asked)
print("again", time.perf_counter() - start)
"""


def peers(case: Case, runs: int, folder: Path) -> Row:
    """The peer on a case."""
    asked = case.peers
    options = {"model_path": "model", "total_gpus": "total-gpus"}
    command = [str(folder / "bin" / "aiconfigurator"), "cli", "default"]
    for name, value in asked.items():
        command += [f"--{options.get(name, name)}", f"{value:g}" if isinstance(value, float) else str(value)]
    cold = [run(command, environment()) for _ in range(runs)]
    again = run([str(folder / "bin" / "python"), "-c", AGAIN, json.dumps(asked)], environment()).stdout
    return Row(
        case=case.name,
        program="aiconfigurator",
        cold_s=statistics.median(each.wall_s for each in cold),
        cpu_s=statistics.median(each.cpu_s for each in cold),
        rss_mib=max(each.rss_mib for each in cold),
        in_process_s=float(re.findall(r"^again (\S+)$", again, re.MULTILINE)[-1]),
        choice=choice_of(cold[-1].stdout),
    )


def choice_of(text: str) -> str:
    """The first row of the table of the mode that the peer says is best, in our words."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    mode = re.search(r"Best Experiment Chosen:\s*(\w+)", text)
    tables = re.split(r"^\s*(\w+) Top Configurations.*$", text, flags=re.MULTILINE)
    rows = dict(zip(tables[1::2], tables[2::2], strict=False))
    if mode is None or mode.group(1) not in rows:
        return "?"
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in rows[mode.group(1)].splitlines()
        if line.lstrip().startswith("|")
    ]
    best = dict(zip(cells[0], cells[1], strict=True))
    per_gpu = f", {float(best['tokens/s/gpu']):.0f} tokens/s/GPU"
    if mode.group(1) == "agg":
        return f"agg {best['replicas']}×{best['parallel']}" + per_gpu
    unit = f"{best['(p)workers']}×{best['(p)parallel']} → {best['(d)workers']}×{best['(d)parallel']}"
    return f"disagg {best['replicas']}×({unit})" + per_gpu


def peer(folder: Path) -> Path:
    """The peer's environment, made when it is not there. Raises RuntimeError with the reason it cannot be."""
    if not (folder / "bin" / "aiconfigurator").exists():
        print(f"making a virtual environment with {PEER} in {folder} (once)", file=sys.stderr)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
            install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", PEER]
            subprocess.run(install, check=True, capture_output=True, timeout=1800)
        except (OSError, subprocess.SubprocessError) as error:
            words = (getattr(error, "stderr", b"") or b"").decode(errors="replace").strip().splitlines()
            raise RuntimeError(words[-1] if words else str(error)) from error
    return folder


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""

    def number(value: float | None, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    lines = [
        f"{'case':<30} {'program':<15} {'cold s':>7} {'cpu s':>7} {'warm s':>7} {'cpu s':>6} "
        f"{'again s':>8} {'sweep s':>8} {'RSS MiB':>8}  choice"
    ]
    for row in rows:
        lines.append(
            f"{row.case:<30} {row.program:<15} {number(row.cold_s):>7} {number(row.cpu_s):>7} "
            f"{number(row.warm_s):>7} {number(row.warm_cpu_s):>6} {number(row.in_process_s, 3):>8} "
            f"{number(row.sweep_s, 3):>8} {number(row.rss_mib, 0):>8}  {row.choice}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="cold and warm processes per case and program")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="the peer's virtual environment")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--case", action="append", metavar="TEXT", help="only cases with this in their name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--inside", metavar="NAME", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        print(json.dumps(inside(next(case for case in CASES if case.name == asked.inside))))
        return
    cases = [case for case in CASES if not asked.case or any(text in case.name for text in asked.case)]
    rows: list[Row] = []
    folder, why = None, "it was not asked for (--no-peer)"
    if not asked.no_peer:
        try:
            folder = peer(asked.peer or default_folder(os.environ) / "benchmarks" / PEER.replace("==", "-"))
        except RuntimeError as error:
            why = str(error)
    for case in cases:
        print(f"{case.name} ...", file=sys.stderr)
        rows.append(ours(case, asked.runs))
        if folder is not None:
            rows.append(peers(case, asked.runs, folder))
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(table(rows))
    if folder is None:
        print(f"aiconfigurator is not in the table: {why}")
    if asked.json:
        asked.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
