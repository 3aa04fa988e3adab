"""Why this pick: the rule that chose it, the target that binds, the runner-up, the other mode."""

from __future__ import annotations

from armature.perf.queueing import MAX_UTILISATION
from armature.search.binding import Binding
from armature.search.pick import EQUAL
from armature.search.profile import Candidate, Margin, ModeContrast
from armature.search.question import Question
from armature.workload.shape import Sla, Workload

__all__ = ["NAMES", "amount", "difference", "layout_key", "layout_text", "miss", "misses", "reasons"]

NAMES = {"ttft_ms": "TTFT", "itl_ms": "ITL", "e2e_ms": "End-to-end latency"}


def amount(value: float) -> str:
    """Three significant digits below 100, whole numbers with thousands separators above."""
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.095 or value == 0 else f"{value:.2g}"


def layout_text(candidate: Candidate, beside: Candidate | None = None) -> str:
    """`aggregated vllm, 4×tp2`, `disaggregated vllm, prefill 3×tp1, decode 1×tp4`.

    The SKU is named where it is not that of the candidate `beside` it, and where the roles have different ones.
    """
    skus = {group.sku for group in candidate.groups}
    shown = {group.sku for group in beside.groups} if beside is not None else skus
    groups = [
        f"{'' if group.role == 'agg' else group.role + ' '}{group.replicas}×{group.parallelism.label}"
        f"{f' on {group.sku}' if len(skus) > 1 else ''}"
        for group in candidate.groups
    ]
    mode = "aggregated" if candidate.mode == "agg" else "disaggregated"
    on = f" on {candidate.groups[0].sku}" if len(skus) == 1 and skus != shown else ""
    return f"{mode} {candidate.backend}, {', '.join(groups)}{on}"


def layout_key(candidate: Candidate) -> object:
    """What two points of one layout share."""
    groups = tuple((group.role, group.sku, group.replicas, group.parallelism) for group in candidate.groups)
    return candidate.backend, groups


def reasons(
    pick: Candidate,
    runner_up: Candidate | None,
    other: Candidate | None,
    question: Question,
    bound: Binding,
    modes: ModeContrast | None = None,
) -> tuple[str, ...]:
    """Sentences for a person, the most important first. other: the best of the mode that lost."""
    workload, sla = question.workload, question.sla
    said = [
        _rule(pick, workload, sla, question.inventory.total_gpus),
        *_missed(pick),
        *_bound(pick, bound, question),
        *_at_risk(pick),
    ]
    if runner_up is not None:
        said.append(
            f"Runner-up: {layout_text(runner_up, pick)}: {difference(runner_up, pick, workload, sla)}."
        )
    if other is not None:
        same = runner_up is not None and runner_up.id == other.id
        mode = "Aggregated" if other.mode == "agg" else "Disaggregated"
        lost = (
            "it is the runner-up"
            if same
            else f"its best, {layout_text(other, pick)}: {difference(other, pick, workload, sla)}"
        )
        said.append(f"{mode} lost: {lost}." + (f" {_contrast(pick, other, modes)}" if modes else ""))
    return tuple(said)


def _rule(pick: Candidate, workload: Workload, sla: Sla, budget: int) -> str:
    within = " within the SLA" if sla.targets else ""
    load = _load(workload)
    if not pick.meets_sla and not sla.targets:
        return f"Nothing carries {load}: this comes closest."
    if not pick.meets_sla:
        return f"Nothing meets every target{f' at {load}' if load else ''}: this comes closest."
    if sla.optimize == "latency":
        return f"The lowest end-to-end latency{within}{f' at {load}' if load else ''}."
    if load:
        return f"The fewest GPUs that carry {load}{within}: {pick.gpus} of {budget}."
    rate = f"{pick.tokens_per_s:,.0f}" if pick.tokens_per_s >= 10 else f"{pick.tokens_per_s:.2g}"
    return f"The most tokens/s from {_gpus(budget)}{within}: {rate}, {_gpus(pick.gpus)} used."


def _load(workload: Workload) -> str:
    if workload.request_rate is not None:
        return f"{workload.request_rate:g} requests/s"
    return f"{workload.concurrency:g} concurrent requests" if workload.concurrency is not None else ""


