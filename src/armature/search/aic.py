"""AIConfigurator 0.12's way to choose, formula by formula: what `--objective aic` answers with.

For those who compare: same enumeration, same corrections, same rounding, so that where our own choice differs the
reason is one of those that docs/search.md lists, not chance. Nothing here is tuned, and our own search uses none of it.

Formulas and constants were read in the packages `aiconfigurator` and `aiconfigurator-core` 0.12.0: `sdk/sweep.py`,
`sdk/picking.py`, `sdk/pareto_analysis.py`, `sdk/backends/*.py`, `sdk/task_v2.py` (Apache-2.0). Times are milliseconds,
batches per attention-DP rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from armature.errors import ArmatureError
from armature.model.facts import ModelFacts
from armature.model.parallelism import Parallelism
from armature.model.splits import splits
from armature.perf.estimate import Backend, EngineSpec
from armature.search.aic_match import DECODE_RATE, PREFILL_RATE, matched_counts
from armature.search.aic_memory import holds
from armature.search.space import runs

__all__ = ["Row", "Steps", "StepsOf", "aic_rows"]

PREFILL_SLOWDOWN, DECODE_SLOWDOWN = 1.1, 1.08
"""Corrections of a disaggregated worker's latencies."""
TTFT_QUEUE = 1.8
MOST_PREFILLS, MOST_DECODES = 32, 16
"""Candidates that are matched: prefill workers in all, decode workers of one parallelism."""
AGG_BATCHES = (
    *range(1, 16), *range(16, 32, 4), *range(32, 64, 8), *range(64, 256, 16), *range(256, 512, 32), 512, 768, 1024,
)  # fmt: skip
DECODE_BATCHES = (*range(1, 16), *range(16, 32, 2), *range(32, 128, 4), *range(128, 512, 8), 512)
MAX_AGG_BATCH = 512
TPOTS = (*range(1, 20), *range(20, 300, 5))
"""TPOT targets of its sweep; each yields rows of its own."""
CONTEXT_STEP, CONTEXT_MOST, LAYER_DISPATCH_MS = 512, 8192, 0.8
DENSE_WIDTHS, MOE_WIDTHS, WIDE = (1, 2, 4, 8), (1, 2, 4, 8, 16), (32, 64)
"""Degrees it tries; WIDE ones (64 for no prefill worker) where it has tables of experts over several nodes."""


class Steps(Protocol):
    """Step times as AIConfigurator asks for them: `perf.silicon.raw.RawSteps` is one."""

    def context_ms(self, batch: int, isl: int) -> float: ...
    def generation_ms(self, batch: int, isl: int, osl: int) -> float: ...
    def mixed_ms(self, context_tokens: int, decoding: int, isl: int, osl: int) -> float: ...
    def decode_ms(self, batch: int, isl: int, osl: int) -> float: ...


StepsOf = Callable[[EngineSpec], Steps]


@dataclass(frozen=True, slots=True)
class Worker:
    """One kind of prefill or decode worker at one batch. rate: requests/s; latency_ms: TTFT or TPOT. All are rounded
    to three decimals before anything is matched, which for slow workers is much (a rate of 0.0215 becomes 0.022)."""

    parallelism: Parallelism
    batch: int
    rate: float
    rate_per_gpu: float
    latency_ms: float

    @property
    def gpus(self) -> int:
        return self.parallelism.gpus


