"""v1alpha1 to v1beta1: the field's own pairs agree, and what has no place in v1beta1 is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import armature.api as api
from armature.api import v1beta1

CONFORMANCE = Path(__file__).parents[2] / "data" / "conformance"


def graphs_of(name):
    return [r for r in api.load_file(CONFORMANCE / name) if r.kind == "DynamoGraphDeployment"]


def loaded(kind, spec, metadata=None):
    document = {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": kind,
        "metadata": {"name": "x", **(metadata or {})},
    }
    resource, problems = api.check({**document, "spec": spec})
    assert problems == []
    return resource


def converted(kind, spec, metadata=None):
    resource, notes = api.to_v1beta1(loaded(kind, spec, metadata))
    return api.to_dict(resource), list(notes)


def component_of(service):
    topology = {"clusterTopologyName": "t", "packDomain": "zone"}
    data, notes = converted(
        "DynamoGraphDeployment", {"services": {"W": service}, "topologyConstraint": topology}
    )
    return data["spec"]["components"][0], notes


def comparable(graph, ignore):
    """Components by name, without what the samples of two releases differ in: image tags and `ignore`."""
    out = {}
    for component in api.to_dict(graph)["spec"]["components"]:
        for container in component["podTemplate"]["spec"]["containers"]:
            container["image"] = container["image"].rsplit(":", 1)[0]
            for key in ignore:
                container.pop(key, None)
            resources = container.get("resources", {})
            resources.get("requests", {}).pop("ephemeral-storage", None)
            if not resources.get("requests", True):
                del resources["requests"]
        out[component["name"]] = component
    return out


@pytest.mark.parametrize(
    ("old", "new", "ignore"),
    [
        (
            "examples_backends_sglang_deploy_disagg.yaml",
            "examples_backends_sglang_deploy_v1beta1_disagg.yaml",
            (),
        ),
        ("examples_backends_trtllm_deploy_agg.yaml", "examples_backends_trtllm_deploy_v1beta1_agg.yaml", ()),
        (
            "examples_backends_trtllm_deploy_disagg-multinode.yaml",
            "examples_backends_trtllm_deploy_v1beta1_disagg-multinode.yaml",
            (),
        ),
        # the flag was renamed between the releases of these two: --is-decode-worker, --disaggregation-mode decode
        (
            "examples_backends_vllm_deploy_disagg.yaml",
            "examples_backends_vllm_deploy_v1beta1_disagg.yaml",
            ("args",),
        ),
    ],
)
def test_the_same_graph_in_both_versions_converts_to_the_same_components(old, new, ignore):
    """B1-08, C-42."""
    (before,), (after,) = graphs_of(old), graphs_of(new)
    graph, notes = api.to_v1beta1(before)
    assert notes == ()
    assert comparable(graph, ignore) == comparable(after, ignore)
    assert graph.spec.env == after.spec.env
    assert graph.spec.backend_framework == after.spec.backend_framework


def test_conversion_is_identity_on_v1beta1_and_other_kinds():
    for name in (
        "examples_backends_vllm_deploy_v1beta1_agg.yaml",
        "examples_backends_vllm_deploy_lora_lora-model.yaml",
    ):
        (resource,) = api.load_file(CONFORMANCE / name)
        assert api.to_v1beta1(resource) == (resource, ())


def test_every_shorthand_of_a_service_is_written_out():
    """A1-05 to A1-17."""
    component, notes = component_of(
        {
            "componentType": "worker",
            "subComponentType": "prefill",
            "annotations": {"a": "service", "b": "1"},
            "labels": {"l": "1"},
            "extraPodMetadata": {"annotations": {"a": "pod"}},
            "envFromSecret": "hf",
            "envs": [{"name": "X", "value": "service"}, {"name": "Y", "value": "1"}],
            "resources": {
                "requests": {"cpu": "4", "memory": "8Gi", "custom": {"rdma/ib": "1"}},
                "limits": {"gpu": "2", "gpuType": "gpu.intel.com/xe"},
                "claims": [{"name": "c"}],
            },
            "volumeMounts": [
                {"name": "models", "mountPoint": "/models"},
                {"name": "cache", "mountPoint": "/cc", "useAsCompilationCache": True},
            ],
            "sharedMemory": {"size": "16Gi"},
            "livenessProbe": {"periodSeconds": 5},
            "replicas": 3,
            "multinode": {"nodeCount": 2},
            "scalingAdapter": {"enabled": True},
            "modelRef": {"name": "m", "revision": "r"},
            "gpuMemoryService": {"enabled": True, "mode": "intraPod"},
            "failover": {"enabled": True, "numShadows": 1},
            "topologyConstraint": {"packDomain": "rack"},
            "globalDynamoNamespace": True,
            "frontendSidecar": {"image": "side", "args": ["-m"], "envFromSecret": "hf"},
            "extraPodSpec": {
                "nodeSelector": {"n": "1"},
                "containers": [{"name": "other", "image": "o"}],
                "volumes": [{"name": "v", "emptyDir": {}}],
                "mainContainer": {
                    "name": "anything",
                    "image": "i",
                    "env": [{"name": "X", "value": "main"}, {"name": "Z", "value": "2"}],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "9"}},
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                },
            },
        }
    )
    assert notes == []
    main, other, sidecar = component["podTemplate"]["spec"]["containers"]
    assert main == {
        "name": "main",
        "image": "i",
        "env": [{"name": "X", "value": "main"}, {"name": "Y", "value": "1"}, {"name": "Z", "value": "2"}],
        "envFrom": [{"secretRef": {"name": "hf"}}],
        "resources": {
            "limits": {"gpu.intel.com/xe": "2", "nvidia.com/gpu": "1"},
            "requests": {"cpu": "9", "memory": "8Gi", "rdma/ib": "1"},
            "claims": [{"name": "c"}],
        },
        "volumeMounts": [{"mountPath": "/models", "name": "models"}, {"name": "v", "mountPath": "/v"}],
        "livenessProbe": {"periodSeconds": 5},
    }
    assert other == {"name": "other", "image": "o"}
    assert sidecar == {
        "name": "sidecar-frontend",
        "image": "side",
        "args": ["-m"],
        "envFrom": [{"secretRef": {"name": "hf"}}],
    }
    assert component["podTemplate"]["metadata"] == {
        "labels": {"l": "1"},
        "annotations": {"a": "pod", "b": "1"},
    }
    assert component["podTemplate"]["spec"]["nodeSelector"] == {"n": "1"}
    assert component["podTemplate"]["spec"]["volumes"] == [
        {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
        {"name": "v", "emptyDir": {}},
    ]
    del component["podTemplate"]
    assert component == {
        "name": "W",
        "type": "prefill",
        "replicas": 3,
        "multinode": {"nodeCount": 2},
        "sharedMemorySize": "16Gi",
        "modelRef": {"name": "m", "revision": "r"},
        "scalingAdapter": {},
        "frontendSidecar": "sidecar-frontend",
        "compilationCache": {"pvcName": "cache", "mountPath": "/cc"},
        "topologyConstraint": {"packDomain": "rack"},
        "globalDynamoNamespace": True,
        "experimental": {"gpuMemoryService": {"mode": "IntraPod"}, "failover": {"numShadows": 1}},
    }


def test_switched_off_shorthands_leave_nothing():
    component, notes = component_of(
        {
            "sharedMemory": {"disabled": True},
            "scalingAdapter": {"enabled": False},
            "gpuMemoryService": {"enabled": False},
            "failover": {"enabled": False},
        }
    )
    assert component == {"name": "W", "sharedMemorySize": "0"}
    assert notes == []


@pytest.mark.parametrize(
    ("service", "note"),
    [
        (
            {"autoscaling": {"enabled": True}},
            "spec.services.W.autoscaling is deprecated and ignored",
        ),  # A1-13
        ({"dynamoNamespace": "n"}, "spec.services.W.dynamoNamespace (n) is deprecated and ignored"),
        ({"ingress": {"enabled": True, "host": "h"}}, "spec.services.W.ingress has no counterpart"),
        ({"serviceName": "other"}, "spec.services.W.serviceName (other) is ignored"),
        ({"componentType": "router"}, "spec.services.W.componentType (router) is no type of v1beta1"),
        ({"componentType": "frontend", "subComponentType": "x"}, "subComponentType (x) has no counterpart"),
    ],
)
def test_what_v1beta1_has_no_place_for_is_said(service, note):
    _, notes = component_of(service)
    assert len(notes) == 1
    assert note in notes[0]
    assert note in api.warnings_of(loaded("DynamoGraphDeployment", {"services": {"W": service}}))[0]


def test_graph_level_fields():
    """A1-02, A1-03."""
    data, notes = converted(
        "DynamoGraphDeployment",
        {
            "backendFramework": "vllm",
            "annotations": {"a": "1"},
            "labels": {"l": "1"},
            "priorityClassName": "p",
            "envs": [{"name": "E", "value": "1"}],
            "pvcs": [
                {"name": "new", "create": True, "size": "1Gi", "storageClass": "s", "volumeAccessMode": "RWX"}
            ],
            "topologyConstraint": {"topologyProfile": "t", "packDomain": "zone"},
            "services": {"My_Worker": {"componentType": "worker"}},
            "experimental": {
                "kvTransferPolicy": {"labelKey": "k", "domain": "zone"},
                "componentGroups": [
                    {
                        "name": "g",
                        "replicas": 1,
                        "scalingAdapter": {"enabled": True},
                        "components": [{"name": "My_Worker"}],
                    }
                ],
            },
        },
        {"labels": {"keep": "me"}},
    )
    spec = data["spec"]
    assert data["metadata"] == {"name": "x", "labels": {"keep": "me"}}
    assert spec["env"] == [{"name": "E", "value": "1"}]
    assert spec["topologyConstraint"] == {"clusterTopologyName": "t", "packDomain": "zone"}
    assert spec["components"] == [{"name": "My-Worker", "type": "worker"}]
    assert spec["experimental"]["componentGroups"] == [
        {"name": "g", "replicas": 1, "scalingAdapter": {}, "components": [{"name": "My-Worker"}]}
    ]
    assert {key: spec[key] for key in ("backendFramework", "annotations", "labels", "priorityClassName")} == {
        "backendFramework": "vllm",
        "annotations": {"a": "1"},
        "labels": {"l": "1"},
        "priorityClassName": "p",
    }
    assert any("create new (1Gi, RWX, class s) yourself" in note for note in notes)
    assert any("is named My-Worker" in note for note in notes)


KIND = "DynamoGraphDeploymentRequest"


def test_the_proposal():
    """C-01 to C-11, REQ-08: any -> auto, pvcPath -> pvcModelPath, and none of its defaults."""
    data, notes = converted(KIND, {"model": "m", "backend": "any", "image": "i", "autoApply": True})
    assert data["spec"] == {"model": "m", "backend": "auto", "image": "i", "autoApply": True}
    assert notes == []
    request, _ = api.to_v1beta1(loaded(KIND, {"model": "m", "backend": "any", "image": "i"}))
    full = api.default_request(request)
    assert (full.spec.workload.isl, full.spec.workload.osl) == (4000, 1000)
    assert (full.spec.sla.ttft, full.spec.sla.itl) == (None, None)
    assert full.spec.auto_apply is True
    data, _ = converted(
        KIND,
        {
            "model": "m",
            "backend": "trtllm",
            "workload": {"isl": 512, "osl": 128},
            "sla": {"ttft": 150, "itl": 20},
            "modelCache": {"pvcName": "model-cache", "pvcPath": "deepseek-r1"},
            "overrides": {"profilingJob": {}, "dgd": {"spec": {"envs": []}}},
            "searchStrategy": "thorough",
            "enableAutoScaling": True,
        },
    )
    assert data["spec"] == {
        "model": "m",
        "backend": "trtllm",
        "workload": {"isl": 512, "osl": 128},
        "sla": {"ttft": 150, "itl": 20},
        "modelCache": {"pvcName": "model-cache", "pvcModelPath": "deepseek-r1"},
        "overrides": {"profilingJob": {}, "dgd": {"spec": {"envs": []}}},
        "searchStrategy": "thorough",
        "features": {"planner": {"enabled": True}},
    }


@pytest.mark.parametrize("snake", [False, True])
def test_the_shipped_profiling_config_in_both_spellings(snake):
    camel_config = {
        "sweep": {"useAiConfigurator": True, "aicSystem": "h200_sxm", "aicHfId": "m"},
        "sla": {"isl": 3000, "osl": 150, "ttft": 500.0, "itl": 30.0},
        "hardware": {"numGpusPerNode": 8},
        "deployment": {"modelCache": {"pvcName": "p", "pvcPath": "d"}},
        "planner": {"plannerMinEndpoint": 2},
    }
    snake_config = {
        "sweep": {"use_ai_configurator": True, "aic_system": "h200_sxm", "aic_hf_id": "m"},
        "sla": {"isl": 3000, "osl": 150, "ttft": 500.0, "itl": 30.0},
        "hardware": {"num_gpus_per_node": 8},
        "deployment": {"model_cache": {"pvc_name": "p", "pvc_path": "d"}},
        "planner": {"plannerMinEndpoint": 2},
    }
    profiling = {"profilerImage": "i", "config": snake_config if snake else camel_config}
    data, notes = converted(
        KIND, {"model": "m", "backend": "vllm", "profilingConfig": profiling, "autoApply": False}
    )
    assert notes == []
    assert data["spec"] == {
        "model": "m",
        "backend": "vllm",
        "image": "i",
        "searchStrategy": "rapid",
        "workload": {"isl": 3000, "osl": 150},
        "sla": {"ttft": 500.0, "itl": 30.0},
        "hardware": {"gpuSku": "h200_sxm", "numGpusPerNode": 8},
        "modelCache": {"pvcName": "p", "pvcModelPath": "d"},
        "features": {"planner": {"plannerMinEndpoint": 2}},
        "autoApply": False,
    }


def test_the_rest_of_the_shipped_schema():
    data, notes = converted(
        KIND,
        {
            "model": "m",
            "backend": "sglang",
            "useMocker": True,
            "enableGpuDiscovery": True,
            "profilingConfig": {
                "profilerImage": "i",
                "config": {
                    "sweep": {"useAiConfigurator": False, "prefillInterpolationGranularity": 16},
                    "hardware": {"gpuModel": "NVIDIA-H200", "minNumGpusPerEngine": 1},
                    "engine": {"backend": "vllm"},
                },
                "configMapRef": {"name": "base"},
                "outputPVC": "results",
                "resources": {"limits": {"cpu": "1"}},
                "tolerations": [{"operator": "Exists"}],
            },
            "deploymentOverrides": {
                "name": "graph",
                "labels": {"l": "1"},
                "workersImage": "nvcr.io/nvidia/ai-dynamo/sglang-runtime:1.2.0",
            },
        },
    )
    annotations = data["metadata"]["annotations"]
    assert json.loads(annotations["nvidia.com/dgdr-config-map-ref"]) == {"name": "base", "key": "disagg.yaml"}
    assert annotations["nvidia.com/dgdr-output-pvc"] == "results"
    spec = data["spec"]
    assert spec["autoApply"] is False, "the default of the shipped schema"
    assert spec["searchStrategy"] == "thorough"
    assert spec["hardware"] == {"gpuSku": "h200_sxm"}
    assert spec["features"] == {"mocker": {"enabled": True}}
    assert spec["runtimeVersionOverride"] == "1.2.0"
    assert spec["overrides"]["dgd"]["metadata"] == {"name": "graph", "labels": {"l": "1"}}
    pod = spec["overrides"]["profilingJob"]["template"]["spec"]
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["containers"] == [{"name": "profiler", "resources": {"limits": {"cpu": "1"}}}]
    assert len(notes) == 7
    for word in (
        "autoApply",
        "enableGpuDiscovery",
        "prefillInterpolationGranularity",
        "minNumGpusPerEngine",
        "engine.backend (vllm)",
        "configMapRef",
        "outputPVC",
    ):
        assert sum(word in note for note in notes) == 1, word


def test_a_workers_image_of_ones_own_is_kept_and_said():
    data, notes = converted(
        KIND,
        {"model": "m", "backend": "vllm", "deploymentOverrides": {"workersImage": "my/vllm-runtime:1.0.0"}},
    )
    assert data["metadata"]["annotations"] == {"nvidia.com/dgdr-workers-image": "my/vllm-runtime:1.0.0"}
    assert "runtimeVersionOverride" not in data["spec"]
    assert "workersImage (my/vllm-runtime:1.0.0)" in notes[0]


def test_every_alpha_request_field_has_an_effect_or_a_note():
    """Rule of the house: each field alone changes the converted request or is spoken of."""
    values = {
        "backend": "vllm",
        "autoApply": False,
        "image": "i",
        "workload": {"isl": 5},
        "sla": {"ttft": 50.0},
        "modelCache": {"pvcName": "p"},
        "overrides": {"dgd": {"spec": {}}},
        "searchStrategy": "rapid",
        "enableAutoScaling": True,
        "useMocker": True,
        "profilingConfig": {"profilerImage": "i"},
        "deploymentOverrides": {"name": "n"},
        "enableGpuDiscovery": True,
    }
    plain, _ = converted(KIND, {"model": "m"})
    fields = {field.alias for field in api.v1alpha1.AlphaRequestSpec.model_fields.values()} - {"model"}
    assert fields == set(values)
    for name, value in values.items():
        data, notes = converted(KIND, {"model": "m", name: value})
        assert data != plain or notes, name


def test_every_alpha_service_field_has_an_effect_or_a_note():
    values = {
        "annotations": {"a": "1"},
        "labels": {"a": "1"},
        "serviceName": "s",
        "componentType": "worker",
        "subComponentType": "decode",
        "dynamoNamespace": "n",
        "globalDynamoNamespace": True,
        "resources": {"limits": {"cpu": "1"}},
        "autoscaling": {"enabled": True},
        "envs": [{"name": "A"}],
        "envFromSecret": "s",
        "volumeMounts": [{"name": "p", "mountPoint": "/p"}],
        "ingress": {"enabled": False},
        "modelRef": {"name": "m"},
        "sharedMemory": {"size": 5},
        "extraPodMetadata": {"labels": {"a": "1"}},
        "extraPodSpec": {"hostNetwork": True},
        "livenessProbe": {"a": 1},
        "readinessProbe": {"a": 1},
        "replicas": 2,
        "multinode": {"nodeCount": 2},
        "scalingAdapter": {"enabled": True},
        "eppConfig": {"config": {}},
        "checkpoint": {"enabled": False, "startupPolicy": "Immediate"},
        "topologyConstraint": {"packDomain": "rack"},
        "gpuMemoryService": {"enabled": True},
        "failover": {"enabled": True},
        "frontendSidecar": {"image": "i"},
    }
    from armature.api.convert.service_to_beta import convert_service

    assert {field.alias for field in api.v1alpha1.Service.model_fields.values()} == set(values)
    plain, _, _ = convert_service("W", {}, "spec.services.W")
    for name, value in values.items():
        component, notes, _ = convert_service("W", {name: value}, "spec.services.W")
        assert component != plain or notes, name
        assert v1beta1.Component.model_validate(component)
