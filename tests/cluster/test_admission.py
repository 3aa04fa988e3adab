"""Admission behind a real API server: what kubectl is told, and what holds while certificates change or nobody answers.

The server runs in the test's own process; webhooks and conversion call it by URL (issue 5 §5, WH-01 to WH-10).
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
from datetime import UTC, datetime

import pytest
import yaml
from prometheus_client import CollectorRegistry

from armature.api.crds import all_crds, crd
from armature.errors import ArmatureError
from armature.kube.connect import connect
from armature.operator.admission.configurations import (
    WebhookOptions,
    configuration_names,
    conversion_client,
    mutating,
    validating,
)
from armature.operator.admission.keeper import CertificateSettings
from armature.operator.admission.policy import Policy
from armature.operator.admission.service import Admission

HOME = "admission-system"
REQUEST_CRD = "dynamographdeploymentrequests.nvidia.com"
KIND = "DynamoGraphDeploymentRequest"
FORBIDDEN = (
    'updates are forbidden while the resource is in phase "{phase}"; '
    "delete and recreate the resource to change its spec"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Operator:
    """The admission part of an operator, in a thread: `start` returns when it serves."""

    def __init__(self, kubeconfig, port, settings):
        self._kubeconfig, self._port, self._settings = kubeconfig, port, settings
        self._thread = None

    def start(self):
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(started),))
        self._thread.start()
        assert started.wait(30)

    async def _run(self, started):
        client = connect(str(self._kubeconfig))
        self.registry = CollectorRegistry()
        self.admission = Admission(
            client,
            self._settings,
            Policy(origin_version="1.2.0"),
            registry=self.registry,
            now=lambda: datetime.now(UTC),
            port=self._port,
        )
        running = asyncio.create_task(self.admission.run())
        await asyncio.wait_for(self.admission.server.wait_ready(), 25)
        started.set()
        await running
        await client.close()

    def stop(self):
        if self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.admission.stop)
            self._thread.join(30)
        self._thread = None


class Cluster:
    def __init__(self, testbed, operator, options):
        self.testbed, self.operator, self.options = testbed, operator, options

    def apply(self, *objects, namespace=""):
        where = [f"--namespace={namespace}"] if namespace else []
        text = yaml.safe_dump_all(objects)
        return self.testbed.kubectl(
            "apply", "--server-side", "--force-conflicts", "--filename=-", *where, stdin=text
        )

    def policy(self, failure_policy):
        """Sets it in place: the bundles stay."""
        names = configuration_names(self.options.release)
        for kind, name in zip(
            ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"), names, strict=True
        ):
            hooks = self.testbed.get(kind, name)["webhooks"]
            patch = [
                {"op": "replace", "path": f"/webhooks/{n}/failurePolicy", "value": failure_policy}
                for n in range(len(hooks))
            ]
            self.testbed.kubectl("patch", kind, name, "--type=json", f"--patch={json.dumps(patch)}")

    def secret(self):
        return self.testbed.get("secret", "webhook-server-cert", f"--namespace={HOME}")


@pytest.fixture(scope="module")
def cluster(testbed):
    port = free_port()
    options = WebhookOptions(
        release="admission-test", service="webhook", namespace=HOME, url=f"https://127.0.0.1:{port}"
    )
    crds = all_crds(conversion_client(options))
    hooked = tuple(
        one["metadata"]["name"] for one in crds if one["spec"]["conversion"]["strategy"] == "Webhook"
    )
    settings = CertificateSettings(
        service="webhook",
        namespace=HOME,
        also=("127.0.0.1",),
        configurations=configuration_names("admission-test"),
        crds=hooked,
        interval_s=1,
        retry_s=0.2,
        settle_s=2,
    )
    operator = Operator(testbed.kubeconfig, port, settings)
    here = Cluster(testbed, operator, options)
    here.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}})
    here.apply(*crds, validating(options), mutating(options))
    operator.start()
    for one in crds:
        testbed.kubectl(
            "wait", "--for=condition=Established", f"crd/{one['metadata']['name']}", "--timeout=30s"
        )
    time.sleep(1)  # the API server hears of the bundles
    yield here
    for kind, name in zip(
        ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"),
        configuration_names("admission-test"),
        strict=True,
    ):
        testbed.kubectl("delete", kind, name)
    # While there are objects in the other version, a CRD goes only with somebody there to convert them.
    testbed.kubectl("delete", "crd", *(one["metadata"]["name"] for one in crds))
    operator.stop()
    testbed.kubectl("delete", "namespace", HOME)


def request(name, version="v1beta1", **spec):
    return {
        "apiVersion": f"nvidia.com/{version}",
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {"model": "Qwen/Qwen3-0.6B", **spec},
    }


def refusal(cluster, *objects, namespace):
    with pytest.raises(ArmatureError) as caught:
        cluster.apply(*objects, namespace=namespace)
    return str(caught.value)


def set_phase(cluster, namespace, name, phase):
    patch = json.dumps({"status": {"phase": phase}})
    cluster.testbed.kubectl(
        "patch",
        "dgdr",
        name,
        f"--namespace={namespace}",
        "--subresource=status",
        "--type=merge",
        f"--patch={patch}",
    )


def change(cluster, namespace, name, patch, kind="dgdr"):
    cluster.testbed.kubectl(
        "patch", kind, name, f"--namespace={namespace}", "--type=merge", f"--patch={json.dumps(patch)}"
    )


def test_every_bundle_is_the_secrets_authority(cluster):
    """WH-06."""
    authority = cluster.secret()["data"]["ca.crt"]
    for kind in ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"):
        name = configuration_names("admission-test")[kind.startswith("mutating")]
        hooks = cluster.testbed.get(kind, name)["webhooks"]
        assert {hook["clientConfig"]["caBundle"] for hook in hooks} == {authority}
    conversion = cluster.testbed.get("crd", REQUEST_CRD)["spec"]["conversion"]
    assert conversion["webhook"]["clientConfig"]["caBundle"] == authority


def test_defaults_reach_what_is_stored(cluster, namespace):
    """§3.9; C-03: no image is made up."""
    cluster.apply(request("small"), namespace=namespace)
    spec = cluster.testbed.get("dgdr", "small", f"--namespace={namespace}")["spec"]
    assert {key: spec.get(key) for key in ("backend", "searchStrategy", "autoApply", "image")} == {
        "backend": "auto",
        "searchStrategy": "rapid",
        "autoApply": True,
        "image": None,
    }


def test_a_graph_is_marked_with_the_operators_version(cluster, namespace):
    """WH-02, in the version it was not written in as well."""
    graph = {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "graph"},
        "spec": {"services": {"Frontend": {"componentType": "frontend"}}},
    }
    cluster.apply(graph, namespace=namespace)
    for version in ("v1alpha1", "v1beta1"):
        found = cluster.testbed.get(
            f"dynamographdeployments.{version}.nvidia.com", "graph", f"--namespace={namespace}"
        )
        assert found["metadata"]["annotations"]["nvidia.com/dynamo-operator-origin-version"] == "1.2.0"
    graph["spec"]["services"]["Worker"] = {"componentType": "worker"}
    told = refusal(cluster, graph, namespace=namespace)
    assert (
        "service topology is immutable and cannot be modified after creation: services added: [Worker]"
        in told
    )


def test_kubectl_shows_all_problems_as_one_clear_message(cluster, namespace):
    bad = request(
        "bad",
        backend="auto",
        searchStrategy="thorough",
        sla={"ttft": 100, "e2eLatency": 900},
        workload={"requestRate": 1, "concurrency": 2},
    )
    told = refusal(cluster, bad, namespace=namespace)
    print(told)
    for line in (
        'spec.searchStrategy: is incompatible with spec.backend "auto"',
        "set spec.backend to a specific backend (sglang, trtllm, or vllm)",
        "spec.sla.e2eLatency: cannot be combined with ttft",
        "spec.workload.requestRate: cannot be combined with concurrency",
    ):
        assert told.count(line) == 1, told


def test_a_warning_reaches_the_user(cluster, namespace):
    with cluster.testbed.client() as client:
        answer = client.post(
            f"/apis/nvidia.com/v1beta1/namespaces/{namespace}/dynamographdeploymentrequests",
            json=request("tagged", image="r/vllm-runtime:my-tag"),
        )
    assert answer.status_code == 201, answer.text
    assert "spec.image has no parseable semantic-version tag" in answer.headers["warning"]


def test_the_webhook_itself_holds_the_spec(cluster, namespace):
    """VAL-07, with the CRD's own rule taken out; the annotation and the exception pass."""
    client = conversion_client(cluster.options)
    client["caBundle"] = cluster.secret()["data"]["ca.crt"]
    whole = crd(KIND, client)
    bare = json.loads(json.dumps(whole))
    for version in bare["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"].pop("x-kubernetes-validations")
    cluster.apply(request("held", autoApply=False), namespace=namespace)
    set_phase(cluster, namespace, "held", "Ready")
    cluster.apply(bare)
    try:
        time.sleep(3)
        denials = cluster.operator.registry.get_sample_value
        name = "dynamo_operator_webhook_denials_total"
        labels = {"resource_type": KIND, "operation": "UPDATE", "reason": "immutable_field_changed"}
        before = denials(name, labels) or 0
        with pytest.raises(ArmatureError) as caught:
            change(cluster, namespace, "held", {"spec": {"backend": "sglang"}})
        assert FORBIDDEN.format(phase="Ready") in str(caught.value)
        assert denials(name, labels) == before + 1
        change(
            cluster, namespace, "held", {"metadata": {"annotations": {"dgdr.nvidia.com/selected-point": "3"}}}
        )
        change(cluster, namespace, "held", {"spec": {"runtimeVersionOverride": "1.1.1"}})
        change(cluster, namespace, "held", {"spec": {"autoApply": True}})
    finally:
        cluster.apply(whole)
        time.sleep(3)


