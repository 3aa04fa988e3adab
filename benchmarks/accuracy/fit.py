"""The correction, fitted: step factors and host times per engine, and bands from residuals of groups left out.

A group is a model on a system; in the correction every group weighs as the square root of its measurements, so that a
model measured a hundred times does not speak for all. Loss: pseudo-Huber of log(measured / predicted).

Bands leave out twice. Residuals are of fits without their group. Their quantiles, a ridge regression on few features
(Koenker and Bassett 1978), give the shape of the bounds; how far a residual lies beyond bounds that were fitted without
its group gives the one factor that makes them hold COVERAGE (cross-conformal prediction, Vovk 2015, with groups for
folds). In both every measurement weighs the same: a band is a statement about deployments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from accuracy.predict import Answer, Engines, answer, prompt_ms
from accuracy.rows import Row
from armature.errors import ArmatureError
from armature.perf.calibration import LEAST_BAND, SHORT_ITL_MS, BandFit, Calibration, features

__all__ = ["Sample", "above", "fit", "samples_of", "split", "under"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
ENGINES = ("vllm", "sglang", "trtllm")
COVERAGE = 0.8
"""Share of left-out residuals inside bands that were fitted without their group."""
RIDGE = 100.0
"""What holds an engine's or a mode's bounds near everybody's: as much as some hundred measurements say otherwise."""
SOFT = 0.15, 0.3
"""Where the loss turns from square to straight, for TPOT and TTFT: about the median error of each."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows with the same measurement counted once, their uncorrected answers, and what the fit needs of them.

    prompt_ms: one prompt alone. ahead: requests in flight per prefill lane, less one. All shapes (N,).
    """

    rows: Sequence[Row]
    raw: Sequence[Answer]
    prompt_ms: Floats
    ahead: Floats
    dp: Mask
    engine: npt.NDArray[np.intp] = field(init=False)
    group: npt.NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        names = sorted({row.group for row in self.rows})
        object.__setattr__(self, "group", np.array([names.index(row.group) for row in self.rows]))
        object.__setattr__(self, "engine", np.array([ENGINES.index(row.backend) for row in self.rows]))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, mask: Mask) -> Sample:
        chosen = np.flatnonzero(mask)
        return Sample(
            [self.rows[i] for i in chosen],
            [self.raw[i] for i in chosen],
            self.prompt_ms[mask],
            self.ahead[mask],
            self.dp[mask],
        )

    @property
    def weight(self) -> Floats:
        return np.asarray(5.0 / np.sqrt(np.bincount(self.group)[self.group]), np.float64)

    @property
    def split(self) -> Mask:
        return np.array([row.mode == "disagg" for row in self.rows])

    def measured(self, what: str) -> Floats:
        return np.array([getattr(row, what) for row in self.rows])

    def predicted(self, what: str) -> Floats:
        return np.array([getattr(found, what) for found in self.raw])


def samples_of(rows: Sequence[Row], engines: Engines) -> Sample:
    """Rows that measured tables answer, each measurement once."""
    kept: dict[tuple[str, ...], tuple[Row, Answer]] = {}
    for row in rows:
        if row.deployment is None or row.run in kept:
            continue
        try:
            kept[row.run] = row, answer(row, engines)
        except ArmatureError:
            continue
    chosen = [pair for pair in kept.values() if pair[1].source != "estimated"]
    alone = [prompt_ms(row, engines) for row, _ in chosen]
    return Sample(
        [row for row, _ in chosen],
        [found for _, found in chosen],
        np.array([prompt for prompt, _ in alone]),
        np.array([ahead for _, ahead in alone]),
        np.array([_first(row).dp > 1 for row, _ in chosen]),
    )


def _first(row: Row):  # type: ignore[no-untyped-def]  # the layout that prompts run on
    assert row.deployment is not None
    return row.deployment.prefill or row.deployment.main


def split(rows: Sequence[Row], seed: str = "") -> Mask:
    """The fit half: groups whose hash is even. Another seed, another split."""
    return np.array([sha256(f"{seed}{row.group}".encode()).digest()[0] % 2 == 0 for row in rows])


