"""What one search is asked, read from the request once: no room below reads the request again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from armature.api import v1beta1
from armature.errors import ArmatureError, InvalidInput, Problem
from armature.hardware.inventory import Inventory
from armature.model.draft import with_draft_layers
from armature.model.facts import ModelFacts
from armature.perf.estimate import Backend
from armature.perf.speculative import DRAFTING, Speculation
from armature.search.space import BACKENDS
from armature.workload.shape import Sla, Workload

if TYPE_CHECKING:  # a reader of files, which a search without one does not need
    from armature.workload.trace import Trace

__all__ = ["Question", "question_of"]


@dataclass(frozen=True, slots=True)
class Question:
    """Model, GPUs, load and targets. `dataclasses.replace` asks a variation of it.

    model: as the request writes it. backends: engines that may be used. assume_rdma: whether nodes of a pool that does
    not say count as linked by RDMA. prices: of one GPU-hour, by SKU. trace: where the workload's requests come from.
    speculation: how engines draft, when they do.
    """

    name: str
    model: str
    facts: ModelFacts
    inventory: Inventory
    workload: Workload = field(default_factory=Workload)
    sla: Sla = field(default_factory=Sla)
    backends: tuple[Backend, ...] = BACKENDS
    assume_rdma: bool = True
    prices: Mapping[str, float] = field(default_factory=dict)
    trace: Trace | None = None
    speculation: Speculation | None = None

    @property
    def stored_facts(self) -> ModelFacts:
        """The facts for memory: with the layers that draft, when they serve."""
        return self.facts if self.speculation is None else with_draft_layers(self.facts)

    def with_means_only(self) -> Question:
        """The same question as if nothing were known of the load but its means."""
        return replace(self, workload=replace(self.workload, requests=None), trace=None)

    @property
    def backend_asked(self) -> str:
        return self.backends[0] if len(self.backends) == 1 else "auto"

    @property
    def loaded(self) -> bool:
        """Whether a load is asked."""
        return self.workload.request_rate is not None or self.workload.concurrency is not None


def question_of(
    request: v1beta1.DynamoGraphDeploymentRequest,
    inventory: Inventory,
    facts: ModelFacts,
    *,
    prices: Mapping[str, float] | None = None,
    trace: Trace | None = None,
) -> Question:
    """The question that a request asks; its defaults are filled. trace: what its `traceRef` refers to, read.

    Requests that the model cannot take are left out of it; InvalidInput when that leaves none.
    """
    if trace is None and request.spec.workload is not None and request.spec.workload.trace_ref is not None:
        raise ArmatureError(
            "The request refers to a trace that was not read.", "Read it first: `read_trace`."
        )
    if trace is not None and facts.max_context > 0:
        trace = trace.within(facts.max_context)
    spec = request.spec
    backends = BACKENDS if spec.backend is None or spec.backend == "auto" else (spec.backend,)
    speculation = _speculation(request)
    if speculation is not None:
        backends = _that_draft(backends, facts, request.metadata.name or "the request")
    return Question(
        name=request.metadata.name,
        model=spec.model,
        facts=facts,
        inventory=inventory,
        workload=_workload(request, trace),
        trace=trace,
        speculation=speculation,
        sla=_sla(request),
        backends=backends,
        assume_rdma=not (spec.hardware and spec.hardware.rdma is False),
        prices=prices or {},
    )


def _workload(request: v1beta1.DynamoGraphDeploymentRequest, trace: Trace | None) -> Workload:
    asked = request.spec.workload
    default = Workload()
    if trace is not None:
        rate, concurrency = (asked.request_rate, asked.concurrency) if asked is not None else (None, None)
        return Workload.of(trace.requests, request_rate=rate, concurrency=concurrency)
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


def _speculation(request: v1beta1.DynamoGraphDeploymentRequest) -> Speculation | None:
    asked = request.spec.features.speculation
    return None if asked is None else Speculation(asked.nextn, asked.acceptance_rate)


def _that_draft(backends: tuple[Backend, ...], facts: ModelFacts, subject: str) -> tuple[Backend, ...]:
    """Those of the backends that draft with this model's layers. Raises InvalidInput when the model has none, or no
    backend that may be used does."""
    path = "spec.features.speculation"
    if not facts.mtp_layers:
        rule = f"{facts.name} has no multi-token-prediction layers to draft with"
        mend = "remove it, or serve a model that has them (DeepSeek-V3 and R1, GLM-4.5, Qwen3-Next)"
        raise InvalidInput(subject, [Problem(path, rule, mend)])
    able = tuple(backend for backend in BACKENDS if facts.architecture in DRAFTING[backend])
    usable = tuple(backend for backend in backends if backend in able)
    if not usable:
        rule = f"{' and '.join(backends)} cannot draft with the layers of a {facts.architecture}"
        mend = f"set spec.backend to {' or '.join(able)}, or remove it" if able else "remove it"
        raise InvalidInput(subject, [Problem(path, rule, mend)])
    return usable
