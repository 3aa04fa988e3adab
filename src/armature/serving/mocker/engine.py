"""A continuous-batching engine without tensors: which tokens are computed in which step, and for how long.

Pure: no clock, no randomness, no I/O. The caller passes the time in and decides what a step's duration means,
so the worker (real time) and the simulation (virtual time) run the very same scheduler:

    step = engine.plan_step(now_ms)      # None: nothing to compute now; see `next_ready_ms`
    ... `step.duration_ms` pass ...
    for sequence in engine.finish_step(step):   # each got one token; `sequence.done` tells the last

The scheduling is vLLM's: running sequences first, each step spends at most `max_num_batched_tokens`; a long
prompt is computed in chunks; decodes and chunks share a step; when blocks run out, the youngest running
sequence is preempted and recomputed later. Attention-DP ranks schedule alone and step together: a step lasts
as long as its slowest rank. All times are milliseconds of the engine's own time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from armature.serving.mocker.kv_cache import KvCache
from armature.serving.mocker.timing import Chunk, StepClock

__all__ = ["Engine", "EngineLimits", "Rank", "RankStep", "Sequence", "Step"]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Limits per attention-DP rank, named as vLLM's flags. num_gpu_blocks: blocks of `block_size` tokens."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len: int = 32768
    block_size: int = 16
    num_gpu_blocks: int = 16384
    dp: int = 1
    enable_prefix_caching: bool = True

    @property
    def longest_sequence(self) -> int:
        """Tokens, prompt and output, that one sequence can have at most."""
        return min(self.max_model_len, self.num_gpu_blocks * self.block_size)


class Sequence:
    """One request inside the engine.

    prompt_tokens, max_tokens: counts. hashes: chained hashes of the prompt's full blocks (empty: shares
    nothing). hash_block: gives the hash of a later full block, for reuse of outputs by a next turn. remote_kv:
    another engine computed the prompt and the first output token; `transfer_ms` after blocks are found here,
    the sequence can decode. After a step: `outputs` tokens are out, `done` says that was the last,
    `cached_tokens` of the prompt came from the prefix cache.
    """

    __slots__ = (
        "cached_tokens",
        "capacity",
        "computed",
        "done",
        "hash_block",
        "hashes",
        "held",
        "key",
        "max_tokens",
        "outputs",
        "pending",
        "preemptions",
        "private",
        "prompt_tokens",
        "published",
        "rank",
        "ready_ms",
        "remote_kv",
        "total",
        "transfer_ms",
    )

    def __init__(
        self,
        key: Any,
        prompt_tokens: int,
        max_tokens: int,
        hashes: list[int] | None = None,
        *,
        hash_block: Callable[[int], int] | None = None,
        remote_kv: bool = False,
        transfer_ms: float = 0.0,
    ) -> None:
        self.key = key
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.hashes = hashes if hashes is not None else []
        self.hash_block = hash_block
        self.remote_kv = remote_kv
        self.transfer_ms = transfer_ms
        self.outputs = 1 if remote_kv else 0
        self.total = prompt_tokens + self.outputs  # tokens known; `total - computed` are to compute
        self.computed = 0  # tokens whose keys and values are in the cache
        self.pending = 0  # tokens being computed in the current step
        self.capacity = 0  # tokens the held blocks can take
        self.private = 0  # blocks held that nobody shares
        self.held: list[int] = []  # published blocks held
        self.published = 0  # leading blocks already offered for sharing
        self.cached_tokens = 0
        self.preemptions = 0
        self.ready_ms = 0.0
        self.rank = 0
        self.done = False


@dataclass(frozen=True, slots=True)
class RankStep:
    """What one rank computes: `sequences` by their `pending` tokens; `chunks` of prompts, `batch` decodes of
    `context` tokens each on average."""

    sequences: list[Sequence]
    chunks: list[Chunk]
    batch: int
    context: float


@dataclass(frozen=True, slots=True)
class Step:
    """One step of all ranks together."""

    ranks: tuple[RankStep | None, ...]
    duration_ms: float


class Rank:
    """The scheduler and cache of one attention-DP rank."""

    def __init__(self, limits: EngineLimits) -> None:
        self.limits = limits
        self.cache = KvCache(limits.num_gpu_blocks, limits.block_size)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.transferring: list[Sequence] = []
        self.preemptions = 0

    @property
    def load(self) -> int:
        """Sequences here, whatever their state."""
        return len(self.waiting) + len(self.running) + len(self.transferring)

    def plan(self, now_ms: float) -> RankStep | None:
        """Chooses what to compute next; None when nothing can be."""
        self._receive_transferred(now_ms)
        scheduled: list[Sequence] = []
        chunks: list[Chunk] = []
        budget, batch, context, preempted = self._schedule_running(scheduled, chunks)
        if not preempted:
            self._admit_waiting(now_ms, budget, scheduled, chunks)
        if not scheduled:
            return None
        return RankStep(scheduled, chunks, batch, context / batch if batch else 0.0)

    def finish(self, step: RankStep, produced: list[Sequence]) -> None:
        """Accounts for a computed step; appends the sequences that got a token to `produced`."""
        finished = False
        for sequence in step.sequences:
            if sequence.done:  # cancelled while it was being computed
                continue
            computed = sequence.computed = sequence.computed + sequence.pending
            if sequence.pending > 1 or sequence.outputs == 0:
                self._publish(sequence)
            if computed == sequence.total:
                sequence.total = computed + 1
                outputs = sequence.outputs = sequence.outputs + 1
                produced.append(sequence)
                if outputs >= sequence.max_tokens:
                    sequence.done = finished = True
                    self._publish(sequence)
                    self._free(sequence)
        if finished:
            self.running = [sequence for sequence in self.running if not sequence.done]

    def remove(self, sequence: Sequence) -> None:
        """Drops a sequence in any state, at once."""
        sequence.done = True
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.transferring:
            self.transferring.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self._free(sequence)

    def _receive_transferred(self, now_ms: float) -> None:
        if self.transferring:
            self.running += [sequence for sequence in self.transferring if sequence.ready_ms <= now_ms]
            self.transferring = [sequence for sequence in self.transferring if sequence.ready_ms > now_ms]

    def _schedule_running(self, scheduled: list[Sequence], chunks: list[Chunk]) -> tuple[int, int, int, bool]:
        """(budget left, decodes, their contexts added up, whether a sequence was preempted)."""
        budget = self.limits.max_num_batched_tokens
        running = self.running
        batch = context = 0
        preempted = False
        while len(scheduled) < len(running) and budget > 0:
            sequence = running[len(scheduled)]
            computed = sequence.computed
            tokens = sequence.total - computed
            if tokens > budget:
                tokens = budget
            after = computed + tokens
            if after > sequence.capacity and not self._grow(sequence, after):
                self._preempt(running.pop())
                preempted = True
                continue
            if tokens == 1 and sequence.outputs and after == sequence.total:
                batch += 1
                context += after
            else:
                chunks.append(Chunk(tokens, computed))
            sequence.pending = tokens
            scheduled.append(sequence)
            budget -= tokens
        return budget, batch, context, preempted

    def _admit_waiting(
        self, now_ms: float, budget: int, scheduled: list[Sequence], chunks: list[Chunk]
    ) -> None:
        limits = self.limits
        while (
            self.waiting and budget > 0 and len(self.running) + len(self.transferring) < limits.max_num_seqs
        ):
            sequence = self.waiting[0]
            transfer = sequence.remote_kv and not sequence.preemptions
            hits = self._hits(sequence)
            cached = hits * limits.block_size
            tokens = sequence.prompt_tokens - cached if transfer else min(sequence.total - cached, budget)
            blocks = -(-(cached + tokens) // limits.block_size)
            if not self.cache.admit(sequence.hashes[:hits], blocks - hits):
                break
            self.waiting.popleft()
            sequence.held = sequence.hashes[:hits]
            sequence.private = blocks - hits
            sequence.published = hits
            sequence.capacity = blocks * limits.block_size
            self.cache.queried_tokens += sequence.prompt_tokens
            self.cache.hit_tokens += cached
            if not sequence.preemptions:
                sequence.cached_tokens = cached
            if transfer:
                sequence.computed = sequence.prompt_tokens
                sequence.ready_ms = now_ms + sequence.transfer_ms
                self._publish(sequence)
                self.transferring.append(sequence)
                continue
            sequence.computed = cached
            sequence.pending = tokens
            chunks.append(Chunk(tokens, cached))
            self.running.append(sequence)
            scheduled.append(sequence)
            budget -= tokens

    def _hits(self, sequence: Sequence) -> int:
        """Leading blocks found in the cache; at least one token is always left to compute."""
        if not self.limits.enable_prefix_caching:
            return 0
        return self.cache.match(sequence.hashes, (sequence.total - 1) // self.limits.block_size)

    def _grow(self, sequence: Sequence, tokens: int) -> bool:
        """Makes room for `tokens` tokens of a running sequence; says no, changing nothing, when blocks ran out."""
        size = self.limits.block_size
        blocks = -(-(tokens - sequence.capacity) // size)
        if not self.cache.take(blocks):
            return False
        sequence.private += blocks
        sequence.capacity += blocks * size
        self._publish(sequence)
        return True

    def _publish(self, sequence: Sequence) -> None:
        """Offers the sequence's computed full blocks for sharing."""
        if not self.limits.enable_prefix_caching:
            return
        hashes = sequence.hashes
        full = sequence.computed // self.limits.block_size
        while sequence.published < full:
            index = sequence.published
            if index == len(hashes):
                if sequence.hash_block is None:
                    return
                hashes.append(sequence.hash_block(index))
            if self.cache.publish(hashes[index]):
                sequence.held.append(hashes[index])
                sequence.private -= 1
            sequence.published = index + 1

    def _preempt(self, sequence: Sequence) -> None:
        """Back to the head of the queue, to be recomputed; blocks still in the cache then are hits."""
        self._free(sequence)
        sequence.computed = 0
        sequence.preemptions += 1
        self.preemptions += 1
        self.waiting.appendleft(sequence)

    def _free(self, sequence: Sequence) -> None:
        self.cache.release(sequence.held, sequence.private)
        sequence.held = []
        sequence.private = sequence.capacity = sequence.published = 0


