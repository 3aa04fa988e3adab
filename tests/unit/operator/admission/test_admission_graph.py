"""The webhooks of the other kinds: defaults of graphs (§3.9, WH-02), what may not change (§§4.3, 4.4, 4.6, SA-04)."""

from __future__ import annotations

import pytest
from reviews import GRAPH, OPERATOR, messages, obj, patched, validate

from armature.operator.admission.policy import Policy

POD = {"spec": {"containers": [{"name": "main", "image": "r/vllm-runtime:1.0.0"}]}}
OPERATED = Policy(origin_version="1.2.0", writers=frozenset({OPERATOR}))


def component(name, **more):
    return {"name": name, "type": "worker", "podTemplate": POD, "replicas": 1, **more}


def beta(*components, **more):
    return obj({"components": list(components), **more}, kind=GRAPH)


def alpha(**services):
    return obj({"services": services}, kind=GRAPH, version="v1alpha1")


def test_a_graph_gets_replicas_and_the_operators_version():
    graph = patched(
        obj({"components": [{"name": "a"}, component("b", replicas=3)]}, kind=GRAPH), policy=OPERATED
    )
    assert [entry["replicas"] for entry in graph["spec"]["components"]] == [1, 3]
    assert graph["metadata"]["annotations"] == {"nvidia.com/dynamo-operator-origin-version": "1.2.0"}


def test_an_origin_that_is_there_stays_and_an_update_gets_none():
    stated = {"nvidia.com/dynamo-operator-origin-version": "1.0.0"}
    graph = obj({"components": []}, kind=GRAPH, annotations=stated)
    assert patched(graph, policy=OPERATED)["metadata"]["annotations"] == stated
    assert "annotations" not in patched(beta(), beta(), policy=OPERATED)["metadata"]
    assert "annotations" not in patched(beta(), policy=Policy(origin_version="dev"))["metadata"]


def test_services_get_replicas_on_update_too():
    graph = patched(alpha(a={"replicas": None}, b={}), alpha(a={}))
    assert graph["spec"]["services"] == {"a": {"replicas": 1}, "b": {"replicas": 1}}


@pytest.mark.parametrize(("switch", "filled"), [(None, 1), ("False", None), ("true", 1)])
def test_grove_gets_min_available(switch, filled):
    annotations = {"nvidia.com/enable-grove": switch} if switch else {}
    graph = obj({"components": [{"name": "a"}]}, kind=GRAPH, annotations=annotations)
    assert patched(graph, policy=Policy(grove=True))["spec"]["components"][0].get("minAvailable") == filled


@pytest.mark.parametrize(
    "spec", [None, 3, {"components": 3}, {"components": [3, None]}, {"components": "ab"}]
)
def test_a_graph_of_another_shape_is_left_to_the_schema(spec):
    assert patched(obj(spec, kind=GRAPH))["spec"] == spec


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            beta(component("a"), component("b")),
            beta(component("a"), component("c"), component("d")),
            "spec.components: component topology is immutable and cannot be modified after creation: components "
            "added: [c d], components removed: [b]; delete and recreate the DynamoGraphDeployment",
        ),
        (
            alpha(a={"replicas": 1}, b={}),
            alpha(a={"replicas": 1}),
            "spec.services: service topology is immutable and cannot be modified after creation: services "
            "removed: [b]; delete and recreate the DynamoGraphDeployment",
        ),
        (
            beta(component("a"), backendFramework="vllm"),
            beta(component("a"), backendFramework="sglang"),
            "spec.backendFramework: is immutable and cannot be changed after creation",
        ),
        (
            beta(component("a"), topologyConstraint={"clusterTopologyName": "x", "packDomain": "rack"}),
            beta(component("a")),
            "spec.topologyConstraint: is immutable and cannot be added, removed, or changed after creation; delete "
            "and recreate the DynamoGraphDeployment to change topology constraints",
        ),
        (
            beta(component("a")),
            beta(component("a"), experimental={"kvTransferPolicy": {"labelKey": "x/y", "domain": "rack"}}),
            "spec.experimental.kvTransferPolicy: is immutable and cannot be added, removed, or changed after "
            "creation; delete and recreate the DynamoGraphDeployment to change the KV transfer policy",
        ),
        (
            beta(component("a")),
            beta(component("a", multinode={"nodeCount": 2})),
            "spec.components[a].multinode: cannot change node topology between single-node and multi-node after "
            "creation",
        ),
        (
            beta(component("a", scalingAdapter={})),
            beta(component("a", scalingAdapter={}, replicas=3)),
            "spec.components[a].replicas: cannot be modified directly when scaling adapter is enabled; use "
            "'kubectl scale dgdsa/qwen-a --replicas=3' or update the DynamoGraphDeploymentScalingAdapter instead",
        ),
        (
            alpha(Decode={"scalingAdapter": {"enabled": True}}),
            alpha(Decode={"scalingAdapter": {"enabled": True}, "replicas": 2}),
            "spec.services[Decode].replicas: cannot be modified directly when scaling adapter is enabled; use "
            "'kubectl scale dgdsa/qwen-decode --replicas=2' or update the DynamoGraphDeploymentScalingAdapter "
            "instead",
        ),
    ],
)
def test_what_may_not_change_in_a_graph(old, new, line):
    assert messages(new, old) == [line]


