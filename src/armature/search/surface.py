"""What every layout of a kind does at every batch: the ground that a sweep looks for operating points on.

Three kinds of surface. Under a Poisson stream (a rate is asked, or none: then the rate is what the batch carries) an
aggregated lane is a queue of prompts beside requests that decode (`load`). With a fixed number in flight it is
`operating.agg_curve`. Disaggregated, prompts queue at one side and the other side only decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from armature.model.facts import ModelFacts
from armature.model.memory import kv_bytes_per_sequence
from armature.perf.estimate import Floats, host_ms
from armature.perf.queueing import MAX_UTILISATION
from armature.search.known import Known, batches, mixed_lane, own_streams
from armature.search.lane import Lane
from armature.search.load import found_in_flight, rate_at
from armature.search.operating import Engine, agg_curve, moved_ms, prefill_lane
from armature.search.path import prompt_scale
from armature.search.paths import Dealt, FirstTokens, Followed, PathOf, agg_path_of, split_path_of
from armature.search.placement import Counts, worker_counts, worker_slots
from armature.search.spots import Spots, means_of
from armature.workload.requests import Requests
from armature.workload.shape import Workload

__all__ = [
    "Ints",
    "MakeSurface",
    "Sender",
    "Surface",
    "agg_surface",
    "disagg_surface",
    "sender",
    "work_out_usable",
]

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]

LEAST_UTILISATION = 0.1
"""Without an asked load nobody wants a layout that is idle more than nine tenths of the time."""


@dataclass(frozen=True, slots=True)
class Surface:
    """What each of L layouts with one aggregated or decode engine does at each of B batches.

    Shape (L,): prefill (index of the prefill engine, -1 when aggregated; equal ones stand together), stages (pipeline
    stages of the longest worker), gpus, main_count, prefill_count, in_node (whether one node holds the layout),
    rate_limit (requests/s where its prefill reaches MAX_UTILISATION), servers (what prompts are dealt to: lanes of
    aggregated workers, or ranks of prefill workers), decoders (lanes that decode), extra_ms (what the hand-over adds to
    a request's decoding without a queue), host_ms (what a first token takes beside steps and queue; it occupies no
    lane), unloaded_ms (time to first token of an empty server). batch: (B,), first 0, which stands for an empty server:
    what a request finds in flight in its lane, itself included.
    Shape (L, B): rate (requests/s, of the whole layout), in_flight (mean requests in a lane), busy (share of prefill's
    capacity in use, not capped). lane: arrays that broadcast to (L, B). split: prompts and decoding on different
    workers. path: latency of a trace's own requests, when the workload has them. itl_ms, ttft_ms (L, B): means where
    they are not worked out from the lane and the rate.

    When no load is asked, ITL and a lane's rate at a batch are those of a Poisson stream at each lane, so that they do
    not depend on how many lanes there are: of layouts that differ in counts alone, the sweep may then keep the best.
    """

    main: int
    prefill: Ints
    stages: Ints
    gpus: Ints
    main_count: Ints
    prefill_count: Ints
    in_node: npt.NDArray[np.bool_]
    rate_limit: Floats
    batch: Floats
    rate: Floats
    in_flight: Floats
    busy: Floats
    servers: Floats
    decoders: Floats
    host_ms: Floats
    unloaded_ms: Floats
    unloaded_itl_ms: Floats
    lane: Lane
    slope_ms: Floats
    tokens: float
    split: bool = False
    itl_ms: Floats | None = None
    ttft_ms: Floats | None = None
    path: PathOf | None = None
    _means: list[tuple[Floats, Floats]] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def cells(self) -> int:
        return self.rate.size

    def take(self, kept: npt.NDArray[np.bool_] | Rows) -> Surface:
        """The layouts chosen by a mask or by indices; an index may come more than once."""
        count = len(self.gpus)
        shared = ("main", "batch", "tokens", "split", "lane", "slope_ms", "path", "_means")
        own: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shared}
        own = {name: None if values is None else values[kept] for name, values in own.items()}
        lane = self.lane.map(lambda values: values[..., kept, :] if values.shape[-2] == count > 1 else values)
        taken = replace(self, lane=lane, **own)
        taken._means.extend((ttft[kept], itl[kept]) for ttft, itl in self._means)
        return taken

    def followed(
        self, layout: int, requests: Requests, in_flight: float, closed: int | None = None
    ) -> Followed | None:
        """What these requests meet on a layout, at their own gaps or with `closed` of them in flight; None when the
        workload is no trace's."""
        if self.path is None:
            return None
        dealt = Dealt(
            int(self.prefill[layout]),
            int(self.servers[layout]),
            int(self.decoders[layout]),
            bool(self.in_node[layout]),
            in_flight,
            closed,
        )
        found = self.path(requests, dealt)
        host_ms = float(self.host_ms[layout])
        return found._replace(ttft_ms=tuple(value + host_ms for value in found.ttft_ms))

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Where a layout may work when no load is asked, (L, B): its prefill not overloaded, and not idle nearly
        always with less than one request in flight."""
        some: npt.NDArray[np.bool_] = (self.batch >= 1.0) | (self.busy >= LEAST_UTILISATION)
        return some & (self.rate <= self.rate_limit[:, None])

    def means(self) -> tuple[Floats, Floats]:
        """(TTFT, ITL), each (L, B); worked out once."""
        if not self._means:
            ttft, itl = self._spots(lambda values: values, lambda values: values[:, None]).means()
            self._means.append((ttft, np.broadcast_to(itl, self.rate.shape)))
        return self._means[0]

    def usable_means(self) -> tuple[Floats, Floats]:
        """`means` where layouts are `usable`; elsewhere those of an empty server."""
        work_out_usable([self])
        return self._means[0]

    def at(self, layout: Rows, position: Floats | Rows) -> Spots:
        """Layouts at columns, which may be fractional. The queue is to be worked out at the point itself: it grows far
        too fast to be interpolated between batches."""
        return self._spots(lambda values: _at(values, layout, position), lambda values: values[layout])

    def _spots(self, of_cells: Callable[[Floats], Floats], of_layouts: Callable[[Floats], Floats]) -> Spots:
        return Spots(
            lane=self.lane.map(of_cells),
            rate=of_cells(self.rate),
            in_flight=of_cells(self.in_flight),
            servers=of_layouts(self.servers),
            decoders=of_layouts(self.decoders),
            host_ms=of_layouts(self.host_ms),
            slope_ms=of_cells(self.slope_ms[None]),
            tokens=self.tokens,
            split=self.split,
            itl_ms=None if self.itl_ms is None else of_cells(self.itl_ms),
            ttft_ms=None if self.ttft_ms is None else of_cells(self.ttft_ms),
        )


MakeSurface = Callable[[], Surface]


def work_out_usable(surfaces: Sequence[Surface]) -> None:
    """`usable_means` of several surfaces, for them to keep: together they take a fraction of the time."""
    new = [surface for surface in surfaces if not surface._means]
    cells = [np.nonzero(surface.usable) for surface in new]
    found = means_of(
        [surface.at(layout, column) for surface, (layout, column) in zip(new, cells, strict=True)]
    )
    for surface, at, (ttft, itl) in zip(new, cells, found, strict=True):
        unloaded = surface.unloaded_ms, surface.unloaded_itl_ms
        whole = tuple(np.repeat(values[:, None], len(surface.batch), axis=1) for values in unloaded)
        whole[0][at], whole[1][at] = ttft, itl
        surface._means.append((whole[0], whole[1]))


class Sender(msgspec.Struct, frozen=True):
    """A prefill engine as every layout with it sees it: its index, its steps, a prompt's KV bytes on each GPU that
    serves it, and the first tokens of a trace, where the workload is one."""

    index: int
    engine: Engine
    lane: Lane
    kv_bytes_per_gpu: float
    first: FirstTokens | None = None


def agg_surface(index: int, engine: Engine, workload: Workload, known: Known | None = None) -> Surface:
    """Aggregated layouts of one engine: 1, 2, ... replicas, as many as the pool holds; L may be 0."""
    known = known or Known()
    slots = worker_slots(engine.pool)
    counts = worker_counts(slots, engine.gpus)
    servers = counts.astype(np.float64) * engine.lanes
    batch = batches(engine)
    free = workload.request_rate is None and workload.concurrency is None
    stream = known.of_each(own_streams, [engine], workload)[0] if free else None
    lane = known.of(mixed_lane, engine, workload) if stream is None else stream.lane
    prompts = known.prompts(engine, workload.requests) if workload.requests is not None else None
    if prompts is not None:
        lane = _as_traced(lane, prompt_scale(prompts, engine, workload, servers))
    alone_ms = float(engine.times.decode_ms(1.0, workload.mean_context))
    tokens = float(max(workload.osl - 1, 0))
    unloaded = np.broadcast_to(lane.own_ms[:, 0], len(counts))
    host = np.full(len(counts), host_ms(engine.times))
    itl: Floats | None = None
    ttft: Floats | None = None
    if workload.concurrency is not None:
        # A fixed number in flight is no Poisson stream: a request's lifetime already holds all the others' prompts.
        curve = agg_curve(engine, workload)
        residual = 0.5 * curve.itl_ms * np.maximum(curve.batch - 1.0, 0.0) / curve.batch
        rate = servers[:, None] / engine.lanes * np.concatenate(([0.0], curve.rate))
        itl = np.broadcast_to(np.concatenate(([alone_ms], curve.itl_ms)), rate.shape)
        ttft = np.broadcast_to(np.concatenate((unloaded[:1], curve.prefill_ms + residual)), rate.shape)
        in_flight = np.broadcast_to(batch, rate.shape)
        busy = np.broadcast_to(np.concatenate(([0.0], curve.busy)), rate.shape)
        limit = np.full(len(counts), np.inf)
    else:
        if stream is None:
            in_flight = found_in_flight(batch, servers[:, None])
            each = rate_at(lane, servers[:, None], in_flight, tokens)
        else:
            in_flight, each = stream.in_flight, stream.each
        rate = servers[:, None] * each
        if stream is not None:
            itl = np.broadcast_to(stream.itl_ms, rate.shape)
        in_flight = np.broadcast_to(in_flight, rate.shape)
        busy = np.broadcast_to(each * lane.shared_ms[-1] / lane.room / 1000.0, rate.shape)
        if not tokens:  # nobody decodes; a time between tokens is only ever a figure of speech
            itl = np.full(rate.shape, alone_ms)
        limit = np.where(busy[:, -1] > MAX_UTILISATION, _first(busy, rate, MAX_UTILISATION), np.inf)
    return Surface(
        main=index,
        prefill=np.full_like(counts, -1),
        stages=np.full_like(counts, engine.parallelism.pp),
        gpus=counts * engine.gpus,
        main_count=counts,
        prefill_count=np.zeros_like(counts),
        in_node=counts * engine.gpus <= slots.size,
        rate_limit=limit,
        batch=batch,
        rate=rate,
        in_flight=in_flight,
        busy=busy,
        servers=servers,
        decoders=servers,
        host_ms=host,
        unloaded_ms=unloaded + host,
        unloaded_itl_ms=np.full(len(counts), alone_ms),
        lane=lane,
        slope_ms=lane.slope_ms[0],
        tokens=tokens,
        itl_ms=itl,
        ttft_ms=ttft,
        path=agg_path_of(engine, prompts) if prompts is not None else None,
    )


def _as_traced(lane: Lane, scale: Floats) -> Lane:
    """The lane with prompts that take `scale` (L, 1) times as long."""
    return replace(
        lane,
        own_ms=lane.own_ms * scale,
        shared_ms=lane.shared_ms * scale,
        spare_ms=lane.spare_ms * scale,
        before_ms=lane.before_ms * scale,
    )


def sender(
    index: int, engine: Engine, workload: Workload, facts: ModelFacts, known: Known | None = None
) -> Sender:
    """What layouts need to know of a prefill engine, worked out once."""
    known = known or Known()
    lane = known.of(prefill_lane, engine, workload)
    held = kv_bytes_per_sequence(facts, engine.parallelism, workload.isl, engine.kv_dtype)
    requests = workload.requests
    first = None if requests is None else FirstTokens(engine, known.prompts(engine, requests))
    return Sender(index, engine, lane, float(held), first)


def disagg_surface(
    sides: Sequence[tuple[Sender, Counts]], decode_index: int, decode: Engine, workload: Workload
) -> Surface:
    """Disaggregated layouts of one decode engine with several prefill engines, each with the counts of both.

    The client's first token comes from prefill, and the KV transfer delays the second. It goes over the node's own link
    where one node holds the layout, else between adapters. A decode worker takes a request in between two steps, and
    lets it decode at the first step that begins after its transfer: half a step of waiting before, and up to a whole
    step (half of one, where the transfer is longer) after.
    """
    sizes = [len(counts) for _, counts in sides]

    def each(values: Sequence[float]) -> Floats:
        return np.repeat(np.array(values, dtype=np.float64), sizes)

    p, d, total = (
        np.concatenate([getattr(counts, name) for _, counts in sides])
        for name in ("prefill", "decode", "gpus")
    )
    in_node = np.concatenate([counts.in_node for _, counts in sides])
    near, far = (
        each([moved_ms(s.kv_bytes_per_gpu, s.engine, decode, within_node=within) for s, _ in sides])
        for within in (True, False)
    )
    transfer = np.where(in_node, near, far)[:, None]

    batch = batches(decode)
    tokens = float(max(workload.osl - 1, 1))
    step = decode.times.decode_ms(np.maximum(batch, 1.0), workload.mean_context)
    decoders = (d * decode.lanes).astype(np.float64)
    closed = workload.concurrency is not None
    free = workload.request_rate is None
    dealt = np.ones((1, 1)) if free else decoders[:, None]
    in_flight = batch[None] if closed else found_in_flight(batch, dealt)
    stepping = 1.0 - np.exp(-(np.maximum(batch - 1.0, 0.0) if closed else in_flight))
    joining = step / 2.0 + np.maximum(step, transfer + step / 2.0)
    life = tokens * step + stepping * joining + (1.0 - stepping) * transfer
    rate = 1000.0 * decoders[:, None] * in_flight / life
    servers = p * each([s.engine.parallelism.dp for s, _ in sides])
    lane = _stacked([s.lane for s, _ in sides], sizes)
    firsts = [s.first for s, _ in sides if s.first is not None]
    if firsts:
        ranks = [counts.prefill * s.engine.parallelism.dp for s, counts in sides]
        scales = [
            prompt_scale(first.prompts, first.engine, workload, n)
            for first, n in zip(firsts, ranks, strict=True)
        ]
        lane = _as_traced(lane, np.concatenate(scales))
    host = each([host_ms(s.engine.times) for s, _ in sides])
    capacity = 1000.0 * servers * lane.room / lane.shared_ms[-1, :, 0]
    pp = np.array([s.engine.parallelism.pp for s, _ in sides])
    held = {s.index: (s.first, s.kv_bytes_per_gpu) for s, _ in sides if s.first is not None}
    return Surface(
        main=decode_index,
        prefill=np.repeat(np.array([s.index for s, _ in sides]), sizes),
        stages=np.repeat(np.maximum(pp, decode.parallelism.pp), sizes),
        gpus=total,
        main_count=d,
        prefill_count=p,
        in_node=in_node,
        rate_limit=MAX_UTILISATION * capacity,
        batch=batch,
        rate=rate,
        in_flight=np.broadcast_to(in_flight, rate.shape),
        busy=rate / capacity[:, None],
        servers=servers,
        decoders=decoders,
        host_ms=host,
        unloaded_ms=lane.own_ms[:, 0] + host,
        unloaded_itl_ms=step[0] + transfer[:, 0] / tokens,
        lane=lane,
        slope_ms=np.maximum(np.gradient(step, batch), 0.0),
        tokens=tokens,
        split=True,
        itl_ms=np.broadcast_to(life / tokens, rate.shape),
        path=split_path_of(held, decode, workload.isl) if firsts else None,
    )


def _stacked(lanes: Sequence[Lane], sizes: Sequence[int]) -> Lane:
    """One lane with a row per layout, (L, 1), of prefill lanes of shape (1, 1); their counts are equal."""

    def stack(name: str) -> Any:
        values = np.concatenate([getattr(lane, name) for lane in lanes], axis=-2)
        return np.repeat(values, sizes, axis=-2)

    shared = ("counts", "chunks")
    return replace(lanes[0], **{f.name: stack(f.name) for f in fields(Lane) if f.name not in shared})


def _first(values: Floats, other: Floats, wanted: float) -> Floats:
    """`other` (L, B) where each rising row of `values` (L, B) reaches `wanted`, between columns."""
    return np.array([np.interp(wanted, row, beside) for row, beside in zip(values, other, strict=True)])


def _at(values: Floats, layout: Rows, position: Floats | Rows) -> Floats:
    """`values[..., layout, position]`, between columns by linear interpolation; an axis of one element serves all."""
    row = layout * (values.shape[-2] > 1)
    if values.shape[-1] == 1:
        return np.asarray(values[..., row, 0], dtype=np.float64)
    if position.dtype.kind == "i":
        return np.asarray(values[..., row, position], dtype=np.float64)
    low = np.floor(position).astype(np.intp)
    high = np.minimum(low + 1, values.shape[-1] - 1)
    share = position - low
    return np.asarray(
        values[..., row, low] * (1.0 - share) + values[..., row, high] * share, dtype=np.float64
    )
