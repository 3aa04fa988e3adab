"""Measured step times: the only room that knows the estimator library."""

from armature.perf.silicon.estimator import SiliconEstimator, supported
from armature.perf.silicon.library import NoSiliconData

__all__ = ["NoSiliconData", "SiliconEstimator", "supported"]
