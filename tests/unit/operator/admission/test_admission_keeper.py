"""The keeper of certificates: two replicas, one Secret, and trust before use (WH-05 to WH-07)."""

from __future__ import annotations

import asyncio
import base64
import contextlib

import pytest

from armature.api import crds
from armature.kube.errors import Forbidden, Unavailable
from armature.kube.fake import FakeCluster
from armature.kube.kinds import CRD, MUTATING_WEBHOOKS, SECRET, VALIDATING_WEBHOOKS
from armature.kube.virtual_time import run_in_virtual_time, virtual_now
from armature.operator.admission.bundles import OVERLAP
from armature.operator.admission.certificates import generate, secret_data
from armature.operator.admission.configurations import WebhookOptions, conversion_client, mutating, validating
from armature.operator.admission.keeper import CertificateSettings, Keeper

OPTIONS = WebhookOptions(release="dynamo-operator", service="webhook", namespace="dynamo-system")
SETTINGS = CertificateSettings(
    service="webhook",
    namespace="dynamo-system",
    configurations=("dynamo-operator-validating", "dynamo-operator-mutating"),
    crds=("dynamographdeployments.nvidia.com",),
)
NAME, NAMESPACE = SETTINGS.secret, SETTINGS.namespace


class Replica:
    """installed: what its server was given, with the time in seconds."""

    def __init__(self, cluster, settings=SETTINGS):
        self.installed = []
        self.keeper = Keeper(cluster, settings, self._install, virtual_now)

    def _install(self, pair):
        self.installed.append((asyncio.get_running_loop().time(), pair))

    @property
    def pair(self):
        return self.installed[-1][1]


async def cluster_with_objects():
    cluster = FakeCluster(now=virtual_now)
    await cluster.create(VALIDATING_WEBHOOKS, validating(OPTIONS))
    await cluster.create(MUTATING_WEBHOOKS, mutating(OPTIONS))
    crd = crds.crd("DynamoGraphDeployment", conversion_client(OPTIONS))
    await cluster.create(CRD, crd)
    return cluster


async def bundles(cluster):
    """Every distinct caBundle, as PEM."""
    found = []
    for kind, name in (
        (VALIDATING_WEBHOOKS, "dynamo-operator-validating"),
        (MUTATING_WEBHOOKS, "dynamo-operator-mutating"),
    ):
        webhooks = (await cluster.get(kind, name))["webhooks"]
        found += [webhook["clientConfig"].get("caBundle", "") for webhook in webhooks]
    crd = await cluster.get(CRD, "dynamographdeployments.nvidia.com")
    found.append(crd["spec"]["conversion"]["webhook"]["clientConfig"].get("caBundle", ""))
    return {base64.b64decode(bundle) for bundle in found}


@contextlib.asynccontextmanager
async def running(*replicas):
    tasks = [asyncio.create_task(replica.keeper.run()) for replica in replicas]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def in_virtual_time(test):
    def run(**arguments):
        run_in_virtual_time(test(**arguments))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@in_virtual_time
async def test_a_missing_secret_is_made_trusted_and_served():
    cluster, replica = await cluster_with_objects(), None
    replica = Replica(cluster)
    await replica.keeper.keep()
    secret = await cluster.get(SECRET, NAME, NAMESPACE)
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["data"] == secret_data(replica.pair)
    assert await bundles(cluster) == {replica.pair.authority_pem}


@in_virtual_time
async def test_a_valid_secret_is_reused_and_nothing_is_written_at_rest():
    cluster = await cluster_with_objects()
    first = Replica(cluster)
    await first.keeper.keep()
    before = len(cluster.writes())
    second = Replica(cluster)
    async with running(first, second):
        await asyncio.sleep(3600)
    assert second.installed[0][1] == first.pair
    assert len(first.installed) == len(second.installed) == 1
    assert len(cluster.writes()) == before


@in_virtual_time
async def test_replicas_that_start_together_end_with_one_secret():
    cluster = await cluster_with_objects()
    cluster.latency_s = 0.01
    replicas = [Replica(cluster) for _ in range(4)]
    async with running(*replicas):
        await asyncio.sleep(60)
    assert len(cluster.writes(SECRET)) == 1
    assert {replica.pair for replica in replicas} == {replicas[0].pair}
    assert await bundles(cluster) == {replicas[0].pair.authority_pem}


@in_virtual_time
async def test_a_deleted_secret_is_made_anew_and_both_authorities_hold_meanwhile():
    """WH-07. At no time does a server show a certificate that the API server does not trust."""
    cluster = await cluster_with_objects()
    replicas = [Replica(cluster), Replica(cluster)]
    async with running(*replicas):
        await asyncio.sleep(47)
        old = replicas[0].pair.authority_pem
        await cluster.delete(SECRET, NAME, NAMESPACE)
        seen_both = False
        for _ in range(1500):
            [bundle] = await bundles(cluster) if await _settled(cluster) else [None]
            if bundle is not None:
                seen_both |= bundle.count(b"BEGIN CERTIFICATE") == 2
                assert all(replica.pair.authority_pem in bundle for replica in replicas)
            await asyncio.sleep(0.5)
        new = replicas[0].pair.authority_pem
        assert seen_both
        assert new != old
        assert [len(replica.installed) for replica in replicas] == [2, 2]
        assert replicas[0].pair == replicas[1].pair
        assert await bundles(cluster) == {new}


