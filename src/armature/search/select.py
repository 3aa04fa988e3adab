"""Another point as the pick: a person's choice over the search's own (UI-01). Pure.

A Profile holds curves and step tables of its pick alone, so a pick with other engines needs theirs made again.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from armature.errors import ArmatureError
from armature.hardware import catalog
from armature.hardware.inventory import Pool
from armature.model.draft import with_draft_layers
from armature.model.facts import ModelFacts
from armature.model.memory import fit
from armature.perf.estimate import EngineSpec, Estimator
from armature.perf.speculative import drafting
from armature.search.curves import curves
from armature.search.explain import amount, layout_text
from armature.search.operating import Engine
from armature.search.profile import Candidate, Group, Profile, Role
from armature.search.rapid import step_table

__all__ = ["engines_of", "misses", "same_engines", "selected"]


def selected(
    profile: Profile,
    id: str,
    engines: Mapping[Role, Engine] | None = None,
    facts: ModelFacts | None = None,
) -> Profile:
    """The profile with this candidate as its pick, and what that costs against the search's own as its reasons.

    engines: those of the candidate by role, with the model's facts: curves and step tables are made of them. Without
    them a candidate of the same engines as the pick keeps the profile's; for another one the step tables go, for they
    would be wrong, and a note says that the curves are of the earlier pick. What was said of the earlier pick (what
    binds it, what would change it) goes.
    Raises ArmatureError when there is no such candidate.
    """
    chosen, before = profile.candidate(id), profile.picked
    if chosen.id == before.id:
        return profile
    changed = structs.replace(
        profile,
        pick=chosen.id,
        runner_up=before.id,
        reasons=_reasons(profile, chosen, before),
        binding="none",
        modes=None,
        relaxations=(),
        suggestions=(),
    )
    if same_engines(profile, chosen):
        return changed
    if engines is None or facts is None:
        note = f"The profile's curves are of {layout_text(before)}; the model's facts were not at hand to make others."
        return structs.replace(changed, step_tables={}, notes=(*profile.notes, note))
    tokens = (profile.workload["isl"], profile.workload["osl"], profile.workload.get("longest_tokens", 0.0))
    first, last = chosen.groups[0].role, chosen.groups[-1].role
    return structs.replace(
        changed,
        curves=curves(engines[first], engines[last], facts),
        step_tables={role: step_table(engine, facts, *tokens) for role, engine in engines.items()},
    )


def same_engines(profile: Profile, candidate: Candidate) -> bool:
    """Whether the profile's step tables are those of the candidate: same backend, and per role the same engine."""
    pick = profile.picked
    kinds = [{group.role: _kind(group) for group in each.groups} for each in (pick, candidate)]
    return pick.backend == candidate.backend and kinds[0] == kinds[1]


def engines_of(
    profile: Profile, candidate: Candidate, facts: ModelFacts, estimator: Estimator
) -> dict[Role, Engine]:
    """The engines of a candidate by role, as the search had them."""
    tokens = round(profile.workload["isl"] + profile.workload["osl"])
    estimator = drafting(estimator, profile.speculation)
    made: dict[Role, Engine] = {}
    for group in candidate.groups:
        there = profile.pool_of(group)
        if there is None:
            raise ArmatureError(
                f"The profile has no pool for {group.sku}.", "Make a new one with `armature plan`."
            )
        gpu = catalog.gpu(group.sku).with_vram(there.vram_bytes)
        gpu = gpu if there.link is None else gpu.linked_by(there.link)
        pool = Pool(gpu, there.gpus, there.gpus_per_node, there.nodes, there.rdma)
        spec = EngineSpec(facts, gpu, candidate.backend, group.parallelism, group.kv_dtype)
        fitted = fit(
            facts if profile.speculation is None else with_draft_layers(facts),
            group.parallelism,
            vram_bytes=gpu.vram_bytes,
            sequence_tokens=round(profile.workload["isl"]) + 1 if group.role == "prefill" else tokens,
            prefill_tokens=group.chunk_tokens,
            kv_dtype=group.kv_dtype,
        )
        made[group.role] = Engine(
            candidate.backend, pool, group.parallelism, group.kv_dtype, estimator.engine(spec), fitted
        )
    return made


def misses(candidate: Candidate) -> tuple[str, ...]:
    """What it misses of the SLA and the load, in sentences; nothing when it misses nothing."""
    said = []
    missed = [f"{m.name} {amount(m.predicted)} of {amount(m.target)}" for m in candidate.margins if not m.met]
    if missed:
        said.append(f"It misses the SLA: {', '.join(missed)}.")
    if not candidate.carries_load:
        said.append(f"It does not carry the load: {candidate.request_rate:,.2f} requests/s.")
    return tuple(said)


def _kind(group: Group) -> tuple[object, ...]:
    return group.pool, group.sku, group.parallelism, group.kv_dtype, group.kv_room_tokens


def _reasons(profile: Profile, chosen: Candidate, before: Candidate) -> tuple[str, ...]:
    where = (
        f"point {profile.pareto.index(chosen.id) + 1} of the front"
        if chosen.id in profile.pareto
        else chosen.id
    )
    figures = (
        ("tokens/s/GPU", chosen.tokens_per_s_per_gpu, before.tokens_per_s_per_gpu),
        ("tokens/s/user", chosen.tokens_per_s_per_user, before.tokens_per_s_per_user),
        ("ms TTFT", chosen.ttft_ms.value, before.ttft_ms.value),
        ("GPUs", chosen.gpus, before.gpus),
    )
    traded = ", ".join(
        f"{amount(new)} {name} instead of {amount(old)}"
        for name, new, old in figures
        if amount(new) != amount(old)
    )
    return (
        f"Chosen by hand: {where}, in place of {layout_text(before, chosen)}.",
        f"Against that: {traded or 'the same figures'}.",
        *misses(chosen),
    )
