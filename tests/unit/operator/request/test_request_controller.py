"""A request through its whole life on a cluster in memory, and through every death of its operator."""

from __future__ import annotations

import asyncio

import pytest
from request_cluster import Operator, add_nodes, gpu_node, operating, others, phase_of
from request_world import request

from armature.kube.errors import Conflict, Invalid, ServerTimeout, TooManyRequests
from armature.kube.fake import FakeCluster
from armature.kube.kinds import CONFIG_MAP, DGD, DGDR, EVENT, JOB, ROLE, Kind
from armature.kube.virtual_time import run_in_virtual_time, virtual_now
from armature.operator.settings import Settings


def cluster_with(**spec):
    made = request(**spec)
    del made["metadata"]["uid"], made["metadata"]["generation"]
    return FakeCluster(now=virtual_now), made


async def reach(cluster, phase, patience_s=200.0):
    async with asyncio.timeout(patience_s):
        while await phase_of(cluster) != phase:  # noqa: ASYNC110 - a user watches from outside
            await asyncio.sleep(0.25)


async def events(cluster):
    return sorted(event["reason"] for event in (await cluster.list(EVENT)).items)


@pytest.mark.parametrize("profiling", ["job", "inline"])
@pytest.mark.parametrize("auto", [True, False])
def test_request_reaches_its_end_by_itself(profiling, auto):
    async def main():
        cluster, made = cluster_with(autoApply=auto)
        async with operating(cluster, profiling=profiling):
            await cluster.create(DGDR, made)
            await reach(cluster, "Deployed" if auto else "Ready")
            jobs = (await cluster.list(JOB)).items
            assert len(jobs) == (profiling == "job")
            assert len((await cluster.list(DGD)).items) == auto
            expected = ["Initialized", "SpecGenerated"]
            expected += ["ProfilingJobCreated"] if profiling == "job" else []
            expected += ["DeploymentCreated", "DeploymentReady"] if auto else []
            assert await events(cluster) == sorted(expected)

    run_in_virtual_time(main())


def test_inline_request_that_states_its_gpus_takes_six_writes():
    async def main():
        cluster, made = cluster_with(autoApply=False)
        async with operating(cluster, profiling="inline"):
            await cluster.create(DGDR, made)
            before = len(cluster.writes())
            await reach(cluster, "Ready")
            await asyncio.sleep(120)
            assert len(cluster.writes()) - before == 6

    run_in_virtual_time(main())


def test_at_rest_nothing_is_written_nor_by_an_operator_that_starts_beside_it():
    async def main():
        cluster, made = cluster_with()
        async with operating(cluster):
            await cluster.create(DGDR, made)
            await reach(cluster, "Deployed")
            await asyncio.sleep(5)
            count = len(cluster.writes())
            await asyncio.sleep(900)
            assert len(cluster.writes()) == count
        async with operating(cluster):
            await asyncio.sleep(60)
            assert [call.verb for call in cluster.calls if call.verb in ("create", "apply", "patch")][
                count:
            ] == []
            assert len(cluster.writes()) == count

    run_in_virtual_time(main())


def test_hardware_is_discovered_written_down_and_given_to_the_job():
    async def main():
        cluster, made = cluster_with(hardware={})
        await add_nodes(cluster, *(gpu_node(f"n{number}") for number in range(5)))
        async with operating(cluster):
            await cluster.create(DGDR, made)
            await reach(cluster, "Deployed")
            found = await cluster.get(DGDR, "chat", "ml")
            hardware = found["spec"]["hardware"]
            assert (hardware["gpuSku"], hardware["totalGpus"], hardware["numGpusPerNode"]) == (
                "h200_sxm",
                32,
                8,
            )
            assert found["status"]["observedGeneration"] == found["metadata"]["generation"] == 2
            job = (await cluster.list(JOB)).items[0]
            args = job["spec"]["template"]["spec"]["containers"][0]["args"]
            assert '"totalGpus":32' in args[1]
            assert "--inventory" in args

    run_in_virtual_time(main())


