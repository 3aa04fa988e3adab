"""Which source of step times answers for an engine: the best that there is, and the user is told which and why.

`auto` takes, in this order: measured tables of the GPU, corrected by what real deployments show (`calibrated`; tables
that no deployment checks stay `estimated`); the tables of the nearest GPU, scaled (`estimated`); the roofline alone.
`silicon` gives the tables as they are.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Literal

from armature.perf.calibration import calibrated, with_host
from armature.perf.donor import transferred
from armature.perf.estimate import EngineSpec, Estimator, StepTimes
from armature.perf.roofline import RooflineEstimator
from armature.perf.silicon import NoSiliconData, SiliconEstimator, StepCache

__all__ = ["AutoEstimator", "Kind", "estimator_for"]

Kind = Literal["auto", "silicon", "roofline"]
_KEPT = 512


class AutoEstimator:
    """The best source for each engine; raises nothing. silicon: the measured tables, which are asked first."""

    name = "auto"

    def __init__(self, cache: StepCache | None = None) -> None:
        self.silicon = SiliconEstimator(cache)
        self._roofline = RooflineEstimator()
        self._kept = lru_cache(maxsize=_KEPT)(self._best)

    def engine(self, spec: EngineSpec) -> StepTimes:
        """The same object for the same engine, so that what follows from it need be worked out once."""
        return self._kept(spec)

    def _best(self, spec: EngineSpec) -> StepTimes:
        try:
            return calibrated(self.silicon.engine(spec), spec)
        except NoSiliconData as error:
            own = error
        try:
            return transferred(spec, self.silicon)
        except NoSiliconData:
            note = f"no silicon data for {spec.gpu.sku}/{spec.backend}: roofline ({own.message})"
            times = with_host(self._roofline.engine(spec), spec.backend)
            return replace(times, notes=(note, *times.notes))


def estimator_for(kind: Kind = "auto", *, cache: StepCache | None = None) -> Estimator:
    """The estimator of that kind. `silicon` raises ArmatureError for an engine without measured tables; cache keeps
    what measured tables say between runs."""
    if kind == "silicon":
        return SiliconEstimator(cache)
    if kind == "roofline":
        return RooflineEstimator()
    return AutoEstimator(cache)
