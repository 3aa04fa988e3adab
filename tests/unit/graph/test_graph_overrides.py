"""`overrides.dgd` in both versions, onto a generated graph."""

from __future__ import annotations

import graph_factory as make
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from armature import api
from armature.errors import InvalidInput
from armature.graph.build import build, to_documents
from armature.graph.engine_flags import read_container
from armature.graph.overrides import apply_overrides, find_component
from armature.graph.preflight import preflight

DISAGG = (make.group("prefill", replicas=2), make.group("decode", tp=4))


def _graph(override: str | dict | None, groups=DISAGG, **spec):
    value = yaml.safe_load(override) if isinstance(override, str) else override
    return build(make.profile(groups), make.request(overrides={"dgd": value} if value else {}, **spec))


def _components(graph) -> dict[str, dict]:
    return {component["name"]: component for component in api.to_dict(graph.dgd)["spec"]["components"]}


def _env(component: dict) -> dict[str, object]:
    main = component["podTemplate"]["spec"]["containers"][0]
    return {item["name"]: item.get("value") for item in main.get("env", [])}


def test_envs_reach_every_component_by_name():  # GEN-07, GEN-10; the sample of DGDR-23
    graph = _graph(
        """
        apiVersion: nvidia.com/v1alpha1
        kind: DynamoGraphDeployment
        spec:
          envs: [{name: NCCL_DEBUG, value: INFO}]
        """,
        modelCache={"pvcName": "models"},
    )
    for component in _components(graph).values():
        env = _env(component)
        assert env["NCCL_DEBUG"] == "INFO"
        assert env["HF_HOME"] == "/opt/model-cache"


def test_a_service_is_targeted_by_its_generated_name():  # GEN-08
    graph = _graph({"spec": {"services": {"decode": {"envs": [{"name": "A", "value": "1"}]}}}})
    assert {name: "A" in _env(component) for name, component in _components(graph).items()} == {
        "Frontend": False,
        "VllmPrefillWorker": False,
        "VllmDecodeWorker": True,
    }


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("VllmDecodeWorker", "VllmDecodeWorker"),
        ("vllmdecodeworker", "VllmDecodeWorker"),
        ("decode", "VllmDecodeWorker"),
        ("TRTLLMPrefillWorker", "VllmPrefillWorker"),
        ("frontend", "Frontend"),
        ("worker", None),
        ("planner", None),
    ],
)
def test_names_that_users_give_components(name, found):
    component = find_component(list(_components(_graph(None)).values()), name)
    assert (component["name"] if component else None) == found


@pytest.mark.parametrize("name", ["decode", "VllmDecodeWorker", "worker", "VllmWorker", "SGLangWorker"])
def test_the_only_worker_of_an_aggregated_graph_answers_to_every_workers_name(name):
    component = find_component(list(_components(_graph(None, (make.group(),))).values()), name)
    assert component is not None
    assert component["name"] == "VllmWorker"


def test_v1alpha1_service_fields_become_their_v1beta1_counterparts():  # C-41
    graph = _graph(
        """
        apiVersion: nvidia.com/v1alpha1
        spec:
          services:
            VllmDecodeWorker:
              replicas: 2
              sharedMemory: {size: 32Gi}
              resources: {limits: {gpu: "4", custom: {rdma/ib: "4"}}}
              volumeMounts: [{name: scratch, mountPoint: /scratch}]
              extraPodSpec:
                tolerations: [{key: spot, operator: Exists}]
                nodeSelector: {zone: a}
                mainContainer: {imagePullPolicy: Always}
        """
    )
    decode = _components(graph)["VllmDecodeWorker"]
    pod = decode["podTemplate"]["spec"]
    main = pod["containers"][0]
    assert (decode["replicas"], decode["sharedMemorySize"]) == (2, "32Gi")
    assert main["resources"]["limits"] == {"nvidia.com/gpu": "4", "rdma/ib": "4"}
    assert main["imagePullPolicy"] == "Always"
    assert main["command"] == ["python3", "-m", "dynamo.vllm"]
    assert [item["key"] for item in pod["tolerations"]] == ["nvidia.com/gpu", "spot"]
    assert pod["nodeSelector"] == {"zone": "a"}
    assert {"name": "scratch", "persistentVolumeClaim": {"claimName": "scratch"}} in pod["volumes"]


def test_v1beta1_components_merge_strategically():
    graph = _graph(
        """
        apiVersion: nvidia.com/v1beta1
        spec:
          priorityClassName: high
          components:
          - name: decode
            podTemplate:
              metadata: {annotations: {a: b}}
              spec:
                containers:
                - name: main
                  args: [--model, other]
                - {name: side, image: "busybox:1"}
        """
    )
    decode = _components(graph)["VllmDecodeWorker"]
    main, side = decode["podTemplate"]["spec"]["containers"]
    assert main["args"] == ["--model", "other"]
    assert main["resources"]["limits"] == {"nvidia.com/gpu": "4"}
    assert side["name"] == "side"
    assert decode["podTemplate"]["metadata"]["annotations"] == {"a": "b"}
    assert graph.dgd.spec.priority_class_name == "high"


def test_metadata_name_wins_and_what_belongs_to_the_graph_follows():
    graph = _graph({"metadata": {"name": "mine"}}, features={"planner": {"enabled": True}})
    assert graph.dgd.metadata.name == "mine"
    assert {extra["metadata"]["name"] for extra in graph.extras} == {
        "mine-planner-config",
        "mine-planner-data",
    }
    assert preflight(graph, make.profile(DISAGG)) == ()