def test_what_the_request_names_and_is_not_there_is_said_at_once():
    async def main():
        workload = {"traceRef": {"configMap": {"name": "load", "key": "a.jsonl"}}}
        cluster, made = cluster_with(modelCache={"pvcName": "models"}, workload=workload)
        async with operating(cluster):
            await cluster.create(DGDR, made)
            await reach(cluster, "Failed")
            conditions = (await cluster.get(DGDR, "chat", "ml"))["status"]["conditions"]
            message = next(c["message"] for c in conditions if c["type"] == "Validation")
            assert message == (
                "model cache PVC models not found in namespace ml\ntrace ConfigMap load not found in namespace ml"
            )

    run_in_virtual_time(main())


def test_no_gpu_anywhere_fails_with_what_was_looked_at():
    async def main():
        cluster, made = cluster_with(hardware={})
        async with operating(cluster):
            await cluster.create(DGDR, made)
            await reach(cluster, "Failed")
            conditions = (await cluster.get(DGDR, "chat", "ml"))["status"]["conditions"]
            assert "The cluster has no nodes." in next(
                c["message"] for c in conditions if c["type"] == "Validation"
            )

    run_in_virtual_time(main())


def test_leftovers_of_an_earlier_request_of_the_name_are_removed_and_not_taken_for_its_own():
    async def main():
        cluster, made = cluster_with()
        owner = {
            "apiVersion": "nvidia.com/v1beta1",
            "kind": "DynamoGraphDeploymentRequest",
            "name": "chat",
            "uid": "old",
        }
        for kind, name, version in (
            (CONFIG_MAP, "dgdr-output-chat", "v1"),
            (JOB, "profile-chat", "batch/v1"),
        ):
            metadata = {"name": name, "namespace": "ml", "ownerReferences": [owner]}
            obj = {"apiVersion": version, "kind": kind.kind, "metadata": metadata}
            if kind is CONFIG_MAP:
                obj["data"] = {"profiler_status": "failed", "profiler_error": "of old"}
            await cluster.create(kind, obj)
        async with operating(cluster):
            await cluster.create(DGDR, made)
            await reach(cluster, "Deployed")
            job = await cluster.get(JOB, "profile-chat", "ml")
            assert job["metadata"]["ownerReferences"][0]["uid"] != "old"

    run_in_virtual_time(main())


def test_graph_the_server_refuses_ends_the_request_with_its_reason():
    async def main():
        cluster, made = cluster_with()
        async with operating(cluster):
            cluster.fail(Invalid("admission webhook denied it", status=422), "create", kind=DGD)
            await cluster.create(DGDR, made)
            await reach(cluster, "Failed")
            conditions = (await cluster.get(DGDR, "chat", "ml"))["status"]["conditions"]
            assert next(c for c in conditions if c["type"] == "Succeeded")["message"] == (
                "Deployment failed: admission webhook denied it"
            )

    run_in_virtual_time(main())


@pytest.mark.parametrize("profiling", ["job", "inline"])
def test_another_point_before_and_after_deployment(profiling):
    async def main():
        cluster, made = cluster_with(autoApply=False)
        select = {"metadata": {"annotations": {"dgdr.nvidia.com/selected-point": "2"}}}
        async with operating(cluster, profiling=profiling):
            await cluster.create(DGDR, made)
            await reach(cluster, "Ready")
            await cluster.patch(DGDR, "chat", "ml", select)
            await asyncio.sleep(5)
            await cluster.patch(DGDR, "chat", "ml", {"spec": {"autoApply": True}})
            await reach(cluster, "Deployed")
            graph = (await cluster.list(DGD)).items[0]
            assert graph["metadata"]["annotations"]["dgdr.nvidia.com/point"] == "disagg-1"
            select["metadata"]["annotations"]["dgdr.nvidia.com/selected-point"] = "1"
            await cluster.patch(DGDR, "chat", "ml", select)
            await asyncio.sleep(5)
            assert await phase_of(cluster) == "Deployed"
            assert "PointRefused" in await events(cluster)

    run_in_virtual_time(main())


