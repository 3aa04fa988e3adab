"""The correction, fitted: step factors and host times per engine, and bands from residuals of groups left out.

A group is a model on a system; in the correction every group weighs as the square root of its measurements, so that a
model measured a hundred times does not speak for all. Loss: pseudo-Huber of log(measured / predicted). In the bands
every measurement weighs the same: a band is a statement about deployments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from accuracy.predict import Answer, Engines, answer, prompt_ms
from accuracy.rows import Row
from armature.errors import ArmatureError
from armature.perf.calibration import BandFit, Calibration, features

__all__ = ["Sample", "fit", "fit_half", "samples_of", "split"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
ENGINES = ("vllm", "sglang", "trtllm")
COVERAGE = 0.81
"""Share of left-out residuals inside the fitted bands: 80 % nominal, and a little for groups unlike any seen."""
FOLDS = 4
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
    left_out = _left_out_residuals(sample)
    bands = [_band_fit(sample, residual) for residual in left_out]
    return Calibration(
        step_factor=dict(zip(ENGINES, np.round(factor, 4).tolist(), strict=True)),
        host_ms=dict(zip(ENGINES, np.round(host, 1).tolist(), strict=True)),
        ttft=bands[0],
        itl=bands[1],
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
    factor, host = (np.array([of[name] for name in ENGINES]) for of in (fitted.step_factor, fitted.host_ms))
    return corrected(sample, factor, host, fitted.burst)


def _left_out_residuals(sample: Sample) -> tuple[Floats, Floats]:
    """log(measured / predicted) of TTFT and TPOT, each from a fit without a quarter of the groups, its own in it."""
    groups = np.unique(sample.group)
    order = sorted(
        groups,
        key=lambda g: sha256(str(sample.rows[int(np.argmax(sample.group == g))].group).encode()).digest(),
    )
    fold = {group: at % FOLDS for at, group in enumerate(order)}
    mine = np.array([fold[group] for group in sample.group])
    ttft, tpot = np.zeros(len(sample)), np.zeros(len(sample))
    for at in range(FOLDS):
        out = mine == at
        if out.any():
            t, d = corrected(sample.take(out), *_coefficients(sample.take(~out)))
            ttft[out], tpot[out] = (
                np.log(sample.measured("ttft_ms")[out] / t),
                np.log(sample.measured("tpot_ms")[out] / d),
            )
    return ttft, tpot


NAMES = ("one", "vllm", "sglang", "dp", "disagg")


def _band_fit(sample: Sample, residual: Floats) -> BandFit:
    """Scale by feature (ridge on log |residual|), then the shortest interval that holds COVERAGE of what is left."""
    have = [
        features(row.backend, bool(dp), bool(s))
        for row, dp, s in zip(sample.rows, sample.dp, sample.split, strict=True)
    ]
    x = np.array([[name in holding for name in NAMES] for holding in have], dtype=np.float64)
    prior = np.diag([0.2] + [60.0] * (len(NAMES) - 1))
    log_scale = np.linalg.solve(x.T @ x + prior, x.T @ np.log(np.abs(residual) + 0.05))
    low, high = _shortest(residual / np.exp(x @ log_scale), np.ones(len(residual)), COVERAGE)
    return BandFit(
        round(low, 4), round(high, 4), dict(zip(NAMES, np.round(log_scale, 4).tolist(), strict=True))
    )


def _shortest(values: Floats, weight: Floats, share: float) -> tuple[float, float]:
    """The shortest interval that holds `share` of the weight."""
    order = np.argsort(values)
    values, upto = values[order], np.cumsum(weight[order]) / weight.sum()
    before = np.concatenate(([0.0], upto[:-1]))
    end = np.searchsorted(upto, before + share - 1e-9)
    width = np.where(end < len(values), values[np.minimum(end, len(values) - 1)] - values, np.inf)
    at = int(np.argmin(width))
    return float(values[at]), float(values[min(int(end[at]), len(values) - 1)])


def fit_half(
    sample: Sample, seed: str = "", choose: Callable[[Sequence[Row], str], Mask] = split
) -> tuple[Calibration, Mask]:
    """The fit on one half of the groups, and the mask of the other half."""
    mine = choose(sample.rows, seed)
    return fit(sample.take(mine)), ~mine
