"""What keeps a wanted layout from existing: the first rule that forbids the one that comes closest to existing.

Rules, in the order in which a layout meets them; a wanted layout that is said only in part may be many, and the answer
is of the one that meets its rule last:

    mode        nothing to decode            sku        not among the GPUs there are
    shape       degrees that contradict (ENUM-06)       heads, kv_heads, mlp, experts, layers: they do not divide
    degrees     not a power of two           engine     the backend has no such parallelism
    ENUM-01..   the architecture's rule      gpus       more GPUs than there are
    node        wider than its nodes allow (ENUM-04)    reach      tried only where narrower workers hold no model
    memory      does not fit                 rdma       crosses a node without RDMA
    counts      more workers than its nodes can place   grid       counts above 64 are looked at about 5 % apart
    hand_over   the engines cannot pass on the KV cache
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

from armature.hardware.inventory import Pool
from armature.model.facts import ModelFacts
from armature.model.parallelism import Parallelism
from armature.model.splits import split_problem
from armature.perf.estimate import Backend
from armature.search.engines import Engines, worker_fit
from armature.search.explain import amount
from armature.search.operating import Engine
from armature.search.placement import pair_counts, worker_counts, worker_slots
from armature.search.question import Question
from armature.search.selector import Selector, Side
from armature.search.space import MAX_MOE_NODES, can_hand_over, parallelisms, reaches, runs

__all__ = ["Barrier", "Place", "barrier"]

WIDEST = 64
"""Degrees that a wanted layout leaves open are tried up to here."""
_AMPLE_NODE, _AMPLE_NODES = 256, 1024


@dataclass(frozen=True, slots=True)
class Barrier:
    """What forbids a layout. stage: how far it came; rule: as in the module's docstring; text: a sentence without its
    full stop. bytes_short: of one GPU's memory."""

    stage: int
    rule: str
    text: str
    bytes_short: int = 0


def barrier(selector: Selector, question: Question, engines: Engines) -> Barrier:
    """Why none of the wanted layouts exists; only to be asked when none does."""
    found: list[Barrier] = []
    if selector.agg is not None:
        found.append(_agg_barrier(selector.agg, selector, question, engines))
    if selector.prefill is not None and selector.decode is not None:
        found.append(_disagg_barrier(selector.prefill, selector.decode, selector, question, engines))
    return _farthest(found)


