"""The rules a file alone can break: VAL-01..10, the CRDs' expressions and the webhooks' checks."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import armature.api as api
from armature.api.planner_keys import PLANNER_KEYS
from armature.api.validate_dgdr import MAX_SEQUENCE_TOKENS


def request(**spec):
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "r"},
        "spec": {"model": "Qwen/Qwen3-0.6B", **spec},
    }


def main(**fields):
    return {"name": "main", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "1"}}, **fields}


def component(name="w", type="worker", **fields):
    return {"name": name, "type": type, "podTemplate": {"spec": {"containers": [main()]}}, **fields}


def graph(*components, **spec):
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "g"},
        "spec": {"components": list(components or [component()]), **spec},
    }


def alpha_graph(services, **spec):
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "g"},
        "spec": {"services": services, **spec},
    }


def found(document):
    _, problems = api.check(document)
    return [str(problem) for problem in problems]


def warnings(document):
    resource, problems = api.check(document)
    assert problems == []
    return list(api.warnings_of(resource))


def only(document):
    problems = found(document)
    assert len(problems) == 1, problems
    return problems[0]


SLA, WORK, HARD, CACHE = "spec.sla", "spec.workload", "spec.hardware", "spec.modelCache"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"searchStrategy": "thorough"}, "spec.searchStrategy: is incompatible"),  # VAL-01
        ({"searchStrategy": "thorough", "backend": "auto"}, "spec.searchStrategy: is incompatible"),
        (
            {"sla": {"e2eLatency": 900, "ttft": 5}},
            f"{SLA}.e2eLatency: cannot be combined with ttft",
        ),  # VAL-02
        ({"sla": {"e2eLatency": 900, "itl": 5}}, f"{SLA}.e2eLatency: cannot be combined with itl"),
        ({"sla": {"ttft": 0}}, f"{SLA}.ttft: must be greater than 0 ms"),
        ({"sla": {"itl": -1.5}}, f"{SLA}.itl: must be greater than 0 ms"),
        ({"sla": {"ttft": 1e9}}, f"{SLA}.ttft: must be at most 86,400,000 ms"),
        ({"workload": {"isl": 0}}, f"{WORK}.isl: must be between 1 and 1048576 tokens"),
        ({"workload": {"isl": 2_000_000}}, f"{WORK}.isl: must be between 1 and 1048576 tokens"),
        ({"workload": {"osl": 0}}, f"{WORK}.osl: must be between 1"),
        ({"workload": {"osl": -4}}, f"{WORK}.osl: must be between 1"),
        ({"workload": {"requestRate": 0}}, f"{WORK}.requestRate: must be greater than 0 requests/s"),
        ({"workload": {"concurrency": -2}}, f"{WORK}.concurrency: must be greater than 0"),
        (
            {"workload": {"concurrency": 4, "requestRate": 1}},
            f"{WORK}.requestRate: cannot be combined with concurr",
        ),
        ({"hardware": {"totalGpus": 0}}, f"{HARD}.totalGpus: must be at least 1"),
        ({"hardware": {"totalGpus": -8}}, f"{HARD}.totalGpus: must be at least 1"),
        ({"hardware": {"totalGpus": 200_000}}, f"{HARD}.totalGpus: must be at most 100,000"),
        ({"hardware": {"numGpusPerNode": 0}}, f"{HARD}.numGpusPerNode: must be at least 1"),
        ({"hardware": {"vramMb": 80}}, "the unit is MiB: write 81920 for 80 GiB"),
        ({"hardware": {"vramMb": 0}}, f"{HARD}.vramMb: must be at least 1,024 MiB"),
        ({"modelCache": {"pvcModelPath": "hub/x"}}, f"{CACHE}.pvcModelPath: needs pvcName"),
        ({"modelCache": {"pvcMountPath": "/m"}}, f"{CACHE}.pvcMountPath: needs pvcName"),
        ({"modelCache": {}}, f"{CACHE}.pvcName: required field is missing"),
        ({"modelCache": {"pvcName": "p", "pvcMountPath": "m"}}, "must be an absolute path"),
        ({"modelCache": {"pvcName": "p", "pvcModelPath": "../x"}}, "must stay inside the PVC"),
        (
            {"modelCache": {"pvcName": "p", "pvcModelPath": "/other/x"}},
            "not under pvcMountPath /opt/model-cache",
        ),
        ({"model": " "}, "spec.model: must be a model's name"),
        ({"model": ""}, "spec.model: must have at least this many characters: 1"),
        (
            {"overrides": {"dgd": {"kind": "Deployment"}}},
            "spec.overrides.dgd.kind: must be DynamoGraphDeployment",
        ),
        (
            {"overrides": {"dgd": {"apiVersion": "nvidia.com/v1"}}},
            "spec.overrides.dgd.apiVersion: unknown version",
        ),
        (
            {"overrides": {"dgd": {"spec": {"envs": [], "servces": {}}}}},
            "dgd.spec.servces: unknown field; did you m",
        ),
        ({"overrides": {"dgd": {"spec": []}}}, "spec.overrides.dgd.spec: must be a mapping"),
    ],
)
def test_request_rules(spec, expected):
    assert expected in only(request(**spec))


@pytest.mark.parametrize(
    ("product", "sku"),
    [
        ("H100-SXM5-80GB", "h100_sxm"),
        ("NVIDIA-H100-80GB-HBM3", "h100_sxm"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("H200-SXM-141GB", "h200_sxm"),
        ("NVIDIA-H200", "h200_sxm"),
        ("A100-SXM4-80GB", "a100_sxm"),
        ("NVIDIA A100-PCIE-40GB", "a100_pcie"),
        ("A30", "a30"),
        ("L40S", "l40s"),
        ("NVIDIA L40", "l40"),
        ("NVIDIA L4", "l4"),
        ("Tesla-T4", "t4"),
        ("Tesla V100-SXM2-16GB", "v100_sxm"),
        ("NVIDIA B200", "b200_sxm"),
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA GB300", "gb300"),
        ("AMD Instinct MI300X", "mi300"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx_pro_6000"),
        ("h100-sxm", "h100_sxm"),
        ("H200_SXM", "h200_sxm"),
    ],
)
def test_a_vendor_product_string_is_refused_and_the_sku_named(product, sku):
    """VAL-03, SKU-02."""
    assert only(request(hardware={"gpuSku": product})).endswith(f"write {sku}")


def test_every_sku_name_is_taken_pcie_too():
    """SKU-01, VAL-04."""
    assert len(api.SKUS) == 22
    for sku in api.SKUS:
        assert found(request(hardware={"gpuSku": sku})) == []


def test_a_product_nobody_knows_lists_the_names():
    assert "one of vr_nvl72, gb200" in only(request(hardware={"gpuSku": "Quadro"}))


@settings(max_examples=80, deadline=None)
@given(
    isl=st.integers(-(2**31), 2**31 - 1),
    ttft=st.floats(allow_nan=True, allow_infinity=True),
    total=st.integers(-5, 200_000),
)
def test_only_numbers_that_can_be_meant_pass(isl, ttft, total):
    problems = found(request(workload={"isl": isl}, sla={"ttft": ttft}, hardware={"totalGpus": total}))
    bad = [not 1 <= isl <= MAX_SEQUENCE_TOKENS, not 0 < ttft <= 86_400_000, not 1 <= total <= 100_000]
    assert len(problems) == sum(bad)


def test_overrides_that_are_fine():
    """DGDR-15, DGDR-16: `containers: []` is a placeholder; a partial graph needs none of its required fields."""
    job = {"template": {"spec": {"containers": [], "tolerations": [{"operator": "Exists"}]}}}
    dgd = {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "spec": {
            "envs": [{"name": "A", "value": "b"}],
            "services": {"VllmWorker": {"extraPodSpec": {"x": 1}}},
        },
    }
    assert found(request(overrides={"profilingJob": job, "dgd": dgd})) == []
    assert found(request(overrides={"dgd": {"spec": {"components": [{"replicas": 2}]}}})) == []


def test_planner_settings_in_every_spelling():
    """DGDR-13; the sample's plannerMinEndpoint; unknown keys are refused where the planner would ignore them."""
    planner = {
        "enabled": True,
        "plannerMinEndpoint": 2,
        "ttftMs": 200,
        "max_gpu_budget": 8,
        "optimizationTarget": "sla",
    }
    assert found(request(features={"planner": planner})) == []
    assert api.planner_settings(planner) == {
        "min_endpoint": 2,
        "ttft_ms": 200,
        "max_gpu_budget": 8,
        "optimization_target": "sla",
    }
    resource, _ = api.check(request(features={"planner": planner}))
    assert api.default_request(resource).spec.features.planner == api.planner_settings(planner)


