"""Step times of a GPU without measured tables, from the tables of one that has them.

What tables say beyond the roofline, small kernels, launch gaps, uneven experts, is much the same on the next GPU: so

    time(target) = tables(donor) * roofline(target) / roofline(donor)

point by point for the same model, engine and parallelism. Which GPU gives: the whole part of the same product where
the target is a slice or a variant of it, else the GPU of the same architecture that is nearest by arithmetic, memory
bandwidth and link. Leaving out each measured GPU in turn says how well this does (docs/accuracy.md): within an
architecture a third of the roofline's error, across architectures no better than the roofline, which is why it stays
within. The bands are wider by that error, and the label is `estimated`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from armature.hardware.catalog import GPUS, Gpu
from armature.perf.calibration import CALIBRATED_SKUS, Calibration, calibrated, coefficients
from armature.perf.estimate import Band, EngineSpec, Floats
from armature.perf.lattice import LatticeTimes, rising
from armature.perf.roofline import DECODE_BAND, PREFILL_BAND, RooflineTimes
from armature.perf.silicon import NoSiliconData, SiliconEstimator

__all__ = ["donors_for", "scaled", "transferred"]

MOST_TRIED = 3
"""Donors asked before the plain roofline: each may load a GPU's tables, which takes up to a second."""
OTHERS = ("a100_sxm", "l40s", "rtx_pro_6000")
"""GPUs with tables beside those of `calibration.CALIBRATED_SKUS`."""
TENSOR_DTYPES = ("fp16", "fp8", "fp4")


def donors_for(gpu: Gpu, *, across: bool = False) -> tuple[Gpu, ...]:
    """GPUs with tables that may give them to `gpu`, nearest first; never the whole part that `gpu` is. across: also of
    other architectures, which the estimates do not use."""
    known = [GPUS[sku] for sku in (*sorted(CALIBRATED_SKUS), *OTHERS)]
    near = [donor for donor in known if donor != gpu and (across or not _distance(gpu, donor)[2])]
    return tuple(sorted(near, key=lambda donor: (_distance(gpu, donor), donor.sku)))


def transferred(spec: EngineSpec, silicon: SiliconEstimator, fit: Calibration | None = None) -> LatticeTimes:
    """Step times of `spec` from the first donor that has tables for its engine. Raises NoSiliconData when none has."""
    fit = fit or coefficients()
    refusal = NoSiliconData(f"no GPU like {spec.gpu.sku} has measured tables")
    for donor in donors_for(spec.gpu)[:MOST_TRIED]:
        at_donor = replace(spec, gpu=donor)
        try:
            tables = silicon.engine(at_donor)
        except NoSiliconData as error:
            refusal = error
            continue
        given = scaled(calibrated(tables, at_donor, fit), at_donor, spec)
        note = (
            f"no measured tables for {spec.gpu.sku}/{spec.backend}: "
            f"those of {donor.sku}, scaled by the roofline of both"
        )
        return replace(
            given,
            source="estimated",
            prefill_band=_wider(given.prefill_band, fit.donor_prefill, PREFILL_BAND),
            decode_band=_wider(given.decode_band, fit.donor_decode, DECODE_BAND),
            split_bands=None,
            notes=(note, *given.notes),
        )
    raise refusal


def scaled(tables: LatticeTimes, donor: EngineSpec, target: EngineSpec) -> LatticeTimes:
    """`tables` of `donor` by the ratio of the two rooflines, rising along every axis as they do."""
    mine, theirs = RooflineTimes(target), RooflineTimes(donor)

    def ratio(ask: str, *points: Floats) -> Floats:
        return np.asarray(getattr(mine, ask)(*points) / getattr(theirs, ask)(*points), np.float64)

    fresh = (theirs.prefill_ms(tables.chunk), mine.prefill_ms(tables.chunk))
    before, after = (
        times.prefill_ms(tables.chunk[:, None], 1.0, tables.prior) - alone[:, None]
        for times, alone in zip((theirs, mine), fresh, strict=True)
    )
    prior_ratio = np.where(before > 0, after / np.where(before > 0, before, 1.0), 1.0)
    return replace(
        tables,
        prefill=rising(tables.prefill * ratio("prefill_ms", tables.tokens)),
        prior_extra=rising(tables.prior_extra * prior_ratio),
        decode=rising(tables.decode * ratio("decode_ms", tables.batch[:, None], tables.context)),
    )


def _wider(own: Band, added: tuple[float, float], least: Band) -> Band:
    """The donor's band and the transfer's error, which know nothing of each other; never narrower than the
    roofline's own."""
    low = -math.hypot(math.log(own.low), added[0])
    high = math.hypot(math.log(own.high), added[1])
    return Band(min(math.exp(low), least.low), max(math.exp(high), least.high), own.fall)


def _distance(gpu: Gpu, donor: Gpu) -> tuple[bool, bool, bool, float]:
    """Another product, another vendor, another architecture; then the sum of log ratios of what bounds a step, where
    another kind of link or a matrix unit that only one of them has counts as a factor e."""
    differences = float(gpu.link != donor.link)
    differences += sum((dtype in gpu.flops) != (dtype in donor.flops) for dtype in TENSOR_DTYPES)
    family = (gpu.architecture.split()[0], donor.architecture.split()[0])  # "Blackwell Ultra" is a Blackwell
    return (
        gpu.sku != donor.sku,
        gpu.vendor != donor.vendor,
        family[0] != family[1],
        differences + sum(_log_ratios(gpu, donor)),
    )


def _log_ratios(gpu: Gpu, donor: Gpu) -> Iterator[float]:
    for mine, theirs in (
        (gpu.bandwidth_bytes_per_s, donor.bandwidth_bytes_per_s),
        (max(gpu.flops.values()), max(donor.flops.values())),
        (gpu.link_bytes_per_s, donor.link_bytes_per_s),
    ):
        yield abs(math.log(mine / theirs))