def fit(sample: Sample) -> Calibration:
    """Factors, host times and bands from a sample."""
    factor, host, burst = _coefficients(sample)
    ttft, tpot = _left_out_residuals(sample)
    log_ttft, log_itl = _log_above(sample, factor, host)
    return Calibration(
        step_factor=dict(zip(ENGINES, np.round(factor, 4).tolist(), strict=True)),
        host_ms=dict(zip(ENGINES, np.round(host, 1).tolist(), strict=True)),
        ttft=_band_fit(sample, ttft, log_ttft),
        itl=_band_fit(sample, tpot, log_itl),
        donor_prefill=(0.0, 0.0),
        donor_decode=(0.0, 0.0),
        burst=round(burst, 4),
        fitted={"measurements": len(sample), "groups": len(np.unique(sample.group))},
    )


def _coefficients(sample: Sample) -> tuple[Floats, Floats, float]:
    """Step factor and host time of each engine, and the burst."""
    one_hot, weight = np.eye(len(ENGINES))[sample.engine], sample.weight
    wanted = np.log(sample.measured("tpot_ms") / sample.predicted("tpot_ms"))
    theta = np.zeros(len(ENGINES))
    for _ in range(40):
        loss = weight / np.sqrt(1.0 + ((wanted - one_hot @ theta) / SOFT[0]) ** 2)
        # The prior pulls an engine that few groups speak for towards the tables: a log factor of 0.
        theta = np.linalg.solve(
            (one_hot.T * loss) @ one_hot + 3.0 * np.eye(len(ENGINES)), one_hot.T @ (loss * wanted)
        )
    factor = np.exp(theta)
    steps = sample.predicted("ttft_ms") * factor[sample.engine]
    bursts = sample.ahead * sample.prompt_ms * factor[sample.engine]
    parts = np.column_stack([one_hot, bursts])
    found = _log_least_squares(
        parts, steps, np.log(sample.measured("ttft_ms")), weight, np.array([25.0, 250.0, 90.0, 0.07])
    )
    return factor, found[:-1], float(found[-1])


def _log_least_squares(
    parts: Floats, fixed: Floats, log_wanted: Floats, weight: Floats, start: Floats
) -> Floats:
    """Positive `x` with `log(fixed + parts @ x)` nearest to `log_wanted`: damped Gauss-Newton in log x."""
    theta, damping = np.log(start), 1.0

    def loss(t: Floats) -> float:
        r = np.log(fixed + parts @ np.exp(t)) - log_wanted
        return float(np.sum(weight * SOFT[1] ** 2 * (np.sqrt(1.0 + (r / SOFT[1]) ** 2) - 1.0)))

    best = loss(theta)
    for _ in range(200):
        total = fixed + parts @ np.exp(theta)
        r = np.log(total) - log_wanted
        w = weight / np.sqrt(1.0 + (r / SOFT[1]) ** 2)
        slope = parts * np.exp(theta) / total[:, None]
        step = np.linalg.solve((slope.T * w) @ slope + damping * np.eye(len(theta)), -slope.T @ (w * r))
        tried = loss(theta + step)
        if tried < best:
            done = best - tried < 1e-9 * best
            theta, best, damping = theta + step, tried, damping / 3.0
            if done:
                break
        else:
            damping *= 4.0
    return np.exp(theta)


def corrected(sample: Sample, factor: Floats, host: Floats, burst: float) -> tuple[Floats, Floats]:
    """TTFT and TPOT of a sample under a correction."""
    f = factor[sample.engine]
    ttft = sample.predicted("ttft_ms") * f + host[sample.engine] + burst * sample.ahead * sample.prompt_ms * f
    return ttft, sample.predicted("tpot_ms") * f


def under(sample: Sample, fitted: Calibration) -> tuple[Floats, Floats]:
    """TTFT and TPOT of a sample under fitted coefficients."""
    return corrected(sample, *_of_engines(fitted), fitted.burst)


def above(sample: Sample, fitted: Calibration) -> tuple[Floats, Floats]:
    """What a sample's bands go by (`Band.above`): TTFT over that of an empty server, ITL over a short one."""
    ttft, itl = _log_above(sample, *_of_engines(fitted))
    return np.exp(ttft), np.exp(itl)


