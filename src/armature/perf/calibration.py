"""What real deployments say about the measured tables: a correction per engine, and bands that hold.

The estimator library measures operators and ships 5,221 end-to-end runs besides. Against those the tables' steps are
right but for a constant factor per engine, and a request takes a constant time more before its first token: tokenising,
scheduling, HTTP, the overlap of host and GPU. So the correction is two numbers per engine (`step_factor`, `host_ms`);
anything finer (model, precision, degree, batch) fitted better and *predicted worse* on models and GPUs it had not seen.
A factor and a constant keep every answer rising in tokens, batch and context.

Bands are 80 % intervals of measured / predicted. The log of either bound is a sum of terms for the engine, attention
data parallelism and disaggregation. The low one falls besides with how far load has lifted the estimate
(`Band.above`): what a queue or a large batch adds may be less, and hardly ever is more. Coefficients:
`calibration.json`, made by `python benchmarks/calibrate.py`; what was fitted on what, and how well it does:
docs/accuracy.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import TypeVar

import msgspec

from armature.perf.estimate import Backend, Band, EngineSpec
from armature.perf.lattice import LatticeTimes
from armature.perf.roofline import RooflineTimes

__all__ = [
    "LEAST_BAND",
    "SHORT_ITL_MS",
    "BandFit",
    "Calibration",
    "band",
    "calibrated",
    "coefficients",
    "features",
    "with_host",
]

CALIBRATED_SKUS = frozenset({"b200_sxm", "b300_sxm", "gb200", "gb300", "h100_sxm", "h200_sxm"})
"""GPUs with end-to-end runs; other measured tables have nothing to be checked against."""

LEAST_BAND = 0.05
"""Log of the narrowest bound to either side: about what a run repeated differs by."""
SHORT_ITL_MS = 5.0
"""About the shortest step measured; bands of ITL are of this, and fall with what is above it."""

_Times = TypeVar("_Times", LatticeTimes, RooflineTimes)


class BandFit(msgspec.Struct, frozen=True):
    """Log bounds of measured / predicted, each the sum of its terms that hold (see `features`); fall as in `Band`."""

    low: dict[str, float]
    high: dict[str, float]
    fall: float = 0.0


class Calibration(msgspec.Struct, frozen=True):
    """step_factor multiplies every step time; host_ms adds to the time to the first token. donor_*: log bounds of
    what scaling another GPU's tables adds to either side. burst: see docs/accuracy.md (how the runs were measured; no
    part of a prediction)."""

    step_factor: dict[str, float]
    host_ms: dict[str, float]
    ttft: BandFit
    itl: BandFit
    donor_prefill: tuple[float, float]
    donor_decode: tuple[float, float]
    burst: float
    fitted: dict[str, object]


@cache
def coefficients() -> Calibration:
    """The coefficients that this version ships."""
    text = resources.files("armature.perf").joinpath("calibration.json").read_bytes()
    return msgspec.json.decode(text, type=Calibration)


def calibrated(times: LatticeTimes, spec: EngineSpec, fit: Calibration | None = None) -> LatticeTimes:
    """Measured tables with the correction of their engine, and bands that hold for real deployments.

    Tables of GPUs without end-to-end runs keep their times, their wider bands and their label; only the host's share
    is added.
    """
    fit = fit or coefficients()
    if times.source != "silicon" or spec.gpu.sku not in CALIBRATED_SKUS:
        return with_host(times, spec.backend, fit)
    factor, dp = fit.step_factor[spec.backend], spec.parallelism.dp > 1
    return replace(
        times,
        source="calibrated",
        host_ms=fit.host_ms[spec.backend],
        prefill_band=band(fit.ttft, spec.backend, dp, split=False),
        decode_band=band(fit.itl, spec.backend, dp, split=False),
        split_bands=tuple(band(of, spec.backend, dp, split=True) for of in (fit.ttft, fit.itl)),  # type: ignore[arg-type]
        prefill=times.prefill * factor,
        prior_extra=times.prior_extra * factor,
        decode=times.decode * factor,
    )


def with_host(times: _Times, backend: Backend, fit: Calibration | None = None) -> _Times:
    """Step times as they are, with the host's share of the time to the first token, which is the engine's, not the
    GPU's, and with bands that fall with load as those of any GPU do."""
    fit = fit or coefficients()
    return replace(
        times,
        host_ms=fit.host_ms[backend],
        prefill_band=replace(times.prefill_band, fall=fit.ttft.fall),
        decode_band=replace(times.decode_band, fall=fit.itl.fall),
    )


def band(fit: BandFit, backend: Backend, dp: bool, *, split: bool) -> Band:
    """The band of an engine; `split` where it serves in a disaggregated layout. It always holds the estimate."""
    holding = features(backend, dp, split)
    low, high = (sum(of.get(name, 0.0) for name in holding) for of in (fit.low, fit.high))
    return Band(math.exp(min(low, -LEAST_BAND)), math.exp(max(high, LEAST_BAND)), fit.fall)


def features(backend: str, dp: bool, split: bool) -> tuple[str, ...]:
    """What a band depends on, by name: the terms of a `BandFit` that hold for an engine."""
    chosen: Mapping[str, bool] = {"one": True, backend: True, "dp": dp, "disagg": split}
    return tuple(name for name, holds in chosen.items() if holds)