class Engine:
    """All ranks of one worker."""

    def __init__(self, limits: EngineLimits, clock: StepClock) -> None:
        self.limits = limits
        self.clock = clock
        self.ranks = tuple(Rank(limits) for _ in range(limits.dp))
        self._sequences: dict[Any, Sequence] = {}

    def __len__(self) -> int:
        return len(self._sequences)

    def get(self, key: Any) -> Sequence | None:
        """The live sequence of this key."""
        return self._sequences.get(key)

    def add(self, sequence: Sequence) -> None:
        """Queues a sequence on the least loaded rank.

        Raises ValueError when it can never run: an empty prompt, a key in use, or more tokens than a sequence
        may have. `max_tokens` is cut to what fits behind the prompt.
        """
        longest = self.limits.longest_sequence
        if sequence.key in self._sequences:
            raise ValueError(f"a sequence {sequence.key!r} is already here")
        if sequence.prompt_tokens < 1 or sequence.max_tokens < 1:
            raise ValueError("a sequence needs at least one prompt token and one output token")
        if sequence.prompt_tokens >= longest:
            raise ValueError(
                f"the prompt has {sequence.prompt_tokens} tokens; this engine holds sequences of {longest} tokens,"
                " output included"
            )
        sequence.max_tokens = min(sequence.max_tokens, longest - sequence.prompt_tokens)
        sequence.rank = min(range(len(self.ranks)), key=lambda index: self.ranks[index].load)
        self.ranks[sequence.rank].waiting.append(sequence)
        self._sequences[sequence.key] = sequence

    def cancel(self, key: Any) -> None:
        """Drops a sequence, queued or running; unknown keys are ignored (it may just have ended)."""
        sequence = self._sequences.pop(key, None)
        if sequence is not None:
            self.ranks[sequence.rank].remove(sequence)

    def plan_step(self, now_ms: float) -> Step | None:
        """What all ranks compute next; None when there is nothing to compute at `now_ms`."""
        ranks = tuple(rank.plan(now_ms) for rank in self.ranks)
        durations = [
            self.clock.chunks_ms(step.chunks, step.batch, step.context) for step in ranks if step is not None
        ]
        return Step(ranks, max(durations)) if durations else None

    def finish_step(self, step: Step) -> list[Sequence]:
        """The sequences that got a token in this step, once each."""
        produced: list[Sequence] = []
        for rank, planned in zip(self.ranks, step.ranks, strict=True):
            if planned is not None:
                rank.finish(planned, produced)
        for sequence in produced:
            if sequence.done:
                del self._sequences[sequence.key]
        return produced

    @property
    def next_ready_ms(self) -> float | None:
        """When the next transferred sequence can run; None when none is on its way."""
        times = [sequence.ready_ms for rank in self.ranks for sequence in rank.transferring]
        return min(times, default=None)

    @property
    def running(self) -> int:
        return sum(len(rank.running) + len(rank.transferring) for rank in self.ranks)

    @property
    def waiting(self) -> int:
        return sum(len(rank.waiting) for rank in self.ranks)

    @property
    def kv_usage(self) -> float:
        """Share of KV blocks held, mean over ranks, 0 to 1."""
        return sum(rank.cache.usage for rank in self.ranks) / len(self.ranks)

    @property
    def preemptions(self) -> int:
        return sum(rank.preemptions for rank in self.ranks)
