"""Conversion without loss, both ways: on every conformance manifest, and on objects made from the CRDs' schemas."""

from __future__ import annotations

import copy
import json
import random
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from crd_objects import an_object, refusals, schema_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import armature.api as api
from armature.api.convert.lens import ALPHA_REMAINDER, BETA_REMAINDER
from armature.api.parse import without_nulls
from armature.errors import InvalidInput

CONFORMANCE = Path(__file__).parents[2] / "data" / "conformance"
ALPHA, BETA = "nvidia.com/v1alpha1", "nvidia.com/v1beta1"
REQUEST, GRAPH, COMPONENT = (
    f"Dynamo{name}" for name in ("GraphDeploymentRequest", "GraphDeployment", "ComponentDeployment")
)
EXAMPLES = {  # 1,000 objects of each version
    REQUEST: 300,
    GRAPH: 300,
    COMPONENT: 250,
    "DynamoGraphDeploymentScalingAdapter": 75,
    "DynamoModel": 75,
}
WAYS = [
    pytest.param(kind, version, id=f"{kind}-{version}")
    for kind in EXAMPLES
    for version in ("v1alpha1", "v1beta1")
]
seeds = st.integers(0, 2**32)
schemas = cache(schema_of)


def other(version: str) -> str:
    return "v1beta1" if version == "v1alpha1" else "v1alpha1"


def served(value: Any) -> Any:
    """As an API server gives it: the keys of every map in order."""
    return json.loads(json.dumps(without_nulls(value), sort_keys=True))


def converted(value: dict[str, Any], version: str) -> dict[str, Any]:
    before = copy.deepcopy(value)
    out = api.convert_object(value, f"nvidia.com/{version}")
    assert value == before, "what was given is not changed"
    return served(out)


def bare(value: dict[str, Any]) -> dict[str, Any]:
    """Without the remainder."""
    value = copy.deepcopy(value)
    annotations = value["metadata"].get("annotations", {})
    for name in (ALPHA_REMAINDER, BETA_REMAINDER):
        annotations.pop(name, None)
    if not annotations:
        value["metadata"].pop("annotations", None)
    return value


def manifests():
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in sorted(CONFORMANCE.iterdir()):
        for number, document in enumerate(yaml.load_all(path.read_text(), Loader=loader)):
            if document and document["apiVersion"] in (ALPHA, BETA) and document["kind"] in EXAMPLES:
                yield pytest.param(served(document), id=f"{path.stem}-{number}")


MANIFESTS = list(manifests())


def test_the_manifests_are_there():
    assert len(MANIFESTS) >= 35
    assert {param.values[0]["apiVersion"] for param in MANIFESTS} == {ALPHA, BETA}


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_comes_back_as_it_was(manifest):
    """B1-08. And the version in between is one that its own schema takes."""
    version = manifest["apiVersion"].rsplit("/", 1)[1]
    between = converted(manifest, other(version))
    assert between["apiVersion"] == f"nvidia.com/{other(version)}"
    assert converted(between, version) == manifest
    missing = [
        text for text in refusals(schemas(manifest["kind"], other(version)), between) if "pruned" in text
    ]
    assert missing == []


@pytest.mark.parametrize(("kind", "version"), WAYS)
def test_an_object_comes_back_as_it_was(kind, version):
    """From either version; again and again; and what is between is valid, so that a client can write it back."""

    @settings(max_examples=EXAMPLES[kind])
    @given(seeds)
    def check(seed):
        original = served(an_object(kind, version, seed, schemas(kind, version)))
        assert refusals(schemas(kind, version), original) == []
        between = converted(original, other(version))
        assert refusals(schemas(kind, other(version)), between) == []
        again = converted(between, version)
        assert again == original
        assert converted(again, other(version)) == between, (
            "converting settles: a write of nothing changes nothing"
        )
        kept = {key: value for key, value in original["metadata"].items() if key != "annotations"}
        assert {key: value for key, value in between["metadata"].items() if key != "annotations"} == kept

    check()


def leaves(value: Any, path: tuple[Any, ...] = ()):
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return (
        [*value, "new"]
        if isinstance(value, list)
        else {"new": "1"}
        if isinstance(value, dict)
        else f"{value}x"
    )


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    place = value
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = new
    return value


