"""Requests on a real control plane: the operator as a process, a user with kubectl (LIFE-01 to LIFE-15)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import httpx
import pytest
import yaml

from armature.api.crds import all_crds
from armature_testbed.gpu_nodes import GpuNodes
from armature_testbed.process_node.add import add_process_node, remove_process_node
from armature_testbed.simulate import add_nodes, remove_nodes

HARDWARE = {"gpuSku": "h200_sxm", "vramMb": 143771, "totalGpus": 8, "numGpusPerNode": 8}


@pytest.fixture(scope="module")
def crds(testbed):
    """The kinds of nvidia.com, served."""
    documents = yaml.safe_dump_all(all_crds())
    testbed.kubectl("apply", "--server-side", "--filename=-", stdin=documents)
    testbed.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")


class Process:
    """`armature operator` of one namespace."""

    def __init__(self, testbed, namespace, profiling):
        self._command = [sys.executable, "-m", "armature", "operator", "--image", "armature:test"]
        self._command += ["--profiling", profiling, "--namespace", namespace, "--lease-namespace", namespace]
        self._command += ["--health-port", "18081", "--metrics-port", "18080"]
        self._env = testbed.environment(os.environ)
        self.start()

    def start(self):
        self.process = subprocess.Popen(self._command, env=self._env)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx.get("http://127.0.0.1:18081/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            assert self.process.poll() is None
            time.sleep(0.1)
        raise AssertionError("the operator was not ready in 30 s")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0


@pytest.fixture
def operator(testbed, crds, namespace, request):
    made = Process(testbed, namespace, getattr(request, "param", "inline"))
    yield made
    if made.process.poll() is None:
        made.stop()


def apply(testbed, namespace, name="chat", **spec):
    whole = {"model": "Qwen/Qwen3-32B-FP8", "backend": "vllm", "hardware": HARDWARE, **spec}
    metadata = {"name": name, "namespace": namespace}
    request = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": metadata,
        "spec": whole,
    }
    testbed.kubectl("apply", "--filename=-", stdin=json.dumps(request))


def wait_for(testbed, namespace, phase, name="chat"):
    testbed.kubectl(
        "wait",
        f"--namespace={namespace}",
        f"dgdr/{name}",
        f"--for=jsonpath={{.status.phase}}={phase}",
        "--timeout=60s",
    )
    return testbed.get("dgdr", name, f"--namespace={namespace}")


def events(testbed, namespace):
    found = testbed.get("events", f"--namespace={namespace}")["items"]
    return sorted(event["reason"] for event in found if event["involvedObject"]["kind"].startswith("Dynamo"))


def test_request_becomes_ready_and_reads_as_the_seeds_show(testbed, namespace, operator):
    apply(testbed, namespace, autoApply=False, sla={"ttft": 10, "itl": 2})
    found = wait_for(testbed, namespace, "Ready")
    assert events(testbed, namespace) == ["Initialized", "SpecGenerated"]
    inside = f"--namespace={namespace}"
    selected = testbed.kubectl(
        "get", "dgdr", "chat", inside, "--output=jsonpath={.status.profilingResults.selectedConfig}"
    )
    assert json.loads(selected)["kind"] == "DynamoGraphDeployment"
    pareto = testbed.kubectl(
        "get", "dgdr", "chat", inside, "--output=jsonpath={.status.profilingResults.pareto}"
    )
    assert {"backend", "parallelization", "throughput", "ttft", "itl", "source", "point"} <= set(
        json.loads(pareto)[0]
    )
    missed = next(c for c in found["status"]["conditions"] if c["type"] == "SLAMet")
    assert (missed["status"], missed["reason"]) == ("False", "Missed")
    described = testbed.kubectl("describe", "dgdr", "chat", inside)
    assert re.search(r"Normal\s+SpecGenerated", described)
    assert "Ready" in testbed.kubectl("get", "dgdr", "chat", inside)


def test_request_is_deployed_once_its_graph_is_and_the_graph_outlives_it(testbed, namespace, operator):
    apply(testbed, namespace)
    wait_for(testbed, namespace, "Deploying")
    inside = f"--namespace={namespace}"
    testbed.kubectl("wait", inside, "--for=create", "dgd/chat-dgd", "--timeout=30s")
    graph = testbed.get("dgd", "chat-dgd", inside)
    assert "ownerReferences" not in graph["metadata"]  # LIFE-10
    assert graph["metadata"]["labels"]["dgdr.nvidia.com/name"] == "chat"  # LIFE-11
    status = {"status": {"state": "successful", "components": {}}}
    testbed.kubectl(
        "patch",
        "dgd",
        "chat-dgd",
        inside,
        "--subresource=status",
        "--type=merge",
        f"--patch={json.dumps(status)}",
    )
    wait_for(testbed, namespace, "Deployed")
    testbed.kubectl("delete", "dgdr", "chat", inside)
    assert testbed.get("dgd", "chat-dgd", inside)["metadata"]["name"] == "chat-dgd"


def test_gpus_are_discovered_and_written_down(testbed, namespace, operator):
    names = add_nodes(testbed, GpuNodes("h200_sxm", count=2, gpus=8, rdma="rdma/ib", prefix="found"))
    try:
        apply(testbed, namespace, hardware={}, autoApply=False)
        found = wait_for(testbed, namespace, "Ready")
        hardware = found["spec"].get("hardware") or {}
        assert found["metadata"]["annotations"]["dgdr.nvidia.com/discovered-hardware"]
        if hardware:  # the only kind of GPU in this testbed
            assert (hardware["gpuSku"], hardware["numGpusPerNode"], hardware["rdma"]) == ("h200_sxm", 8, True)
    finally:
        remove_nodes(testbed, names)


@pytest.mark.parametrize("operator", ["job"], indirect=True)
def test_profiling_that_cannot_start_is_said_in_the_pods_own_words(testbed, namespace, operator):
    """No node here runs the operator's image, and the override asks for one that is not there."""
    override = {"template": {"spec": {"containers": [], "nodeSelector": {"nowhere": "at-all"}}}}
    apply(testbed, namespace, overrides={"profilingJob": override})
    inside = f"--namespace={namespace}"
    testbed.wait_for(
        lambda: "Unschedulable" in events(testbed, namespace),
        "the scheduler's reason, as an event",
        limit_s=60,
    )
    request = testbed.get("dgdr", "chat", inside)
    said = next(c for c in request["status"]["conditions"] if c["type"] == "Profiling")
    assert said["reason"] == "Unschedulable"
    assert "cannot be scheduled" in said["message"]
    job = testbed.get("job", "profile-chat", inside)
    assert job["spec"]["backoffLimit"] == 0


