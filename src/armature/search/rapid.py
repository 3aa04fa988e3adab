"""The rapid search: request, inventory and model facts in, Profile out, by prediction alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from msgspec import structs

import armature
from armature.api import v1beta1
from armature.errors import NothingFits
from armature.hardware.inventory import Inventory, Pool
from armature.model.facts import ModelFacts
from armature.model.memory import Fit, default_kv_dtype, fit
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec, Estimator
from armature.perf.steptable import StepTable, sample
from armature.search.candidates import Swept, kept_rows
from armature.search.curves import curves
from armature.search.explain import considered, reasons
from armature.search.operating import CHUNK_TOKENS, Engine
from armature.search.pick import best_first, layout_keys
from armature.search.profile import PROFILE_VERSION, Candidate, InventoryPool, Profile, Role
from armature.search.space import BACKENDS, can_hand_over, parallelisms, stages_that_may_fit
from armature.search.sweep import Surface, agg_surface, concatenate, disagg_surface, points
from armature.workload.shape import Sla, Workload

__all__ = ["profile"]


def profile(
    request: v1beta1.DynamoGraphDeploymentRequest,
    inventory: Inventory,
    facts: ModelFacts,
    estimator: Estimator,
    *,
    prices: Mapping[str, float] | None = None,
) -> Profile:
    """Predict every layout of the request and pick one. `request` has its defaults filled; `prices` are per
    GPU-hour by SKU.

    Raises NothingFits when no layout of the model fits the inventory.
    """
    workload, sla = _workload(request), _sla(request)
    mains, prefills, unfit = _engines(request, inventory, facts, estimator, workload)
    if not mains:
        raise _nothing_fits(inventory, facts, workload)
    assume_rdma = not (request.spec.hardware and request.spec.hardware.rdma is False)
    layouts, parts = 0, []
    for surface in _surfaces(
        mains, prefills, workload, facts, assume_rdma=assume_rdma
    ):  # large: one at a time
        layouts += len(surface.gpus)
        parts.append(points(surface, workload, sla))
    swept = Swept(
        facts=facts,
        workload=workload,
        sla=sla,
        budget=inventory.total_gpus,
        mains=mains,
        prefills=prefills,
        points=concatenate(parts),
        prices=prices or {},
    )
    order = best_first(swept.points, workload, sla)
    rows, front = kept_rows(swept, order)
    made = _with_unique_ids({row: swept.candidate(row) for row in rows})
    pick = made[int(order[0])]
    keys = layout_keys(swept.points)
    others = order[keys[order] != keys[order[0]]]
    runner_up = made[int(others[0])] if len(others) else None
    engines = _picked_engines(swept, int(order[0]))
    notes = [*inventory.notes, *facts.notes, *pick.notes]
    if (
        assume_rdma
        and pick.mode == "disagg"
        and pick.gpus > pick.groups[0].gpus_per_node
        and not _has_rdma(inventory)
    ):
        notes.append("RDMA between nodes is assumed; if there is none, set spec.hardware.rdma: false.")
    return Profile(
        version=PROFILE_VERSION,
        armature=armature.__version__,
        name=request.metadata.name,
        model=request.spec.model,
        model_source=facts.source,
        model_weight_bytes=facts.weight_bytes,
        model_max_context=facts.max_context,
        backend_asked=request.spec.backend or "auto",
        workload=_set(
            {
                "isl": workload.isl,
                "osl": workload.osl,
                "request_rate": workload.request_rate,
                "concurrency": workload.concurrency,
            }
        ),
        sla={**sla.targets, "optimize": sla.optimize},
        inventory=tuple(_pool(pool) for pool in inventory.pools),
        inventory_source=inventory.source,
        gpus_budget=inventory.total_gpus,
        candidates=tuple(made[row] for row in rows),
        pareto=tuple(made[row].id for row in front),
        pick=pick.id,
        runner_up=runner_up.id if runner_up else None,
        reasons=reasons(
            pick, runner_up, tuple(made[row] for row in rows), workload, sla, inventory.total_gpus
        ),
        considered=considered(swept, layouts, unfit),
        notes=tuple(dict.fromkeys(notes)),
        curves=curves(engines[pick.groups[0].role], engines[pick.groups[-1].role], facts),
        step_tables={role: _step_table(engine, facts, workload) for role, engine in engines.items()},
    )


def _engines(
    request: v1beta1.DynamoGraphDeploymentRequest,
    inventory: Inventory,
    facts: ModelFacts,
    estimator: Estimator,
    workload: Workload,
) -> tuple[list[Engine], list[Engine], int]:
    """(aggregated and decode engines, prefill engines, how many kinds do not fit)."""
    asked = request.spec.backend
    backends = BACKENDS if asked is None or asked == "auto" else (asked,)
    mains: list[Engine] = []
    prefills: list[Engine] = []
    unfit = 0
    for pool in inventory.pools:
        kv_dtype = default_kv_dtype(facts, pool.gpu.has_fp8)
        shapes = parallelisms(facts, pool)
        if not any(_fit(facts, p, pool, workload, kv_dtype).fits for p in shapes):
            shapes = stages_that_may_fit(facts, pool)
        for p in shapes:
            whole = _fit(facts, p, pool, workload, kv_dtype)
            prompt = _fit(facts, p, pool, replace(workload, osl=1), kv_dtype)
            unfit += len(backends) * (not whole.fits)
            for backend in backends:
                if not prompt.fits:
                    continue
                times = estimator.engine(EngineSpec(facts, pool.gpu, backend, p, kv_dtype))
                prefills.append(Engine(backend, pool, p, kv_dtype, times, prompt))
                if whole.fits:
                    mains.append(Engine(backend, pool, p, kv_dtype, times, whole))
    return mains, prefills, unfit


def _fit(facts: ModelFacts, p: Parallelism, pool: Pool, workload: Workload, kv_dtype: str) -> Fit:
    return fit(
        facts,
        p,
        vram_bytes=pool.gpu.vram_bytes,
        sequence_tokens=workload.isl + workload.osl,
        prefill_tokens=CHUNK_TOKENS,
        kv_dtype=kv_dtype,
    )


def _surfaces(
    mains: Sequence[Engine],
    prefills: Sequence[Engine],
    workload: Workload,
    facts: ModelFacts,
    *,
    assume_rdma: bool,
) -> Iterable[Surface]:
    for index, engine in enumerate(mains):
        yield agg_surface(index, engine, workload)
    if workload.osl < 2:
        return  # nothing to decode
    for prefill_index, prefill in enumerate(prefills):
        for index, decode in enumerate(mains):
            if (
                prefill.backend == decode.backend
                and prefill.pool == decode.pool
                and can_hand_over(decode.backend, prefill.parallelism, decode.parallelism)
            ):
                crosses = prefill.pool.rdma or assume_rdma
                yield disagg_surface(
                    prefill_index, prefill, index, decode, workload, facts, crosses_nodes=crosses
                )


def _workload(request: v1beta1.DynamoGraphDeploymentRequest) -> Workload:
    asked = request.spec.workload
    default = Workload()
    if asked is None:
        return default
    return Workload(
        isl=asked.isl if asked.isl is not None else default.isl,
        osl=asked.osl if asked.osl is not None else default.osl,
        request_rate=asked.request_rate,
        concurrency=asked.concurrency,
    )


def _sla(request: v1beta1.DynamoGraphDeploymentRequest) -> Sla:
    asked = request.spec.sla
    if asked is None:
        return Sla()
    return Sla(
        ttft_ms=asked.ttft,
        itl_ms=asked.itl,
        e2e_ms=asked.e2e_latency,
        optimize=asked.optimization_type or "throughput",
    )


def _picked_engines(swept: Swept, row: int) -> dict[Role, Engine]:
    main = swept.mains[int(swept.points.main[row])]
    if swept.points.prefill[row] < 0:
        return {"agg": main}
    return {"prefill": swept.prefills[int(swept.points.prefill[row])], "decode": main}


def _step_table(engine: Engine, facts: ModelFacts, workload: Workload) -> StepTable:
    """Wide enough for what a mocker may be asked: twice the workload's lengths, within the model's context."""
    context = min(facts.max_context, 2 * (workload.isl + workload.osl))
    return sample(
        engine.times,
        max_isl=max(context, 2),
        max_batch=engine.max_batch,
        max_context=max(context, 2),
        max_chunk=CHUNK_TOKENS,
    )


def _with_unique_ids(made: dict[int, Candidate]) -> dict[int, Candidate]:
    """Rows of one layout may share a rounded-up batch; later ones get a suffix."""
    seen: dict[str, int] = {}
    unique: dict[int, Candidate] = {}
    for row, candidate in made.items():
        seen[candidate.id] = seen.get(candidate.id, 0) + 1
        number = seen[candidate.id]
        unique[row] = candidate if number == 1 else structs.replace(candidate, id=f"{candidate.id}.{number}")
    return unique


def _has_rdma(inventory: Inventory) -> bool:
    return any(pool.rdma for pool in inventory.pools)


def _set(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _pool(pool: Pool) -> InventoryPool:
    return InventoryPool(
        sku=pool.gpu.sku,
        gpus=pool.gpus,
        gpus_per_node=pool.gpus_per_node,
        nodes=pool.nodes,
        vram_bytes=pool.gpu.vram_bytes,
        rdma=pool.rdma,
        rdma_resource=pool.rdma_resource,
        product=pool.product,
        estimated=pool.gpu.estimated,
    )


def _nothing_fits(inventory: Inventory, facts: ModelFacts, workload: Workload) -> NothingFits:
    """Says of each pool why its widest worker does not hold the model, and what would."""
    lines = []
    for pool in inventory.pools:
        widest = max(parallelisms(facts, pool), key=lambda p: p.gpus, default=Parallelism())
        answer = _fit(facts, widest, pool, workload, default_kv_dtype(facts, pool.gpu.has_fp8))
        lines.append(f"{pool.gpus} x {pool.gpu.sku}: {answer.reason}.")
    tokens = workload.isl + workload.osl
    return NothingFits(
        f"{facts.name} with one request of {tokens:,} tokens does not fit.\n  " + "\n  ".join(lines),
        "Give more or larger GPUs (--hardware), a quantised checkpoint, or a shorter workload.",
    )
