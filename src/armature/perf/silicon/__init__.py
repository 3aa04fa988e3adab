"""Measured step times: the only room that knows the estimator library."""

from armature.perf.silicon.estimator import SiliconEstimator, supported
from armature.perf.silicon.library import NoSiliconData
from armature.perf.silicon.step_cache import StepCache, user_cache

__all__ = ["NoSiliconData", "SiliconEstimator", "StepCache", "supported", "user_cache"]
