"""When nothing meets the SLA: the nearest things that would. Each is found and verified by the same search.

Looked for, one at a time: more GPUs of the pick's kind, another SKU, each target looser, all targets looser by one
factor, a lower load; and, where none of these is enough alone, the pick's own targets and load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

import msgspec
import numpy as np

from armature.errors import ArmatureError
from armature.hardware.catalog import GPUS, Gpu
from armature.search.candidates import Swept
from armature.search.explain import NAMES, amount, layout_text, miss, misses
from armature.search.pick import TOLERANCE
from armature.search.profile import Candidate, Suggestion
from armature.search.question import Question
from armature.search.sweep import worst_ratio
from armature.search.vary import (
    Ask,
    holds,
    outcome,
    pick_of,
    pick_search,
    pool_of,
    whole_search,
    with_gpus,
    with_load,
    with_pool,
    with_targets,
)

__all__ = ["MOST_SKUS", "farthest_gpus", "nearest", "round_down", "round_up"]

MOST_SKUS = 3
"""SKUs tried, for each has its step times read from disk."""
FINE = 0.01
"""Targets and loads are found to within 1 %, for no estimate is better than that."""
LEAST_LOAD = 0.01
Ahead = Callable[[float, float], float | None]
"""Of a value that fails and one that does, what to look at between them; None when they are close enough."""


def nearest(swept: Swept, ask: Ask, catalogue: Iterable[Gpu] = ()) -> tuple[Suggestion, ...]:
    """The suggestions that hold, then what was looked for in vain; nothing where the pick meets everything.

    catalogue: GPUs that count as at hand, besides those whose price is given.
    """
    pick = pick_of(swept)
    if holds(pick):
        return ()
    seek = _Seek(swept, pick, whole_search(swept, ask), pick_search(swept, ask))
    found = [
        *_more_gpus(seek),
        *_another_sku(seek, catalogue),
        *_looser_targets(seek),
        *_lower_load(seek),
    ]
    if not any(suggestion.holds for suggestion in found):
        found += _as_it_is(seek)
    return tuple(sorted(found, key=lambda suggestion: not suggestion.holds))


def farthest_gpus(gpus: int) -> int:
    """How many GPUs are looked at where `gpus` are not enough: four times as many up to 64, twice as many above."""
    return max(min(4 * gpus, 128), 64, 2 * gpus)


def round_up(value: float) -> float:
    """To three significant digits, never below `value`."""
    return float(Context(prec=3, rounding=ROUND_CEILING).create_decimal_from_float(value))


def round_down(value: float) -> float:
    """To three significant digits, never above `value`."""
    return float(Context(prec=3, rounding=ROUND_FLOOR).create_decimal_from_float(value))


class _Seek(msgspec.Struct, frozen=True):
    """A sweep whose pick misses something, and the search to ask: the whole of it, or for its pick alone."""

    swept: Swept
    pick: Candidate
    ask: Callable[[Question], Swept]
    pick_for: Callable[[Question], Candidate]

    @property
    def question(self) -> Question:
        return self.swept.question

    def answer(self, question: Question) -> Candidate | None:
        """The pick for a question; None where no worker can be made."""
        try:
            return self.pick_for(question)
        except ArmatureError:
            return None

    def met(self, question: Question) -> Candidate | None:
        """The pick for a question when it meets everything."""
        found = self.answer(question)
        return found if found is not None and holds(found) else None

    def scouted(self, question: Question) -> Candidate | None:
        """The same with the pick's engine alone, which costs less: what it meets, the whole search meets."""
        return self.met(replace(question, backends=(self.pick.backend,)))

    def edge(self, fails: float, does: float, varied: Callable[[float], Question], ahead: Ahead) -> float:
        """The value nearest to `fails` that does: scouted with one engine where several are asked, settled with all."""
        if len(self.question.backends) == 1:
            return _bisect(fails, does, lambda value: self.met(varied(value)), ahead)[1]
        scout_fails, does = _bisect(fails, does, lambda value: self.scouted(varied(value)), ahead)
        if scout_fails == fails or self.met(varied(scout_fails)) is None:
            return does
        return _bisect(fails, scout_fails, lambda value: self.met(varied(value)), ahead)[1]

    def said(
        self, what: str, sku: str | None, to: float, question: Question, found: Candidate, text: str
    ) -> Suggestion:
        targets = {name: float(value) for name, value in question.sla.targets.items()}
        return Suggestion(what, sku, float(to), holds(found), targets, outcome(found, self.pick), f"{text}.")