@pytest.mark.parametrize(("kind", "version"), [each for each in WAYS if each.values[0] != "DynamoModel"])
def test_what_a_client_of_the_other_version_writes_is_kept(kind, version):
    """It reads, changes any one field, writes and reads: what it reads is what it wrote, whatever was kept aside."""

    @settings(max_examples=EXAMPLES[kind] // 3, suppress_health_check=[HealthCheck.filter_too_much])
    @given(seeds)
    def check(seed):
        stored = served(an_object(kind, version, seed, schemas(kind, version)))
        read = converted(stored, other(version))
        parts = {part: read[part] for part in ("spec", "status") if part in read}
        path, value = random.Random(seed).choice(list(leaves(parts)))
        written = put(read, path, another(value))
        assume(refusals(schemas(kind, other(version)), written) == [])
        back = converted(converted(written, version), other(version))
        assert bare(back) == bare(written)

    check()


# v1alpha1 field that a client changes -> (new value, where v1beta1 says so)
ONE_FIELD: dict[str, tuple[str, tuple[Any, ...], Any, tuple[Any, ...]]] = {
    "model": (REQUEST, ("spec", "model"), "other", ("spec", "model")),
    "backend": (REQUEST, ("spec", "backend"), "trtllm", ("spec", "backend")),
    "image": (REQUEST, ("spec", "profilingConfig", "profilerImage"), "j:2", ("spec", "image")),
    "ttft": (REQUEST, ("spec", "profilingConfig", "config", "sla", "ttft"), 77.5, ("spec", "sla", "ttft")),
    "osl": (REQUEST, ("spec", "profilingConfig", "config", "sla", "osl"), 9, ("spec", "workload", "osl")),
    "gpuSku": (
        REQUEST,
        ("spec", "profilingConfig", "config", "hardware", "gpuSku"),
        "l40s",
        ("spec", "hardware", "gpuSku"),
    ),
    "autoApply": (REQUEST, ("spec", "autoApply"), False, ("spec", "autoApply")),
    "state": (REQUEST, ("status", "state"), "Failed", ("status", "phase")),
    "replicas": (GRAPH, ("spec", "services", "W", "replicas"), 7, ("spec", "components", 1, "replicas")),
    "args": (
        GRAPH,
        ("spec", "services", "W", "extraPodSpec", "mainContainer", "args"),
        ["--b"],
        ("spec", "components", 1, "podTemplate", "spec", "containers", 1, "args"),
    ),
    "gpu": (
        GRAPH,
        ("spec", "services", "W", "resources", "limits", "gpu"),
        "8",
        (
            "spec",
            "components",
            1,
            "podTemplate",
            "spec",
            "containers",
            1,
            "resources",
            "limits",
            "nvidia.com/gpu",
        ),
    ),
    "env": (
        GRAPH,
        ("spec", "services", "W", "envs", 0, "value"),
        "new",
        ("spec", "components", 1, "podTemplate", "spec", "containers", 1, "env", 0, "value"),
    ),
    "shared memory": (
        GRAPH,
        ("spec", "services", "W", "sharedMemory", "size"),
        "2Gi",
        ("spec", "components", 1, "sharedMemorySize"),
    ),
    "label": (
        GRAPH,
        ("spec", "services", "W", "extraPodMetadata", "labels", "l"),
        "2",
        ("spec", "components", 1, "podTemplate", "metadata", "labels", "l"),
    ),
    "mode": (
        GRAPH,
        ("spec", "services", "W", "failover", "mode"),
        "interPod",
        ("spec", "components", 1, "experimental", "failover", "mode"),
    ),
    "status": (
        GRAPH,
        ("status", "services", "W", "readyReplicas"),
        5,
        ("status", "components", "W", "readyReplicas"),
    ),
    "mount": (
        GRAPH,
        ("spec", "services", "W", "volumeMounts", 0, "mountPoint"),
        "/new",
        ("spec", "components", 1, "podTemplate", "spec", "containers", 1, "volumeMounts", 1, "mountPath"),
    ),
    "mount of a volume": (
        GRAPH,
        ("spec", "services", "W", "extraPodSpec", "mainContainer", "volumeMounts", 0, "mountPath"),
        "/new",
        ("spec", "components", 1, "podTemplate", "spec", "containers", 1, "volumeMounts", 0, "mountPath"),
    ),
    "graph env": (GRAPH, ("spec", "envs", 0, "value"), "new", ("spec", "env", 0, "value")),
}
STORED = {
    REQUEST: {
        "spec": {
            "model": "m",
            "backend": "vllm",
            "image": "i:1",
            "runtimeVersionOverride": "1.2.0",
            "sla": {"ttft": 500, "itl": 20, "optimizationType": "latency"},
            "workload": {"isl": 3000, "osl": 100, "requestRate": 2.5},
            "hardware": {"gpuSku": "h200_sxm", "totalGpus": 8, "interconnect": "nvlink", "rdma": True},
            "features": {"kvRouter": {"enabled": True}, "speculation": {"nextn": 1, "acceptanceRate": 0.8}},
            "overrides": {
                "dgd": {"apiVersion": ALPHA, "kind": GRAPH, "spec": {"envs": []}},
                "trustRemoteCode": True,
            },
            "searchStrategy": "thorough",
        },
        "status": {
            "phase": "Deployed",
            "profilingPhase": "Done",
            "dgdName": "x-dgd",
            "profilingResults": {
                "pareto": [{"config": {"a": 1}, "ttft": 3, "source": "silicon"}],
                "selectedConfig": {"apiVersion": BETA, "kind": GRAPH},
                "startTime": "2026-01-23T12:00:00Z",
            },
        },
    },
    GRAPH: {
        "spec": {
            "backendFramework": "vllm",
            "env": [{"name": "E", "value": "1"}],
            "components": [
                {
                    "name": "Frontend",
                    "type": "frontend",
                    "podTemplate": {"spec": {"containers": [{"name": "main"}]}},
                },
                {
                    "name": "W",
                    "type": "decode",
                    "replicas": 2,
                    "minAvailable": 1,
                    "runtimeVersionOverride": "1.2.0",
                    "sharedMemorySize": "8Gi",
                    "experimental": {"failover": {"mode": "IntraPod"}},
                    "podTemplate": {
                        "metadata": {"labels": {"l": "1"}, "name": "kept"},
                        "spec": {
                            "volumes": [
                                {"name": "shm", "emptyDir": {}},
                                {"name": "cache", "persistentVolumeClaim": {"claimName": "claim"}},
                                {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
                            ],
                            "containers": [
                                {"name": "side", "image": "s"},
                                {
                                    "name": "main",
                                    "args": ["--a"],
                                    "env": [{"name": "X", "value": "1"}],
                                    "resources": {"limits": {"nvidia.com/gpu": "4"}},
                                    "volumeMounts": [
                                        {"name": "cache", "mountPath": "/m", "readOnly": True},
                                        {"name": "models", "mountPath": "/models"},
                                    ],
                                },
                            ],
                        },
                    },
                },
            ],
        },
        "status": {
            "state": "pending",
            "components": {
                "W": {"componentKind": "Deployment", "replicas": 2, "updatedReplicas": 1, "readyReplicas": 1}
            },
        },
    },
}


@pytest.mark.parametrize("name", ONE_FIELD)
def test_one_field_changed_in_v1alpha1_is_one_field_changed_in_v1beta1(name):
    """With fields all around it that v1alpha1 cannot say."""
    kind, path, value, beta_path = ONE_FIELD[name]
    head = {"apiVersion": BETA, "kind": kind, "metadata": {"name": "x", "annotations": {"mine": "1"}}}
    stored = served({**head, **STORED[kind]})
    read = converted(stored, "v1alpha1")
    assert BETA_REMAINDER in read["metadata"]["annotations"]
    written = converted(put(read, path, value), "v1beta1")
    told = {"state": "Failed", "mode": "InterPod"}.get(name, value)
    assert bare(written) == put(stored, beta_path, told)
    if "annotations" in written["metadata"]:
        assert set(written["metadata"]["annotations"]) <= {"mine", ALPHA_REMAINDER}


def test_every_own_field_of_the_other_version_is_kept_and_the_annotation_holds_no_more():
    """`absent when there is none`, and only what v1beta1 cannot say."""
    plain = {
        "apiVersion": ALPHA,
        "kind": GRAPH,
        "metadata": {"name": "x"},
        "spec": {"services": {"W": {"replicas": 1}}},
    }
    assert "annotations" not in converted(plain, "v1beta1")["metadata"]
    plain["spec"]["services"]["W"]["ingress"] = {"enabled": True, "host": "h"}
    kept = json.loads(converted(plain, "v1beta1")["metadata"]["annotations"][ALPHA_REMAINDER])
    assert kept == {
        "rest": [{"at": ["spec", "services", "W", "ingress"], "is": {"enabled": True, "host": "h"}}]
    }


def test_a_change_wins_over_what_was_kept_and_the_rest_comes_back():
    """A v1alpha1 service with its GPUs under the container and an Ingress; v1beta1 changes the GPUs."""
    service = {
        "ingress": {"enabled": True, "host": "h"},
        "extraPodSpec": {"mainContainer": {"resources": {"limits": {"nvidia.com/gpu": "2"}}}},
    }
    head = {"apiVersion": ALPHA, "kind": GRAPH, "metadata": {"name": "x"}}
    beta = converted({**head, "spec": {"services": {"W": service}}}, "v1beta1")
    container = ("spec", "components", 0, "podTemplate", "spec", "containers", 0)
    beta = put(beta, (*container, "resources", "limits", "nvidia.com/gpu"), "4")
    back = converted(beta, "v1alpha1")["spec"]["services"]["W"]
    assert back["ingress"] == service["ingress"]
    assert back["resources"] == {"limits": {"gpu": "4"}}
    assert "mainContainer" not in back.get("extraPodSpec", {}), "the old place would have said 2"


def test_names_that_v1beta1_does_not_allow_come_back():
    """Also where they are referred to; and two that become the same stay two."""
    head = {"apiVersion": ALPHA, "kind": GRAPH, "metadata": {"name": "x"}}
    spec = {
        "services": {"my_worker": {"replicas": 1}, "my-worker": {"replicas": 2}, "Front End": {}},
        "restart": {"id": "1", "strategy": {"order": ["my_worker", "Front End"]}},
    }
    status = {"state": "pending", "services": {}, "rollingUpdate": {"updatedServices": ["my_worker"]}}
    graph = served({**head, "spec": spec, "status": status})
    beta = converted(graph, "v1beta1")
    names = [component["name"] for component in beta["spec"]["components"]]
    assert sorted(names) == ["Front-End", "my-worker", "my-worker-2"]
    assert beta["spec"]["restart"]["strategy"]["order"] == ["my-worker-2", "Front-End"]
    assert beta["status"]["rollingUpdate"] == {"updatedComponents": ["my-worker-2"]}
    at = names.index("my-worker-2")
    assert beta["spec"]["components"][at]["replicas"] == 1
    changed = converted(put(beta, ("spec", "components", at, "replicas"), 5), "v1alpha1")
    assert changed == put(graph, ("spec", "services", "my_worker", "replicas"), 5)


def test_phases_and_states():
    """`Ready` of v1alpha1 is a plan or a running graph; what has no counterpart comes back all the same."""
    head = {"apiVersion": BETA, "kind": REQUEST, "metadata": {"name": "x"}, "spec": {"model": "m"}}
    for phase, state in {
        "Pending": "Pending",
        "Profiling": "Profiling",
        "Ready": "Ready",
        "Deploying": "Deploying",
        "Deployed": "Ready",
        "Failed": "Failed",
    }.items():
        alpha = converted({**head, "status": {"phase": phase, "dgdName": "g"}}, "v1alpha1")
        assert alpha["status"]["state"] == state
        assert converted(alpha, "v1beta1")["status"] == {"phase": phase, "dgdName": "g"}
    gone = {**head, "apiVersion": ALPHA, "status": {"state": "DeploymentDeleted"}}
    assert converted(gone, "v1beta1")["status"] == {"phase": "Failed"}


def test_the_annotations_of_the_field_hold_what_they_hold_today():
    """nvidia.com/dgdr-config-map-ref and nvidia.com/dgdr-output-pvc, read and written."""
    profiling = {"profilerImage": "i", "configMapRef": {"name": "base", "key": "k"}, "outputPVC": "out"}
    spec = {"model": "m", "backend": "vllm", "profilingConfig": profiling, "autoApply": True}
    alpha = served({"apiVersion": ALPHA, "kind": REQUEST, "metadata": {"name": "x"}, "spec": spec})
    beta = converted(alpha, "v1beta1")
    assert beta["metadata"]["annotations"] == {
        "nvidia.com/dgdr-config-map-ref": '{"key": "k", "name": "base"}',
        "nvidia.com/dgdr-output-pvc": "out",
    }
    assert converted(beta, "v1alpha1") == alpha


def test_unknown_fields_survive_and_nulls_count_as_absent():
    spec = {"model": "m", "fromTomorrow": {"a": [1, {"b": None}]}, "image": None}
    beta = {"apiVersion": BETA, "kind": REQUEST, "metadata": {"name": "x"}, "spec": spec, "more": {"c": 1}}
    alpha = converted(beta, "v1alpha1")
    assert "fromTomorrow" not in alpha["spec"]
    assert converted(alpha, "v1beta1") == served(beta)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"rest":[{"at":[{"a":1,"b":2}]}]}', '{"zlib":"x"}', "null", "[" * 9999]
)
def test_an_annotation_that_another_hand_spoilt_holds_nothing(text):
    beta = {
        "apiVersion": BETA,
        "kind": GRAPH,
        "metadata": {"name": "x", "annotations": {ALPHA_REMAINDER: text, "mine": "1"}},
        "spec": {"components": [{"name": "W", "replicas": 1}]},
    }
    alpha = converted(beta, "v1alpha1")
    assert alpha["spec"]["services"] == {"W": {"replicas": 1}}
    assert alpha["metadata"]["annotations"] == {"mine": "1"}