@pytest.mark.parametrize(
    ("planner", "expected"),
    [
        ({"ttft_m": 5}, "planner.ttft_m: unknown planner setting; did you mean ttft_ms?"),
        ({"plannerMinEndpont": 5}, "did you mean plannerMinEndpoint?"),
        ({"adjustment_interval": 5}, "unknown planner setting; did you mean load_adjustment_interval"),
        ({"enabled": "yes"}, "planner.enabled: must be true or false"),
        ({"mode": "dissag"}, "did you mean disagg?"),
        ({"minEndpoint": 1.5}, "planner.minEndpoint: must be a whole number"),
        ({"min_endpoint": 1, "minEndpoint": 2}, "planner.minEndpoint: same setting as min_endpoint"),
        ({"ttft": 0}, "planner.ttft: must be greater than 0 ms"),
        ({"itl": float("inf")}, "planner.itl: must be a finite number"),
    ],
)
def test_planner_mistakes(planner, expected):
    assert expected in only(request(features={"planner": planner}))


def test_planner_off_and_on():
    """REQ-07: off unless asked for."""
    for planner, on in [
        (None, False),
        ({"enabled": False, "ttft": 5}, False),
        ({}, True),
        ({"enabled": True}, True),
    ]:
        resource, _ = api.check(request(features={"planner": planner} if planner is not None else {}))
        assert api.planner_enabled(resource.spec.features.planner) is on
        assert (api.default_request(resource).spec.features.planner is not None) is on