def _worker(p: Parallelism, batch: int, phase_ms: float, tokens: int) -> Worker:
    """phase_ms: of the whole phase for a batch; tokens: of a request in it."""
    rate = batch * p.dp * p.pp * 1000.0 / phase_ms
    return Worker(p, batch, round(rate, 3), round(rate / p.gpus, 3), round(phase_ms / tokens, 3))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of AIConfigurator's tables: a replica, and what the cluster makes of it.

    main: the aggregated or decode worker, mains of them; prefill: None when aggregated. rate: requests/s of a replica.
    tokens_per_s_per_gpu: of the replica, as it counts them; cluster: of all GPUs, whole replicas only.
    """

    main: Parallelism
    mains: int
    batch: int
    prefill: Parallelism | None
    prefills: int
    ttft_ms: float
    tpot_ms: float
    rate: float
    concurrency: float
    tokens_per_s_per_gpu: float
    replicas: int
    cluster: float
    request_ms: float

    @property
    def gpus(self) -> int:
        """Of one replica."""
        return self.mains * self.main.gpus + self.prefills * (self.prefill.gpus if self.prefill else 0)

    @property
    def group(self) -> tuple[bool, Parallelism]:
        """What its tables have one line for."""
        return self.prefill is not None, self.main


@dataclass(frozen=True, slots=True)
class _Ask:
    """What one search is asked. pairs: (TTFT, TPOT) targets to sweep. wide: experts may span nodes."""

    facts: ModelFacts
    backend: Backend
    vram_bytes: int
    kv_dtype: str
    isl: int
    osl: int
    gpus: int
    ttft_ms: float
    tpot_ms: float | None
    request_ms: float | None
    wide: bool

    @property
    def pairs(self) -> list[tuple[float, float]]:
        if self.request_ms is None:
            return [(self.ttft_ms, float(tpot)) for tpot in TPOTS]
        usual = (300, 400, 500, 600, 800, 1000, 1200, 1400, 1600, 2000, 3000, 5000, 8000)
        shares = [self.request_ms * share for share in (0.1, 0.2, 0.3, 0.5, 0.7)]
        ttfts = {*usual, *(value for value in shares if not 300 <= value <= 8000), self.ttft_ms}
        return [(t, (self.request_ms - t) / (self.osl - 1)) for t in sorted(ttfts) if t < self.request_ms]

    def holds(self, p: Parallelism, in_step: int, batch: int, tokens: int, *, static: bool = False) -> bool:
        """Whether a worker holds `batch` requests of `tokens` each and a step of `in_step` tokens."""
        return holds(
            self.facts, self.backend, p, in_step, batch, tokens,
            vram_bytes=self.vram_bytes, kv_dtype=self.kv_dtype, static=static,
        )  # fmt: skip

    def meets(self, row: Row) -> bool:
        """The final filter: TPOT, or the request's latency where that is the target."""
        if self.request_ms is not None:
            return row.request_ms <= self.request_ms
        return self.tpot_ms is None or row.tpot_ms <= self.tpot_ms


def aic_rows(
    facts: ModelFacts,
    backend: Backend,
    spec_of: Callable[[Parallelism], EngineSpec],
    steps_of: StepsOf,
    *,
    isl: int,
    osl: int,
    gpus: int,
    ttft_ms: float = 2000.0,
    tpot_ms: float | None = 30.0,
    request_ms: float | None = None,
) -> list[Row]:
    """Its rows for one GPU pool and backend, best first: what meets the targets, one row per parallelism and mode, then
    all others. Empty where it finds nothing.

    Defaults are those of its command line. osl must be at least 2: it predicts no rate for less.
    """
    spec = spec_of(Parallelism())
    wide = facts.is_moe and _spreads(spec.gpu.gpus_per_node, spec_of, steps_of)
    ask = _Ask(
        facts, backend, spec.gpu.vram_bytes, spec.kv_dtype, isl, osl, gpus, ttft_ms, tpot_ms, request_ms, wide
    )
    kinds: list[tuple[Parallelism, Steps]] = []
    for p in _parallelisms(facts, backend, gpus, wide):
        try:
            kinds.append((p, steps_of(spec_of(p))))
        except ArmatureError:
            continue  # no tables for it: its search skips it too
    rows = [*_aggregated(ask, kinds), *(_disaggregated(ask, kinds) if gpus > 1 else ())]
    return _ranked(ask, rows)


def _spreads(gpus_per_node: int, spec_of: Callable[[Parallelism], EngineSpec], steps_of: StepsOf) -> bool:
    """Whether there are tables of experts spread over more GPUs than a node has."""
    for width in (*MOE_WIDTHS, *WIDE):
        if width > gpus_per_node:
            with suppress(ArmatureError):
                steps_of(spec_of(Parallelism(dp=width, moe_ep=width)))
                return True
    return False


