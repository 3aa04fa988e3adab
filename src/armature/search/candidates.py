"""From rows of numbers to `Candidate`s: the few rows of a sweep that the Profile keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from msgspec import structs

from armature.model.memory import kv_bytes_per_sequence
from armature.perf.calibration import SHORT_ITL_MS
from armature.perf.estimate import Band, Floats, Source, bands, moe_a2a
from armature.perf.lattice import distinct
from armature.search.engines import Engines
from armature.search.headroom import capacity_per_s
from armature.search.load import joined_loads, quantiles
from armature.search.operating import CHUNK_TOKENS, Engine, prompts_per_step
from armature.search.pareto import pareto_front
from armature.search.pick import TOLERANCE, layout_keys
from armature.search.profile import Candidate, Group, Margin, Mode, Number, Role
from armature.search.question import Question
from armature.search.spots import Spots, alike, joined
from armature.search.surface import MakeSurface
from armature.search.sweep import Points, Verdicts, worst_ratio

__all__ = ["Swept", "kept_rows"]

MOST_FRONT = 60
MOST_LAYOUTS = 120
BURST_SEQUENCES = 256
"""Requests at once that an engine takes of a trace, memory permitting: vLLM's own default of max_num_seqs."""
SOURCES: tuple[Source, ...] = ("measured", "calibrated", "silicon", "estimated")