def test_no_planner_key_has_two_meanings():
    spellings = [api.planner_settings({key: 1}) for key in PLANNER_KEYS if key != "enabled"]
    assert [next(iter(item)) for item in spellings] == [key for key in PLANNER_KEYS if key != "enabled"]


def test_request_warnings():
    assert (
        "is no Hugging Face snapshot path"
        in warnings(request(modelCache={"pvcName": "p", "pvcModelPath": "deepseek-r1"}))[0]
    )  # VAL-10
    path = "hub/models--Qwen--Qwen3-0.6B/snapshots/c1899de289a04d12100db370d81485cdf75e47ca"
    assert warnings(request(modelCache={"pvcName": "p", "pvcModelPath": path})) == []
    assert "milliseconds" in warnings(request(sla={"ttft": 0.5}))[0]
    assert "write gb200" in warnings(request(hardware={"gpuSku": "gb200_sxm"}))[0]
    assert warnings(request()) == []


EPP = component("e", "epp", eppConfig={"config": {}})
GMS = {"gpuMemoryService": {}}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (graph(component("w"), component("W")), "spec.components[1].name: is taken by spec.components[0]"),
        (
            graph(EPP, {**EPP, "name": "f"}),
            "spec.components[1].type: at most one component may have type epp",
        ),
        (graph(*(component(f"w{n}") for n in range(26))), "must have at most this many entries: 25"),
        (graph(component("a_b")), "spec.components[0].name: does not match"),
        (graph(component(minAvailable=3, replicas=2)), "minAvailable: must be at most replicas (2)"),
        (graph(component(minAvailable=2)), "minAvailable: must be at most replicas (1)"),
        (graph(component(replicas=-1)), "spec.components[0].replicas: must be at least 0"),
        (graph(component(multinode={"nodeCount": 1})), "multinode.nodeCount: must be at least 2"),
        (graph(component(sharedMemorySize="8GB")), "sharedMemorySize: must be a quantity such as 8Gi"),
        (graph(component(sharedMemorySize=True)), "sharedMemorySize: must be a quantity such as 8Gi"),
        (graph(component(sharedMemorySize="-8Gi")), "sharedMemorySize: must not be negative"),
        (graph(component(type="router")), "type: must be one of frontend, worker"),
        (graph(component(eppConfig={"config": {}})), "eppConfig: may only be set when type is epp"),
        (graph(component("e", "epp")), "eppConfig: is required when type is epp"),
        (graph({**EPP, "eppConfig": {}}), "exactly one of configMapRef or config"),
        (
            graph({**EPP, "eppConfig": {"configMapRef": {"key": "k"}}}),
            "configMapRef.name: required field is missing",
        ),
        (graph({**EPP, "replicas": 2}), "must have exactly 1 replica"),
        (graph({**EPP, "multinode": {"nodeCount": 2}}), "cannot be multinode"),
        (graph(component(frontendSidecar="x")), "frontendSidecar: must name a container"),
        (graph(component("f", "frontend", experimental=GMS)), "only supported for worker, prefill or decode"),
        (
            graph(component(experimental=GMS, podTemplate={})),
            "gpuMemoryService: needs podTemplate.spec.containers[ma",
        ),
        (graph(component(experimental={"failover": {}})), "failover: needs gpuMemoryService"),
        (
            graph(component(experimental={**GMS, "failover": {"mode": "InterPod"}})),
            "failover.mode: must match",
        ),
        (
            graph(component(experimental={**GMS, "checkpoint": {"enabled": True}})),
            "cannot be combined with gpuMemo",
        ),
        (
            graph(component(experimental={"checkpoint": {"enabled": True, "job": {}, "checkpointRef": "c"}})),
            "checkpoint.job: cannot be set when checkpointRef",
        ),
        (
            graph(
                component(
                    experimental={"gpuMemoryService": {"mode": "InterPod", "extraClientContainers": ["main"]}}
                )
            ),
            "extraClientContainers: is only supported with mode: IntraPod",
        ),
        (graph(restart={"id": "1"}), "spec.restart: must be unset on create"),
        (
            graph(component(topologyConstraint={"packDomain": "rack"})),
            "spec.topologyConstraint: is required when a c",
        ),
        (
            graph(topologyConstraint={"clusterTopologyName": "t"}),
            "spec.topologyConstraint.packDomain: is required",
        ),
        (
            graph(experimental={"kvTransferPolicy": {"domain": "zone"}}),
            "exactly one of labelKey or clusterTopologyN",
        ),
        (
            graph(
                experimental={
                    "kvTransferPolicy": {"domain": "z", "labelKey": "k", "enforcement": "preferred"}
                }
            ),
            "preferredWeight: is required when enforcement is preferred",
        ),
        (
            graph(
                experimental={"kvTransferPolicy": {"domain": "z", "labelKey": "k", "preferredWeight": 0.5}}
            ),
            "preferredWeight: may only be set when enforcement is preferred",
        ),
        (
            graph(
                experimental={
                    "componentGroups": [{"name": "g", "replicas": 1, "components": [{"name": "ww"}]}]
                }
            ),
            "componentGroups[0].components[0].name: names no component (got 'ww'); did you mean w?",
        ),
        (graph(env=[{"value": "x"}]), "spec.env[0].name: required field is missing"),
        (graph(env=[{"name": "A", "value": 1}]), 'put it in quotes: "1"'),
        (
            graph(component(podTemplate={"spec": {"containers": {}}})),
            "podTemplate.spec.containers: must be a list",
        ),
        (
            graph(component(podTemplate={"spec": {"containers": [main(), main()]}})),
            "is taken by an earlier container",
        ),
        (
            graph(component(podTemplate={"spec": {"containers": [main(args="--x")]}})),
            "write it as a list: [--x]",
        ),
    ],
)
def test_graph_rules(document, expected):
    assert expected in only(document)


