"""Seconds and memory to read a trace of many lines: `python benchmarks/read_trace.py [LINES]` prints a table.

Writes Mooncake JSON lines and a CSV log of LINES requests (default 10 million) to a temporary directory, reads each
in a process of its own, and removes them. Ends with 1 when a reader's peak was above MOST_MIB, or a line was not read.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

MOST_MIB = 300
READ = """
import json, resource, sys, time
from pathlib import Path
from armature.workload.trace import read_trace
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start, cpu = time.monotonic(), time.process_time()
trace = read_trace(Path(sys.argv[1]))
print(json.dumps({
    "requests": trace.summary.requests, "kept": trace.summary.kept,
    "wall_s": time.monotonic() - start, "cpu_s": time.process_time() - cpu,
    "imports_mib": before / 1024, "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def write(path: Path, lines: int, *, mooncake: bool) -> None:
    rng, chunk, time = np.random.default_rng(0), 100_000, 0
    with path.open("w") as file:
        if not mooncake:
            file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for start in range(0, lines, chunk):
            count = min(chunk, lines - start)
            gaps = rng.integers(0, 200, count)
            isl = (rng.lognormal(7.5, 1.0, count) + 1).astype(int)
            osl = rng.integers(1, 800, count)
            rows = zip((time + np.cumsum(gaps)).tolist(), isl.tolist(), osl.tolist(), strict=True)
            time += int(gaps.sum())
            if mooncake:
                first = start * 1000
                file.writelines(
                    f'{{"timestamp": {t}, "input_length": {i}, "output_length": {o}, "hash_ids": '
                    f"{[0, *range(first + n * 1000, first + n * 1000 + (i - 1) // 512)]}}}\n"
                    for n, (t, i, o) in enumerate(rows)
                )
            else:
                file.writelines(f"{1_700_000_000 + t / 1000:.3f},{i},{o}\n" for t, i, o in rows)


def main() -> int:
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    good = True
    print(
        f"{'format':12} {'lines':>12} {'MB':>7} {'wall s':>7} {'CPU s':>7} {'peak RSS MiB':>13} {'kept':>7}"
    )
    with tempfile.TemporaryDirectory() as directory:
        for name, mooncake in (("mooncake", True), ("csv", False)):
            path = Path(directory) / f"trace.{name}"
            write(path, lines, mooncake=mooncake)
            size = path.stat().st_size / 1e6
            done = subprocess.run(
                [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
            )
            path.unlink()
            r = json.loads(done.stdout)
            print(
                f"{name:12} {r['requests']:12,} {size:7,.0f} {r['wall_s']:7.1f} {r['cpu_s']:7.1f} "
                f"{r['rss_mib']:13.0f} {r['kept']:7,}"
            )
            good &= r["rss_mib"] <= MOST_MIB and r["requests"] == lines
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