@pytest.mark.parametrize("operator", ["job"], indirect=True)
def test_profiling_job_really_profiles_on_a_process_node(testbed, namespace, operator):
    """PROF-02: the operator's own image runs as a process, with a token that may write one ConfigMap."""
    add_process_node(testbed, "profiler", labels=["runs=processes"])
    try:
        where = {"template": {"spec": {"containers": [], "nodeSelector": {"runs": "processes"}}}}
        apply(testbed, namespace, autoApply=False, overrides={"profilingJob": where})
        found = wait_for(testbed, namespace, "Ready")
        results = found["status"]["profilingResults"]
        assert results["selectedConfig"]["kind"] == "DynamoGraphDeployment"
        assert results["pareto"]
        assert events(testbed, namespace) == ["Initialized", "ProfilingJobCreated", "SpecGenerated"]
        inside = f"--namespace={namespace}"
        testbed.kubectl("wait", inside, "job/profile-chat", "--for=condition=Complete", "--timeout=30s")
    finally:
        remove_process_node(testbed, "profiler")


def test_killed_operator_goes_on_where_it_was_and_rests_beside_what_is_done(testbed, namespace, operator):
    for number in range(5):
        apply(testbed, namespace, name=f"chat-{number}", autoApply=False)
    time.sleep(0.3)
    operator.kill()
    operator.start()
    for number in range(5):
        wait_for(testbed, namespace, "Ready", f"chat-{number}")
    assert events(testbed, namespace) == sorted(["Initialized", "SpecGenerated"] * 5)
    before = testbed.get("dgdr", f"--namespace={namespace}")["items"]
    operator.stop()
    operator.start()
    time.sleep(5)
    after = testbed.get("dgdr", f"--namespace={namespace}")["items"]
    versions = [[item["metadata"]["resourceVersion"] for item in items] for items in (before, after)]
    assert versions[0] == versions[1]