def test_a_graph_without_components_and_its_annotations():
    empty = graph()
    empty["spec"]["components"] = []
    assert "must have at least one component" in only(empty)
    annotated = graph()
    annotated["metadata"]["annotations"] = {"nvidia.com/dynamo-kube-discovery-mode": "contaner"}
    assert "did you mean container?" in only(annotated)


def test_minimum_available_and_restart_on_a_live_object():
    assert found(graph(component(minAvailable=3, replicas=0))) == []
    live = graph(component("a"), component("b"), restart={"id": "1", "strategy": {"order": ["a", "b"]}})
    live["metadata"]["uid"] = "u"
    assert found(live) == []
    wrong = copy.deepcopy(live)
    wrong["spec"]["restart"]["strategy"] = {"type": "Parallel", "order": ["a", "a", "c"]}
    assert [line.split(" (")[0] for line in found(wrong)] == [
        "spec.restart.strategy.order: cannot be set when the strategy is Parallel; remove order",
        "spec.restart.strategy.order: names a component twice",
        "spec.restart.strategy.order: names no component",
        "spec.restart.strategy.order: leaves out b; name them all",
    ]


def test_graph_warnings():
    assert "container main has no image" in warnings(graph({"name": "w"}))[0]
    checkpoint = {"enabled": True, "mode": "Auto", "identity": {"model": "m", "backendFramework": "vllm"}}
    assert len(warnings(graph(component(experimental={"checkpoint": checkpoint})))) == 2


