"""The one interface every source of step times implements, and the number it returns.

A *step* is one forward pass of one worker's engine. All batches are per attention-DP rank; all times are
milliseconds; all arguments broadcast like numpy arrays and no result is ever NaN, infinite or negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from armature.hardware.catalog import Gpu
from armature.model.facts import ModelFacts
from armature.model.parallelism import Parallelism

__all__ = [
    "Backend",
    "Band",
    "EngineSpec",
    "Estimate",
    "Estimator",
    "FloatLike",
    "Floats",
    "Source",
    "StepTimes",
    "bands",
    "host_ms",
    "moe_a2a",
    "split_bands",
]

Source = Literal["measured", "calibrated", "silicon", "estimated"]
Floats = npt.NDArray[np.float64]
FloatLike = Floats | float | int
Backend = Literal["vllm", "sglang", "trtllm"]


@dataclass(frozen=True, slots=True)
class Band:
    """Where the truth lies with nominal 80 %, as ratios of the estimate: `low <= truth / estimate <= high`.

    fall: see `above`; 0 to 1."""

    low: float
    high: float
    fall: float = 0.0

    def above(self, ratio: float) -> Band:
        """The band of an estimate that is `ratio` times the least it could be: `low` falls by that ratio's power
        `fall`. As the power is at most 1, the lower end of the estimate never falls as the estimate rises."""
        return Band(self.low * max(ratio, 1.0) ** -self.fall, self.high)


class Estimate(msgspec.Struct, frozen=True):
    """A number with its band and its source; unit in the name of the field that holds it."""

    value: float
    low: float
    high: float
    source: Source


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine to estimate: what runs, on what, spread how. kv_dtype is resolved (`bf16`, `fp8`)."""

    facts: ModelFacts
    gpu: Gpu
    backend: Backend
    parallelism: Parallelism
    kv_dtype: str = "bf16"


class StepTimes(Protocol):
    """Step times of one engine."""

    @property
    def source(self) -> Source: ...

    @property
    def prefill_band(self) -> Band: ...

    @property
    def decode_band(self) -> Band: ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know: a broken table replaced, a donor GPU used."""
        ...

    def prefill_ms(self, isl: FloatLike, batch: FloatLike = 1.0, prior: FloatLike = 0.0) -> Floats:
        """A step that prefills `isl` new tokens of each of `batch` prompts, each with `prior` tokens already in
        the cache: an earlier chunk of the same prompt, or a cached prefix."""
        ...

    def decode_ms(self, batch: FloatLike, context: FloatLike) -> Floats:
        """A step that decodes one token for each of `batch` requests with `context` tokens in the cache."""
        ...

    def mixed_ms(self, prefill_tokens: FloatLike, batch: FloatLike, context: FloatLike) -> Floats:
        """A step that prefills a prompt's first `prefill_tokens` and decodes `batch` requests at `context`.

        Equals `decode_ms` at `prefill_tokens == 0` and `prefill_ms` at `batch == 0`. A later chunk of a prompt
        costs `prefill_ms(n, 1, prior) - prefill_ms(n)` more; `steptable.chunked_prefill_ms` adds that up."""
        ...


def host_ms(times: StepTimes) -> float:
    """Milliseconds that a request takes before and beside the steps of its prompt, whatever the load: tokenising,
    scheduling, HTTP. 0 for step times that say nothing of it."""
    return float(getattr(times, "host_ms", 0.0))


def moe_a2a(times: StepTimes) -> str:
    """What the engine must be told about how experts' tokens travel, for its steps to be those of `times` ("deepep");
    empty where its default is meant."""
    return str(getattr(times, "moe_a2a", ""))


def split_bands(times: StepTimes) -> tuple[Band, Band] | None:
    """Bands of TTFT and ITL in a disaggregated layout, where they differ from `prefill_band` and `decode_band`."""
    found: tuple[Band, Band] | None = getattr(times, "split_bands", None)
    return found


def bands(ttft: StepTimes, itl: StepTimes, *, split: bool) -> tuple[Band, Band]:
    """Bands of TTFT and ITL of a layout whose prompts run on `ttft` and whose tokens on `itl`: the same engine, or
    two (`split`), for which an estimate may be less certain."""
    first, later = (split_bands(times) if split else None for times in (ttft, itl))
    return first[0] if first else ttft.prefill_band, later[1] if later else itl.decode_band


class Estimator(Protocol):
    """Makes step times for engines; raises nothing but `ArmatureError`."""

    @property
    def name(self) -> str: ...

    def engine(self, spec: EngineSpec) -> StepTimes: ...
