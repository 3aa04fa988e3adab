"""What one step of relaxation buys, and what one step the other way costs: the same search with one thing different.

Steps: each target 10 % looser, one GPU more and one fewer in each pool, the load 10 % lower and 10 % higher.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from armature.errors import ArmatureError
from armature.search.candidates import Swept
from armature.search.explain import NAMES, amount, layout_key, layout_text, miss, misses
from armature.search.pick import EQUAL
from armature.search.profile import Candidate, Relaxation
from armature.search.question import Question
from armature.search.vary import Ask, holds, outcome, pick_of, pick_search, with_gpus, with_load, with_targets

__all__ = ["STEP", "relaxations"]

STEP = 0.1


class _Step(msgspec.Struct, frozen=True):
    """One thing different; fields as in `Relaxation`."""

    what: str
    change: float
    to: float
    relaxes: bool
    question: Question
    words: str
    sku: str | None = None


def relaxations(swept: Swept, ask: Ask) -> tuple[Relaxation, ...]:
    """Every step, the most valuable first: what buys most, then tighter steps that cost nothing, then the rest."""
    question, old, pick_for = swept.question, pick_of(swept), pick_search(swept, ask)
    found = []
    for step in _steps(question):
        try:
            new = pick_for(step.question)
        except ArmatureError:  # one GPU fewer may hold no worker
            continue
        found.append((_value(step, old, new, question), _relaxation(step, old, new, question)))
    found.sort(key=lambda item: item[0], reverse=True)
    return tuple(relaxation for _, relaxation in found)


def _steps(question: Question) -> Iterator[_Step]:
    for name, target in question.sla.targets.items():
        to = target * (1.0 + STEP)
        words = f"{NAMES[name]} 10 % looser ({amount(to)} ms)"
        yield _Step(name, STEP, to, True, with_targets(question, **{name: to}), words)
    for index, pool in enumerate(question.inventory.pools):
        for change, words in ((1, "more"), (-1, "fewer")):
            if question.inventory.total_gpus + change < 1:
                continue
            to = pool.gpus + change
            said = f"One GPU {words} ({to} {pool.gpu.sku})"
            varied = with_gpus(question, index, to)
            yield _Step("gpus", change, to, change > 0, varied, said, pool.gpu.sku)
    load = question.workload
    asked = load.request_rate if load.request_rate is not None else load.concurrency
    if asked is None:
        return
    unit = "requests/s" if load.request_rate is not None else "in flight"
    for share, words in ((-STEP, "lower"), (STEP, "higher")):
        to = asked * (1.0 + share)
        said = f"Load 10 % {words} ({amount(to)} {unit})"
        yield _Step("load", share, to, share < 0, with_load(question, 1.0 + share), said)


def _relaxation(step: _Step, old: Candidate, new: Candidate, question: Question) -> Relaxation:
    costs = (old.cost_per_million_tokens, new.cost_per_million_tokens)
    cost_gain = 1.0 - costs[1] / costs[0] if costs[0] and costs[1] is not None else None
    said = _said(step, old, new, question)
    if cost_gain is not None and abs(cost_gain) >= EQUAL and step.what != "load":
        said += f", {abs(cost_gain) * 100:.1f} % {'cheaper' if cost_gain > 0 else 'dearer'} per token"
    if holds(new) and layout_key(new) != layout_key(old):
        said += f", with {layout_text(new, old)}"
    return Relaxation(
        what=step.what,
        sku=step.sku,
        change=float(step.change),
        to=float(step.to),
        relaxes=step.relaxes,
        buys=_gain(step, old, new, question)[1] > EQUAL,
        outcome=outcome(new, old),
        tokens_per_s_gain=new.tokens_per_s / old.tokens_per_s - 1.0,
        gpus_saved=old.gpus - new.gpus,
        e2e_gain=1.0 - new.e2e_ms.value / old.e2e_ms.value,
        cost_gain=cost_gain,
        text=f"{step.words}: {said}.",
    )


def _gain(step: _Step, old: Candidate, new: Candidate, question: Question) -> tuple[int, float]:
    """(whether it starts or ceases to hold, how much better it is by the rule that chose): shares, GPUs first."""
    turns = int(holds(new)) - int(holds(old))
    if turns:
        return turns, float(turns)
    if not holds(old):
        return 0, miss(old, question.workload) / miss(new, step.question.workload) - 1.0
    faster = 1.0 - new.e2e_ms.value / old.e2e_ms.value
    if question.sla.optimize == "latency":
        return 0, faster
    if question.loaded:
        return 0, (old.gpus - new.gpus) / old.gpus if old.gpus != new.gpus else faster
    return 0, new.tokens_per_s / old.tokens_per_s - 1.0


def _value(step: _Step, old: Candidate, new: Candidate, question: Question) -> tuple[float, ...]:
    """For sorting: starting to hold, then GPUs saved and tokens/s per GPU of the budget, then latency."""
    turns, gain = _gain(step, old, new, question)
    if step.what == "gpus" and not question.loaded and question.sla.optimize != "latency":
        budget = question.inventory.total_gpus
        gain = (1.0 + gain) * budget / (budget + step.change) - 1.0
    saves = question.loaded and holds(new) and old.gpus > new.gpus
    free = not step.relaxes and holds(new) and gain >= -EQUAL
    return (turns, saves, gain > EQUAL, free, gain)


def _said(step: _Step, old: Candidate, new: Candidate, question: Question) -> str:
    if holds(new) and not holds(old):
        return f"meets everything on {new.gpus} GPU{'s' if new.gpus > 1 else ''}"
    if not holds(new):
        still = "still misses" if not holds(old) else "misses"
        return f"{still}: {', '.join(misses(new))}"
    _, gain = _gain(step, old, new, question)
    if question.loaded and question.sla.optimize != "latency" and new.gpus != old.gpus:
        count = abs(new.gpus - old.gpus)
        plural = "s" if count > 1 else ""
        return f"saves {count} GPU{plural}" if new.gpus < old.gpus else f"takes {count} GPU{plural} more"
    if step.what == "load" and not step.relaxes:
        more = f", {abs(gain) * 100:.1f} % higher end-to-end latency" if gain < -EQUAL else ""
        return f"the same GPUs carry it{more}" if new.gpus == old.gpus else f"{new.gpus} GPUs carry it{more}"
    if abs(gain) <= EQUAL:
        return "buys nothing" if step.relaxes else "costs nothing"
    if question.loaded or question.sla.optimize == "latency":
        return f"{abs(gain) * 100:.1f} % {'lower' if gain > 0 else 'higher'} end-to-end latency"
    return f"{abs(gain) * 100:.1f} % {'more' if gain > 0 else 'less'} tokens/s"
