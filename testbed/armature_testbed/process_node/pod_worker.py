"""Runs one pod: what `lifecycle` says is due is done, what is known is reported, until the pod is gone.

One task a pod, woken by changes of the pod, ends of containers, probes and time. It alone writes the pod's status, and
only when that changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armature.kube.errors import ApiError, Conflict, NotFound
from armature.kube.kinds import POD, Object
from armature.kube.store import version_of
from armature_testbed.process_node import lifecycle, network
from armature_testbed.process_node.assemble import assemble
from armature_testbed.process_node.container_log import ContainerLog, last_words
from armature_testbed.process_node.container_run import ContainerRun
from armature_testbed.process_node.context import NodeContext
from armature_testbed.process_node.downward import ConfigError, all_containers
from armature_testbed.process_node.environment import service_env
from armature_testbed.process_node.images import pull_refusal, rule_of, waiting_for_image
from armature_testbed.process_node.lifecycle import Ended, Record
from armature_testbed.process_node.pod_home import PodHome
from armature_testbed.process_node.probes import probe_of
from armature_testbed.process_node.recovery import is_over, records_found, seconds
from armature_testbed.process_node.runtime import Container, StartError
from armature_testbed.process_node.status import Override, pod_status

__all__ = ["PodWorker"]

_log = logging.getLogger(__name__)
_AGAIN_S = 1.0
_ORPHAN_GRACE_S = 1.0
_TERMINATION_MESSAGE_BYTES = 4096


class PodWorker:
    """One pod on this node. `run` it once; tell it of changes with `update` and `names_changed`."""

    def __init__(self, node: NodeContext, pod: Object) -> None:
        self.pod = pod
        self.node = node
        self.home = PodHome(node, pod)
        self.records = records_found(pod, node.now_s())
        self.runs: dict[str, ContainerRun] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._gone = False
        self._was_over = is_over(pod)  # it ended before the agent's start: only its deletion is left
        self._override: Override | None = None
        self._reported: dict[str, Any] | None = None
        self._start_time_s = seconds((pod.get("status") or {}).get("startTime")) or node.now_s()
        self._killed_why: dict[str, str] = {}

    # What the agent tells

    def update(self, pod: Object | None) -> None:
        """The pod as the API has it now; None once it is gone from there."""
        if pod is None:
            self._gone = True
        elif version_of(pod) > version_of(self.pod):
            self.pod = pod
        self._wake.set()

    async def shut_down(self, grace_s: float) -> None:
        """The agent stops: every container within so many seconds, without a word to the API."""
        end_s = self.node.now_s() + grace_s
        runs = list(self.runs.values())
        for run in runs:
            run.stop(lambda: end_s)
        await asyncio.gather(*(run.ended.wait() for run in runs))

    def names_changed(self) -> None:
        self.home.names_changed(self.pod)

    def log_of(self, container: str, *, previous: bool) -> tuple[Path, ContainerRun | None] | str:
        """(the log's file, the run that still writes it, if any) of the latest run or of the one before; or why there
        is none, in a kubelet's words."""
        shown = f'container "{container}" in pod "{self.pod["metadata"]["name"]}"'
        record = self.records.get(container, Record())
        if container not in {item["name"] for item in all_containers(self.pod)}:
            return f"{shown} is not valid"
        if previous:
            path = self.home.folder.log(container, record.restarts - 1)
            return (path, None) if path.exists() else f"previous terminated {shown} not found"
        path = self.home.folder.log(container, record.restarts)
        if path.exists():
            return path, self.runs.get(container)
        return f"{shown} is waiting to start: {record.reason or 'ContainerCreating'}"

    # Its life

    async def run(self) -> None:
        """Until the pod is deleted, or this task is cancelled: then everything is killed and nothing written."""
        try:
            await self._live()
            await self._terminate()
        finally:
            for run in self.runs.values():
                run.kill()
            await asyncio.shield(self._leave())
            self.home.folder.remove()

    @property
    def _deleting(self) -> bool:
        return self._gone or bool(self.pod["metadata"].get("deletionTimestamp"))

    async def _live(self) -> None:
        while not self._deleting:
            self._wake.clear()
            if self._was_over:
                await self._wake.wait()
                continue
            for name, run in self.runs.items():
                self.records[name] = lifecycle.probed(self.records[name], run.started, run.ready)
            self._judge_deadline()
            step = self._step()
            for name in step.stop:
                self._stop(name)
            for name in step.start:
                await self._start(name)
            written = await self._report()
            if step.start:
                continue
            if not self.runs and (self._override or lifecycle.all_done(self.pod, self.records)):
                await self._leave()
            await self._sleep(None if written else self.node.now_s() + _AGAIN_S, step.wake_at_s)

    def _step(self) -> lifecycle.Step:
        if self._override is not None:
            return lifecycle.Step(stop=tuple(self.runs))
        return lifecycle.next_step(self.pod, self.records, self.node.now_s(), self.node.policy)

    def _judge_deadline(self) -> None:
        due_s = self._deadline_s
        if due_s is not None and self.node.now_s() >= due_s:
            message = "Pod was active on the node longer than the specified deadline"
            self._override = Override("Failed", "DeadlineExceeded", message)
            self._say("Normal", "DeadlineExceeded", message)

    @property
    def _deadline_s(self) -> float | None:
        limit = (self.pod.get("spec") or {}).get("activeDeadlineSeconds")
        if limit is None or self._override or lifecycle.all_done(self.pod, self.records):
            return None
        return self._start_time_s + float(limit)

    async def _sleep(self, *until_s: float | None) -> None:
        """Until something happens, or the first of these times, the deadline or the next refresh has come."""
        times = [at_s for at_s in (*until_s, self._deadline_s, self.home.refresh_at_s) if at_s is not None]
        wait_s = max(0.0, min(times) - self.node.now_s()) if times else None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait_s)
        await self.home.refresh(self.pod)

    # Starting

    async def _start(self, name: str) -> None:
        spec = next(item for item in all_containers(self.pod) if item["name"] == name)
        record, now_s = self.records.get(name, Record()), self.node.now_s()
        image = str(spec.get("image") or "")
        refusal = pull_refusal(image, str(spec.get("imagePullPolicy") or ""), self.node.rules)
        if refusal is not None:
            pulls = record.pulls + 1
            said, delay_s = waiting_for_image(image, refusal, pulls, self.node.policy)
            self._say("Warning", "Failed" if pulls == 1 else "BackOff", said.message)
            self._wait_for(name, record, said.reason, said.message, now_s + delay_s, pulls)
            return
        retry_s = now_s + self.node.policy.config_retry_s
        try:
            await self.home.make(self.pod)
        except ConfigError as error:
            self._say("Warning", "FailedMount", str(error))
            self._wait_for(name, record, "ContainerCreating", str(error), retry_s)
            return
        except (ApiError, StartError, network.NetworkError, OSError) as error:
            self._say("Warning", "FailedCreatePodSandBox", str(error))
            self._wait_for(name, record, "ContainerCreating", str(error), retry_s)
            return
        try:
            await self._begin(spec, record)
        except ConfigError as error:
            self._say("Warning", "Failed", f"Error: {error}")
            self._wait_for(name, record, "CreateContainerConfigError", str(error), retry_s)
        except StartError as error:
            now_s = self.node.now_s()
            begun = lifecycle.begun(record, "", now_s)
            end = Ended(128, "StartError", now_s, now_s, f"failed to start container: {error}")
            self._say("Warning", "Failed", f"Error: {error}")
            self.records[name] = lifecycle.ended(begun, end, self.node.policy)

    async def _begin(self, spec: Mapping[str, Any], record: Record) -> None:
        assert self.home.sandbox is not None
        assert self.home.volumes is not None
        name = str(spec["name"])
        rule = rule_of(str(spec["image"]), self.node.rules)
        for kind in ("startup", "readiness", "liveness"):
            probe_of(spec, kind, self.home.pod_ip)
        metadata = self.pod["metadata"]
        links = (self.pod.get("spec") or {}).get("enableServiceLinks") is not False
        plan = assemble(
            spec,
            self.pod,
            facts=self.home.facts,
            objects=self.home.volumes.objects,
            services=service_env(self.node.services(), str(metadata["namespace"]), links=links),
            image=self.node.image,
            entrypoint=rule.entrypoint if rule else (),
            folder=self.home.folder,
            volumes=self.home.volumes.where,
        )
        number = record.restarts + (1 if record.last is not None else 0)
        self.home.folder.forget_logs(name, number)
        log = ContainerLog(self.home.folder.log(name, number), self.node.now_s)
        container = await Container.start(plan, self.home.sandbox, log)
        self.records[name] = lifecycle.begun(record, container.id, self.node.now_s())
        again = str(number)
        self._say("Normal", "Pulled", f'Container image "{spec["image"]}" already present on machine', again)
        self._say("Normal", "Created", f"Created container: {name}", again)
        self._say("Normal", "Started", f"Started container {name}", again)
        run = ContainerRun(
            spec,
            container,
            self.home.pod_ip,
            now_s=self.node.now_s,
            changed=self._wake.set,
            unwell=lambda why, grace_s: self._unwell(name, why, grace_s),
            say=lambda kind, reason, message: self._say(kind, reason, message, again),
        )
        self.runs[name] = run
        task = asyncio.create_task(self._follow(name, spec, run))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    def _wait_for(
        self, name: str, record: Record, reason: str, message: str, until_s: float, pulls: int = 0
    ) -> None:
        self.records[name] = lifecycle.waiting(record, reason, message, until_s, pulls)

    # Ending

    def _stop(self, name: str, grace_s: float | None = None) -> None:
        run = self.runs.get(name)
        if run is not None:
            end_s = self.node.now_s() + (self._grace_s if grace_s is None else grace_s)
            run.stop(lambda: end_s)

    @property
    def _grace_s(self) -> float:
        value = (self.pod.get("spec") or {}).get("terminationGracePeriodSeconds")
        return 30.0 if value is None else float(value)

    def _unwell(self, name: str, why: str, grace_s: float | None) -> None:
        self._say("Normal", "Killing", f"{why}, will be restarted")
        self._killed_why[name] = why
        self._stop(name, grace_s)

    async def _follow(self, name: str, spec: Mapping[str, Any], run: ContainerRun) -> None:
        code = await run.finish()
        record = self.records[name]
        message = self._last_message(spec, run, code) or self._killed_why.pop(name, "")
        reason = "Completed" if code == 0 else "Error"
        started_s = record.running_since_s or self.node.now_s()
        end = Ended(code, reason, started_s, self.node.now_s(), message, run.container.id)
        self.records[name] = lifecycle.ended(record, end, self.node.policy)
        self.runs.pop(name, None)
        self._wake.set()

    def _last_message(self, spec: Mapping[str, Any], run: ContainerRun, code: int) -> str:
        try:
            path = self.home.folder.termination_message(run.name)
            text = path.read_bytes()[:_TERMINATION_MESSAGE_BYTES].decode("utf-8", "replace")
        except OSError:
            text = ""
        if not text and code and spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            text = last_words(run.container.log.path)
        return text

    async def _terminate(self) -> None:
        """The pod is deleted: its containers end within its grace, sidecars last; then the API forgets it."""
        begun_s = self.node.now_s()

        def deadline_s() -> float:
            if self._gone:
                return begun_s + _ORPHAN_GRACE_S
            grace = self.pod["metadata"].get("deletionGracePeriodSeconds")
            return begun_s + (self._grace_s if grace is None else float(grace))

        init = {item["name"] for item in (self.pod.get("spec") or {}).get("initContainers") or []}
        for names in ([n for n in self.runs if n not in init], [n for n in self.runs if n in init]):
            ending = [self.runs[name] for name in names if name in self.runs]
            for run in ending:
                self._say("Normal", "Killing", f"Stopping container {run.name}")
                run.stop(deadline_s)
            await asyncio.gather(*(run.ended.wait() for run in ending))
        await asyncio.gather(*self._following)
        if not (self._gone or self._was_over):
            await self._report()
        await self._leave()
        while not self._gone:
            metadata = self.pod["metadata"]
            try:
                await self.node.client.delete(
                    POD, metadata["name"], metadata["namespace"], uid=metadata["uid"], grace_s=0
                )
                return
            except (NotFound, Conflict):
                return
            except ApiError as error:
                _log.warning("%s is not deleted yet: %s", metadata["name"], error.message)
                await asyncio.sleep(_AGAIN_S)

    async def _leave(self) -> None:
        await asyncio.gather(*self._following)
        await self.home.leave(self.pod)

    # Telling

    def _say(self, kind: str, reason: str, message: str, again: str = "") -> None:
        self.node.say(self.pod, kind, reason, message, again)

    async def _report(self) -> bool:
        """Writes the status where it has changed; False when that must be tried again."""
        status = pod_status(
            self.pod,
            self.records,
            pod_ip=self.home.pod_ip,
            host_ip=self.node.node.address,
            start_time_s=self._start_time_s,
            now_s=self.node.now_s(),
            policy=self.node.policy,
            override=self._override,
        )
        if status == self._reported:
            return True
        metadata = self.pod["metadata"]
        ours = {item["type"] for item in status["conditions"]}
        others = [c for c in (self.pod.get("status") or {}).get("conditions") or [] if c["type"] not in ours]
        whole = {**status, "conditions": [*status["conditions"], *others]}
        patch = {"metadata": {"uid": metadata["uid"]}, "status": whole}
        try:
            answer = await self.node.client.patch(
                POD, metadata["name"], metadata["namespace"], patch, subresource="status"
            )
        except (NotFound, Conflict):
            return True  # the watch will say what became of it
        except ApiError as error:
            _log.warning("status of %s is not written yet: %s", metadata["name"], error.message)
            return False
        if version_of(answer) > version_of(self.pod):
            self.pod = answer
        self._reported = status
        return True