async def _settled(cluster):
    return len(await bundles(cluster)) == 1


@in_virtual_time
async def test_the_api_server_is_given_time_to_hear_before_a_new_certificate_is_shown():
    cluster = await cluster_with_objects()
    replica = Replica(cluster)
    async with running(replica):
        await asyncio.sleep(40)
        await cluster.delete(SECRET, NAME, NAMESPACE)
        await asyncio.sleep(60)
    [(_, first), (shown_s, second)] = replica.installed
    assert first != second
    patched_s = 60  # the pass after the deletion; the first one, with its own wait, began the count at 5
    assert shown_s >= patched_s + SETTINGS.settle_s


@pytest.mark.parametrize("names", [("other.svc",), None])
def test_a_secret_of_no_use_is_replaced_in_place(names):
    async def scenario():
        cluster = await cluster_with_objects()
        data = secret_data(generate(names, virtual_now())) if names else {"tls.crt": "eA==", "tls.key": ""}
        metadata = {"name": NAME, "namespace": NAMESPACE, "labels": {"kept": "yes"}}
        await cluster.create(
            SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        )
        replicas = [Replica(cluster), Replica(cluster)]
        cluster.latency_s = 0.01
        await asyncio.gather(*(replica.keeper.keep() for replica in replicas))
        secret = await cluster.get(SECRET, NAME, NAMESPACE)
        assert secret["metadata"]["labels"] == {"kept": "yes"}
        assert secret["data"] == secret_data(replicas[0].pair) == secret_data(replicas[1].pair)
        assert len(cluster.writes(SECRET)) == 2

    run_in_virtual_time(scenario())


@in_virtual_time
async def test_an_expiring_certificate_is_renewed():
    from datetime import timedelta

    cluster = await cluster_with_objects()
    life = timedelta(hours=3)
    pair = generate(SETTINGS.names, virtual_now(), life)
    secret = {"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": secret_data(pair)}
    await cluster.create(SECRET, {"apiVersion": "v1", "kind": "Secret", **secret})
    replica = Replica(cluster)
    async with running(replica):
        await asyncio.sleep(3600)
        assert [shown for _, shown in replica.installed] == [pair]
        await asyncio.sleep(3600)
    assert len(replica.installed) == 2
    assert replica.installed[1][0] < life.total_seconds()


@in_virtual_time
async def test_nothing_is_served_that_the_api_server_could_not_be_told_of():
    cluster = await cluster_with_objects()
    cluster.fail(Forbidden("patch: no"), "patch", kind=MUTATING_WEBHOOKS, times=3)
    replica = Replica(cluster)
    async with running(replica):
        await asyncio.sleep(1)
        assert replica.installed == []
        assert replica.keeper.problem.startswith("patch: no")
        await asyncio.sleep(60)
        assert replica.keeper.problem == ""
        cluster.fail(Unavailable("down"), times=20)
        await asyncio.sleep(3600)
    assert len(replica.installed) == 1


@in_virtual_time
async def test_an_operator_without_webhook_objects_serves_all_the_same():
    replica = Replica(FakeCluster(now=virtual_now))
    await replica.keeper.keep()
    assert len(replica.installed) == 1


@pytest.mark.parametrize("mode", ["external", "cert-manager"])
def test_a_secret_that_others_fill_is_read_and_never_written(mode):
    async def scenario():
        cluster = await cluster_with_objects()
        settings = CertificateSettings(service="webhook", namespace=NAMESPACE, mode=mode)
        replica = Replica(cluster, settings)
        written = len(cluster.writes())
        async with running(replica):
            await asyncio.sleep(60)
            assert replica.installed == []
            said = replica.keeper.problem
            assert said.startswith("Secret dynamo-system/webhook-server-cert cannot be used: there is none\n")
            pair = generate(("webhook.dynamo-system.svc",), virtual_now())
            secret = {"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": secret_data(pair)}
            await cluster.create(SECRET, {"apiVersion": "v1", "kind": "Secret", **secret})
            await asyncio.sleep(60)
            assert replica.keeper.problem == ""
            renewed = generate(("webhook.dynamo-system.svc",), virtual_now())
            await cluster.patch(SECRET, NAME, NAMESPACE, {"data": secret_data(renewed)})
            await asyncio.sleep(60)
            await cluster.patch(SECRET, NAME, NAMESPACE, {"data": {"tls.crt": "eA=="}})
            await asyncio.sleep(60)
            assert "is no PEM" in replica.keeper.problem
        assert [shown for _, shown in replica.installed] == [pair, renewed]
        assert len(cluster.writes()) == written + 3  # the test's own

    run_in_virtual_time(scenario())


def test_the_overlap_outlasts_a_pass_of_every_replica():
    assert OVERLAP.total_seconds() > 10 * (SETTINGS.interval_s + SETTINGS.settle_s)