def test_a_long_remainder_is_packed():
    """Fifty points of a front with their graphs must fit beside other annotations (256 KiB in all)."""
    points = [{"config": {"components": [f"component {at}" * 300]}, "ttft": at} for at in range(50)]
    status = {"phase": "Ready", "profilingResults": {"pareto": points}}
    beta = {
        "apiVersion": BETA,
        "kind": REQUEST,
        "metadata": {"name": "x"},
        "spec": {"model": "m"},
        "status": status,
    }
    alpha = converted(beta, "v1alpha1")
    text = alpha["metadata"]["annotations"][BETA_REMAINDER]
    assert len(text) < 16_384 < len(json.dumps(points))
    assert converted(alpha, "v1beta1") == served(beta)


def test_a_kind_or_version_that_is_not_served():
    for kind, version in (("DynamoCheckpoint", BETA), ("DynamoModel", "nvidia.com/v2"), ("Pod", BETA)):
        with pytest.raises(InvalidInput):
            api.convert_object({"apiVersion": ALPHA, "kind": kind, "metadata": {"name": "x"}}, version)


def test_speed():
    """A graph of three components in less than 1 ms, either way; a busy machine may need some tries."""
    graph = next(
        p.values[0] for p in MANIFESTS if "disagg_planner" in p.id and p.values[0]["apiVersion"] == ALPHA
    )
    for value, version in ((graph, BETA), (api.convert_object(graph, BETA), ALPHA)):
        best = min(_seconds(value, version) for _ in range(20))
        assert best < 1e-3, f"{best * 1e3:.2f} ms"