def test_a_stored_object_is_converted_both_ways(cluster, namespace):
    """C-01: written as v1alpha1, changed as v1beta1, read as v1alpha1: nothing else is different."""
    config = {"sla": {"isl": 3000, "osl": 150, "ttft": 200, "itl": 20}}
    old = request(
        "legacy",
        "v1alpha1",
        backend="vllm",
        profilingConfig={"profilerImage": "r/vllm-runtime:1.0.0", "config": config},
    )
    cluster.apply(old, namespace=namespace)
    where = f"--namespace={namespace}"
    newer = cluster.testbed.get("dynamographdeploymentrequests.v1beta1.nvidia.com", "legacy", where)
    assert newer["spec"]["sla"] == {"ttft": 200, "itl": 20}
    assert newer["spec"]["autoApply"] is False  # C-11: the shipped form stops at a plan
    before = cluster.testbed.get("dynamographdeploymentrequests.v1alpha1.nvidia.com", "legacy", where)
    change(
        cluster,
        namespace,
        "legacy",
        {"spec": {"sla": {"ttft": 300}}},
        kind="dynamographdeploymentrequests.v1beta1.nvidia.com",
    )
    after = cluster.testbed.get("dynamographdeploymentrequests.v1alpha1.nvidia.com", "legacy", where)
    assert after["spec"]["profilingConfig"]["config"]["sla"]["ttft"] == 300
    before["spec"]["profilingConfig"]["config"]["sla"]["ttft"] = 300
    assert after["spec"] == before["spec"]


