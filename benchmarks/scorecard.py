"""How far the estimates are from 5,221 measured deployments, and whether their bands hold.

    python benchmarks/scorecard.py                    # the whole card: about two minutes of CPU
    python benchmarks/scorecard.py --library 400      # beside aiconfigurator==0.12.0, which must be installed for it
    python benchmarks/scorecard.py --splits 30        # the same on other halves of the groups
    python benchmarks/scorecard.py --engines          # is every (GPU, bundled model, engine) finite and labelled?
    python benchmarks/scorecard.py --record           # writes docs/accuracy.json and the tables of docs/accuracy.md

Groups (a model on a system) are halved by a fixed hash. Each half is judged by the correction fitted on the other one,
so no row below was predicted by a fit that had seen its model on its GPU; the headline is the half that the fit of
`calibrate.py --half` never saw. The shipped coefficients are fitted on both halves.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from accuracy.fit import Sample, fit, samples_of, split
from accuracy.predict import Engines
from accuracy.rows import Row, read_rows
from accuracy.score import (
    ENOUGH,
    Predictions,
    beside_constant,
    cells,
    constant_width,
    joined,
    percent,
    predictions,
    summary,
)
from accuracy.tables import beside_library, other_splits, table, transfer_table
from accuracy.transfer import transfers

from armature.perf.calibration import coefficients
from armature.perf.silicon import SiliconEstimator

DOCS = Path(__file__).parents[1] / "docs"
RECORD, PAGE = DOCS / "accuracy.json", DOCS / "accuracy.md"
BEGIN, END = "<!-- scorecard: begin -->", "<!-- scorecard: end -->"
AIMS = {
    "tpot_median": 0.14,
    "tpot_mean": 0.24,
    "ttft_median": 0.35,
    "tpot_order": 0.93,
    "ttft_order": 0.85,
}
SAMPLE_OF = 6
"""One in so many rows' engines is recomputed by the test that guards the record."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write docs/accuracy.json and docs/accuracy.md")
    parser.add_argument(
        "--library", type=int, default=0, metavar="N", help="ask the library itself about N rows"
    )
    parser.add_argument("--splits", type=int, default=0, metavar="N", help="judge N other halves too")
    parser.add_argument("--engines", action="store_true", help="ask for every GPU, bundled model and engine")
    parser.add_argument("--cache", type=Path, help="folder that keeps step times between runs")
    arguments = parser.parse_args()
    if arguments.engines:
        from accuracy.everything import report

        for line in report():
            print(line, flush=True)
        return
    rows = read_rows()
    engines = Engines(SiliconEstimator(), arguments.cache)
    sample = samples_of(rows, engines)
    record, lines = card(rows, sample)
    lines += table(record)
    if arguments.splits:
        record["splits"], more = other_splits(sample, arguments.splits)
        lines += more
    found = transfers(engines.times)
    record["transfer"], more = transfer_table(found)
    lines += more
    if arguments.library:
        record["library"], more = beside_library(sample, engines, arguments.library)
        lines += more
    print("\n".join(lines))
    if arguments.record:
        record["guard"] = guard_figures(rows, engines)
        kept = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
        record = {**{k: v for k, v in kept.items() if k in ("library", "splits")}, **record}
        RECORD.write_text(json.dumps(_rounded(record), indent=1) + "\n", encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        text = "\n".join(["", "```text", *lines, "```", ""])
        PAGE.write_text(f"{before}{BEGIN}{text}{END}{after}", encoding="utf-8")


def card(rows: Sequence[Row], sample: Sample) -> tuple[dict[str, object], list[str]]:
    """Coverage, and both halves judged by each other's fit."""
    coverage, lines = coverage_of(rows, sample)
    mine = split(sample.rows)
    halves = [(sample.take(~mine), fit(sample.take(mine))), (sample.take(mine), fit(sample.take(~mine)))]
    judged = [predictions(half, fitted) for half, fitted in halves]
    held = judged[0]
    head = summary(held)
    lines += ["", f"Held-out half: {len(held.rows)} measurements, {len({r.group for r in held.rows})} groups"]
    for name, aim in AIMS.items():
        at_least = name.endswith("order")
        ok = head[name] >= aim if at_least else head[name] <= aim
        sign, missed = ">=" if at_least else "<=", "" if ok else "  MISSED"
        lines.append(f"  {name:12s} {percent(head[name])}   aim {sign} {percent(aim)}{missed}")
    bias_ok = 0.85 <= head["ttft_bias"] <= 1.15
    lines.append(
        f"  ttft_bias      x{head['ttft_bias']:.2f}   aim x0.85 to x1.15{'' if bias_ok else '  MISSED'}"
    )
    lines += bands_of(held, halves[0][0], head)
    both = joined(judged)
    per_cell = {
        " ".join(key): summary(both.take(at))
        for key, at in cells(both.rows, ("system", "backend", "mode")).items()
    }
    by_engine = {
        " ".join(key): summary(held.take(at)) for key, at in cells(held.rows, ("backend", "mode")).items()
    }
    return {"coverage": coverage, "held_out": head, "by_engine": by_engine, "by_gpu": per_cell}, lines


def coverage_of(rows: Sequence[Row], sample: Sample) -> tuple[dict[str, object], list[str]]:
    answered = {row.run for row in sample.rows}
    record: dict[str, object] = {}
    lines = []
    for mode in ("agg", "disagg"):
        of = [row for row in rows if row.mode == mode]
        measured = sum(row.run in answered for row in of)
        estimated = sum(row.deployment is not None and row.run not in answered for row in of)
        causes = Counter(row.cause for row in of if row.deployment is None)
        record[mode] = {"rows": len(of), "tables": measured, "estimated": estimated, "not": dict(causes)}
        share = (measured + estimated) / len(of)
        lines.append(
            f"{mode}: {measured + estimated} of {len(of)} rows answered ({percent(share).strip()}), "
            f"{estimated} of them without tables"
        )
        lines += [f"    {count:4d} not: {cause}" for cause, count in causes.most_common()]
    return record, lines


def bands_of(held: Predictions, half: Sample, head: dict[str, float]) -> list[str]:
    """Coverage of the 80 % bands by engine and mode, and how wide one constant ratio would have to be."""
    lines = [
        "",
        "80 % bands on the held-out half: share of measurements inside (aim 75-88 %)",
        "  engine mode      n groups   TTFT   TPOT",
    ]
    for (engine, mode), at in cells(held.rows, ("backend", "mode")).items():
        part = held.take(at)
        groups = len({row.group for row in part.rows})
        shares = [float(part.inside(what).mean()) for what in ("ttft", "tpot")]
        outside = any(not 0.75 <= share <= 0.88 for share in shares)
        remark = "  too few to judge" if len(at) < ENOUGH else "  OUTSIDE" if outside else ""
        lines.append(
            f"  {engine:6s} {mode:6s} {len(at):5d} {groups:6d} {percent(shares[0])} {percent(shares[1])}{remark}"
        )
    lines.append(
        f"  {'all':13s} {len(held.rows):5d} {len({row.group for row in held.rows}):6d}"
        f" {percent(head['ttft_inside'])} {percent(head['tpot_inside'])}"
    )
    lines += [
        "",
        "Bands beside one constant ratio round the same estimates, chosen in hindsight (mean log width)",
    ]
    for what in ("ttft", "tpot"):
        f = beside_constant(held, what)
        tables = np.log(half.measured(f"{what}_ms") / half.predicted(f"{what}_ms"))
        f["constant_raw"] = constant_width(tables, head[f"{what}_inside"])
        head |= {f"{what}_{name}": value for name, value in f.items()}
        lines += [
            f"  {what.upper()} bands {f['width']:.2f}; constant {f['constant']:.2f} to cover as many,"
            f" {f['constant_each']:.2f} to cover {percent(f['least']).strip()} of each engine and mode, as they do;"
            f" {f['constant_raw']:.2f} round the tables' answers",
            f"       interval score {f['score']:.2f}, of the constant {f['constant_score']:.2f} (less is better)",
        ]
    return lines


def guard_rows(rows: Iterable[Row]) -> list[Row]:
    """The part of the rows that the test of the record recomputes: every sixth engine, by a hash of what it is."""

    def kept(row: Row) -> bool:
        key = f"{row.family}{row.precision}{row.system}{row.backend}{row.deployment}"
        return sha256(key.encode()).digest()[1] % SAMPLE_OF == 0

    return [row for row in rows if row.mode == "agg" and row.deployment is not None and kept(row)]


def guard_figures(rows: Sequence[Row], engines: Engines) -> dict[str, float]:
    """What the shipped coefficients do on the guarded rows."""
    return summary(predictions(samples_of(guard_rows(rows), engines), coefficients()))


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_rounded(of) for of in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
