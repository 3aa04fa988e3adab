"""The Profile: the one versioned artifact that every consumer of a search reads.

The graph builder, the reports, the mockers and (later) the planner and the operator read this and nothing else
of the search. It is JSON, at most 700 kB, and every number in it is finite.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from armature.errors import ArmatureError, InvalidInput, Problem
from armature.model.parallelism import Parallelism
from armature.perf.estimate import Backend, Source
from armature.perf.speculative import Speculation
from armature.perf.steptable import StepTable
from armature.workload.summary import TraceSummary

__all__ = [
    "PROFILE_VERSION",
    "Candidate",
    "Curves",
    "Group",
    "InventoryPool",
    "Margin",
    "ModeContrast",
    "Number",
    "Outcome",
    "Profile",
    "Relaxation",
    "Suggestion",
]

PROFILE_VERSION = 2
Mode = Literal["agg", "disagg"]
Role = Literal["agg", "prefill", "decode"]


class Number(msgspec.Struct, frozen=True):
    """A predicted number with its nominal 80 % band."""

    value: float
    low: float
    high: float


class Group(msgspec.Struct, frozen=True):
    """All workers of one role.

    batch: requests in flight per attention-DP rank at the operating point. max_num_seqs: the engine's limit per
    rank that goes into its flags. chunk_tokens: prefill tokens per step (the engine's max batched tokens).
    kv_room_tokens: tokens of KV cache per rank. weight_bytes_per_gpu, kv_bytes_per_gpu: memory at the
    operating point. pool: which of the profile's inventory pools the workers run on. moe_a2a: how the engine is told
    to send tokens to experts ("deepep"), empty for its default.
    """

    role: Role
    sku: str
    replicas: int
    tp: int
    pp: int
    dp: int
    moe_tp: int
    moe_ep: int
    gpus_per_node: int
    batch: int
    max_num_seqs: int
    chunk_tokens: int
    kv_dtype: str
    kv_room_tokens: int
    weight_bytes_per_gpu: int
    kv_bytes_per_gpu: int
    pool: int = 0
    moe_a2a: str = ""

    @property
    def parallelism(self) -> Parallelism:
        return Parallelism(self.tp, self.pp, self.dp, self.moe_tp, self.moe_ep)

    @property
    def gpus_per_worker(self) -> int:
        return self.tp * self.pp * self.dp

    @property
    def nodes_per_worker(self) -> int:
        return -(-self.gpus_per_worker // self.gpus_per_node)

    @property
    def gpus(self) -> int:
        return self.replicas * self.gpus_per_worker


class Margin(msgspec.Struct, frozen=True):
    """One stated target beside its prediction: `ratio` is predicted / target, so above 1 is missed."""

    name: str
    target: float
    predicted: float
    ratio: float
    met: bool


class Candidate(msgspec.Struct, frozen=True):
    """One layout at its operating point. Latencies are means at that point; `unloaded_*` at an empty server.

    concurrency and request_rate are what the whole layout carries at that point. `tokens_per_s` counts output
    tokens. `front_y`: the other axis of the front beside tokens/s/user: tokens/s per GPU used when a load is asked, per
    GPU of the whole budget (PAR-02) when none is. `carries_load`: whether the asked rate or concurrency is carried
    (true when none was asked). `*_p50_ms`, `*_p95_ms`: half and 95 % of requests are at or below; a request's ITL is
    its mean over all its tokens but the first, as load generators report it. Targets bind the means. capacity: the
    highest request rate (requests/s; a Poisson stream, or a trace's own gaps) at which the layout meets every stated
    target; headroom: capacity over the rate asked, None without one; both for the pick alone.
    several_pools: whether the inventory has more than one, so that words for the layout have to name its SKUs.
    joules_per_token: an upper bound per output token: every GPU at its rated board power, all the time; hosts and
    network are not in it. None where the catalogue has no
    power.
    """

    id: str
    mode: Mode
    backend: Backend
    groups: tuple[Group, ...]
    gpus: int
    concurrency: float
    request_rate: float
    ttft_ms: Number
    itl_ms: Number
    e2e_ms: Number
    unloaded_ttft_ms: float
    unloaded_itl_ms: float
    tokens_per_s: float
    tokens_per_s_per_gpu: float
    tokens_per_s_per_user: float
    meets_sla: bool
    at_risk: bool
    carries_load: bool
    margins: tuple[Margin, ...]
    source: Source
    notes: tuple[str, ...] = ()
    cost_per_million_tokens: float | None = None
    joules_per_token: float | None = None
    front_y: float = 0.0
    several_pools: bool = False
    ttft_p50_ms: Number | None = None
    ttft_p95_ms: Number | None = None
    itl_p50_ms: Number | None = None
    itl_p95_ms: Number | None = None
    capacity: float | None = None
    headroom: float | None = None

    def group(self, role: Role) -> Group | None:
        return next((group for group in self.groups if group.role == role), None)


class Outcome(msgspec.Struct, frozen=True):
    """What the search picks when one thing it was asked is different; fields as in `Candidate`."""

    layout: str
    mode: Mode
    gpus: int
    request_rate: float
    concurrency: float
    ttft_ms: float
    itl_ms: float
    e2e_ms: float
    tokens_per_s: float
    tokens_per_s_per_gpu: float
    meets_sla: bool
    carries_load: bool
    cost_per_million_tokens: float | None = None
    joules_per_token: float | None = None


class Relaxation(msgspec.Struct, frozen=True):
    """What one step buys, or costs: the search run again with one thing different.

    what: a target (`ttft_ms`, `itl_ms`, `e2e_ms`), `gpus` of the pool `sku`, or `load`. to: the new value of it
    (milliseconds, GPUs of the pool, requests/s or requests in flight); change: in shares of the old one, for GPUs the
    difference. relaxes: whether the step asks less or gives more, so that the answer cannot be worse.
    tokens_per_s_gain, e2e_gain, cost_gain (None without prices): shares, above 0 is better; gpus_saved: GPUs. buys:
    whether the answer is better by the rule that chose the pick, by more than 1 %.
    """

    what: str
    sku: str | None
    change: float
    to: float
    relaxes: bool
    buys: bool
    outcome: Outcome
    tokens_per_s_gain: float
    gpus_saved: int
    e2e_gain: float
    cost_gain: float | None
    text: str


class Suggestion(msgspec.Struct, frozen=True):
    """The nearest thing that would meet everything, found and verified by the same search; or that none does.

    what: `gpus` or `sku` (`to` GPUs of `sku`), a target or `targets` (see `sla`), `load` (`to` requests/s or in
    flight), or `targets_and_load`. holds: whether it meets the SLA and carries the load; false where nothing of the
    kind was found, `to` being how far was looked. sla: the targets then asked, in milliseconds. outcome: the search's
    pick for it.
    """

    what: str
    sku: str | None
    to: float
    holds: bool
    sla: dict[str, float]
    outcome: Outcome
    text: str


class ModeContrast(msgspec.Struct, frozen=True):
    """What decides between the best aggregated and the best disaggregated layout: ids, and numbers at their points.

    transfer_ms: moving one prompt's KV cache to decode; transfer_itl_ms: its share of the mean ITL. prefill_busy: share
    of the time that prefill works; prefill_gpus: how many GPUs that is about. interference_itl_ms: what prompts in the
    same steps add to the aggregated mean ITL.
    """

    agg: str
    disagg: str
    transfer_ms: float
    transfer_itl_ms: float
    prefill_busy: float
    prefill_gpus: int
    interference_itl_ms: float


class InventoryPool(msgspec.Struct, frozen=True):
    """A pool of the inventory as the search saw it. link: of the GPUs of a node: `nvlink`, `pcie` or `xgmi`."""

    sku: str
    gpus: int
    gpus_per_node: int
    nodes: int
    vram_bytes: int
    rdma: bool
    rdma_resource: str | None
    product: str | None
    estimated: bool
    link: str | None = None


class Curves(msgspec.Struct, frozen=True):
    """TTFT over ISL, and ITL over context x concurrency (rows: context), of the pick; for the planner."""

    isl: tuple[float, ...]
    ttft_ms: tuple[float, ...]
    context: tuple[float, ...]
    concurrency: tuple[float, ...]
    itl_ms: tuple[tuple[float, ...], ...]


class _Version(msgspec.Struct, frozen=True):
    """What is read first, for fields come and go between versions."""

    version: int


class Profile(msgspec.Struct, frozen=True):
    """Inputs, what was considered, the front, the pick and why, and what later steps need to act on it.

    request: the DynamoGraphDeploymentRequest with its defaults filled, as the document that a user would write, so that
    the graph of any candidate can be built from the profile alone. Empty in a profile that no request led to.
    trace: what the trace of the workload contained, when one was given. means_choice: what would have been picked had
    nothing been known of the load but its mean lengths and its rate; its id may not be among the candidates.
    speculation: how the engines draft, when they do; step tables then hold times per token. estimator: the name of
    where step times came from.
    binding: what keeps the pick from being better: a target, `load`, `memory`, `batch`, `prefill`, `gpus` or `none`
    (see `search/binding.py`). modes: None where only one mode can be. relaxations and suggestions: filled by
    `search.advice.advised`; suggestions only where the pick misses something.
    """

    version: int
    armature: str
    name: str
    model: str
    model_source: str
    model_weight_bytes: int
    model_max_context: int
    backend_asked: str
    workload: dict[str, float]
    sla: dict[str, float | str]
    inventory: tuple[InventoryPool, ...]
    inventory_source: str
    gpus_budget: int
    candidates: tuple[Candidate, ...]
    pareto: tuple[str, ...]
    pick: str
    runner_up: str | None
    reasons: tuple[str, ...]
    considered: dict[str, int]
    notes: tuple[str, ...]
    curves: Curves
    step_tables: dict[str, StepTable]
    request: dict[str, Any] = {}
    binding: str = "none"
    modes: ModeContrast | None = None
    relaxations: tuple[Relaxation, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    trace: TraceSummary | None = None
    means_choice: Candidate | None = None
    speculation: Speculation | None = None
    estimator: str = "auto"

    def pool_of(self, group: Group) -> InventoryPool | None:
        """The pool that a group's workers run on; None when the inventory has no such pool."""
        pool = self.inventory[group.pool] if group.pool < len(self.inventory) else None
        return pool if pool is not None and pool.sku == group.sku else None

    def candidate(self, id: str) -> Candidate:
        """The candidate with this id. Raises ArmatureError when there is none."""
        for candidate in self.candidates:
            if candidate.id == id:
                return candidate
        raise ArmatureError(f"The profile has no candidate {id!r}.", "`armature plan` lists them.")

    @property
    def picked(self) -> Candidate:
        return self.candidate(self.pick)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes) -> Profile:
        """Raises InvalidInput when the data is not a Profile of a version we read."""
        return cls._decoded(data, "the profile")

    @classmethod
    def read(cls, path: Path) -> Profile:
        """Raises InvalidInput when the file is not there or not a Profile of a version we read."""
        try:
            data = path.read_bytes()
        except OSError as error:
            problem = Problem("file", f"cannot be read: {error.strerror}", "name a profile.json of `plan -o`")
            raise InvalidInput(str(path), [problem]) from None
        return cls._decoded(data, str(path))

    @classmethod
    def _decoded(cls, data: bytes, source: str) -> Profile:
        mend = "make one with `armature plan FILE -o DIR`"
        try:
            version = msgspec.json.decode(data, type=_Version).version
            if version == PROFILE_VERSION:
                return msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidInput(source, [Problem("file", f"is not a profile: {error}", mend)]) from None
        rule = f"must be {PROFILE_VERSION}, the version that this Armature reads"
        raise InvalidInput(source, [Problem("version", rule, mend, version)])
