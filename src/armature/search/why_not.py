"""Why not this layout? It was considered, and lost by so much; or it cannot exist, and why.

The answer comes from the search itself: a layout was considered when the sweep's own surfaces, cut down to the engines
and counts that are wanted, hold it. Only when they do not is it asked what keeps it from existing (`impossible`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np

from armature.errors import ArmatureError
from armature.perf.estimate import Estimator
from armature.search.candidates import Swept
from armature.search.engines import Engines
from armature.search.explain import amount, difference, layout_key, layout_text
from armature.search.impossible import barrier
from armature.search.operating import Engine
from armature.search.pick import best_first, layout_keys
from armature.search.profile import Candidate, Outcome, Profile
from armature.search.question import Question
from armature.search.rapid import sweep
from armature.search.selector import Selector, Side
from armature.search.surface import Surface
from armature.search.sweep import Points, concatenate
from armature.search.vary import Ask, outcome, pick_of
from armature.workload.shape import Sla, Workload

__all__ = ["WhyNot", "considered_layouts", "why_not", "why_not_in"]

Verdict = Literal["picked", "considered", "impossible", "not_kept"]


class WhyNot(msgspec.Struct, frozen=True):
    """Why a wanted layout was not picked.

    asked: as the user wrote it. verdict: `picked`: it was; `considered`: it lost; `impossible`: it cannot exist in this
    search, for `rule` (see `impossible`; `bytes_short`: memory that one GPU lacks, 0 for other rules); `not_kept`: a
    Profile alone does not know it. rank: place among the `kinds` kinds of layout that were considered, 1 the pick's;
    None without an operating point. outcome: the best of the layouts meant, at its best operating point.
    """

    asked: str
    verdict: Verdict
    text: str
    rule: str = ""
    rank: int | None = None
    kinds: int | None = None
    outcome: Outcome | None = None
    bytes_short: int = 0


def why_not(selector: Selector, swept: Swept, estimator: Estimator) -> WhyNot:
    """The answer for a search. estimator: the one that the sweep used; asked again only for a backend that was not."""
    question = swept.question
    if selector.backend is not None and selector.backend not in question.backends:
        return _unasked_backend(selector, question, estimator)
    parts = considered_layouts(selector, question, swept.engines)
    if parts:
        return _considered(selector, swept, parts)
    found = barrier(selector, question, swept.engines)
    return WhyNot(
        selector.text, "impossible", f"Impossible: {found.text}.", found.rule, bytes_short=found.bytes_short
    )


def why_not_in(selector: Selector, profile: Profile) -> WhyNot:
    """The answer as far as a Profile alone knows: the candidates that it keeps, best first."""
    kept = profile.candidates
    found = next((candidate for candidate in kept if selector.admits(candidate)), None)
    if found is None:
        text = (
            f"It is not among the {len(kept)} candidates that the profile keeps; "
            "`armature explain` of the request knows every layout."
        )
        return WhyNot(selector.text, "not_kept", text)
    if layout_key(found) == layout_key(profile.picked):
        return _picked(selector, found)
    ranks: dict[object, int] = {}
    for candidate in kept:
        ranks.setdefault(_kind(candidate), len(ranks) + 1)
    asked = profile.workload
    workload = Workload(
        isl=int(asked["isl"]),
        osl=int(asked["osl"]),
        request_rate=asked.get("request_rate"),
        concurrency=asked.get("concurrency"),
    )
    optimize: Literal["throughput", "latency"] = (
        "latency" if profile.sla.get("optimize") == "latency" else "throughput"
    )
    lost = difference(found, profile.picked, workload, Sla(optimize=optimize))
    return _lost(selector, found, profile.picked, ranks[_kind(found)], len(ranks), lost)


def considered_layouts(selector: Selector, question: Question, engines: Engines) -> tuple[Swept, ...]:
    """Sweeps of the layouts that are wanted and exist, aggregated and disaggregated apart; none when none exists.

    Their engines are some of `engines`, the same objects.
    """
    found = []
    if selector.agg is not None:
        mains = _wanted(engines.mains, selector, selector.agg)
        found += _sweeps(question, Engines(mains, (), ()), _counts(None, selector.agg))
    if selector.prefill is not None and selector.decode is not None:
        mains = _wanted(engines.mains, selector, selector.decode)
        prefills = _wanted(engines.prefills, selector, selector.prefill)
        if mains and prefills:
            found += _sweeps(
                question, Engines(mains, prefills, ()), _counts(selector.prefill, selector.decode)
            )
    return tuple(found)


Marks = np.ndarray[tuple[int], np.dtype[np.bool_]]


def _wanted(engines: Sequence[Engine], selector: Selector, side: Side) -> list[Engine]:
    return [
        engine
        for engine in engines
        if selector.backend in (None, engine.backend) and side.admits(engine.parallelism, engine.pool.gpu.sku)
    ]


def _counts(prefill: Side | None, main: Side) -> Callable[[Surface], Marks]:
    """Marks the layouts of a surface with the wanted counts; of prefill None, aggregated ones."""

    def keep(surface: Surface) -> Marks:
        marked = (surface.prefill >= 0) == (prefill is not None)
        if main.replicas is not None:
            marked &= surface.main_count == main.replicas
        if prefill is not None and prefill.replicas is not None:
            marked &= surface.prefill_count == prefill.replicas
        return np.asarray(marked)

    return keep


def _sweeps(question: Question, engines: Engines, keep: Callable[[Surface], Marks]) -> list[Swept]:
    """One sweep, or none where nothing is kept."""
    if not engines.mains:
        return []
    layouts = 0

    def counted(surface: Surface) -> Marks:
        nonlocal layouts
        marked = keep(surface)
        layouts += int(marked.sum())
        return marked

    swept = sweep(question, engines, keep=counted)
    return [swept] if layouts else []


def _considered(selector: Selector, swept: Swept, parts: tuple[Swept, ...]) -> WhyNot:
    question = swept.question
    keys = layout_keys(swept.points)
    kinds = len(np.unique(keys))
    whole = replace(swept, points=concatenate([swept.points, *(_renumbered(part, swept) for part in parts)]))
    order = best_first(whole.points, question.workload, question.sla)
    meant = order[_meant(selector, whole)[order]]
    if not len(meant):
        text = "It was considered, but no batch is an operating point: its prefill is too slow for any."
        return WhyNot(selector.text, "considered", text, kinds=kinds)
    best, pick = whole.candidate(int(meant[0])), pick_of(swept)
    if layout_key(best) == layout_key(pick):
        return _picked(selector, best)
    keys = layout_keys(whole.points)
    ahead = order[: int(np.flatnonzero(order == meant[0])[0])]
    rank = 1 + len(np.unique(keys[ahead][keys[ahead] != keys[meant[0]]]))
    lost = difference(best, pick, question.workload, question.sla)
    return _lost(selector, best, pick, rank, kinds, lost)


def _renumbered(part: Swept, whole: Swept) -> Points:
    """The points of a part with the engine numbers of the whole sweep."""
    mains = np.array([_number(whole.engines.mains, engine) for engine in part.engines.mains])
    prefills = np.array([*(_number(whole.engines.prefills, e) for e in part.engines.prefills), -1])
    return replace(
        part.points, main=mains[part.points.main], prefill=prefills[part.points.prefill]
    )  # -1, none, is the last


def _meant(selector: Selector, swept: Swept) -> Marks:
    """Marks the points of the layouts that are wanted."""
    points = swept.points
    found = np.zeros(len(points), dtype=np.bool_)
    for mode, main, prefill in (
        ("agg", selector.agg, None),
        ("disagg", selector.decode, selector.prefill),
    ):
        if main is None or (mode == "disagg" and prefill is None):
            continue
        of_mode = (points.prefill >= 0) == (prefill is not None)
        mains = [_number(swept.engines.mains, e) for e in _wanted(swept.engines.mains, selector, main)]
        of_mode &= np.isin(points.main, mains)
        of_mode &= points.main_count == (main.replicas or points.main_count)
        if prefill is not None:
            engines = _wanted(swept.engines.prefills, selector, prefill)
            of_mode &= np.isin(points.prefill, [_number(swept.engines.prefills, e) for e in engines])
            of_mode &= points.prefill_count == (prefill.replicas or points.prefill_count)
        found |= of_mode
    return found


def _number(engines: Sequence[Engine], wanted: Engine) -> int:
    return next(number for number, engine in enumerate(engines) if engine is wanted)


def _picked(selector: Selector, best: Candidate) -> WhyNot:
    return WhyNot(
        selector.text,
        "picked",
        f"It is the choice: {layout_text(best)}, {_figures(best)}.",
        rank=1,
        outcome=outcome(best),
    )


def _lost(selector: Selector, best: Candidate, pick: Candidate, rank: int, kinds: int, lost: str) -> WhyNot:
    same_kind = " (the choice is of this kind, with other counts)" if _kind(best) == _kind(pick) else ""
    text = (
        f"{layout_text(best, pick).capitalize()}: considered, {_ordinal(rank)} of {kinds} kinds of layout"
        f"{same_kind}. It {lost if _is_verb(lost) else f'has {lost}'}. At its best: {_figures(best)}."
    )
    return WhyNot(selector.text, "considered", text, rank=rank, kinds=kinds, outcome=outcome(best, pick))


def _is_verb(lost: str) -> bool:
    return lost.startswith(("misses", "does not"))


def _figures(candidate: Candidate) -> str:
    return (
        f"TTFT {amount(candidate.ttft_ms.value)} ms, ITL {amount(candidate.itl_ms.value)} ms, "
        f"{amount(candidate.tokens_per_s)} tokens/s on {candidate.gpus} GPU{'s' if candidate.gpus > 1 else ''}"
    )


def _unasked_backend(selector: Selector, question: Question, estimator: Estimator) -> WhyNot:
    asked = ", ".join(question.backends)
    head = f"Not considered: {selector.backend} was not asked for (backend: {asked})"
    assert selector.backend is not None
    wider = replace(question, backends=(*question.backends, selector.backend))
    try:
        then = why_not(selector, Ask(estimator)(wider), estimator)
    except ArmatureError as error:
        reason = f"{error.message.rstrip('.')}."
        return WhyNot(selector.text, "impossible", f"{head}, and could not be: {reason}", "estimator")
    return WhyNot(
        selector.text, "impossible", f"{head}. If it were: {then.text}", "backend", outcome=then.outcome
    )


def _kind(candidate: Candidate) -> object:
    """What layouts share that differ only in counts."""
    return candidate.backend, tuple((g.role, g.sku, g.parallelism) for g in candidate.groups)


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
