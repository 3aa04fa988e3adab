"""What a least-recently-used prefix cache holds of each prompt, for every size of the cache at once.

LRU is a stack algorithm (Mattson et al. 1970, "Evaluation techniques for storage hierarchies"): a cache of C blocks
holds the C blocks used last, so a block is found if and only if fewer than C others were used since: its depth. One
pass over the requests gives the depth of everything that is ever found, and a cache size is then one comparison.

A request uses all its blocks, the first of its prompt last, as engines do, which free the end of a chain before its
start. So a block is never deeper than what follows it, and the blocks found of a prompt are its first ones. Blocks of
one prompt last used by the same earlier request lie together: a *run*, whose depth is counted once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Reuse", "reuse_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reuse:
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


def reuse_of(block_ids: Ints, block_ends: Ints, answer_blocks: Floats, servers: int) -> Reuse:
    """Runs of reused blocks when request i goes to server i mod `servers`.

    block_ids: all prompts' blocks, block_ends (N,): where each prompt's end; answer_blocks (N,): blocks that each
    answer takes, a fraction for a part of one. Time: N log N and one look-up per block.
    """
    ids, ends, answers = block_ids.tolist(), block_ends.tolist(), answer_blocks.tolist()
    runs: list[tuple[int, float, float]] = []
    for server in range(servers):
        _one_server(ids, ends, answers, range(server, len(ends), servers), runs)
    runs.sort(key=lambda run: (run[0], run[1]))
    columns = np.array(runs, dtype=np.float64).reshape(-1, 3)
    return Reuse(len(ends), columns[:, 0].astype(np.int64), columns[:, 1], columns[:, 2])


def _one_server(
    ids: list[int],
    ends: list[int],
    answers: list[float],
    requests: range,
    runs: list[tuple[int, float, float]],
) -> None:
    last: dict[int, int] = {}  # of each block, the turn that used it last
    newest = _Sums(len(requests))  # of each turn, the blocks it was the last to use
    for turn, request in enumerate(requests):
        blocks = ids[ends[request - 1] if request else 0 : ends[request]]
        unique = dict.fromkeys(blocks)
        before = [last.get(block) for block in unique]
        position, deepest = 0, 0.0
        while position < len(before):
            user = before[position]
            if user is None:
                break
            start = position
            while position < len(before) and before[position] == user:
                position += 1
            # Numbers that are no chain of prefixes may lie less deep than what they follow; they are found no sooner.
            depth = max(newest.after(user), deepest)
            deepest = depth + (position - start)
            runs.append((request, depth, float(position - start)))
        for user in before:
            if user is not None:
                newest.add(user, -1.0)
        newest.add(turn, len(unique) + answers[request])
        last.update(dict.fromkeys(unique, turn))


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
