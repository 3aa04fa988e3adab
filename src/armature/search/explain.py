"""Why this pick: the rule that chose it, the target that binds, the runner-up, the other mode."""

from __future__ import annotations

from collections.abc import Sequence

from armature.search.pick import EQUAL
from armature.search.profile import Candidate, Margin
from armature.workload.shape import Sla, Workload

__all__ = ["amount", "layout_text", "reasons"]

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


def reasons(
    pick: Candidate,
    runner_up: Candidate | None,
    candidates: Sequence[Candidate],
    workload: Workload,
    sla: Sla,
    budget: int,
) -> tuple[str, ...]:
    """Sentences for a person, the most important first."""
    said = [_rule(pick, workload, sla, budget), *_targets(pick)]
    if runner_up is not None:
        said.append(
            f"Runner-up: {layout_text(runner_up, pick)}: {_difference(runner_up, pick, workload, sla)}."
        )
    other = next((c for c in candidates if c.mode != pick.mode), None)
    if other is not None and (runner_up is None or other.id != runner_up.id):
        mode = "Aggregated" if other.mode == "agg" else "Disaggregated"
        said.append(
            f"{mode} lost: its best, {layout_text(other, pick)}: {_difference(other, pick, workload, sla)}."
        )
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


def _targets(pick: Candidate) -> list[str]:
    said = [
        f"{NAMES[m.name]} is missed: {amount(m.predicted)} ms predicted, {amount(m.target)} ms asked ({m.ratio:.2f} x)."
        for m in pick.margins
        if not m.met
    ]
    if not pick.carries_load:
        carried = f"{pick.request_rate:,.2f} requests/s with {pick.concurrency:,.0f} in flight"
        said.append(f"The load is missed: it carries {carried}.")
    met = sorted((m for m in pick.margins if m.met), key=lambda m: -m.ratio)
    if met:
        binding, *rest = met
        said.append(
            f"{NAMES[binding.name]} binds: {amount(binding.predicted)} of {amount(binding.target)} ms"
            + "".join(f"; {_inside(m)} {_spare(m)}" for m in rest)
            + "."
        )
    if pick.at_risk:
        highs = {"ttft_ms": pick.ttft_ms.high, "itl_ms": pick.itl_ms.high, "e2e_ms": pick.e2e_ms.high}
        risky = [
            f"{_inside(m)} may reach {highs[m.name]:,.0f} ms"
            for m in pick.margins
            if highs[m.name] > m.target
        ]
        said.append(f"At risk: within the estimate's 80 % band, {' and '.join(risky)}.")
    return said


def _spare(margin: Margin) -> str:
    return f"has {100 * (1 - margin.ratio):.0f} % to spare"


def _inside(margin: Margin) -> str:
    """The target's name within a sentence."""
    return NAMES[margin.name].replace("End", "end")


def _gpus(count: int) -> str:
    return f"{count} GPU{'' if count == 1 else 's'}"


def _difference(other: Candidate, pick: Candidate, workload: Workload, sla: Sla) -> str:
    """What the rule that chose the pick holds against `other`."""
    if pick.meets_sla and not other.meets_sla:
        return f"misses the SLA ({', '.join(_misses(other))})"
    if not pick.meets_sla and _miss(other, workload) > (1 + EQUAL) * _miss(pick, workload):
        return f"misses by {_miss(other, workload):.2f} x ({', '.join(_misses(other))})"
    if sla.optimize == "latency":
        return f"{_percent(other.e2e_ms.value, pick.e2e_ms.value)} end-to-end latency"
    if _load(workload) and other.gpus != pick.gpus:
        return f"{other.gpus} GPUs instead of {pick.gpus}"
    if _load(workload):
        return f"as many GPUs, {_percent(other.e2e_ms.value, pick.e2e_ms.value)} end-to-end latency"
    return f"{_percent(other.tokens_per_s, pick.tokens_per_s)} tokens/s"


def _misses(candidate: Candidate) -> list[str]:
    missed = [
        f"{_inside(m)} {amount(m.predicted)} of {amount(m.target)} ms" for m in candidate.margins if not m.met
    ]
    return (
        missed
        if candidate.carries_load
        else [*missed, f"it carries {candidate.request_rate:,.2f} requests/s"]
    )


def _miss(candidate: Candidate, workload: Workload) -> float:
    """The largest of predicted to target and of asked to carried load: what orders plans that meet nothing."""
    asked, carried = workload.concurrency or 0.0, candidate.concurrency
    if workload.request_rate is not None:
        asked, carried = workload.request_rate, candidate.request_rate
    return max(1.0, asked / carried if carried > 0 else 1.0, *(m.ratio for m in candidate.margins))


def _percent(value: float, reference: float) -> str:
    change = 100.0 * (value / reference - 1.0) if reference else 0.0
    if abs(change) < 100.0 * EQUAL:
        return "within 1 % the same"
    return f"{abs(change):.1f} % {'more' if change > 0 else 'less'}"