W = "spec.services.W"


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({"ingress": {"enabled": True}}, f"{W}.ingress.host: is required when ingress is enabled"),
        ({"volumeMounts": [{"name": "p"}]}, f"{W}.volumeMounts[0].mountPoint: is required"),
        ({"sharedMemory": {}}, f"{W}.sharedMemory.size: is required"),
        ({"sharedMemory": {"disabled": True, "size": "1Gi"}}, f"{W}.sharedMemory.size: must not be set"),
        ({"sharedMemory": {"size": "x"}}, f"{W}.sharedMemory.size: must be a quantity"),
        ({"checkpoint": {"enabled": True}}, f"{W}.checkpoint: when enabled, needs checkpointRef"),
        ({"failover": {"enabled": True}}, f"{W}.failover: needs gpuMemoryService"),
        ({"eppConfig": {"config": {}}}, f"{W}.eppConfig: may only be set when type is epp"),
        (
            {"resources": {"limits": {"gpu": 1}}},
            f"{W}.resources.limits.gpu: must be a string (got 1); put it in quot",
        ),
        (
            {"extraPodSpec": {"mainContainer": {"args": [1]}}},
            f"{W}.extraPodSpec.mainContainer.args[0]: must be a str",
        ),
        ({"extraPodSpec": {"mainContainer": "x"}}, f"{W}.extraPodSpec.mainContainer: must be a mapping"),
        (
            {"extraPodSpec": {"containers": [{"image": "x"}]}},
            f"{W}.extraPodSpec.containers[0].name: required",
        ),
        ({"envs": [{"name": "A", "value": 1}]}, f"{W}.envs[0].value: must be a string"),
        ({"replicas": -1}, f"{W}.replicas: must be at least 0"),
        ({"componentTyp": "worker"}, f"{W}.componentTyp: unknown field; did you mean componentType?"),
    ],
)
def test_alpha_service_rules_have_the_path_of_the_alpha_file(service, expected):
    assert expected in only(alpha_graph({"W": service}))


def test_alpha_graph_rules():
    assert [
        line.split(":")[0] for line in found(alpha_graph({"W": {}}, pvcs=[{"name": "p", "create": True}]))
    ] == [
        "spec.pvcs[0].size",
        "spec.pvcs[0].storageClass",
        "spec.pvcs[0].volumeAccessMode",
    ]
    assert "has the same name as A" in found(alpha_graph({"A": {}, "a": {}}))[0]
    assert (
        "spec.topologyConstraint.clusterTopologyName: required"
        in found(alpha_graph({"A": {}}, topologyConstraint={"packDomain": "rack"}))[0]
    )
    assert (
        found(alpha_graph({"A": {}}, topologyConstraint={"topologyProfile": "t", "packDomain": "rack"})) == []
    )


def test_alpha_request_rules_have_the_path_of_the_alpha_file():
    document = {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "r"},
        "spec": {
            "model": "m",
            "backend": "any",
            "profilingConfig": {
                "profilerImage": "x",
                "config": {
                    "sweep": {"use_ai_configurator": False},
                    "sla": {"isl": "3000", "ttft": -1},
                    "hardware": {"gpuModel": "Quadro", "minNumGpusPerEngine": 8, "maxNumGpusPerEngine": 4},
                },
            },
        },
    }
    config = "spec.profilingConfig.config"
    assert [line.split(": ")[0] for line in found(document)] == [
        f"{config}.hardware.maxNumGpusPerEngine",
        f"{config}.hardware.gpuModel",
        f"{config}.sla.isl",
        f"{config}.sweep.use_ai_configurator",
        f"{config}.sla.ttft",
    ]


def test_models_and_checkpoints():
    """DM-01, CK-01, CK-15."""

    def model(**spec):
        return {
            "apiVersion": "nvidia.com/v1alpha1",
            "kind": "DynamoModel",
            "metadata": {"name": "llama-3.1-lora"},
            "spec": {"modelName": "a", "baseModelName": "b", **spec},
        }

    assert found(model()) == []
    assert found({**model(), "apiVersion": "nvidia.com/v1beta1"}) == []
    assert "spec.source: is required when modelType is lora" in only(model(modelType="lora"))
    assert "must start with s3:// or hf://" in only(model(modelType="lora", source={"uri": "gs://x"}))
    assert "and name a path" in only(model(source={"uri": "s3://"}))
    assert found(model(modelType="lora", source={"uri": "hf://org/model@rev"})) == []
    assert "spec.modelName: must not be empty" in only(model(modelName=" "))
    job = {"podTemplateSpec": {"spec": {"containers": [{"name": "main"}]}}}
    checkpoint = {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoCheckpoint",
        "metadata": {"name": "c"},
        "spec": {"identity": {"model": "m", "backendFramework": "vllm"}, "job": job},
    }
    assert found(checkpoint) == []
    job["sharedMemory"] = {"disabled": True, "size": "1Gi"}
    checkpoint["spec"]["gpuMemoryService"] = {"enabled": True}
    assert len(found(checkpoint)) == 2