@dataclass(frozen=True)
class Place:
    """A pool as the search looks at it for a question."""

    question: Question
    pool: Pool

    @cached_property
    def reaches(self) -> list[frozenset[Parallelism]]:
        """Every parallelism that the pool could place, in sets that reach ever further."""
        return [frozenset(shapes) for shapes in reaches(self.question.facts, self.pool)]

    @cached_property
    def tried(self) -> frozenset[Parallelism]:
        """Those that are looked at: the sets up to the first in which one holds the model."""
        found: frozenset[Parallelism] = frozenset()
        for shapes in self.reaches:
            found |= shapes
            if any(worker_fit(self.question, shape, self.pool).fits for shape in shapes):
                break
        return found

    @cached_property
    def node_holds_it(self) -> bool:
        """Whether a worker within one node holds the model."""
        within = (shape for shape in self.tried if shape.gpus <= self.pool.gpus_per_node)
        return any(worker_fit(self.question, shape, self.pool).fits for shape in within)

    @cached_property
    def anywhere(self) -> frozenset[Parallelism]:
        """What the usual limits allow where nodes are as large and as many as one likes."""
        gpus = _AMPLE_NODE * _AMPLE_NODES
        ample = replace(self.pool, gpus=gpus, gpus_per_node=_AMPLE_NODE, nodes=_AMPLE_NODES)
        return frozenset(parallelisms(self.question.facts, ample))

    def barrier(
        self, p: Parallelism, backends: Sequence[Backend], *, prompts_only: bool = False
    ) -> Barrier | None:
        """Why no engine of `backends` is such a worker here; None when one is."""
        pool, facts, name = self.pool, self.question.facts, self.question.facts.name
        if facts.is_moe and p.tp * p.dp != p.moe_tp * p.moe_ep:
            text = f"tp x dp is {p.tp * p.dp}, moe_tp x moe_ep {p.moe_tp * p.moe_ep}: both are its GPUs (ENUM-06)"
            return Barrier(1, "shape", text)
        if problem := split_problem(facts, p):
            return Barrier(2, problem[0], f"{name} does not split so: {problem[1]}")
        if not any(p in shapes for shapes in self.reaches):
            return self._outside(p)
        if not any(runs(backend, p) for backend in backends):
            text = f"{' and '.join(backends)} cannot run {p.label}: {_engine_rule(backends)}"
            return Barrier(4, "engine", text)
        fitted = worker_fit(self.question, p, pool, prompts_only=prompts_only)
        if not fitted.fits:
            short = fitted.lacking_bytes_per_gpu
            text = f"{p.label} does not fit: each {pool.gpu.sku} is {short:,} bytes ({amount(short / 1e9)} GB) short"
            return Barrier(7, "memory", f"{text}; {fitted.reason.partition(': ')[2]}", short)
        if p not in self.tried:
            text = f"{p.label} is wider than is tried where narrower workers hold {name}"
            return Barrier(8, "reach", text)
        crosses = p.gpus > pool.gpus_per_node and not (pool.rdma or self.question.assume_rdma)
        if crosses and self.node_holds_it:
            text = f"{p.label} crosses nodes of {pool.gpus_per_node} {pool.gpu.sku} without RDMA, and one holds {name}"
            return Barrier(9, "rdma", text)
        return None

    def _outside(self, p: Parallelism) -> Barrier:
        """Why a split that the model's shape allows is none of those that are tried in this pool."""
        facts, pool, node = self.question.facts, self.pool, self.pool.gpus_per_node
        if p not in self.anywhere:
            return Barrier(3, *_architecture(facts, p))
        if p.gpus > pool.gpus:
            return Barrier(5, "gpus", f"{p.label} needs {p.gpus} GPUs; there are {pool.gpus} {pool.gpu.sku}")
        if p.gpus > node and p.gpus % node:
            text = f"{p.label} spans nodes, and its {p.gpus} GPUs are no whole nodes of {node}"
            return Barrier(6, "node", text)
        if p.gpus > node and not worker_slots(pool).workers(p.gpus):
            text = f"{p.label} needs {p.gpus // node} whole nodes of {node} GPUs; there are {worker_slots(pool).full}"
            return Barrier(5, "gpus", text)
        if facts.is_moe and p.gpus <= MAX_MOE_NODES * node:
            text = f"{p.label} splits by tensor across nodes of {node} GPUs, which is tried within one"
        else:
            limit = f"at most {MAX_MOE_NODES} nodes" if facts.is_moe else "one node"
            text = f"{p.label} needs {p.gpus} GPUs, and a worker spans {limit} of {node} (ENUM-04)"
        return Barrier(6, "node", text)


def _architecture(facts: ModelFacts, p: Parallelism) -> tuple[str, str]:
    """(rule, text) for a split that no pool makes possible."""
    odd = [f"{name} {n}" for name, n in _degrees(p).items() if n & (n - 1)]
    if odd:
        return "degrees", f"{' and '.join(odd)}: degrees are powers of two"
    if not facts.is_moe and p.dp > 1:
        text = "a dense model runs TP and PP (ENUM-03); attention-DP of it would be replicas that wait for each other"
        return "ENUM-03", text
    if not facts.is_moe:
        return "ENUM-03", f"{p.label} is wider than is tried: up to 4 pipeline stages in a node"
    if p.pp > 1:
        return "ENUM-02", "mixtures of experts are spread by TP, TEP and DEP, not by pipeline stages"
    if facts.attention.kind == "mla" and p.dp == p.moe_ep == 1:
        return (
            "ENUM-01",
            "a mixture of experts with MLA runs TEP and DEP, not plain TP: TP would repeat its KV cache",
        )
    return (
        "ENUM-02",
        f"{p.label} mixes TP and DP of the attention with TP and EP of the experts, which is not tried",
    )


