"""The scorecard's tables: figures in, a record and lines of text out."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from accuracy.fit import Sample, fit, split
from accuracy.library import installed, library_answer
from accuracy.predict import Answer, Engines
from accuracy.score import beside_constant, by_engine, cells, joined, percent, predictions, summary
from accuracy.transfer import Transfer

__all__ = ["beside_library", "other_splits", "table", "transfer_table"]

OVER_SPLITS = (
    "ttft_median",
    "ttft_bias",
    "ttft_inside",
    "ttft_order",
    "tpot_median",
    "tpot_mean",
    "tpot_inside",
    "tpot_order",
)


def table(record: dict[str, object]) -> list[str]:
    lines = [
        "",
        "Each GPU, engine and mode, judged by the fit of the other half (both halves)",
        f"  {'GPU, engine, mode':30s}     n  TTFT: err  bias  band  order    TPOT: err  mean  band  order",
    ]
    per_cell = record["by_gpu"]
    assert isinstance(per_cell, dict)
    for name, f in per_cell.items():
        ttft = [
            percent(f["ttft_median"]),
            f"x{f['ttft_bias']:.2f}",
            percent(f["ttft_inside"]),
            percent(f["ttft_order"]),
        ]
        tpot = [percent(f[f"tpot_{figure}"]) for figure in ("median", "mean", "inside", "order")]
        lines.append(f"  {name:30s} {int(f['n']):5d} {' '.join(ttft)}   {' '.join(tpot)}")
    return lines


def other_splits(sample: Sample, count: int) -> tuple[dict[str, object], list[str]]:
    """The headline, and what bands cover and cost, on other random halves of the groups: mean, least and most."""
    found: dict[str, list[float]] = defaultdict(list)
    for seed in range(count):
        mine = split(sample.rows, str(seed))
        held = predictions(sample.take(~mine), fit(sample.take(mine)))
        figures = summary(held)
        for name in OVER_SPLITS:
            found[name].append(figures[name])
        for what in ("ttft", "tpot"):
            f = beside_constant(held, what)
            found[f"{what}_width / constant"].append(f["width"] / f["constant"])
            found[f"{what}_width / each"].append(f["width"] / f["constant_each"])
            found[f"{what}_score / constant"].append(f["score"] / f["constant_score"])
            for key, at in by_engine(held).items():
                found[f"{what}_inside {' '.join(key)}"].append(float(held.inside(what)[at].mean()))
    lines = ["", f"{count} other halves: mean (least to most)"]
    record: dict[str, object] = {"count": count}
    for name, values in sorted(found.items()):
        record[name] = [float(np.mean(values)), min(values), max(values)]
        judged = f"  in {len(values)}" if len(values) < count else ""
        lines.append(f"  {name:25s} {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f}){judged}")
    return record, lines


def transfer_table(found: Sequence[Transfer]) -> tuple[dict[str, object], list[str]]:
    lines = [
        "",
        "Leave one GPU out: its tables from its nearest other GPU's (median error; the roofline alone in brackets)",
        f"  {'GPU':14s} {'donor':14s} engines   prefill          decode",
    ]
    record: dict[str, object] = {}
    for sku in dict.fromkeys(t.target for t in found):
        of_sku = [t for t in found if t.target == sku]
        errors = {
            name: float(np.median(np.abs(np.expm1(-np.concatenate([getattr(t, name) for t in of_sku])))))
            for name in ("prefill", "decode", "roofline_prefill", "roofline_decode")
        }
        record[sku] = {"donor": of_sku[0].donor, "used": of_sku[0].used, "engines": len(of_sku), **errors}
        columns = [
            f"{percent(errors[of])} ({percent(errors[f'roofline_{of}']).strip()})"
            for of in ("prefill", "decode")
        ]
        unused = "" if of_sku[0].used else "   another architecture: not used"
        lines.append(f"  {sku:14s} {of_sku[0].donor:14s} {len(of_sku):7d} {'    '.join(columns)}{unused}")
    return record, lines


def beside_library(sample: Sample, engines: Engines, count: int) -> tuple[dict[str, object], list[str]]:
    """Ours (each half by the other's fit) and the library's own answer to the same rows."""
    if not installed():
        return {}, [
            "",
            "The library's own answers: aiconfigurator is not installed (pip install aiconfigurator==0.12.0)",
        ]
    mine = split(sample.rows)
    both = joined(
        [
            predictions(sample.take(~mine), fit(sample.take(mine))),
            predictions(sample.take(mine), fit(sample.take(~mine))),
        ]
    )
    asked = [i for i, row in enumerate(both.rows) if row.deployment is not None and not row.deployment.drafts]
    random.Random(0).shuffle(asked)
    kept: list[int] = []
    theirs: list[Answer] = []
    for index in asked[:count]:
        found = library_answer(both.rows[index], engines)
        if found is not None:
            kept.append(index)
            theirs.append(found)
    record: dict[str, object] = {"asked": len(asked[:count]), "answered": len(kept)}
    lines = ["", f"Beside aiconfigurator 0.12.0 on {len(kept)} of {len(asked[:count])} rows that it answers"]
    lines.append(
        "  each figure: ours, theirs      n    TTFT error     TTFT bias     TPOT error     TPOT mean error"
    )
    ours = both.take(kept)
    their_ttft = np.array([a.ttft_ms for a in theirs]) / np.array([r.ttft_ms for r in ours.rows])
    their_tpot = np.array([a.tpot_ms for a in theirs]) / np.array([r.tpot_ms for r in ours.rows])
    groups: dict[tuple[str, ...], list[int]] = {
        **cells(ours.rows, ("mode",)),
        **cells(ours.rows, ("backend", "mode")),
    }
    for key, at in groups.items():
        f = summary(ours.take(at))
        them = {
            "ttft_median": float(np.median(np.abs(their_ttft[at] - 1))),
            "ttft_bias": float(np.median(their_ttft[at])),
            "tpot_median": float(np.median(np.abs(their_tpot[at] - 1))),
            "tpot_mean": float(np.mean(np.abs(their_tpot[at] - 1))),
        }
        record[" ".join(key)] = {"n": len(at), "ours": {k: f[k] for k in them}, "library": them}
        columns = [
            f"x{f[name]:.2f} x{value:.2f}"
            if name.endswith("bias")
            else f"{percent(f[name])} {percent(value)}"
            for name, value in them.items()
        ]
        lines.append(f"  {' '.join(key):26s} {len(at):5d}  {'  '.join(columns)}")
    return record, lines