def test_a_name_of_the_user_is_checked():
    graph = _graph({"metadata": {"name": "a" * 40}})
    assert any("Grove" in str(problem) for problem in preflight(graph, make.profile(DISAGG)))


def test_router_mode_is_reachable_through_an_override():  # GEN-19
    graph = _graph({"spec": {"services": {"Frontend": {"envs": [{"name": "DYN_ROUTER_MODE", "value": "random"}]}}}},
                   features={"kvRouter": {"enabled": True}})  # fmt: skip
    assert _env(_components(graph)["Frontend"])["DYN_ROUTER_MODE"] == "random"


@pytest.mark.parametrize(
    ("override", "path", "mend"),
    [
        ({"spec": {"services": {"decod": {}}}}, "spec.services.decod", "VllmDecodeWorker"),
        ({"spec": {"services": {"worker": {}}}}, "spec.services.worker", "VllmPrefillWorker"),
        ({"spec": {"services": {"decode": {"replica": 2}}}}, "spec.services.decode.replica", "replicas"),
        ({"spec": {"services": {"decode": {"replicas": "two"}}}}, "spec.services.decode.replicas", ""),
        ({"spec": {"services": {"decode": {"autoscaling": {"enabled": True}}}}}, "spec.services.decode", ""),
        ({"spec": {"servces": {}}}, "spec.servces", "services"),
        ({"spec": {"components": [{"type": "worker"}]}}, "spec.components[0]", "name"),
        ({"spec": {"components": [{"name": "extra"}]}}, "spec.components[0]", "Frontend"),
        ({"spec": {"envs": {"A": "1"}}}, "spec.envs", ""),
        ({"spec": {"pvcs": [{"name": "x", "create": True}]}}, "spec.pvcs[0].create", "create"),
        ({"apiVersion": "v1"}, "apiVersion", ""),
        ({"kind": "Deployment"}, "kind", ""),
        ({"spec": []}, "spec", ""),
    ],
)
def test_what_fits_nothing_is_an_error_with_its_place(override, path, mend):
    with pytest.raises(InvalidInput) as caught:
        _graph(override)
    assert any(
        problem.path == f"spec.overrides.dgd.{path}" and mend in problem.mend
        for problem in caught.value.problems
    ), str(caught.value)


def test_all_problems_come_at_once():
    with pytest.raises(InvalidInput) as caught:
        _graph({"spec": {"services": {"nobody": {}, "decode": {"foo": 1}}, "components": [{"name": "x"}]}})
    assert len(caught.value.problems) >= 1
    with pytest.raises(InvalidInput) as caught:
        _graph(
            {"apiVersion": "nvidia.com/v1alpha1", "spec": {"services": {"nobody": {}, "decode": {"foo": 1}}}}
        )
    assert len(caught.value.problems) == 2


def test_a_value_that_the_api_refuses_is_an_error():
    with pytest.raises(InvalidInput, match="replicas"):
        _graph(
            {
                "apiVersion": "nvidia.com/v1beta1",
                "spec": {"components": [{"name": "decode", "replicas": "x"}]},
            }
        )


def test_the_profiling_jobs_overrides_never_reach_workers():  # GEN-09, DGDR-15
    job = {"template": {"spec": {"tolerations": [{"key": "only-the-job"}], "containers": []}}}
    graph = build(make.profile(), make.request(overrides={"profilingJob": job}))
    assert "only-the-job" not in str(to_documents(graph))


def test_overrides_on_gpus_are_the_users_but_the_budget_holds():
    allowed = _graph({"spec": {"services": {"prefill": {"replicas": 4}}}})
    assert preflight(allowed, make.profile(DISAGG)) == ()
    beyond = _graph({"spec": {"services": {"prefill": {"replicas": 5}}}})
    assert any("budget" in str(problem) for problem in preflight(beyond, make.profile(DISAGG)))


names = st.sampled_from(["Frontend", "decode", "prefill", "VllmDecodeWorker"])
envs = st.lists(
    st.builds(lambda n, v: {"name": n, "value": v}, st.sampled_from("ABC"), st.sampled_from("12")),
    max_size=3,
    unique_by=lambda item: item["name"],
)
services = st.dictionaries(
    names,
    st.fixed_dictionaries(
        {},
        optional={
            "replicas": st.integers(0, 3),
            "envs": envs,
            "sharedMemory": st.just({"size": "1Gi"}),
            "resources": st.just({"limits": {"memory": "1Gi"}}),
            "extraPodSpec": st.sampled_from(
                [
                    {"nodeSelector": {"a": "b"}},
                    {"mainContainer": {"args": ["--x"]}},
                    {"tolerations": [{"key": "t"}]},
                ]
            ),
        },
    ),
    max_size=3,
)


@settings(max_examples=40, deadline=None)
@given(services, envs)
def test_an_override_is_idempotent(written, everywhere):
    base = api.to_dict(_graph(None).dgd)
    override = {"spec": {"services": written, "envs": everywhere}}
    once = apply_overrides(base, override)
    assert apply_overrides(once, override) == once
    assert apply_overrides(base, None) == base == apply_overrides(base, {})


def test_overridden_args_are_read_back():
    graph = _graph({"spec": {"components": [{"name": "decode", "podTemplate": {"spec": {"containers": [
        {"name": "main", "args": ["--model", "m", "--tensor-parallel-size", "2"]}]}}}]}})  # fmt: skip
    decode = _components(graph)["VllmDecodeWorker"]["podTemplate"]["spec"]["containers"][0]
    assert read_container(decode).gpus == 2
    found = [str(problem) for problem in preflight(graph, make.profile(DISAGG))]
    assert any("need 2 GPUs per worker" in text for text in found)
    assert any("longest request" in text for text in found)