@dataclass(frozen=True, slots=True)
class Swept:
    """A whole sweep: what was asked, its engines, what became of their layouts, and their points. surfaces: make again
    what each layout does at each batch, by the number that points have."""

    question: Question
    engines: Engines
    verdicts: Verdicts
    points: Points
    surfaces: tuple[MakeSurface, ...] = ()

    @property
    def front_xy(self) -> tuple[Floats, Floats]:
        """Tokens/s/user, and tokens/s per GPU used (load asked) or per GPU of the budget (none asked, PAR-02)."""
        gpus = (
            self.points.gpus
            if self.question.loaded
            else np.full(len(self.points), self.question.inventory.total_gpus)
        )
        return 1000.0 / self.points.itl_ms, self.points.rate * self.question.workload.osl / gpus

    def candidates(self, rows: Sequence[int]) -> list[Candidate]:
        """The rows as Candidates; an id names layout, counts and batch."""
        chosen = self.points.take(np.array(rows, dtype=np.intp))
        ratios = worst_ratio(chosen, self.question.sla).tolist()
        spreads = self._spreads(chosen)
        return [self._candidate(*each) for each in zip(rows, ratios, spreads, strict=True)]

    def candidate(self, row: int) -> Candidate:
        """One row as a Candidate, without percentiles: they take longer than all else."""
        (ratio,) = worst_ratio(self.points.take(np.array([row])), self.question.sla).tolist()
        return self._candidate(row, ratio, None)

    def _spreads(self, chosen: Points) -> list[list[float]] | list[None]:
        """p50 and p95 of TTFT, then of ITL, of each point; None where only means are known."""
        if chosen.surface is None or chosen.layout is None or chosen.column is None or chosen.traced is None:
            return [None] * len(chosen)
        groups: dict[tuple[object, ...], list[tuple[npt.NDArray[np.intp], Spots]]] = {}
        for number in distinct(chosen.surface):
            of = np.flatnonzero(chosen.surface == number)
            spots = self.surfaces[number]().at(chosen.layout[of], chosen.column[of])
            groups.setdefault(alike(spots), []).append((of, spots))
        load = joined_loads([joined([spots for _, spots in group]).load() for group in groups.values()])
        (ttft50, ttft95), (itl50, itl95) = quantiles(load, np.array([[0.5], [0.95]]))
        fitted = np.empty((len(chosen), 4))
        # A gamma fit may cross itself where it has no spread at all; percentiles may not.
        fitted[np.concatenate([of for group in groups.values() for of, _ in group])] = np.stack(
            [ttft50, np.maximum(ttft50, ttft95), itl50, np.maximum(itl50, itl95)], axis=1
        )
        spreads: list[list[float]] = np.where(chosen.traced > 0.0, chosen.traced, fitted).tolist()
        return spreads

    def _candidate(self, row: int, ratio: float, spread: Sequence[float] | None) -> Candidate:
        """ratio: the largest of predicted to target or asked to carried; spread: as `_spreads` has it."""
        points, osl = self.points, self.question.workload.osl
        main = self.engines.mains[int(points.main[row])]
        prefill = self.engines.prefills[int(points.prefill[row])] if points.prefill[row] >= 0 else None
        batch = float(points.batch[row])
        groups: list[Group] = []
        if prefill is not None:
            groups.append(self._group("prefill", prefill, int(points.prefill_count[row]), 1.0))
        groups.append(self._group("decode" if prefill else "agg", main, int(points.main_count[row]), batch))
        first, later = bands((prefill or main).times, main.times, split=prefill is not None)
        first = first.above(float(points.ttft_ms[row] / points.unloaded_ttft_ms[row]))
        later = later.above(float(points.itl_ms[row]) / SHORT_ITL_MS)
        ttft = _number(float(points.ttft_ms[row]), first)
        itl = _number(float(points.itl_ms[row]), later)
        steps = max(osl - 1, 0)
        e2e = Number(*(t + steps * i for t, i in zip(_triple(ttft), _triple(itl), strict=True)))
        targets = self.question.sla.targets
        margins = _margins(targets, {"ttft_ms": ttft, "itl_ms": itl, "e2e_ms": e2e})
        met = ratio <= 1.0 + TOLERANCE
        highs = {"ttft_ms": ttft.high, "itl_ms": itl.high, "e2e_ms": e2e.high}
        gpus = int(points.gpus[row])
        tokens_per_s = float(points.rate[row]) * osl
        engines = [main] if prefill is None else [prefill, main]
        mode: Mode = "agg" if prefill is None else "disagg"
        return Candidate(
            id="-".join(
                [mode, main.backend, *(self._group_id(group) for group in groups), f"b{math.ceil(batch)}"]
            ),
            mode=mode,
            backend=main.backend,
            groups=tuple(groups),
            gpus=gpus,
            concurrency=float(points.concurrency[row]),
            request_rate=float(points.rate[row]),
            ttft_ms=ttft,
            itl_ms=itl,
            e2e_ms=e2e,
            unloaded_ttft_ms=float(points.unloaded_ttft_ms[row]),
            unloaded_itl_ms=float(points.unloaded_itl_ms[row]),
            tokens_per_s=tokens_per_s,
            tokens_per_s_per_gpu=tokens_per_s / gpus,
            tokens_per_s_per_user=1000.0 / itl.value,
            meets_sla=met,
            at_risk=met and any(highs[name] > target for name, target in targets.items()),
            carries_load=bool(points.served[row] >= 1.0 - TOLERANCE),
            margins=margins,
            source=max((engine.times.source for engine in engines), key=SOURCES.index),
            notes=_notes(groups, engines),
            cost_per_million_tokens=self._cost(groups, tokens_per_s),
            joules_per_token=_joules_per_token(groups, engines, tokens_per_s),
            front_y=tokens_per_s / (gpus if self.question.loaded else self.question.inventory.total_gpus),
            several_pools=len(self.question.inventory.pools) > 1,
            ttft_p50_ms=None if spread is None else _number(spread[0], first),
            ttft_p95_ms=None if spread is None else _number(spread[1], first),
            itl_p50_ms=None if spread is None else _number(spread[2], later),
            itl_p95_ms=None if spread is None else _number(spread[3], later),
        )

    def with_capacity(self, row: int, candidate: Candidate) -> Candidate:
        """The candidate of this row with the rate at which it breaks the SLA, and the headroom."""
        points = self.points
        if points.surface is None:
            return candidate
        capacity = capacity_per_s(
            self.question,
            self.engines,
            main=int(points.main[row]),
            prefill=int(points.prefill[row]),
            main_count=int(points.main_count[row]),
            prefill_count=int(points.prefill_count[row]),
        )
        asked = self.question.workload.request_rate
        if asked and candidate.meets_sla and candidate.carries_load:
            capacity = max(capacity, asked)  # which is looked for in steps of a hundredth
        return structs.replace(candidate, capacity=capacity, headroom=capacity / asked if asked else None)

    def _group(self, role: Role, engine: Engine, replicas: int, batch: float) -> Group:
        p = engine.parallelism
        in_flight = max(1, math.ceil(batch * p.pp - TOLERANCE))
        context = self.question.workload.isl if role == "prefill" else self.question.workload.mean_context
        per_sequence = float(kv_bytes_per_sequence(self.question.stored_facts, p, context, engine.kv_dtype))
        return Group(
            role=role,
            sku=engine.pool.gpu.sku,
            replicas=replicas,
            tp=p.tp,
            pp=p.pp,
            dp=p.dp,
            moe_tp=p.moe_tp,
            moe_ep=p.moe_ep,
            gpus_per_node=engine.pool.gpus_per_node,
            batch=in_flight,
            max_num_seqs=self._sequence_limit(role, in_flight, engine),
            chunk_tokens=CHUNK_TOKENS,
            kv_dtype=engine.kv_dtype,
            kv_room_tokens=engine.fit.kv_room_tokens,
            weight_bytes_per_gpu=engine.fit.weight_bytes_per_gpu,
            kv_bytes_per_gpu=round(per_sequence * in_flight),
            pool=self.question.inventory.pools.index(engine.pool),
            moe_a2a=moe_a2a(engine.times),
        )

    def _group_id(self, group: Group) -> str:
        """`3xtp2`; with the SKU where the inventory has several pools."""
        name = f"{group.replicas}x{group.parallelism.label}"
        return f"{name}@{group.sku}" if len(self.question.inventory.pools) > 1 else name

    def _sequence_limit(self, role: Role, in_flight: int, engine: Engine) -> int:
        """The engine's request limit. With a fixed number in flight it is that; else four standard deviations more, for
        Poisson arrivals come in bursts, and a request that waits for a slot waits long. A trace's bursts, and what its
        long answers heap up on one worker, go beyond any such deviation: there it is what memory holds, to
        BURST_SEQUENCES. A prefill rank takes as many as a step is worth."""
        room = max(1, engine.fit.max_sequences)
        if role == "prefill":
            return min(room, prompts_per_step(self.question.workload))
        fixed = self.question.workload.concurrency is not None
        if self.question.workload.requests is not None:
            return min(room, max(BURST_SEQUENCES, in_flight))
        return min(room, max(1, in_flight + (0 if fixed else math.ceil(4 * math.sqrt(in_flight)))))

    def _cost(self, groups: Sequence[Group], tokens_per_s: float) -> float | None:
        if tokens_per_s <= 0 or any(group.sku not in self.question.prices for group in groups):
            return None
        per_hour = sum(group.gpus * self.question.prices[group.sku] for group in groups)
        return per_hour / 3600.0 / tokens_per_s * 1e6


