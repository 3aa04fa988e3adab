"""The controller of requests: reads what a pass needs, has `decide` say what is next, and does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from armature.hardware.inventory import Inventory, inventory_for_request
from armature.kube.client import Client
from armature.kube.errors import NotFound
from armature.kube.events import Recorder
from armature.kube.kinds import CONFIG_MAP, DGD, JOB, PVC, Kind, Object, name_of, namespace_of, uid_of
from armature.kube.store import Key, Store
from armature.operator.discovery import Discovery
from armature.operator.names import SELECTED_POINT, output_name
from armature.operator.profiling.answer import Answer, Failure, Outcome, Running, in_one_line
from armature.operator.profiling.pool import Pool
from armature.operator.profiling.report import outcome_of
from armature.operator.request.act import Hands
from armature.operator.request.caches import GRAPH_LABEL, JOB_NAME_LABEL, Caches
from armature.operator.request.decide import decide
from armature.operator.request.pods import stuck_images
from armature.operator.request.results import chosen_point
from armature.operator.request.state import Observed
from armature.operator.settings import Settings

__all__ = ["Requests"]

_NEEDED = ("gpuSku", "vramMb", "numGpusPerNode")
"""With these stated a request needs no discovery (dynamo-operator reference §2)."""


class Requests:
    """`reconcile` is one pass over the request of a key."""

    def __init__(
        self,
        client: Client,
        caches: Caches,
        recorder: Recorder,
        settings: Settings,
        discovery: Discovery,
        pool: Pool,
        now: Callable[[], datetime],
    ) -> None:
        self._client, self._caches, self._settings = client, caches, settings
        self._discovery, self._pool, self._now = discovery, pool, now
        self._hands = Hands(client, caches.requests, recorder, settings, pool)

    async def reconcile(self, key: Key) -> None:
        namespace, name = key
        request = self._caches.requests.store.get(name, namespace)
        if request is None or request["metadata"].get("deletionTimestamp"):
            return
        seen = await self._observed(request)
        found = None if seen is None else decide(seen, inline=self._settings.profiling == "inline")
        if seen is not None and found is not None:
            await self._hands.do(seen, found)

    async def _observed(self, request: Object) -> Observed | None:
        """None while something is worked out that the next pass must know; its end asks for that pass."""
        phase = (request.get("status") or {}).get("phase") or ""
        now = self._now()
        if phase in ("", "Pending"):
            problems = await self._problems(request)
            hardware = None if problems else await self._hardware(request)
            return Observed(request, now, problems=problems, hardware=hardware)
        if phase == "Profiling":
            return await self._profiling(request, now)
        if phase in ("Ready", "Deploying", "Deployed"):
            return await self._deploying(request, now, phase)
        return Observed(request, now)

    # Pending

    async def _problems(self, request: Object) -> tuple[str, ...]:
        """Rules that the spec breaks, and volumes and files that it names and that are not there."""
        from armature.api import check

        _, problems = check(request)
        if problems:
            return tuple(str(problem) for problem in problems)
        spec, namespace = request["spec"], request["metadata"]["namespace"]
        trace = (spec.get("workload") or {}).get("traceRef") or {}
        named: list[tuple[Kind, str | None, str]] = [
            (
                PVC,
                (spec.get("modelCache") or {}).get("pvcName"),
                "model cache PVC {} not found in namespace {}",
            ),
            (PVC, (trace.get("pvc") or {}).get("name"), "trace PVC {} not found in namespace {}"),
            (
                CONFIG_MAP,
                (trace.get("configMap") or {}).get("name"),
                "trace ConfigMap {} not found in namespace {}",
            ),
        ]
        missing = [
            text.format(name, namespace)
            for kind, name, text in named
            if name and await self._get(kind, name, namespace) is None
        ]
        if trace.get("path"):
            missing.append("spec.workload.traceRef.path: cannot be read in a cluster; give configMap or pvc")
        if self._settings.profiling == "inline":
            missing += [
                f"{what} needs a Job, and this operator profiles inline" for what in _beyond_inline(spec)
            ]
        return tuple(missing)

    async def _hardware(self, request: Object) -> Inventory | str | None:
        """The GPUs to plan for; None where the request states them, text where there is neither."""
        from armature.api.parse import parse_tolerant_as
        from armature.api.v1beta1 import DynamoGraphDeploymentRequest
        from armature.errors import ArmatureError

        stated = request["spec"].get("hardware") or {}
        if all(stated.get(field) is not None for field in _NEEDED):
            return None
        if not self._settings.discover:
            return None if stated.get("gpuSku") else "Discovery is switched off in this operator."
        found = await self._discovery.inventory()
        typed = parse_tolerant_as(DynamoGraphDeploymentRequest, request)
        try:
            return inventory_for_request(typed.spec.hardware, found)
        except ArmatureError as error:
            return in_one_line(error.message)

    # Profiling

    async def _profiling(self, request: Object, now: datetime) -> Observed:
        metadata = request["metadata"]
        name, namespace, uid = metadata["name"], metadata["namespace"], metadata["uid"]
        job_name = (request.get("status") or {}).get("profilingJobName")
        if not job_name:
            return await self._inline(request, now)
        job = _ours(await self._fresh(JOB, self._caches.jobs.store, job_name, namespace), uid)
        output = self._caches.outputs.store.get(output_name(name), namespace)
        if job is None or _has_ended(job):  # its last words may be newer than the cache
            output = await self._get(CONFIG_MAP, output_name(name), namespace)
        pods = self._caches.profiler_pods.store.with_label(JOB_NAME_LABEL, job_name, namespace)
        outcome = outcome_of(_ours(output, uid))
        return Observed(request, now, job=job, pods=tuple(pods), outcome=outcome)

    async def _inline(self, request: Object, now: datetime) -> Observed:
        if self._settings.profiling != "inline":
            gone = "it was profiled inline, and this operator has since been told to use Jobs; create the DGDR again"
            return Observed(request, now, outcome=Failure(gone))
        outcome = self._pool.outcome((uid_of(request), "profile"))
        hardware = await self._hardware(request) if outcome is None else None
        return Observed(request, now, outcome=outcome, hardware=hardware)

    # Ready and after

    async def _deploying(self, request: Object, now: datetime, phase: str) -> Observed | None:
        name, namespace = str(request["status"].get("dgdName") or ""), namespace_of(request)
        selected = await self._selected(request) if phase != "Deployed" else None
        if isinstance(selected, Running):
            return None
        graph = None
        if name and phase != "Ready":
            graph = await self._fresh(DGD, self._caches.graphs.store, name, namespace)
        pods = [] if graph is None else self._caches.graph_pods.store.with_label(GRAPH_LABEL, name, namespace)
        return Observed(request, now, graph=graph, stuck=stuck_images(pods), selected=selected)

    async def _selected(self, request: Object) -> Outcome | None:
        """The answer with the point that the user chose; None when none is, or it is the graph's already."""
        wanted = (request["metadata"].get("annotations") or {}).get(SELECTED_POINT, "")
        point = chosen_point(request["status"], wanted)
        if point is None:
            return None
        work = (uid_of(request), f"point {point}")
        known = self._pool.outcome(work)
        if known is not None:
            return known
        if not request["status"].get("profilingJobName"):
            hardware = await self._hardware(request)
            found = hardware if isinstance(hardware, Inventory) else None
            self._pool.answer(work, request, found, point)
            return Running()
        output = await self._get(CONFIG_MAP, output_name(name_of(request)), namespace_of(request))
        answer = outcome_of(_ours(output, uid_of(request)))
        if not isinstance(answer, Answer):
            return Failure(f"ConfigMap {output_name(name_of(request))}, which has the plan, is gone")
        self._pool.point_of(work, answer.profile, point)
        return Running()

    # Reading

    async def _fresh(self, kind: Kind, store: Store, name: str, namespace: str) -> Object | None:
        """From the cache; what is not there is asked for, since it may just have been made."""
        cached = store.get(name, namespace)
        return cached if cached is not None else await self._get(kind, name, namespace)

    async def _get(self, kind: Kind, name: str, namespace: str) -> Object | None:
        try:
            return await self._client.get(kind, name, namespace)
        except NotFound:
            return None


def _beyond_inline(spec: Mapping[str, Any]) -> list[str]:
    """What of a request only a Job can read or do."""
    found = []
    if spec.get("searchStrategy") == "thorough":
        found.append("spec.searchStrategy thorough")
    if (spec.get("workload") or {}).get("traceRef"):
        found.append("spec.workload.traceRef")
    return found


def _ours(obj: Object | None, uid: str) -> Object | None:
    """The object when the request of this uid owns it; one of an earlier request of the same name is not ours."""
    owners = (obj or {}).get("metadata", {}).get("ownerReferences") or ()
    return obj if any(owner.get("uid") == uid for owner in owners) else None


def _has_ended(job: Object) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(c.get("type") in ("Complete", "Failed") and c.get("status") == "True" for c in conditions)
