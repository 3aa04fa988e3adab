"""Step times that are worked out when they are first asked for: of many engines, only those in use cost anything."""

from __future__ import annotations

from functools import cached_property

from armature.perf.estimate import (
    EngineSpec,
    Estimator,
    FloatLike,
    Floats,
    StepTimes,
)
from armature.perf.forwarding import Forwarding

__all__ = ["OnDemandEstimator"]


class OnDemandEstimator:
    """Another estimator, asked for an engine no sooner than its times are. What it raises comes then."""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self.name = estimator.name

    def engine(self, spec: EngineSpec) -> StepTimes:
        return _OnDemandTimes(self._estimator, spec)


class _OnDemandTimes(Forwarding):
    def __init__(self, estimator: Estimator, spec: EngineSpec) -> None:
        self._estimator, self._spec = estimator, spec

    @cached_property
    def plain(self) -> StepTimes:
        return self._estimator.engine(self._spec)

    def prefill_ms(self, isl: FloatLike, batch: FloatLike = 1.0, prior: FloatLike = 0.0) -> Floats:
        return self.plain.prefill_ms(isl, batch, prior)

    def decode_ms(self, batch: FloatLike, context: FloatLike) -> Floats:
        return self.plain.decode_ms(batch, context)

    def mixed_ms(self, prefill_tokens: FloatLike, batch: FloatLike, context: FloatLike) -> Floats:
        return self.plain.mixed_ms(prefill_tokens, batch, context)
