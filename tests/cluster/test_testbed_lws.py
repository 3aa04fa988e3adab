"""LeaderWorkerSet runs in a testbed: groups get their pods, and admission refuses what is wrong (VAL-06)."""

from __future__ import annotations

import json

import pytest

from armature.errors import ArmatureError
from armature_testbed.gpu_nodes import GpuNodes
from armature_testbed.lws import install_lws
from armature_testbed.simulate import add_nodes, remove_nodes


@pytest.fixture(scope="module")
def lws(testbed):
    """The controller, and a node for its pods."""
    install_lws(testbed)
    install_lws(testbed)  # twice is fine
    names = add_nodes(testbed, GpuNodes("h200_sxm", count=2, prefix="lws"))
    yield
    remove_nodes(testbed, names)


def workers(replicas: int, size: int) -> str:
    containers = [{"name": "main", "image": "x", "resources": {"limits": {"nvidia.com/gpu": 2}}}]
    template = {"spec": {"containers": containers}}
    return json.dumps(
        {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": {"name": "engine"},
            "spec": {
                "replicas": replicas,
                "leaderWorkerTemplate": {"size": size, "workerTemplate": template},
            },
        }
    )


@pytest.mark.usefixtures("lws")
def test_groups_become_ready(testbed, namespace):
    inside = f"--namespace={namespace}"
    testbed.kubectl("create", inside, "--filename=-", stdin=workers(replicas=2, size=2))
    testbed.kubectl("wait", inside, "--for=condition=Available", "leaderworkerset/engine", "--timeout=40s")
    pods = {pod["metadata"]["name"] for pod in testbed.get("pods", inside)["items"]}
    assert pods == {"engine-0", "engine-0-1", "engine-1", "engine-1-1"}


@pytest.mark.usefixtures("lws")
def test_admission_refuses_an_impossible_group(testbed, namespace):
    with pytest.raises(ArmatureError, match=r"vleaderworkerset\.kb\.io|Invalid value"):
        testbed.kubectl(
            "create", f"--namespace={namespace}", "--filename=-", stdin=workers(replicas=2**31 - 1, size=2)
        )
