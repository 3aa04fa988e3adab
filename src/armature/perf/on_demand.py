"""Step times that are worked out when they are first asked for: of many engines, only those in use cost anything."""

from __future__ import annotations

from functools import cached_property

from armature.perf.estimate import (
    Band,
    EngineSpec,
    Estimator,
    FloatLike,
    Floats,
    Source,
    StepTimes,
    host_ms,
    split_bands,
)

__all__ = ["OnDemandEstimator"]


class OnDemandEstimator:
    """Another estimator, asked for an engine no sooner than its times are. What it raises comes then."""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self.name = estimator.name

    def engine(self, spec: EngineSpec) -> StepTimes:
        return _OnDemandTimes(self._estimator, spec)


class _OnDemandTimes:
    def __init__(self, estimator: Estimator, spec: EngineSpec) -> None:
        self._estimator, self._spec = estimator, spec

    @cached_property
    def _times(self) -> StepTimes:
        return self._estimator.engine(self._spec)

    @property
    def source(self) -> Source:
        return self._times.source

    @property
    def prefill_band(self) -> Band:
        return self._times.prefill_band

    @property
    def decode_band(self) -> Band:
        return self._times.decode_band

    @property
    def split_bands(self) -> tuple[Band, Band] | None:
        return split_bands(self._times)

    @property
    def host_ms(self) -> float:
        return host_ms(self._times)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._times.notes

    def prefill_ms(self, isl: FloatLike, batch: FloatLike = 1.0, prior: FloatLike = 0.0) -> Floats:
        return self._times.prefill_ms(isl, batch, prior)

    def decode_ms(self, batch: FloatLike, context: FloatLike) -> Floats:
        return self._times.decode_ms(batch, context)

    def mixed_ms(self, prefill_tokens: FloatLike, batch: FloatLike, context: FloatLike) -> Floats:
        return self._times.mixed_ms(prefill_tokens, batch, context)
