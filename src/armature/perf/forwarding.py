"""What a wrapper round `StepTimes` passes on unchanged, in one place: one that forgot the host's time or a band would
lose the calibration without a word."""

from __future__ import annotations

from abc import ABC, abstractmethod

from armature.perf.estimate import Band, Source, StepTimes, host_ms, moe_a2a, split_bands

__all__ = ["Forwarding"]


class Forwarding(ABC):
    """Everything of `StepTimes` but the times of steps, from those of `plain`."""

    @property
    @abstractmethod
    def plain(self) -> StepTimes: ...

    @property
    def source(self) -> Source:
        return self.plain.source

    @property
    def prefill_band(self) -> Band:
        return self.plain.prefill_band

    @property
    def decode_band(self) -> Band:
        return self.plain.decode_band

    @property
    def split_bands(self) -> tuple[Band, Band] | None:
        return split_bands(self.plain)

    @property
    def host_ms(self) -> float:
        return host_ms(self.plain)

    @property
    def moe_a2a(self) -> str:
        return moe_a2a(self.plain)

    @property
    def notes(self) -> tuple[str, ...]:
        return self.plain.notes