def _missed(pick: Candidate) -> list[str]:
    said = [
        f"{NAMES[m.name]} is missed: {amount(m.predicted)} ms predicted, {amount(m.target)} ms asked ({m.ratio:.2f} x)."
        for m in pick.margins
        if not m.met
    ]
    if not pick.carries_load:
        carried = f"{pick.request_rate:,.2f} requests/s with {pick.concurrency:,.0f} in flight"
        said.append(f"The load is missed: it carries {carried}.")
    return said


def _bound(pick: Candidate, bound: Binding, question: Question) -> list[str]:
    """What binds, and what the targets that are met have to spare."""
    met = sorted((m for m in pick.margins if m.met), key=lambda m: -m.ratio)
    said = []
    if bound.smaller is not None:
        smaller = bound.smaller
        said.append(
            f"{_binding_name(bound.kind)} binds: the best on fewer GPUs, {layout_text(smaller, pick)} on "
            f"{smaller.gpus}, {_difference(smaller, pick, question.workload, question.sla)}."
        )
    elif bound.kind in ("memory", "batch"):
        tokens = question.workload.isl + question.workload.osl
        what = "a worker's KV cache" if bound.kind == "memory" else "a worker"
        said.append(f"{'KV memory' if bound.kind == 'memory' else 'The batch'} binds: {what} holds at most "
                    f"{bound.requests:,} requests of {tokens:,} tokens.")  # fmt: skip
    elif bound.kind == "prefill":
        said.append(
            f"Prefill binds: it works {100 * bound.busy:.0f} % of the time, and may at most "
            f"{100 * MAX_UTILISATION:.0f} % before its queue grows too long."
        )
    elif bound.kind == "gpus" and question.sla.targets:
        said.append("The number of GPUs binds, no target does.")
    if not met:
        return said
    first, *rest = met
    spare = "".join(f"; {_inside(m)} {_spare(m)}" for m in rest)
    if bound.kind == first.name and bound.smaller is None:
        said.append(
            f"{NAMES[first.name]} binds: {amount(first.predicted)} of {amount(first.target)} ms{spare}."
        )
    else:
        said.append(f"{NAMES[first.name]} is {amount(first.predicted)} of {amount(first.target)} ms{spare}.")
    return said


def _binding_name(kind: str) -> str:
    return NAMES.get(kind, "The load")


def _at_risk(pick: Candidate) -> list[str]:
    if not pick.at_risk:
        return []
    highs = {"ttft_ms": pick.ttft_ms.high, "itl_ms": pick.itl_ms.high, "e2e_ms": pick.e2e_ms.high}
    risky = [
        f"{_inside(m)} may reach {highs[m.name]:,.0f} ms" for m in pick.margins if highs[m.name] > m.target
    ]
    return [f"At risk: within the estimate's 80 % band, {' and '.join(risky)}."]


def _contrast(pick: Candidate, other: Candidate, modes: ModeContrast) -> str:
    """The numbers that decide between the modes; `other` is of the mode that lost."""
    agg, disagg = (pick, other) if pick.mode == "agg" else (other, pick)
    gpus, idle = modes.prefill_gpus, (1.0 - modes.prefill_busy) * modes.prefill_gpus
    busy = f"works {100 * modes.prefill_busy:.0f} % of the time ({amount(idle)} of its {_gpus(gpus)} idle)"
    moved = (
        f"moving a prompt's KV cache takes {amount(modes.transfer_ms)} ms "
        f"({amount(modes.transfer_itl_ms)} of {amount(disagg.itl_ms.value)} ms ITL)"
    )
    shared = f"{amount(modes.interference_itl_ms)} of {amount(agg.itl_ms.value)} ms ITL"
    if other.mode == "disagg":
        return f"Its prefill {busy} and {moved}; aggregated gives {shared} to prompts in the same steps."
    return f"Prompts in the same steps take {shared}; disaggregated, prefill {busy} and {moved}."


def _spare(margin: Margin) -> str:
    return f"has {100 * (1 - margin.ratio):.0f} % to spare"


def _inside(margin: Margin) -> str:
    """The target's name within a sentence."""
    return NAMES[margin.name].replace("End", "end")


