"""The requests of a trace as columns: lengths, gaps between arrivals, and what a prefix cache would have of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from armature.workload.prefix import Blocks, Reuse, blocks_of, reuse_of

__all__ = ["Requests"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def _no_ids() -> Ints:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """N requests in order of arrival, at least one.

    isl, osl: tokens of each prompt and answer, all at least 1; gap_s: seconds since the request before it, the first
    0; shape (N,). block_ids: the prompts' blocks one after the other, where the same number means the same tokens
    after the same tokens; block_ends (N,): where each request's blocks end in it. Both empty without such numbers.
    block_tokens: of a block, the last of a prompt may be shorter. longest_isl, longest_tokens: of the whole trace,
    of which these requests may be a part; 0 means of these requests. `eq` is identity, so that answers can be kept.
    """

    isl: Ints
    osl: Ints
    gap_s: Floats
    block_ids: Ints = field(default_factory=_no_ids, repr=False)
    block_ends: Ints = field(default_factory=_no_ids, repr=False)
    block_tokens: int = 512
    longest_isl: int = 0
    longest_tokens: int = 0
    _reuse: dict[int, Reuse] = field(default_factory=dict, repr=False)
    _blocks: list[Blocks] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not self.longest_isl:
            object.__setattr__(self, "longest_isl", int(self.isl.max()))
        if not self.longest_tokens:
            object.__setattr__(self, "longest_tokens", int((self.isl + self.osl).max()))

    def __len__(self) -> int:
        return len(self.isl)

    @property
    def mean_isl(self) -> float:
        return float(self.isl.mean())

    @property
    def mean_osl(self) -> float:
        return float(self.osl.mean())

    @property
    def duration_s(self) -> float:
        """From the first to the last arrival."""
        return float(self.gap_s.sum())

    @property
    def rate_per_s(self) -> float:
        """Arrivals per second; 0 when they all come at once, for then there is no rate."""
        duration = self.duration_s
        return (len(self) - 1) / duration if duration > 0 else 0.0

    @property
    def has_prefixes(self) -> bool:
        """Whether the trace says which prompts begin alike."""
        return len(self.block_ends) == len(self)

    def scaled(self, rate_per_s: float) -> Requests:
        """The same requests arriving at this mean rate: every gap stretched alike; unchanged when they have no
        rate. What is known of prefixes is shared with the original: it does not depend on gaps."""
        own = self.rate_per_s
        return replace(self, gap_s=self.gap_s * (own / rate_per_s)) if own > 0 else self

    def cached_tokens(self, servers: int, room_tokens: float) -> Floats:
        """Tokens of each prompt that are in a prefix cache when it comes; shape (N,).

        Requests are dealt round-robin to `servers` caches of `room_tokens` tokens each, which forget the least
        recently used block first; answers take room like prompts. Exact for such a cache (see `prefix`), and cheap to
        ask again: one pass per number of servers, whatever the room. A prompt's last token is always computed, for
        the first output token comes from it. Zeros when the trace says nothing of prefixes.
        """
        if not self.has_prefixes:
            return np.zeros(len(self))
        servers = max(1, min(servers, len(self)))
        reuse = self._reuse.get(servers)
        if reuse is None:
            if not self._blocks:
                answers = self.osl / self.block_tokens
                self._blocks.append(blocks_of(self.block_ids, self.block_ends, answers))
            reuse = self._reuse[servers] = reuse_of(self._blocks[0], servers)
        blocks = reuse.hits(room_tokens / self.block_tokens)
        return np.asarray(np.minimum(blocks * float(self.block_tokens), self.isl - 1.0), dtype=np.float64)
