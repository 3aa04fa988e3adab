"""Scores of predictions against measurements: error, bias, bands, order. Pure arithmetic on arrays.

Bands are compared with one constant ratio, `estimate / r .. estimate * r`, the same for every engine, mode and load,
its `r` chosen in hindsight on the very measurements it is judged by: the band of somebody who knew the answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accuracy.fit import Sample, above, under
from accuracy.rows import Row
from armature.perf.calibration import Calibration, band

__all__ = [
    "ENOUGH",
    "Predictions",
    "beside_constant",
    "by_engine",
    "cells",
    "constant_width",
    "interval_score",
    "joined",
    "order_share",
    "percent",
    "predictions",
    "summary",
]

Floats = npt.NDArray[np.float64]
REPEAT = 1.05
"""Two measurements nearer than this are a tie: a run repeated differs by 9 % in TPOT at the 80th percentile."""
ENOUGH = 30
"""Measurements of an engine and mode that a share of them says something about: 80 % of fewer is 80 +- 7 % at best."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Logs of measured / predicted, with log bounds of the bands; all (N,)."""

    rows: Sequence[Row]
    ttft: Floats
    tpot: Floats
    ttft_band: tuple[Floats, Floats]
    tpot_band: tuple[Floats, Floats]

    def inside(self, what: str) -> npt.NDArray[np.bool_]:
        """Whether each measurement of `ttft` or `tpot` is within its band."""
        log, (low, high) = getattr(self, what), getattr(self, f"{what}_band")
        return np.asarray((log >= low) & (log <= high))

    def take(self, chosen: Sequence[int]) -> Predictions:
        at = np.array(chosen, dtype=np.intp)
        return Predictions(
            [self.rows[i] for i in chosen],
            self.ttft[at],
            self.tpot[at],
            (self.ttft_band[0][at], self.ttft_band[1][at]),
            (self.tpot_band[0][at], self.tpot_band[1][at]),
        )


def predictions(sample: Sample, fitted: Calibration) -> Predictions:
    """What `fitted` predicts for a sample."""
    ttft, tpot = under(sample, fitted)
    bounds = []
    for of, ratios in zip((fitted.ttft, fitted.itl), above(sample, fitted), strict=True):
        found = [
            band(of, row.backend, bool(dp), split=row.mode == "disagg").above(ratio)
            for row, dp, ratio in zip(sample.rows, sample.dp, ratios.tolist(), strict=True)
        ]
        bounds.append((np.log([b.low for b in found]), np.log([b.high for b in found])))
    return Predictions(
        sample.rows,
        np.log(sample.measured("ttft_ms") / ttft),
        np.log(sample.measured("tpot_ms") / tpot),
        bounds[0],
        bounds[1],
    )


def summary(found: Predictions) -> dict[str, float]:
    """Error, bias, band and order figures, each a share (0.14 is 14 %); bias is the median of predicted / measured."""
    figures: dict[str, float] = {"n": float(len(found.rows))}
    for name, log, bounds in (("ttft", found.ttft, found.ttft_band), ("tpot", found.tpot, found.tpot_band)):
        error = np.abs(np.expm1(-log))
        figures |= {
            f"{name}_median": float(np.median(error)),
            f"{name}_mean": float(np.mean(error)),
            f"{name}_bias": float(np.exp(np.median(-log))),
            f"{name}_inside": float(found.inside(name).mean()),
            f"{name}_width": float(np.mean(bounds[1] - bounds[0])),
        }
        right, pairs = order_share(found.rows, f"{name}_ms", -log)
        figures |= {f"{name}_order": right, f"{name}_pairs": float(pairs)}
    return figures


def order_share(rows: Sequence[Row], what: str, log_ratio: Floats) -> tuple[float, int]:
    """Of all pairs of configurations of one model, system and workload whose measurements differ by more than a repeat
    would, the share that is predicted in the right order, and how many pairs there are."""
    places: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        places[(*row.group, row.isl, row.osl)].append(index)
    measured = np.log([getattr(row, what) for row in rows])
    predicted = measured + log_ratio
    right = pairs = 0
    for at in places.values():
        truth = measured[at][:, None] - measured[at]
        guess = predicted[at][:, None] - predicted[at]
        counted = np.triu(np.abs(truth) > np.log(REPEAT), 1)
        right += int(np.sum(counted & (truth * guess > 0)))
        pairs += int(np.sum(counted))
    return (right / pairs if pairs else 1.0), pairs


def constant_width(log: Floats, inside: float) -> float:
    """Log width of the one constant ratio to either side of the estimate that covers the share `inside`."""
    return 2.0 * float(np.quantile(np.abs(log), inside))


def interval_score(log: Floats, low: Floats | float, high: Floats | float) -> float:
    """Mean log width of 80 % bands, and ten times what each miss is beyond its band: least where both bounds are the
    true 10th and 90th percentiles (Gneiting and Raftery 2007)."""
    missed = np.maximum(low - log, 0.0) + np.maximum(log - high, 0.0)
    return float(np.mean(high - low + 10.0 * missed))


def by_engine(found: Predictions) -> dict[tuple[str, ...], list[int]]:
    """Indices by engine and mode, of those with measurements enough."""
    return {key: at for key, at in cells(found.rows, ("backend", "mode")).items() if len(at) >= ENOUGH}


def beside_constant(found: Predictions, what: str) -> dict[str, float]:
    """Mean log width and interval score of the bands of `ttft` or `tpot`, and of one constant ratio that covers as many
    measurements; and the width of the one that covers, in the engine and mode it covers worst, as many as the bands do
    in the one that they cover worst (least)."""
    log, (low, high), inside = getattr(found, what), getattr(found, f"{what}_band"), found.inside(what)
    constant = constant_width(log, float(inside.mean()))
    parts = by_engine(found).values()
    least = min(float(inside[at].mean()) for at in parts)
    return {
        "width": float(np.mean(high - low)),
        "score": interval_score(log, low, high),
        "constant": constant,
        "constant_score": interval_score(log, -constant / 2, constant / 2),
        "least": least,
        "constant_each": max(constant_width(log[at], least) for at in parts),
    }


def cells(rows: Sequence[Row], names: Iterable[str]) -> dict[tuple[str, ...], list[int]]:
    """Indices of rows by the values of their fields `names`, in order."""
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        found[tuple(str(getattr(row, name)) for name in names)].append(index)
    return dict(sorted(found.items()))


def joined(parts: Sequence[Predictions]) -> Predictions:
    return Predictions(
        [row for part in parts for row in part.rows],
        np.concatenate([part.ttft for part in parts]),
        np.concatenate([part.tpot for part in parts]),
        tuple(np.concatenate([part.ttft_band[i] for part in parts]) for i in (0, 1)),  # type: ignore[arg-type]
        tuple(np.concatenate([part.tpot_band[i] for part in parts]) for i in (0, 1)),  # type: ignore[arg-type]
    )


def percent(share: float) -> str:
    return f"{100 * share:5.1f}%"