def _parallelisms(facts: ModelFacts, backend: Backend, gpus: int, wide: bool) -> Iterator[Parallelism]:
    if not facts.is_moe:
        yield from (Parallelism(tp=w) for w in DENSE_WIDTHS if w <= gpus and splits(facts, Parallelism(tp=w)))
        return
    widths = (*MOE_WIDTHS, *WIDE) if wide else MOE_WIDTHS
    for tp in MOE_WIDTHS:
        for dp in widths:
            for moe_tp in MOE_WIDTHS:
                p = Parallelism(tp=tp, dp=dp, moe_tp=moe_tp, moe_ep=max(1, tp * dp // moe_tp))
                whole = tp * dp == moe_tp * p.moe_ep and p.gpus <= min(gpus, widths[-1])
                if whole and runs(backend, p) and splits(facts, p):
                    yield p


# --- aggregated


def _aggregated(ask: _Ask, kinds: Sequence[tuple[Parallelism, Steps]]) -> Iterator[Row]:
    loosest = max((tpot for _, tpot in ask.pairs), default=0.0)
    for p, steps in kinds:
        for batch, context in _agg_points(ask, p):
            row = _agg_row(ask, p, steps, batch, context)
            if row is not None and row.ttft_ms <= ask.ttft_ms and row.tpot_ms <= loosest:
                pairs = ask.request_ms is None or any(
                    row.ttft_ms <= ttft and row.tpot_ms <= tpot for ttft, tpot in ask.pairs
                )
                if pairs:
                    yield row


def _context_tokens(isl: int) -> list[int]:
    """Prefill tokens of a step to try: multiples of the prompt, for chunked prefill is off."""
    most = max(CONTEXT_MOST, 2 * isl)
    step = max(CONTEXT_STEP, CONTEXT_MOST // 16)
    large = max(1024, step, most // 8)
    step, large = max(isl, step), math.ceil(large / isl) * isl
    found, tokens = [], 0
    while True:
        tokens += step if tokens < CONTEXT_MOST else large
        if tokens > most:
            break
        found.append(tokens)
    return sorted({*found, isl, 2 * isl})


def _agg_points(ask: _Ask, p: Parallelism) -> Iterator[tuple[int, int]]:
    """(batch, context tokens of a step) that fit memory and are not the same point again."""
    seen: set[float] = set()
    for batch in AGG_BATCHES:
        if batch > MAX_AGG_BATCH:
            break
        for context in _context_tokens(ask.isl):
            prompts = math.ceil(context / ask.isl)
            if batch - prompts < (1 if batch > 1 else 0):
                break
            balance = ask.isl * batch / context / ask.osl
            if balance > 1:
                decoding = batch // balance
                if decoding > 1 and decoding in seen:
                    continue
                seen.add(decoding)
            in_step = context + (batch - prompts if batch > 1 else 0)
            if not ask.holds(p, 8192 if ask.backend == "trtllm" else in_step, batch, ask.isl + ask.osl):
                break
            yield batch, context


def _agg_row(ask: _Ask, p: Parallelism, steps: Steps, batch: int, context: int) -> Row | None:
    """Steps that mix prompts and answers, then steps of answers alone."""
    isl, osl = ask.isl, ask.osl
    to_finish = math.ceil(isl * batch / context)
    beside = max(1, batch - math.ceil(context / isl))
    if batch == 1:
        mixed, alone, counted, beside = 1, osl - 1, 0, 0
    elif to_finish >= osl:
        mixed, alone, counted = to_finish, 0, to_finish
        if ask.backend != "vllm":
            beside = max(1, int(batch // (to_finish / osl)))
    else:
        mixed, alone = to_finish, osl - to_finish
        counted = mixed if ask.backend == "vllm" else max(1, mixed - 3)
    try:
        mixed_ms = steps.mixed_ms(context, beside, isl, osl)
        alone_ms = steps.decode_ms(batch, isl, osl) if alone else 0.0
    except ArmatureError:
        return None
    prompt_ms = mixed_ms * math.ceil(isl / context)
    if ask.backend == "vllm":
        queue = 1.0 if batch <= 1 else min(1.0 + math.log2(batch) / 8.0, 2.0)
        ttft = (prompt_ms + LAYER_DISPATCH_MS * ask.facts.layers) * queue
    else:
        ttft = prompt_ms * min(2.0 + (to_finish - 3) / 20.0, 4.0)
    tpot = (mixed_ms * counted + alone_ms * alone) / (counted + alone)
    tokens_per_s = 1000.0 / (mixed * mixed_ms + alone * alone_ms) * batch * (osl - 1)
    if ask.backend == "vllm":  # Little's law
        tokens_per_s = min(tokens_per_s, batch * (osl - 1) * 1000.0 / (ttft + tpot * (osl - 1)))
    lanes = p.pp * p.dp
    tokens_per_s *= lanes
    return _row(
        ask, p, 1, batch, None, 0, ttft, tpot, tokens_per_s / (osl - 1), batch * lanes, tokens_per_s / p.gpus
    )


# --- disaggregated


def _disaggregated(ask: _Ask, kinds: Sequence[tuple[Parallelism, Steps]]) -> Iterator[Row]:
    prefills = sorted(_prefills(ask, kinds), key=lambda w: (-w.rate_per_gpu, w.batch * w.parallelism.dp))
    decodes = list(_decodes(ask, kinds))
    matched: dict[tuple[float, int, float, int], tuple[int, int] | None] = {}
    for ttft, tpot in ask.pairs:
        fast = [w for w in prefills if w.latency_ms * TTFT_QUEUE < ttft][:MOST_PREFILLS]
        best: list[Row] = []
        for p in dict.fromkeys(w.parallelism for w in decodes):
            alike = [w for w in decodes if w.parallelism == p and 0 < w.latency_ms < tpot]
            alike = sorted(alike, key=lambda w: -w.rate_per_gpu)[:MOST_DECODES]
            rows: list[Row] = []
            for d in alike:
                for f in fast:
                    if ask.backend == "sglang" and f.parallelism.tp != d.parallelism.tp:
                        continue  # its KV transfer wants equal TP
                    key = f.rate, f.gpus, d.rate, d.gpus
                    if key not in matched:
                        matched[key] = matched_counts(ask.gpus, ask.wide, *key)
                    if (counts := matched[key]) is not None:
                        rows.append(_pair(ask, f, counts[0], d, counts[1]))
            if rows:
                best.append(max(rows, key=lambda row: (row.tokens_per_s_per_gpu, -row.gpus)))
        yield from sorted(best, key=lambda row: -row.tokens_per_s_per_gpu)[:5]


def _prefills(ask: _Ask, kinds: Sequence[tuple[Parallelism, Steps]]) -> Iterator[Worker]:
    """One prompt at a time: its default."""
    for p, steps in kinds:
        if not ask.holds(p, ask.isl, 1, ask.isl + 1, static=True):
            continue
        try:
            latency = steps.context_ms(1, ask.isl) * PREFILL_SLOWDOWN
        except ArmatureError:
            continue
        yield _worker(p, 1, latency, 1)


def _decodes(ask: _Ask, kinds: Sequence[tuple[Parallelism, Steps]]) -> Iterator[Worker]:
    for p, steps in kinds:
        for batch in DECODE_BATCHES:
            if not ask.holds(p, batch, batch, ask.isl + ask.osl, static=True):
                break
            try:
                whole = steps.generation_ms(batch, ask.isl, ask.osl) * DECODE_SLOWDOWN
            except ArmatureError:
                continue
            yield _worker(p, batch, whole, ask.osl - 1)


def _pair(ask: _Ask, prefill: Worker, p: int, decode: Worker, d: int) -> Row:
    rate = min(prefill.rate * p * PREFILL_RATE, decode.rate * d * DECODE_RATE)
    gpus = p * prefill.gpus + d * decode.gpus
    in_flight = decode.batch * decode.parallelism.dp * d
    return _row(
        ask, decode.parallelism, d, decode.batch, prefill.parallelism, p, prefill.latency_ms * TTFT_QUEUE,
        decode.latency_ms, rate, in_flight, rate * ask.osl / gpus,
    )  # fmt: skip


# --- both


def _row(
    ask: _Ask, main: Parallelism, mains: int, batch: int, prefill: Parallelism | None, prefills: int,
    ttft: float, tpot: float, rate: float, in_flight: float, per_gpu: float,
) -> Row:  # fmt: skip
    """Rounded to three decimals, as its tables are before the best is looked for."""
    gpus = mains * main.gpus + prefills * (prefill.gpus if prefill else 0)
    per_gpu = round(per_gpu, 3)
    replicas = ask.gpus // gpus
    return Row(
        main, mains, batch, prefill, prefills, round(ttft, 3), round(tpot, 3), rate, in_flight, per_gpu, replicas,
        per_gpu * replicas * gpus / ask.gpus, round(ttft + tpot * (ask.osl - 1), 3),
    )  # fmt: skip


def _ranked(ask: _Ask, rows: list[Row]) -> list[Row]:
    """Of what meets the targets, or of everything where nothing does: the best of each parallelism by rate of the
    cluster (all misses: by what is missed); then the rest."""
    rows = [row for row in rows if row.replicas]
    good = [row for row in rows if ask.meets(row)]
    best: dict[tuple[bool, Parallelism], Row] = {}
    for row in good or rows:
        if row.group not in best or row.cluster > best[row.group].cluster:
            best[row.group] = row
    if good:
        first = sorted(best.values(), key=lambda row: (-row.cluster, row.tpot_ms))
    else:
        first = sorted(
            best.values(), key=lambda row: row.tpot_ms if ask.request_ms is None else row.request_ms
        )
    chosen = set(map(id, first))
    rest = sorted(
        (row for row in rows if id(row) not in chosen), key=lambda row: (not ask.meets(row), -row.cluster)
    )
    return [*first, *rest]
