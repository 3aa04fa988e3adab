"""Faults happen when they are asked for, to what they are asked for, and end (used by `make chaos`)."""

from __future__ import annotations

import contextlib
import json
import threading
import time

import httpx
import pytest

from armature.errors import ArmatureError
from armature_testbed.audit import audited, count, position
from armature_testbed.fault_proxy import FaultProxy


@pytest.fixture
def proxy(testbed):
    with FaultProxy(testbed) as proxy:
        yield proxy


@pytest.fixture
def through(testbed, proxy):
    """An administrator's HTTP client through the proxy."""
    with testbed.client(base_url=proxy.url) as client:
        yield client


@pytest.fixture
def maps(namespace) -> str:
    """The path of the test's ConfigMaps."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


def config_map(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def test_objects_outlive_the_apiserver(testbed, namespace):
    testbed.kubectl("create", "configmap", "kept", f"--namespace={namespace}")
    before = testbed.component("kube-apiserver").pid
    testbed.restart_apiserver(down_s=0.2)
    assert testbed.component("kube-apiserver").pid != before
    assert testbed.get("configmap", "kept", f"--namespace={namespace}")["metadata"]["name"] == "kept"
    testbed.kubectl("create", "service", "clusterip", "after", "--tcp=80", f"--namespace={namespace}")


def test_a_paused_scheduler_schedules_nothing_until_it_goes_on(testbed, namespace):
    from armature_testbed.gpu_nodes import GpuNodes
    from armature_testbed.simulate import add_nodes, remove_nodes

    names = add_nodes(testbed, GpuNodes(None, prefix="paused"))
    inside = f"--namespace={namespace}"
    testbed.pause("kube-scheduler")
    try:
        testbed.kubectl("run", "waits", "--image=x", inside)
        time.sleep(1.5)
        assert "nodeName" not in testbed.get("pod", "waits", inside)["spec"]
    finally:
        testbed.resume("kube-scheduler")
    testbed.kubectl("wait", inside, "--for=condition=Ready", "pod/waits", "--timeout=30s")
    remove_nodes(testbed, names)


def test_a_stopped_process_is_said_to_be_and_starts_again(testbed):
    testbed.stop("kwok", grace_s=5)
    assert testbed.component("kwok").exit_code is not None
    with pytest.raises(ArmatureError, match="no process 'nothing'"):
        testbed.component("nothing")
    testbed.start("kwok")
    assert testbed.component("kwok").running
    with pytest.raises(ArmatureError, match="runs already"):
        testbed.start("kwok")


def test_history_is_gone_after_a_compaction(testbed, namespace):
    old = testbed.get("namespace", namespace)["metadata"]["resourceVersion"]
    for number in range(3):
        testbed.kubectl("create", "configmap", f"n{number}", f"--namespace={namespace}")
    testbed.compact_etcd()
    testbed.restart_apiserver()
    path = f"/api/v1/namespaces/{namespace}/configmaps?watch=1&resourceVersion={old}"
    with testbed.client() as client, client.stream("GET", path) as answer:
        event = json.loads(next(answer.iter_lines()))
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def test_audit_log_tells_users_and_verbs(testbed, namespace):
    since = position(testbed.layout.audit)
    robot = testbed.user_kubeconfig("robot", ["system:masters"])
    for name in ("a", "b"):
        testbed.kubectl("create", "configmap", name, f"--namespace={namespace}", kubeconfig=robot)
    testbed.kubectl("get", "configmap", "a", f"--namespace={namespace}", kubeconfig=robot)
    ours = [request for request in audited(testbed.layout.audit, since) if request.user == "robot"]
    assert count(ours) == {("robot", "create", "configmaps"): 2}
    assert [request.name for request in ours if request.verb == "get"] == ["a"]


@pytest.mark.parametrize(
    ("status", "reason"), [(409, "Conflict"), (429, "TooManyRequests"), (500, "InternalError")]
)
def test_an_injected_answer_is_one_of_the_apiservers_own_form(proxy, through, maps, status, reason):
    fault = proxy.answer(status, "POST", "/configmaps")
    refused = through.post(maps, json=config_map("x"))
    assert (refused.status_code, refused.json()["kind"], refused.json()["reason"]) == (
        status,
        "Status",
        reason,
    )
    assert through.get(f"{maps}/x").status_code == 404  # the apiserver never saw it
    assert through.post(maps, json=config_map("x")).status_code == 201  # once only
    assert fault.hits == 1


def test_a_fault_strikes_the_nth_match(proxy, through, maps):
    proxy.answer(500, "GET", "/configmaps/x", after=2, times=2)
    assert [through.get(f"{maps}/x").status_code for _ in range(5)] == [404, 404, 500, 500, 404]


def test_a_lost_answer_is_of_a_request_that_was_carried_out(proxy, through, maps):
    proxy.lose("POST", "/configmaps")
    with pytest.raises(httpx.RemoteProtocolError):
        through.post(maps, json=config_map("x"))
    assert through.get(f"{maps}/x").status_code == 200


def test_a_dropped_request_is_not_carried_out(proxy, through, maps):
    proxy.drop("POST", "/configmaps")
    with pytest.raises(httpx.TransportError):
        through.post(maps, json=config_map("x"))
    assert through.get(f"{maps}/x").status_code == 404


def test_a_silent_watch_holds_its_bytes_until_the_fault_is_lifted(proxy, through, maps):
    lines: list[str] = []

    def watch() -> None:
        # closed by the test's end
        with (
            contextlib.suppress(httpx.TransportError),
            through.stream("GET", maps, params={"watch": "1"}) as answer,
        ):
            lines.extend(answer.iter_lines())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        _until(lambda: any("kube-root-ca.crt" in line for line in list(lines)))
        fault = proxy.silence()
        assert through.post(maps, json=config_map("unheard")).status_code == 201
        time.sleep(0.5)
        assert not any("unheard" in line for line in lines)
        proxy.lift(fault)
        _until(lambda: any("unheard" in line for line in list(lines)))
    finally:
        assert proxy.drop_connections() >= 1
        thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_client_through_the_proxy_is_who_its_certificate_says(testbed, proxy, namespace):
    jane = proxy.kubeconfig("jane", ["dev"])
    assert "jane" in testbed.kubectl("auth", "whoami", kubeconfig=jane)
    refused = testbed.kubectl("get", "pods", f"--namespace={namespace}", kubeconfig=jane, check=False)
    assert 'User "jane" cannot list resource "pods"' in refused
    token = testbed.kubectl("create", "token", "default", f"--namespace={namespace}").strip()
    with testbed.client(token=token, base_url=proxy.url) as client:
        path = f"/api/v1/namespaces/{namespace}/pods"
        assert f"system:serviceaccount:{namespace}:default" in client.get(path).json()["message"]
        claimed = client.get(path, headers={"X-Remote-User": "admin", "X-Remote-Group": "system:masters"})
        assert claimed.status_code == 403


def _until(holds, limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