def _seconds(value, version):
    begun = time.perf_counter()
    api.convert_object(value, version)
    return time.perf_counter() - begun


def review(objects, version=BETA, uid="u"):
    request = {"uid": uid, "desiredAPIVersion": version, "objects": objects}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request}


def test_a_review_is_answered_in_order():
    graphs = [
        {"apiVersion": ALPHA, "kind": GRAPH, "metadata": {"name": name}, "spec": {"services": {}}}
        for name in "ab"
    ]
    answer = api.convert_review(review(graphs))
    assert (answer["apiVersion"], answer["kind"]) == ("apiextensions.k8s.io/v1", "ConversionReview")
    response = answer["response"]
    assert (response["uid"], response["result"]) == ("u", {"status": "Success"})
    assert [item["metadata"]["name"] for item in response["convertedObjects"]] == ["a", "b"]
    assert {item["apiVersion"] for item in response["convertedObjects"]} == {BETA}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "has no request"),
        ({"request": {"uid": "u"}}, "no desiredAPIVersion or no objects"),
        (review([3]), "object 0 is no mapping"),
        (
            review(
                [
                    {
                        "apiVersion": ALPHA,
                        "kind": "DynamoCheckpoint",
                        "metadata": {"name": "c", "namespace": "n"},
                    }
                ]
            ),
            "DynamoCheckpoint n/c: desired apiVersion is not a served version",
        ),
        (
            review(
                [{"apiVersion": ALPHA, "kind": GRAPH, "metadata": {"name": "g"}, "spec": {"services": ["x"]}}]
            ),
            "DynamoGraphDeployment g cannot be converted to nvidia.com/v1beta1",
        ),
    ],
)
def test_a_review_that_cannot_be_done_is_one_failure(asked, said):
    response = api.convert_review(asked)["response"]
    assert response["convertedObjects"] == []
    assert response["result"]["status"] == "Failure"
    assert said in response["result"]["message"]
