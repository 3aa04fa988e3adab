"""Which source of step times answers for an engine: the best that there is, and the user is told which and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from armature.perf.estimate import EngineSpec, Estimator, StepTimes
from armature.perf.roofline import RooflineEstimator
from armature.perf.silicon import NoSiliconData, SiliconEstimator, StepCache

__all__ = ["AutoEstimator", "Kind", "estimator_for"]

Kind = Literal["auto", "silicon", "roofline"]


class AutoEstimator:
    """Measured tables where there are any, the roofline elsewhere."""

    name = "auto"

    def __init__(self, cache: StepCache | None = None) -> None:
        self._silicon = SiliconEstimator(cache)
        self._roofline = RooflineEstimator()

    def engine(self, spec: EngineSpec) -> StepTimes:
        try:
            return self._silicon.engine(spec)
        except NoSiliconData as error:
            note = f"no silicon data for {spec.gpu.sku}/{spec.backend}: roofline ({error.message})"
            times = self._roofline.engine(spec)
            return replace(times, notes=(note, *times.notes))


def estimator_for(kind: Kind = "auto", *, cache: StepCache | None = None) -> Estimator:
    """The estimator of that kind. `silicon` raises ArmatureError for an engine without measured tables; cache keeps
    what measured tables say between runs."""
    if kind == "silicon":
        return SiliconEstimator(cache)
    if kind == "roofline":
        return RooflineEstimator()
    return AutoEstimator(cache)
