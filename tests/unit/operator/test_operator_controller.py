"""The controller loop: what it hears becomes passes, what a pass says becomes the next one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random

import pytest
from prometheus_client import CollectorRegistry

from armature.errors import ArmatureError
from armature.kube.errors import Invalid, TooManyRequests
from armature.kube.fake import FakeCluster
from armature.kube.kinds import CONFIG_MAP, DGDR, JOB
from armature.kube.reflector import Reflector
from armature.kube.virtual_time import run_in_virtual_time
from armature.operator.runtime.controller import Controller, Outcome, Watch
from armature.operator.runtime.mapping import itself, labelled, owners
from armature.operator.runtime.metrics import ReconcileMetrics


def dgdr(name, **spec):
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": {"model": "m", **spec}}


@contextlib.asynccontextmanager
async def running(cluster, reconcile, **options):
    """A controller of DGDRs that also hears the Jobs they own and the ConfigMaps that name them."""
    requests, jobs, maps = (Reflector(cluster, kind) for kind in (DGDR, JOB, CONFIG_MAP))
    registry = CollectorRegistry()
    controller = Controller(
        "DynamoGraphDeploymentRequest",
        reconcile,
        [
            Watch(requests, itself),
            Watch(jobs, owners(DGDR)),
            Watch(maps, labelled("dgdr.nvidia.com/name", "dgdr.nvidia.com/namespace")),
        ],
        metrics=ReconcileMetrics(registry),
        rng=random.Random(0),
        **options,
    )
    tasks = [asyncio.create_task(reflector.run()) for reflector in (requests, jobs, maps)]
    for reflector in (requests, jobs, maps):
        await reflector.wait_synced()
    controller.registry = registry
    tasks.append(asyncio.create_task(controller.run()))
    try:
        yield controller
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_it_begins_with_everything_there_is_and_goes_on_with_what_changes():
    async def scenario():
        cluster, seen = FakeCluster(), []

        async def reconcile(key):
            seen.append(key)

        await cluster.create(DGDR, dgdr("a"))
        async with running(cluster, reconcile):
            await asyncio.sleep(1)
            assert seen == [("ns", "a")]
            made = await cluster.create(DGDR, dgdr("b"))
            await asyncio.sleep(1)
            assert seen.count(("ns", "b")) == 1
            owner = {
                "apiVersion": "nvidia.com/v1alpha1",
                "kind": DGDR.kind,
                "name": "b",
                "uid": made["metadata"]["uid"],
            }
            await cluster.create(
                JOB, {"metadata": {"name": "j", "namespace": "ns", "ownerReferences": [owner]}}
            )
            await asyncio.sleep(1)
            assert seen.count(("ns", "b")) == 2
            labels = {"dgdr.nvidia.com/name": "a", "dgdr.nvidia.com/namespace": "ns"}
            await cluster.create(
                CONFIG_MAP, {"metadata": {"name": "c", "namespace": "other", "labels": labels}}
            )
            await asyncio.sleep(1)
            assert seen.count(("ns", "a")) == 2
            await cluster.delete(DGDR, "a", "ns")
            await asyncio.sleep(1)
            assert seen.count(("ns", "a")) == 3

    run_in_virtual_time(scenario())


def test_a_pass_says_when_to_look_again():
    async def scenario():
        cluster, times = FakeCluster(), []

        async def reconcile(key):
            times.append(asyncio.get_running_loop().time())
            return Outcome(requeue_after_s=60) if len(times) < 3 else None

        await cluster.create(DGDR, dgdr("a"))
        async with running(cluster, reconcile) as controller:
            await asyncio.sleep(1000)
            assert [round(later - times[0]) for later in times] == [0, 60, 120]
            labels = {"resource_type": "DynamoGraphDeploymentRequest", "namespace": "ns"}
            total = controller.registry.get_sample_value
            assert total("dynamo_operator_reconcile_total", labels | {"result": "requeue"}) == 2
            assert total("dynamo_operator_reconcile_total", labels | {"result": "success"}) == 1
            assert (
                total("dynamo_operator_reconcile_duration_seconds_count", labels | {"result": "success"}) == 1
            )

    run_in_virtual_time(scenario())


@pytest.mark.parametrize(
    ("error", "first_s", "kind"),
    [
        (ArmatureError("no"), 0.1, "internal"),
        (ZeroDivisionError(), 0.1, "internal"),
        (TooManyRequests("slow down", retry_after_s=7), 7, "rate_limited"),
        (Invalid("never"), 60, "validation"),
        (TimeoutError(), 0.1, "timeout"),
    ],
)
def test_a_failed_pass_is_tried_again_later_each_time_and_counted_by_its_kind(error, first_s, kind, caplog):
    caplog.set_level(logging.CRITICAL)

    async def scenario():
        cluster, times = FakeCluster(), []

        async def reconcile(key):
            times.append(asyncio.get_running_loop().time())
            if len(times) < 8:
                raise error

        await cluster.create(DGDR, dgdr("a"))
        async with running(cluster, reconcile) as controller:
            await asyncio.sleep(4000)
            assert len(times) == 8
            waits = [later - earlier for earlier, later in itertools.pairwise(times)]
            assert all(
                0.75 * max(first_s, 0.1 * 2**n) <= w <= 1.26 * max(first_s, 0.1 * 2**n)
                for n, w in enumerate(waits)
            )
            labels = {"resource_type": "DynamoGraphDeploymentRequest", "namespace": "ns"}
            sample = controller.registry.get_sample_value
            assert sample("dynamo_operator_reconcile_errors_total", labels | {"error_type": kind}) == 7
            assert sample("dynamo_operator_reconcile_total", labels | {"result": "error"}) == 7

    run_in_virtual_time(scenario())


def test_a_pass_that_hangs_is_ended_and_the_others_go_on():
    async def scenario():
        cluster, seen = FakeCluster(), []

        async def reconcile(key):
            seen.append(key)
            if key[1] == "hangs":
                await asyncio.Event().wait()

        for name in ("hangs", "a", "b"):
            await cluster.create(DGDR, dgdr(name))
        async with running(cluster, reconcile, pass_timeout_s=30):
            await asyncio.sleep(10)
            assert sorted(name for _, name in seen) == ["a", "b", "hangs"]
            await asyncio.sleep(50)
            assert seen.count(("ns", "hangs")) == 2

    run_in_virtual_time(scenario())


def test_never_two_passes_on_one_key_and_never_more_than_the_workers():
    async def scenario():
        cluster, running_now, most = FakeCluster(), [], [0]

        async def reconcile(key):
            assert key not in running_now
            running_now.append(key)
            most[0] = max(most[0], len(running_now))
            await asyncio.sleep(1)
            running_now.remove(key)

        for n in range(20):
            await cluster.create(DGDR, dgdr(f"n{n}"))
        async with running(cluster, reconcile, workers=4) as controller:
            for _ in range(30):
                await asyncio.sleep(0.3)
                controller.add(("ns", "n1"))
            assert most == [4]

    run_in_virtual_time(scenario())


def test_draining_lets_passes_end_and_begins_no_other():
    async def scenario():
        cluster, ended = FakeCluster(), []

        async def reconcile(key):
            await asyncio.sleep(5)
            ended.append(key)

        for name in ("a", "b", "c"):
            await cluster.create(DGDR, dgdr(name))
        async with running(cluster, reconcile, workers=2) as controller:
            await asyncio.sleep(1)
            controller.drain()
            await asyncio.sleep(100)
            assert len(ended) == 2

    run_in_virtual_time(scenario())


def test_cancelling_ends_passes_where_they_are():
    async def scenario():
        cluster, ended = FakeCluster(), []

        async def reconcile(key):
            try:
                await asyncio.sleep(5)
            finally:
                ended.append(asyncio.get_running_loop().time())

        await cluster.create(DGDR, dgdr("a"))
        async with running(cluster, reconcile):
            await asyncio.sleep(1)
        assert ended == [1]

    run_in_virtual_time(scenario())