def _of_engines(fitted: Calibration) -> tuple[Floats, Floats]:
    factor, host = (np.array([of[name] for name in ENGINES]) for of in (fitted.step_factor, fitted.host_ms))
    return factor, host


def _log_above(sample: Sample, factor: Floats, host: Floats) -> tuple[Floats, Floats]:
    alone = sample.prompt_ms * factor[sample.engine] + host[sample.engine]
    ttft, itl = corrected(sample, factor, host, 0.0)  # the burst is of how it was measured: no plan has it
    return np.maximum(np.log(ttft / alone), 0.0), np.maximum(np.log(itl / SHORT_ITL_MS), 0.0)


def _left_out_residuals(sample: Sample) -> tuple[Floats, Floats]:
    """log(measured / predicted) of TTFT and TPOT, each from a fit without its group."""
    ttft, tpot = np.zeros(len(sample)), np.zeros(len(sample))
    for group in np.unique(sample.group):
        out = sample.group == group
        t, d = corrected(sample.take(out), *_coefficients(sample.take(~out)))
        ttft[out] = np.log(sample.measured("ttft_ms")[out] / t)
        tpot[out] = np.log(sample.measured("tpot_ms")[out] / d)
    return ttft, tpot


NAMES = ("one", "vllm", "sglang", "dp", "disagg")


def _band_fit(sample: Sample, residual: Floats, log_above: Floats) -> BandFit:
    """Bounds by feature, and on the low side by `log_above`, that hold COVERAGE of the residuals of groups they have
    not seen. Which tail is the longer is read off the shortest interval of all residuals."""
    have = [
        features(row.backend, bool(dp), bool(s))
        for row, dp, s in zip(sample.rows, sample.dp, sample.split, strict=True)
    ]
    x = np.array([[name in holding for name in NAMES] for holding in have], dtype=np.float64)
    below = float(np.mean(residual < _shortest(residual, COVERAGE)[0]))

    def terms(of: Mask) -> tuple[Floats, Floats, float]:
        wide = np.column_stack([x[of], log_above[of]])
        # No further than the estimate rises: its lower end would fall as it does.
        fall = float(np.clip(-_quantile_terms(wide, residual[of], below)[-1], 0.0, 1.0))
        low = _quantile_terms(x[of], residual[of] + fall * log_above[of], below)
        return low, _quantile_terms(x[of], residual[of], below + COVERAGE), fall

    beyond = np.zeros(len(sample))
    for group in np.unique(sample.group):
        out = sample.group == group
        low, high, fall = terms(~out)
        down = np.minimum(x[out] @ low, -LEAST_BAND) - fall * log_above[out]
        up = np.maximum(x[out] @ high, LEAST_BAND)
        beyond[out] = residual[out] / np.where(residual[out] < 0, down, up)
    low, high, fall = terms(np.ones(len(sample), dtype=bool))
    scale = float(np.quantile(beyond, COVERAGE))
    named = (dict(zip(NAMES, np.round(scale * side, 4).tolist(), strict=True)) for side in (low, high))
    return BandFit(*named, fall=round(min(scale * fall, 1.0), 4))


def _quantile_terms(x: Floats, values: Floats, share: float) -> Floats:
    """`b` so that `x @ b` is the quantile `share` of values, with a ridge on the features of `NAMES` but the first: the
    check loss by its quadratic majoriser (Hunter and Lange 2000)."""
    ridge = np.full(x.shape[1], 1e-3)
    ridge[1 : len(NAMES)] = RIDGE
    found = np.zeros(x.shape[1])
    found[0] = np.quantile(values, share)
    for _ in range(40):
        weight = 0.5 / (0.01 + np.abs(values - x @ found))
        found = np.linalg.solve((x.T * weight) @ x + np.diag(ridge), x.T @ (weight * values + share - 0.5))
    return found


def _shortest(values: Floats, share: float) -> tuple[float, float]:
    """The shortest interval that holds `share` of the values."""
    values = np.sort(values)
    count = int(np.ceil(share * len(values)))
    at = int(np.argmin(values[count - 1 :] - values[: len(values) - count + 1]))
    return float(values[at]), float(values[at + count - 1])