def test_rotation_under_a_stream_of_writes_fails_none(cluster, namespace):
    """WH-06, WH-07: the Secret is deleted twice; creates, updates and conversions go on."""
    url = f"/apis/nvidia.com/v1beta1/namespaces/{namespace}/dynamographdeploymentrequests"
    alpha = url.replace("v1beta1", "v1alpha1")
    failed, counted, over = [], [0], threading.Event()

    def write(worker):
        with cluster.testbed.client() as client:
            number = 0
            while not over.is_set():
                name = f"stream-{worker}-{number}"
                answers = [
                    client.post(url, json=request(name)),
                    client.get(f"{alpha}/{name}"),
                    client.patch(
                        f"{url}/{name}",
                        json={"spec": {"backend": "vllm"}},
                        headers={"Content-Type": "application/merge-patch+json"},
                    ),
                    client.delete(f"{url}/{name}"),
                ]
                failed.extend(answer.text for answer in answers if answer.status_code >= 300)
                counted[0] += len(answers)
                number += 1

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(2)]
    for writer in writers:
        writer.start()
    seen = [cluster.secret()["data"]["ca.crt"]]
    try:
        for _ in range(2):
            time.sleep(2)
            cluster.testbed.kubectl("delete", "secret", "webhook-server-cert", f"--namespace={HOME}")
            time.sleep(6)
            seen.append(cluster.secret()["data"]["ca.crt"])
            assert served_by(cluster) == base64.b64decode(seen[-1])
    finally:
        over.set()
        for writer in writers:
            writer.join()
    print(f"{counted[0]} requests, {len(failed)} failed")
    assert failed == []
    assert counted[0] > 100
    assert len(set(seen)) == 3
    bundle = cluster.testbed.get("crd", REQUEST_CRD)["spec"]["conversion"]["webhook"]["clientConfig"][
        "caBundle"
    ]
    pem = base64.b64decode(bundle)
    assert all(base64.b64decode(one) in pem for one in seen)  # all still trusted, for ten minutes


def served_by(cluster):
    """The authority under which the server's certificate verifies."""
    import ssl

    authority = base64.b64decode(cluster.secret()["data"]["ca.crt"])
    context = ssl.create_default_context(cadata=authority.decode())
    address = ("127.0.0.1", cluster.operator.admission.server.port)
    with socket.create_connection(address) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1"):
        return authority


def test_with_nobody_there_the_crd_still_holds_and_deletion_works(cluster, namespace):
    """VAL-09, WH-08: CEL speaks the same words; what goes can go, finalizer and all."""
    cluster.apply(request("frozen"), request("going"), namespace=namespace)
    set_phase(cluster, namespace, "frozen", "Profiling")
    change(cluster, namespace, "going", {"metadata": {"finalizers": ["nvidia.com/test"]}})
    cluster.operator.stop()
    try:
        assert "failed calling webhook" in refusal(cluster, request("other"), namespace=namespace)
        where = f"--namespace={namespace}"
        cluster.testbed.kubectl("delete", "dgdr", "going", where, "--wait=false")
        change(cluster, namespace, "going", {"metadata": {"finalizers": None}})
        with pytest.raises(ArmatureError, match="not found"):
            cluster.testbed.get("dgdr", "going", where)
        cluster.policy("Ignore")
        time.sleep(1)
        with pytest.raises(ArmatureError) as caught:
            change(cluster, namespace, "frozen", {"spec": {"backend": "sglang"}})
        assert FORBIDDEN.format(phase="Profiling") in str(caught.value)
    finally:
        cluster.policy("Fail")
        cluster.operator.start()
    cluster.apply(request("after"), namespace=namespace)