@pytest.mark.parametrize("user", [OPERATOR, "system:serviceaccount:team:planner-serviceaccount"])
def test_those_that_adapters_scale_through_may_scale(user):
    """RB-09."""
    old, new = (beta(component("a", scalingAdapter={}, replicas=n)) for n in (1, 3))
    assert messages(new, old, user=user, policy=OPERATED) == []
    assert messages(new, old, user="system:serviceaccount:other:planner-serviceaccount", policy=OPERATED)


def test_what_may_change_in_a_graph():
    old = beta(component("a"), component("b", scalingAdapter={}))
    new = beta(component("b", replicas=2), component("a", replicas=5), backendFramework="vllm")
    assert messages(new, old) == []


def test_a_framework_that_changes_is_warned_about():
    old, new = (beta(component("a"), backendFramework=name) for name in ("vllm", "sglang"))
    assert "Changing spec.backendFramework may cause unexpected behavior" in validate(new, old)["warnings"]


def test_no_restart_in_the_middle_of_an_update():
    old = beta(component("a")) | {"status": {"rollingUpdate": {"phase": "InProgress"}}}
    [line] = messages(beta(component("a"), restart={"id": "2"}), old)
    assert line.startswith("spec.restart.id: cannot be changed while a rolling update is InProgress")


def test_annotations_that_are_immutable():
    name = "dynamo.nvidia.com/gpu-power-limit"
    old, new = (obj(beta(component("a"))["spec"], kind=GRAPH, annotations={name: n}) for n in ("300", "400"))
    assert messages(new, old) == [f'metadata.annotations["{name}"]: field is immutable']


def model(**spec):
    return obj(
        {"modelName": "m", "baseModelName": "b", "modelType": "base", **spec},
        kind="DynamoModel",
        version="v1alpha1",
    )


def test_what_may_not_change_in_a_model():
    """§4.6."""
    response = validate(model(baseModelName="c", modelType="adapter"), model())
    assert response["status"]["message"].split("\n") == [
        "spec.modelType: is immutable and cannot be changed after creation",
        "spec.baseModelName: is immutable and cannot be changed after creation",
    ]
    assert response["warnings"] == [
        "Changing spec.modelType may cause unexpected behavior",
        "Changing spec.baseModelName will break endpoint discovery",
    ]
    assert messages(model(modelName="n"), model()) == []
    assert messages(model(modelType="lora"))[0].startswith("spec.source: is required when modelType is")


def test_what_may_not_change_in_a_checkpoint_and_a_component():
    def checkpoint(engine):
        spec = {"identity": {"model": "m", "backendFramework": engine}, "job": {"podTemplateSpec": POD}}
        return obj(spec, kind="DynamoCheckpoint", version="v1alpha1")

    assert messages(checkpoint("vllm"), checkpoint("vllm")) == []
    assert messages(checkpoint("sglang"), checkpoint("vllm")) == [
        "spec.identity: is immutable after creation"
    ]

    def dcd(**more):
        return obj(component("a", **more), kind="DynamoComponentDeployment")

    assert messages(dcd(replicas=3), dcd()) == []
    assert messages(dcd(multinode={}, backendFramework="vllm"), dcd(backendFramework="sglang")) == [
        "spec.backendFramework: is immutable and cannot be changed after creation",
        "spec.multinode: cannot change node topology between single-node and multi-node after creation",
    ]


def test_a_scaling_adapter_is_its_schema():
    spec = {"dgdRef": {"name": "g", "componentName": "a"}, "replicas": 2}
    assert messages(obj(spec, kind="DynamoGraphDeploymentScalingAdapter")) == []
