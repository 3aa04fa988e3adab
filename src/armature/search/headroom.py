"""The request rate at which a layout breaks its SLA: found on the layout's own surface, many rates at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from armature.search.considered import pair_counts_of
from armature.search.engines import Engines
from armature.search.follow import followed
from armature.search.question import Question
from armature.search.surface import Surface, agg_surface, disagg_surface, sender
from armature.search.sweep import judged_points, worst_ratio

__all__ = ["capacity_per_s", "layout_surface"]

RATES = 24
"""Rates tried at once; two rounds of so many find the capacity to less than one part in a hundred."""
CARRIED = 1.0 + 1e-9


def capacity_per_s(
    question: Question, engines: Engines, *, main: int, prefill: int, main_count: int, prefill_count: int
) -> float:
    """Highest rate (requests/s, a Poisson stream) at which the layout meets every stated target on average and carries
    the load; 0 when it misses one at any rate. prefill: -1 when aggregated."""
    question = replace(question, workload=replace(question.workload, request_rate=1.0, concurrency=None))
    surface = layout_surface(
        question,
        engines,
        main=main,
        prefill=prefill,
        main_count=main_count,
        prefill_count=prefill_count,
    )
    many, every = surface.take(np.zeros(RATES, dtype=np.intp)), np.arange(RATES)
    high = float(min(surface.rate.max(), surface.rate_limit[0]))
    low = 0.0
    rates = np.geomspace(high * 1e-3, high, RATES)
    for _ in range(2):
        found, _verdicts = judged_points(many, question.workload, question.sla, request_rate=rates)
        found = followed(found, [lambda: many], question.workload, every)
        good = worst_ratio(found, question.sla) <= CARRIED
        holds = int(good.argmin()) if not good.all() else RATES
        if holds == RATES:
            return float(rates[-1])
        low = float(rates[holds - 1]) if holds else low
        rates = np.linspace(low, float(rates[holds]), RATES + 1)[1:] if low else rates * 1e-3
    return low


def layout_surface(
    question: Question, engines: Engines, *, main: int, prefill: int, main_count: int, prefill_count: int
) -> Surface:
    """The surface of one layout alone."""
    workload, engine = question.workload, engines.mains[main]
    if prefill < 0:
        surface = agg_surface(main, engine, workload, engines.known)
        return surface.take(surface.main_count == main_count)
    other = engines.prefills[prefill]
    counts = pair_counts_of(other, engine)
    side = sender(prefill, other, workload, question.facts, engines.known)
    surface = disagg_surface([(side, counts)], main, engine, workload)
    return surface.take((surface.main_count == main_count) & (surface.prefill_count == prefill_count))