def _engine_rule(backends: Sequence[Backend]) -> str:
    rules = {
        "vllm": "vllm splits experts by expert over all ranks, or not at all",
        "trtllm": "trtllm's attention-DP covers all ranks, or none",
        "sglang": "",
    }
    return "; ".join(rules[backend] for backend in backends if rules[backend])


def _degrees(p: Parallelism) -> dict[str, int]:
    return {"tp": p.tp, "pp": p.pp, "dp": p.dp, "moe_tp": p.moe_tp, "moe_ep": p.moe_ep}


def _agg_barrier(side: Side, selector: Selector, question: Question, engines: Engines) -> Barrier:
    there = [e for e in engines.mains if _is(e, selector, side)]
    if not there:
        return _no_worker(side, selector, question, prompts_only=False)
    return _farthest([_count_barrier(engine, side.replicas or 1) for engine in there])


def _disagg_barrier(
    prefill: Side, decode: Side, selector: Selector, question: Question, engines: Engines
) -> Barrier:
    if question.workload.osl < 2:
        return Barrier(0, "mode", f"with {question.workload.osl} output token there is nothing to decode")
    prefills = [e for e in engines.prefills if _is(e, selector, prefill)]
    decodes = [e for e in engines.mains if _is(e, selector, decode)]
    if not prefills:
        return _no_worker(prefill, selector, question, prompts_only=True)
    if not decodes:
        return _no_worker(decode, selector, question, prompts_only=False)
    pairs = [
        _pair_barrier(a, b, prefill.replicas, decode.replicas, question)
        for a, b in product(prefills, decodes)
        if a.backend == b.backend
    ]
    if not pairs:
        return Barrier(4, "engine", "no one backend runs both its prefill and its decode workers")
    return _farthest(pairs)


def _is(engine: Engine, selector: Selector, side: Side) -> bool:
    return selector.backend in (None, engine.backend) and side.admits(engine.parallelism, engine.pool.gpu.sku)


def _no_worker(side: Side, selector: Selector, question: Question, *, prompts_only: bool) -> Barrier:
    """Why there is no engine like that."""
    pools = [pool for pool in question.inventory.pools if side.sku in (None, pool.gpu.sku)]
    if not pools:
        have = ", ".join(f"{pool.gpus} {pool.gpu.sku}" for pool in question.inventory.pools)
        return Barrier(0, "sku", f"there is no {side.sku} among the GPUs: {have}")
    backends = question.backends if selector.backend is None else (selector.backend,)
    shapes = list(_shapes(question.facts, side))
    if not shapes:
        if not question.facts.is_moe:
            return Barrier(1, "experts", f"{question.facts.name} has no experts to split")
        said = ", ".join(f"{name} {value}" for name, value in side.degrees.items())
        return Barrier(1, "shape", f"{said}: tp x dp and moe_tp x moe_ep are both its GPUs (ENUM-06)")
    found = [
        (wall, -p.gpus, -p.pp)
        for place in (Place(question, pool) for pool in pools)
        for p in shapes
        if (wall := place.barrier(p, backends, prompts_only=prompts_only)) is not None
    ]
    if not found:
        return Barrier(0, "search", "the search does not try it")
    return max(found, key=lambda item: (item[0].stage, *item[1:]))[0]