async def _lives(cluster, made, profiling, kills):
    """A request's life with an operator that is killed at these writes (counted over all lives), each time with the
    write done or not; everybody else goes on. A new operator starts two seconds later."""
    await cluster.create(DGDR, made)
    user = len(cluster.writes())
    other = asyncio.create_task(others(cluster))
    settings = Settings(image="armature:1", profiling=profiling)
    try:
        for _ in range(len(kills) + 1):
            operator = asyncio.create_task(Operator(cluster, settings).run())
            waiting = asyncio.create_task(reach(cluster, "Deployed", 400))
            await asyncio.wait((operator, waiting), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(10)
            for task in (operator, waiting):
                task.cancel()
            await asyncio.gather(operator, waiting, return_exceptions=True)
    finally:
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
    return user


class DyingCluster(FakeCluster):
    """Kills whoever of the operator makes the n-th write; `after`: once it stands."""

    def __init__(self, at: int, after: bool) -> None:
        super().__init__(now=virtual_now)
        self.at, self.after, self.count = at, after, 0

    async def _object(self, verb, kind, namespace, name, subresource, act):
        ours = verb in ("create", "apply", "patch", "delete") and self._of_operator(
            kind, verb, subresource, name
        )
        if ours:
            self.count += 1
            if self.count == self.at and not self.after:
                raise asyncio.CancelledError
        answer = await super()._object(verb, kind, namespace, name, subresource, act)
        if ours and self.count == self.at and self.after:
            raise asyncio.CancelledError
        return answer

    def _of_operator(self, kind: Kind, verb: str, subresource: str, name: str) -> bool:
        if kind in (JOB, DGD) and subresource == "status":
            return False
        if kind is CONFIG_MAP and verb == "patch":
            return False
        return not (kind is DGDR and verb == "create")


@pytest.mark.parametrize(
    ("profiling", "after"),
    [
        ("inline", True),
        *(
            pytest.param(*both, marks=pytest.mark.slow)
            for both in (("inline", False), ("job", False), ("job", True))
        ),
    ],
)
def test_killed_at_every_write_the_request_still_ends_right(profiling, after):
    async def life(at):
        cluster = DyingCluster(at, after)
        _, made = cluster_with()
        await _lives(cluster, made, profiling, [at])
        assert await phase_of(cluster) == "Deployed", f"killed at write {at}"
        created = [call for call in cluster.writes() if call.verb == "create"]
        assert len([call for call in created if call.kind is JOB]) == (profiling == "job")
        assert len([call for call in created if call.kind is DGD]) == 1
        told = await events(cluster)
        assert len(told) == len(set(told)), told
        wanted = {"Initialized", "SpecGenerated", "DeploymentCreated", "DeploymentReady"}
        assert wanted <= set(told), (at, told)
        if profiling == "job":
            assert len((await cluster.list(ROLE)).items) == 1
        return cluster.count

    total = run_in_virtual_time(life(10_000))
    assert total > 8
    for at in range(1, total + 1):
        run_in_virtual_time(life(at))


@pytest.mark.parametrize(
    "error",
    [
        Conflict("changed", status=409),
        TooManyRequests("slow down", status=429, retry_after_s=2.0),
        ServerTimeout("internal error", status=500),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_each_kind_of_write_refused_once_the_request_still_ends_right(error, after):
    async def main():
        cluster, made = cluster_with()
        await cluster.create(DGDR, made)
        for verb, kind in (
            ("patch", DGDR),
            ("create", JOB),
            ("create", DGD),
            ("create", CONFIG_MAP),
            ("create", EVENT),
        ):
            cluster.fail(error, verb, kind=kind, after=after)
        async with operating(cluster):
            await reach(cluster, "Deployed", 600)
            await asyncio.sleep(5)
            told = await events(cluster)
            assert len(told) == len(set(told))
            assert len([call for call in cluster.writes(JOB) if call.verb == "create"]) == 1

    run_in_virtual_time(main())