def _gpus(count: int) -> str:
    return f"{count} GPU{'' if count == 1 else 's'}"


def difference(other: Candidate, pick: Candidate, workload: Workload, sla: Sla) -> str:
    """What the rule that chose the pick holds against `other`, and its price where it has another one."""
    return _difference(other, pick, workload, sla) + _dearer(other, pick)


def _difference(other: Candidate, pick: Candidate, workload: Workload, sla: Sla) -> str:
    if pick.meets_sla and not other.meets_sla:
        what = "misses the SLA" if any(not m.met for m in other.margins) else "does not carry the load"
        return f"{what} ({', '.join(misses(other))})"
    if not pick.meets_sla and miss(other, workload) > (1 + EQUAL) * miss(pick, workload):
        return f"misses by {miss(other, workload):.2f} x ({', '.join(misses(other))})"
    loaded = bool(_load(workload))
    if loaded and sla.optimize != "latency" and other.gpus != pick.gpus:
        return f"{_gpus(other.gpus)} instead of {pick.gpus}"
    if loaded or sla.optimize == "latency":
        value, reference, what = other.e2e_ms.value, pick.e2e_ms.value, "end-to-end latency"
    else:
        value, reference, what = other.tokens_per_s, pick.tokens_per_s, "tokens/s"
    same = "as many GPUs, " if loaded and sla.optimize != "latency" else ""
    tie = _tie(other, pick) if abs(value / reference - 1.0) < EQUAL else ""
    return f"{same}within 1 % the same {what}, {tie}" if tie else f"{same}{_percent(value, reference)} {what}"


def _tie(other: Candidate, pick: Candidate) -> str:
    """What decides between equals: GPUs, then kinds of worker, then stages, then latency (see `pick`); "" when the
    first that differs does not speak for the pick, so that it was no tie."""
    if other.gpus != pick.gpus:
        return f"{_gpus(other.gpus)} instead of {pick.gpus}" if other.gpus > pick.gpus else ""
    if other.mode != pick.mode:
        return "and two kinds of worker instead of one" if pick.mode == "agg" else ""
    theirs, ours = (max(group.pp for group in c.groups) for c in (other, pick))
    if theirs != ours:
        return f"and {theirs} pipeline stages instead of {ours}" if theirs > ours else ""
    latencies = [amount(c.e2e_ms.value) for c in (other, pick)]
    slower = other.e2e_ms.value > pick.e2e_ms.value and latencies[0] != latencies[1]
    return f"{latencies[0]} instead of {latencies[1]} ms end to end" if slower else ""


def _dearer(other: Candidate, pick: Candidate) -> str:
    """`, 12.3 % more per token`: shown where prices are given and differ by more than no estimate can tell."""
    ours, theirs = pick.cost_per_million_tokens, other.cost_per_million_tokens
    if not ours or not theirs or abs(theirs / ours - 1.0) < EQUAL:
        return ""
    return f", {abs(theirs / ours - 1.0) * 100:.1f} % {'dearer' if theirs > ours else 'cheaper'} per token"


def misses(candidate: Candidate) -> list[str]:
    """Each target and load it misses, as words within a sentence."""
    missed = [
        f"{_inside(m)} {amount(m.predicted)} of {amount(m.target)} ms" for m in candidate.margins if not m.met
    ]
    return (
        missed
        if candidate.carries_load
        else [*missed, f"it carries {candidate.request_rate:,.2f} requests/s"]
    )


def miss(candidate: Candidate, workload: Workload) -> float:
    """The largest of predicted to target and of asked to carried load: what orders plans that meet nothing."""
    asked, carried = workload.concurrency or 0.0, candidate.concurrency
    if workload.request_rate is not None:
        asked, carried = workload.request_rate, candidate.request_rate
    return max(1.0, asked / carried if carried > 0 else 1.0, *(m.ratio for m in candidate.margins))


def _percent(value: float, reference: float) -> str:
    change = 100.0 * (value / reference - 1.0) if reference else 0.0
    if abs(change) < 0.05:
        return "the same"
    return f"{abs(change):.1f} % {'more' if change > 0 else 'less'}"