def _shapes(facts: ModelFacts, side: Side) -> Iterator[Parallelism]:
    """Every parallelism that a side may mean; what it leaves open is a power of two, or what makes up the width."""
    said = side.degrees
    powers = [1 << n for n in range(WIDEST.bit_length())]
    widths = sorted({*powers, *said.values()})
    tps, dps = ([said[name]] if name in said else widths for name in ("tp", "dp"))
    pps = [said["pp"]] if "pp" in said else powers[:3]
    if not facts.is_moe:
        if max(said.get("moe_tp", 1), said.get("moe_ep", 1)) == 1:
            yield from (Parallelism(tp, pp, dp) for tp, pp, dp in product(tps, pps, dps))
        return
    for tp, pp, dp in product(tps, pps, dps):
        width = tp * dp
        for moe_tp in [said["moe_tp"]] if "moe_tp" in said else sorted({*powers, width}):
            if width % moe_tp == 0 and said.get("moe_ep", width // moe_tp) == width // moe_tp:
                yield Parallelism(tp, pp, dp, moe_tp, width // moe_tp)


def _count_barrier(engine: Engine, replicas: int) -> Barrier:
    most = worker_slots(engine.pool).workers(engine.gpus)
    what = f"{replicas} x {engine.parallelism.label}"
    if replicas > most:
        return _too_many(what, replicas * engine.gpus, [engine.pool])
    return _off_grid(what, replicas, engine)


def _pair_barrier(
    prefill: Engine, decode: Engine, prefills: int | None, decodes: int | None, question: Question
) -> Barrier:
    backend = decode.backend
    names = f"prefill {prefill.parallelism.label}, decode {decode.parallelism.label}"
    if prefill.kv_dtype != decode.kv_dtype:
        text = f"prefill on {prefill.pool.gpu.sku} keeps its KV cache in {prefill.kv_dtype}, decode on "
        return Barrier(
            11, "hand_over", f"{text}{decode.pool.gpu.sku} in {decode.kv_dtype}: it cannot be handed over"
        )
    if not can_hand_over(backend, prefill.parallelism, decode.parallelism):
        why = {
            "vllm": "its connector moves no KV cache from or to a pipeline",
            "sglang": "it decodes in one stage or in as many as it prefills",
        }[backend]
        return Barrier(11, "hand_over", f"{backend} cannot hand over from {names}: {why}")
    shared = prefill.pool == decode.pool
    counts = pair_counts(
        worker_slots(prefill.pool), prefill.gpus, worker_slots(decode.pool), decode.gpus, shared=shared
    )
    wanted = (counts.prefill == (prefills or counts.prefill)) & (counts.decode == (decodes or counts.decode))
    p, d = prefills or 1, decodes or 1
    what = f"{p} x prefill {prefill.parallelism.label} and {d} x decode {decode.parallelism.label}"
    if not wanted.any():
        for engine, count in ((prefill, p), (decode, d)):
            if count > 64 and count <= worker_slots(engine.pool).workers(engine.gpus):
                return _off_grid(f"{count} x {engine.parallelism.label}", count, engine)
        pools = [prefill.pool] if shared else [prefill.pool, decode.pool]
        return _too_many(what, p * prefill.gpus + d * decode.gpus, pools)
    linked = question.assume_rdma or (prefill.pool.rdma and decode.pool.rdma)
    if not linked and not (wanted & counts.in_node).any():
        where = f"a node of {prefill.pool.gpus_per_node}" if shared else "the node of either SKU"
        return Barrier(
            15, "rdma", f"{what} need more than {where}, and KV caches do not cross nodes without RDMA"
        )
    return Barrier(0, "search", "the search does not try it")


def _too_many(what: str, gpus: int, pools: Sequence[Pool]) -> Barrier:
    have = " and ".join(f"{pool.gpus} {pool.gpu.sku}" for pool in pools)
    if gpus > sum(pool.gpus for pool in pools):
        return Barrier(12, "gpus", f"{what} need {gpus} GPUs; there are {have}")
    nodes = " and ".join(f"nodes of {pool.gpus_per_node}" for pool in pools)
    return Barrier(13, "counts", f"{what} need {gpus} GPUs, and {have} on {nodes} cannot place them")


def _off_grid(what: str, count: int, engine: Engine) -> Barrier:
    looked = worker_counts(worker_slots(engine.pool), engine.gpus)
    below, above = looked[looked < count].max(initial=1), looked[looked > count].min(initial=looked.max())
    text = f"{what} is between the counts that are looked at, {below} and {above}: above 64 they are about 5 % apart"
    return Barrier(14, "grid", text)


def _farthest(found: Sequence[Barrier]) -> Barrier:
    return max(found, key=lambda wall: wall.stage)
