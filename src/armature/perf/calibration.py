"""What real deployments say about the measured tables: a correction per engine, and bands that hold.

The estimator library measures operators and ships 5,221 end-to-end runs besides. Against those the tables' steps are
right but for a constant factor per engine, and a request takes a constant time more before its first token: tokenising,
scheduling, HTTP, the overlap of host and GPU. So the correction is two numbers per engine (`step_factor`, `host_ms`);
anything finer (model, precision, degree, batch) fitted better and *predicted worse* on models and GPUs it had not seen.
A factor and a constant keep every answer rising in tokens, batch and context.

Bands are 80 % intervals of measured / predicted in logarithms, `exp(scale * low) .. exp(scale * high)`: the shortest
interval of the residuals that hold 80 %, each residual from a fit without its model and GPU, and `scale` a product of
factors for the engine, attention data parallelism and disaggregation. Coefficients: `calibration.json`, made by
`python benchmarks/calibrate.py`; what was fitted on what, and how well it does: docs/accuracy.md.
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

__all__ = ["BandFit", "Calibration", "band", "calibrated", "coefficients", "features", "with_host"]

CALIBRATED_SKUS = frozenset({"b200_sxm", "b300_sxm", "gb200", "gb300", "h100_sxm", "h200_sxm"})
"""GPUs with end-to-end runs; other measured tables have nothing to be checked against."""

_Times = TypeVar("_Times", LatticeTimes, RooflineTimes)


class BandFit(msgspec.Struct, frozen=True):
    """Quantiles of a scaled log residual, and the log of the scale by feature (see `features`)."""

    low: float
    high: float
    log_scale: dict[str, float]


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
    GPU's."""
    return replace(times, host_ms=(fit or coefficients()).host_ms[backend])


def band(fit: BandFit, backend: Backend, dp: bool, *, split: bool) -> Band:
    """The band of an engine; `split` where it serves in a disaggregated layout. It always holds the estimate."""
    scale = math.exp(sum(fit.log_scale.get(name, 0.0) for name in features(backend, dp, split)))
    return Band(math.exp(min(scale * fit.low, 0.0)), math.exp(max(scale * fit.high, 0.0)))


def features(backend: str, dp: bool, split: bool) -> tuple[str, ...]:
    """What a band depends on, by name: the terms of `BandFit.log_scale` that hold for an engine."""
    chosen: Mapping[str, bool] = {"one": True, backend: True, "dp": dp, "disagg": split}
    return tuple(name for name, holds in chosen.items() if holds)
