"""What a least-recently-used prefix cache holds of each prompt, for every size of the cache at once.

LRU is a stack algorithm (Mattson et al. 1970, "Evaluation techniques for storage hierarchies"): a cache of C blocks
holds the C blocks used last, so a block is found if and only if fewer than C others were used since: its depth. One
pass over the requests gives the depth of everything that is ever found, and a cache size is then one comparison.

A request uses all its blocks, the first of its prompt last, as engines do, which free the end of a chain before its
start. So a block is never deeper than what follows it, and the blocks found of a prompt are its first ones. Blocks of
one prompt last used by the same earlier request lie together: a *run*, whose depth is counted once.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["Blocks", "Reuse", "blocks_of", "reuse_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Blocks(msgspec.Struct, frozen=True):
    """The blocks of N requests, ready to be looked at: of each the numbers that occur more than once in the trace,
    which alone can be found again; how many of those come before its first other block; and how many different ones it
    has in all, its answer's included."""

    repeated: list[list[int]]
    leading: list[int]
    used: list[float]


def blocks_of(block_ids: Ints, block_ends: Ints, answer_blocks: Floats) -> Blocks:
    """block_ids: all prompts' blocks, block_ends (N,): where each prompt's end; answer_blocks (N,): blocks that each
    answer takes, a fraction for a part of one."""
    _, index, counts = np.unique(block_ids, return_inverse=True, return_counts=True)
    again = counts[index] > 1
    ends = np.concatenate(([0], block_ends))
    kept = np.concatenate(([0], np.cumsum(again)))[ends]
    others = np.append(np.flatnonzero(~again), len(again))
    first_other = np.minimum(others[np.searchsorted(others, ends[:-1])], ends[1:])
    ids = index[again].tolist()
    repeated = [ids[start:end] for start, end in pairwise(kept.tolist())]
    different = np.array([len(set(blocks)) for blocks in repeated])
    used = np.diff(ends) - np.diff(kept) + different + answer_blocks
    return Blocks(repeated, (first_other - ends[:-1]).tolist(), used.tolist())


class Reuse(msgspec.Struct, frozen=True):
    """Runs of blocks seen before: columns over R runs, in order of request and position.

    request: whose prompt it is part of; depth: blocks used since the first of the run was; length: in blocks. count:
    requests in all.
    """

    count: int
    request: Ints
    depth: Floats
    length: Floats

    def hits(self, room: float) -> Floats:
        """Blocks found of each prompt in a cache of `room` blocks, whole blocks; shape (count,)."""
        found = np.floor(np.clip(room - self.depth + 1e-9, 0.0, self.length))
        return np.bincount(self.request, weights=found, minlength=self.count).astype(np.float64)


def reuse_of(blocks: Blocks, servers: int) -> Reuse:
    """Runs of reused blocks when request i goes to server i mod `servers`. Time: N log N and one look-up per block that
    occurs again."""
    count = len(blocks.used)
    runs: list[tuple[int, float, float]] = []
    for server in range(servers):
        _one_server(blocks, range(server, count, servers), runs)
    runs.sort(key=lambda run: (run[0], run[1]))
    columns = np.array(runs, dtype=np.float64).reshape(-1, 3)
    return Reuse(count, columns[:, 0].astype(np.int64), columns[:, 1], columns[:, 2])


def _one_server(blocks: Blocks, requests: range, runs: list[tuple[int, float, float]]) -> None:
    last: dict[int, int] = {}  # of each block, the turn that used it last
    newest = _Sums(len(requests))  # of each turn, the blocks it was the last to use
    for turn, request in enumerate(requests):
        unique = dict.fromkeys(blocks.repeated[request], turn)
        before = [last.get(block) for block in unique]
        position, deepest, leading = 0, 0.0, min(len(before), blocks.leading[request])
        while position < leading:
            user = before[position]
            if user is None:
                break
            start = position
            while position < leading and before[position] == user:
                position += 1
            # Numbers that are no chain of prefixes may lie less deep than what they follow; they are found no sooner.
            depth = max(newest.after(user), deepest)
            deepest = depth + (position - start)
            runs.append((request, depth, float(position - start)))
        for user in before:
            if user is not None:
                newest.add(user, -1.0)
        newest.add(turn, blocks.used[request])
        last.update(unique)


class _Sums:
    """Partial sums under change: a Fenwick tree."""

    def __init__(self, size: int) -> None:
        self._tree = [0.0] * (size + 1)
        self._total = 0.0

    def add(self, index: int, value: float) -> None:
        self._total += value
        tree, size = self._tree, len(self._tree)
        index += 1
        while index < size:
            tree[index] += value
            index += index & -index

    def after(self, index: int) -> float:
        """Sum of the values behind `index`."""
        tree, total = self._tree, self._total
        index += 1
        while index > 0:
            total -= tree[index]
            index -= index & -index
        return max(total, 0.0)
