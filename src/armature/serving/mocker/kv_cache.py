"""Paged KV cache of one attention-DP rank: counts for private blocks, identities only for shared ones.

Pure bookkeeping, no tensors. A block that only one sequence can use needs no identity, so decoding costs one
integer; a full block whose content is known is published under its chained hash and can then be shared, kept
after its last user has gone, and evicted least-recently-used first. This is the model of vLLM's block pool
(hash-chained full blocks, reference counts, LRU over the unreferenced ones).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

__all__ = ["KvCache", "block_hashes", "chain"]


def chain(parent: int, tokens: Sequence[int]) -> int:
    """Identity of a full block: a hash of its tokens and of everything before it (`parent`, 0 for the first).

    Integers hash alike in every process, so the identities may be compared between workers.
    """
    return hash((parent, *tokens))


def block_hashes(tokens: Sequence[int], block_size: int) -> list[int]:
    """Chained hashes of the full blocks of `tokens`; the last, partial block has none."""
    hashes: list[int] = []
    parent = 0
    for start in range(0, len(tokens) - block_size + 1, block_size):
        parent = chain(parent, tokens[start : start + block_size])
        hashes.append(parent)
    return hashes


class KvCache:
    """Blocks of one rank. Invariant: `private + len(active) + len(idle) <= num_blocks`.

    private: blocks held by one sequence, content unknown to others. active: published blocks with their
    number of users. idle: published blocks without users, oldest first; they count as free.
    """

    __slots__ = (
        "_active",
        "_idle",
        "block_size",
        "evictions",
        "hit_tokens",
        "num_blocks",
        "private",
        "queried_tokens",
    )

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.private = 0
        self.hit_tokens = 0
        self.queried_tokens = 0
        self.evictions = 0
        self._active: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def free(self) -> int:
        """Blocks that can be taken now, evicting idle ones where needed."""
        return self.num_blocks - self.private - len(self._active)

    @property
    def usage(self) -> float:
        """Share of the blocks that sequences hold, 0 to 1."""
        return 1.0 - self.free / self.num_blocks

    @property
    def cached_blocks(self) -> int:
        """Published blocks, in use or idle."""
        return len(self._active) + len(self._idle)

    def match(self, hashes: Sequence[int], most: int) -> int:
        """How many leading blocks of `hashes` are here, at most `most`."""
        active, idle = self._active, self._idle
        hits = 0
        for block in hashes:
            if hits >= most or (block not in active and block not in idle):
                break
            hits += 1
        return hits

    def admit(self, shared: Sequence[int], new: int) -> bool:
        """Uses the published blocks `shared` and takes `new` private ones, or does nothing and says no."""
        from_idle = sum(1 for block in shared if block in self._idle)
        if self.free - from_idle < new:
            return False
        for block in shared:
            if block in self._idle:
                del self._idle[block]
                self._active[block] = 1
            else:
                self._active[block] += 1
        return self.take(new)

    def take(self, count: int) -> bool:
        """Takes `count` private blocks, evicting the longest idle ones; does nothing and says no if too few."""
        free = self.free
        if free < count:
            return False
        for _ in range(count - (free - len(self._idle))):
            self._idle.popitem(last=False)
            self.evictions += 1
        self.private += count
        return True

    def publish(self, block: int) -> bool:
        """Turns one private block of the caller into a shared one it uses. No when that content is here already:
        the caller then keeps its copy private, as engines do."""
        if block in self._active or block in self._idle:
            return False
        self.private -= 1
        self._active[block] = 1
        return True

    def release(self, shared: Sequence[int], private: int) -> None:
        """Gives blocks back. The end of a chain becomes evictable before its start."""
        self.private -= private
        for block in reversed(shared):
            users = self._active[block] - 1
            if users:
                self._active[block] = users
            else:
                del self._active[block]
                self._idle[block] = None