def _bisect(
    fails: float, does: float, at: Callable[[float], Candidate | None], ahead: Ahead
) -> tuple[float, float]:
    while (value := ahead(fails, does)) is not None:
        fails, does = (value, does) if at(value) is None else (fails, value)
    return fails, does


def _more_gpus(seek: _Seek) -> Iterator[Suggestion]:
    """The fewest GPUs of the pick's last SKU: doubled until it holds, then bisected; whole nodes above 64."""
    question, index = seek.question, seek.pick.groups[-1].pool
    pool = question.inventory.pools[index]
    sku = pool.gpu.sku
    most = farthest_gpus(pool.gpus)

    def varied(gpus: float) -> Question:
        return with_gpus(question, index, round(gpus))

    fails, does = pool.gpus, min(2 * pool.gpus, most)
    while (scout := seek.scouted(varied(does))) is None and does < most:
        fails, does = does, min(2 * does, most)
    if scout is None:
        fails = pool.gpus  # what failed so far was one engine alone
    found = seek.answer(varied(does))
    if found is None or not holds(found):
        closest = found or seek.pick
        text = f"More GPUs alone: nothing up to {most} {sku} does; the closest misses {', '.join(misses(closest))}"
        yield seek.said("gpus", sku, most, varied(most), closest, text)
        return
    step = 1 if does <= 64 else pool.gpus_per_node

    def ahead(low: float, high: float) -> float | None:
        return None if high - low <= step else low + max(step, (high - low) // 2 // step * step)

    gpus = round(seek.edge(fails, does, varied, ahead))
    found = seek.met(varied(gpus))
    if found is not None:
        yield seek.said(
            "gpus", sku, gpus, varied(gpus), found, f"{gpus} {sku} instead of {pool.gpus}: {_does(found)}"
        )


def _another_sku(seek: _Seek, catalogue: Iterable[Gpu]) -> Iterator[Suggestion]:
    """As many GPUs of another SKU: the cheapest of those priced that does, else the weakest of those no weaker."""
    question = seek.question
    used = {pool.gpu.sku: pool.gpu for pool in question.inventory.pools}
    present = used[seek.pick.groups[-1].sku]
    gpus = question.inventory.total_gpus
    priced = [GPUS[sku] for sku in question.prices if sku in GPUS and sku not in used]
    priced.sort(key=lambda gpu: (question.prices[gpu.sku], gpu.bandwidth_bytes_per_s))
    others = [gpu for gpu in catalogue if gpu.sku not in used and not gpu.estimated]
    others = [gpu for gpu in others if gpu.vendor == present.vendor and _stronger(gpu, present)]
    others.sort(key=lambda gpu: (gpu.bandwidth_bytes_per_s, gpu.flops_for("bf16")))
    for gpu in (priced or others)[:MOST_SKUS]:
        varied = with_pool(question, pool_of(gpu, gpus))
        found = seek.met(varied)
        if found is not None:
            yield seek.said("sku", gpu.sku, gpus, varied, found, f"{gpus} {gpu.sku}: {_does(found)}")
            return


def _stronger(gpu: Gpu, than: Gpu) -> bool:
    ours = (gpu.vram_bytes, gpu.bandwidth_bytes_per_s, gpu.flops_for("bf16"))
    theirs = (than.vram_bytes, than.bandwidth_bytes_per_s, than.flops_for("bf16"))
    return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


def _looser_targets(seek: _Seek) -> Iterator[Suggestion]:
    """Each missed target loosened alone; then all by one factor. No target makes a layout carry more."""
    question, pick = seek.question, seek.pick
    targets = question.sla.targets
    if not pick.carries_load:
        return
    for margin in (margin for margin in pick.margins if not margin.met):
        value = _smallest_target(seek, margin.name, margin.target)
        if value is None:
            continue
        varied = with_targets(question, **{margin.name: value})
        found = seek.met(varied)
        if found is not None:
            text = (
                f"{NAMES[margin.name]} {amount(value)} ms instead of {amount(margin.target)}: {_does(found)}"
            )
            yield seek.said(margin.name, None, value, varied, found, text)
    if len(targets) < 2:
        return
    factor = round_up(miss(pick, question.workload))
    loose = {name: target * factor for name, target in targets.items()}
    found = seek.met(with_targets(question, **loose))
    if found is not None:
        said = ", ".join(f"{NAMES[name]} {amount(value)} ms" for name, value in loose.items())
        text = f"Every target {factor:g} x looser ({said}): {_does(found)}"
        yield seek.said("targets", None, factor, with_targets(question, **loose), found, text)


def _smallest_target(seek: _Seek, name: str, target: float) -> float | None:
    """The smallest value of one target at which something holds, to 1 % and three digits; None when none does.

    Without the target, the least of it among the points that meet the others does; nothing below it may, where the
    points do not depend on targets (a load is asked).
    """
    free = replace(seek.question, sla=replace(seek.question.sla, **{name: None}))  # type: ignore[arg-type]
    try:
        loose = seek.ask(free)
    except ArmatureError:
        return None
    least = getattr(loose.points, name)[worst_ratio(loose.points, free.sla) <= 1.0 + TOLERANCE]
    if not len(least):
        return None

    def ahead(low: float, high: float) -> float | None:
        if high - low <= FINE * high:
            return None
        return high * (1.0 - FINE) if low == target else (low + high) / 2

    def varied(value: float) -> Question:
        return with_targets(seek.question, **{name: value})

    return round_up(seek.edge(target, float(np.min(least)), varied, ahead))


def _lower_load(seek: _Seek) -> Iterator[Suggestion]:
    """The largest load at which something holds, to 1 %."""
    question, load = seek.question, seek.question.workload
    asked = load.request_rate if load.request_rate is not None else load.concurrency
    if asked is None:
        return
    unit = "requests/s" if load.request_rate is not None else "requests in flight"

    def varied(value: float) -> Question:
        return with_load(question, value / asked)

    def ahead(high: float, low: float) -> float | None:
        return None if high - low <= FINE * high else (low + high) / 2

    carried = seek.pick.request_rate if load.request_rate is not None else seek.pick.concurrency
    low = min(asked, carried) * LEAST_LOAD
    idle = seek.answer(varied(low))
    if idle is None or not holds(idle):
        closest = idle or seek.pick
        text = f"A lower load alone: even {amount(low)} {unit} misses {', '.join(misses(closest))}"
        yield seek.said("load", None, low, varied(low), closest, text)
        return
    value = round_down(seek.edge(asked, low, varied, ahead))
    found = seek.met(varied(value))
    if found is not None:
        text = f"{amount(value)} {unit} instead of {amount(asked)}: {_does(found)}"
        yield seek.said("load", None, value, varied(value), found, text)


def _as_it_is(seek: _Seek) -> Iterator[Suggestion]:
    """What the pick does, as targets and load: the last resort, verified like the others. A load that it does not quite
    carry is lowered a little further where need be."""
    question, pick, load = seek.question, seek.pick, seek.question.workload
    targets = {m.name: m.target if m.met else round_up(m.predicted * (1.0 + FINE)) for m in pick.margins}
    asked = load.request_rate if load.request_rate is not None else load.concurrency
    loads = [asked or 0.0]
    if asked is not None and not pick.carries_load:
        carried = pick.request_rate if load.request_rate is not None else pick.concurrency
        loads = [round_down(min(carried, asked) * share) for share in (1.0, 0.98, 0.95, 0.9, 0.7, 0.5)]
    for to in loads:
        varied = with_load(with_targets(question, **targets), to / asked if asked else 1.0)
        found = seek.met(varied)
        if found is None:
            continue
        said = [f"{NAMES[m.name]} {amount(targets[m.name])} ms" for m in pick.margins if not m.met]
        if asked is not None and to < asked:
            said.append(f"{amount(to)} {'requests/s' if load.request_rate else 'requests in flight'}")
        text = f"{' and '.join(said)} together: {_does(found)}"
        yield seek.said("targets_and_load", None, to, varied, found, text)
        return


def _does(found: Candidate) -> str:
    cost = found.cost_per_million_tokens
    price = "" if cost is None else f", {amount(cost)} per million tokens"
    return f"{layout_text(found)} on {found.gpus} GPU{'s' if found.gpus > 1 else ''} meets everything{price}"