def kept_rows(swept: Swept, order: npt.NDArray[np.intp]) -> tuple[list[int], list[int]]:
    """(rows to keep, best first; rows of the front by rising tokens/s/user). A long front is thinned evenly; its ends
    stay. The best row of each kind of layout is kept, up to MOST_LAYOUTS, and that of each mode."""
    front = pareto_front(*swept.front_xy)
    if len(front) > MOST_FRONT:
        front = front[distinct(np.linspace(0, len(front) - 1, MOST_FRONT).round().astype(np.intp))]
    keys = layout_keys(swept.points)[order]
    _, first = np.unique(keys, return_index=True)
    best = order[np.sort(first)][:MOST_LAYOUTS]
    modes = swept.points.prefill[order] >= 0
    of_each_mode = [int(order[modes == mode][0]) for mode in (False, True) if (modes == mode).any()]
    keep = set(best.tolist()) | set(front.tolist()) | set(of_each_mode)
    return [row for row in order.tolist() if row in keep], front.tolist()


def _notes(groups: Sequence[Group], engines: Sequence[Engine]) -> tuple[str, ...]:
    """What the estimator says of the engines; what only one of them says carries its role."""
    all_notes = [engine.times.notes for engine in engines]
    if all_notes[0] == all_notes[-1]:
        return tuple(dict.fromkeys(all_notes[0]))
    shared = set(all_notes[0]).intersection(*all_notes)
    said: list[str] = []
    for group, engine in zip(groups, engines, strict=True):
        own = f"{group.role} {group.parallelism.label}"
        said += [note if note in shared else f"{own}: {note}" for note in engine.times.notes]
    return tuple(dict.fromkeys(said))


def _joules_per_token(
    groups: Sequence[Group], engines: Sequence[Engine], tokens_per_s: float
) -> float | None:
    """Rated board power of all GPUs over output tokens per second; None when nothing is put out."""
    watts = sum(
        group.gpus * engine.pool.gpu.board_power_w for group, engine in zip(groups, engines, strict=True)
    )
    return watts / tokens_per_s if tokens_per_s > 0 and watts > 0 else None


def _number(value: float, band: Band) -> Number:
    return Number(value, value * band.low, value * band.high)


def _triple(number: Number) -> tuple[float, float, float]:
    return number.value, number.low, number.high


def _margins(targets: Mapping[str, float], predicted: Mapping[str, Number]) -> tuple[Margin, ...]:
    return tuple(
        Margin(
            name,
            target,
            predicted[name].value,
            predicted[name].value / target,
            predicted[name].value <= target * (1.0 + TOLERANCE),
        )
        for name, target in targets.items()
    )
