"""Latency of layouts at a batch each: what it follows from, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from msgspec import structs

from armature.perf.estimate import Floats
from armature.search.known import joined_lanes
from armature.search.lane import Lane
from armature.search.load import Load, decoding_only, first_token_of, load_of

__all__ = ["Spots", "alike", "joined", "means_of"]


@dataclass(frozen=True, slots=True)
class Spots:
    """Arrays of one shape, the lane's too, or such that broadcast to it; what they mean is said of `Surface`.

    itl_ms, ttft_ms: means where they do not follow from the lane and the rate; ttft_ms is without host_ms.
    """

    lane: Lane
    rate: Floats
    in_flight: Floats
    servers: Floats
    decoders: Floats
    host_ms: Floats
    slope_ms: Floats
    tokens: float
    split: bool
    itl_ms: Floats | None
    ttft_ms: Floats | None

    @property
    def _beside(self) -> Floats:
        """Requests that decode where prompts are computed."""
        return np.zeros(1) if self.split else self.in_flight

    def means(self) -> tuple[Floats, Floats]:
        """(TTFT, ITL), milliseconds."""
        itl, ttft, each = self.itl_ms, self.ttft_ms, self.rate / self.servers
        if itl is None:
            load = load_of(self.lane, each, self.servers, self._beside, self.tokens)
            ttft, itl = load.first.own_ms + load.first.delay_ms, load.between.mean_ms
        elif ttft is None:
            ttft = first_token_of(self.lane, each, self.servers, self._beside)
        return ttft + self.host_ms, itl

    def load(self) -> Load:
        """TTFT and ITL as distributions."""
        load = load_of(self.lane, self.rate / self.servers, self.servers, self._beside, self.tokens)
        first, later = load.first, load.between
        if self.split and self.itl_ms is not None:
            later = decoding_only(self.itl_ms, self.slope_ms, self.decoders, self.in_flight)
        elif self.itl_ms is not None:
            later = structs.replace(
                later, mean_ms=self.itl_ms, base_ms=np.minimum(later.base_ms, self.itl_ms)
            )
        if self.ttft_ms is not None:
            own = np.minimum(first.own_ms, self.ttft_ms)
            first = structs.replace(first, own_ms=own, delay_ms=self.ttft_ms - own)
        return Load(structs.replace(first, own_ms=first.own_ms + self.host_ms), later)


def alike(spots: Spots) -> tuple[object, ...]:
    """Equal for spots that can be joined: beside ranks that step together, one that steps alone would be seen as one
    of those."""
    known = spots.itl_ms is None, spots.ttft_ms is None
    lane = spots.lane
    return spots.split, *known, bool(np.any(lane.ranks > 1.0)), lane.chunks, *lane.counts.tolist()


def means_of(several: Sequence[Spots]) -> list[tuple[Floats, Floats]]:
    """`means` of each, of shape (n,): those that are alike are worked out side by side."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, spots in enumerate(several):
        groups.setdefault(alike(spots), []).append(index)
    found: dict[int, tuple[Floats, Floats]] = {}
    for indices in groups.values():
        group = [several[index] for index in indices]
        ends = np.cumsum([spots.rate.size for spots in group])[:-1]
        ttft, itl = (np.split(values, ends) for values in joined(group).means())
        found |= dict(zip(indices, zip(ttft, itl, strict=True), strict=True))
    return [found[index] for index in range(len(several))]


def joined(several: Sequence[Spots]) -> Spots:
    """Spots of shape (n,), all `alike`, one after the other."""
    return Spots(*(_joined([getattr(spots, f.name) for spots in several]) for f in fields(Spots)))


def _joined(values: Sequence[Any]) -> Any:
    if isinstance(values[0], Lane):
        return joined_lanes(values)
    return np.concatenate(values, axis=-1) if isinstance(values[0], np.ndarray) else values[0]
