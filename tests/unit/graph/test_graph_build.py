"""What `build` writes: six whole graphs compared with golden files, then each rule by itself.

After a change that is meant, run the tests with ARMATURE_WRITE_GOLDEN=1 and read the diff.
"""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import graph_factory as make
import pytest
import yaml

from armature import api
from armature.api.meta import V1ALPHA1
from armature.errors import InvalidInput
from armature.graph.backends.base import graph_batches
from armature.graph.build import Graph, build, max_model_len, to_documents
from armature.graph.engine_flags import read_container, unknown_flags
from armature.graph.known_flags import KNOWN
from armature.graph.pods import model_cache_for
from armature.graph.preflight import preflight

GOLDEN = Path(__file__).parents[2] / "data" / "graph"
IB = make.pool(gpus=16, nodes=2, rdma=True, rdma_resource="rdma/ib")
MOE = {"moe_ep": 16, "dp": 16, "gpus_per_node": 8}


def _disagg(**decode):
    return (make.group("prefill", replicas=2, tp=2), make.group("decode", **({"tp": 4} | decode)))


def _shape(name: str) -> Graph:
    match name:
        case "vllm_agg":
            return build(make.profile((make.group(replicas=4, tp=2),)), make.request())
        case "vllm_disagg_rdma":
            return build(make.profile(_disagg(), pools=(IB,)), make.request(namespace="serving"))
        case "sglang_dep_multinode":
            groups = (make.group(**MOE),)
            return build(make.profile(groups, backend="sglang", pools=(IB,)), make.request())
        case "trtllm_disagg":
            return build(make.profile(_disagg(), backend="trtllm"), make.request())
        case "mocker_disagg":
            return build(make.profile(_disagg()), make.request(features={"mocker": {"enabled": True}}))
        case "vllm_planner_router_cache":
            wishes = {
                "features": {"planner": {"enabled": True}, "kvRouter": {"enabled": True}},
                "modelCache": {
                    "pvcName": "models",
                    "pvcModelPath": "hub/models--Qwen--Qwen3-32B-FP8/snapshots/abc",
                },
            }
            profile = make.profile(
                _disagg(), sla={"ttft_ms": 500.0, "itl_ms": 20.0, "optimize": "throughput"}
            )
            return build(profile, make.request(**wishes))
    raise AssertionError(name)


SHAPES = (
    "vllm_agg",
    "vllm_disagg_rdma",
    "sglang_dep_multinode",
    "trtllm_disagg",
    "mocker_disagg",
    "vllm_planner_router_cache",
)


def _text(graph: Graph, version: str) -> str:
    return yaml.safe_dump_all(to_documents(graph, version), sort_keys=False, width=110)


@pytest.mark.parametrize("name", SHAPES)
def test_golden(name):
    graph = _shape(name)
    text = _text(graph, "nvidia.com/v1beta1") + "---\n" + _text(graph, V1ALPHA1)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("ARMATURE_WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def _component(graph: Graph, name: str) -> dict:
    components = api.to_dict(graph.dgd)["spec"]["components"]
    return next(component for component in components if component["name"] == name)


def _main(graph: Graph, name: str) -> dict:
    return _component(graph, name)["podTemplate"]["spec"]["containers"][0]


def _walk(value, path=""):
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]")


@pytest.mark.parametrize("version", ["nvidia.com/v1beta1", V1ALPHA1])
@pytest.mark.parametrize("name", SHAPES)
def test_output_is_plain_yaml_that_kubectl_takes(name, version):  # GEN-18
    """Multi-document output survives `safe_load_all`, holds no null, and loads as a user's file, strictly."""
    graph = _shape(name)
    documents = to_documents(graph, version)
    assert list(yaml.safe_load_all(_text(graph, version))) == documents
    for path, value in (item for document in documents for item in _walk(document)):
        assert value is not None, path
        if ".limits." in path or ".requests." in path:
            assert isinstance(value, str | dict), path
    loaded = api.load_documents(_text(graph, version), "generated")
    assert loaded[-1].api_version == version


@pytest.mark.parametrize("name", SHAPES)
def test_v1alpha1_says_the_same(name):  # B1-08
    """What we write as v1alpha1 comes back as what we wrote as v1beta1, but for `readOnly` and `optional`."""
    graph = _shape(name)
    alpha = api.load_documents(_text(graph, V1ALPHA1), "generated")[-1]
    back, _ = api.to_v1beta1(alpha)
    mine = {component["name"]: component for component in api.to_dict(graph.dgd)["spec"]["components"]}
    theirs = {component["name"]: component for component in api.to_dict(back)["spec"]["components"]}
    assert set(mine) == set(theirs)
    for name, component in mine.items():
        other = theirs[name]
        for key in ("type", "replicas", "multinode", "sharedMemorySize", "scalingAdapter"):
            assert component.get(key) == other.get(key), (name, key)
        ours, main = (item["podTemplate"]["spec"]["containers"][0] for item in (component, other))
        for key in ("image", "command", "args", "env", "resources", "securityContext"):
            assert ours.get(key) == main.get(key), (name, key)
        assert {m["mountPath"] for m in ours.get("volumeMounts", [])} == {
            m["mountPath"] for m in main.get("volumeMounts", [])
        }


@pytest.mark.parametrize("name", SHAPES)
def test_every_generated_flag_is_known_to_its_engine(name):
    for component in api.to_dict(_shape(name).dgd)["spec"]["components"]:
        flags = read_container(component["podTemplate"]["spec"]["containers"][0])
        assert set(flags.options) <= KNOWN[flags.module]
        assert unknown_flags(flags) == []


@pytest.mark.parametrize("backend", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize(
    "changes", [{"tp": 4, "replicas": 2}, {"dp": 8, "moe_ep": 8}, {"tp": 8, "moe_ep": 8}, {"tp": 4, "pp": 2}]
)
def test_what_is_written_reads_back_as_the_candidate(backend, changes):
    """Also: attention-DP GPUs are counted once."""
    group = make.group(**changes)
    profile = make.profile((group,), backend=backend)
    graph = build(profile, make.request())
    worker = next(c for c in api.to_dict(graph.dgd)["spec"]["components"] if c["type"] == "worker")
    flags = read_container(worker["podTemplate"]["spec"]["containers"][0])
    assert (flags.gpus, flags.parallelism.dp, flags.parallelism.moe_ep) == (
        group.gpus_per_worker,
        group.dp,
        group.moe_ep,
    )
    assert (flags.max_num_seqs, flags.max_model_len, flags.max_batched_tokens) == (64, 6500, 8192)
    assert preflight(graph, profile) == ()


def test_attention_dp_gpus_counted_twice_known_bug():
    """The field's generator asked 64 GPUs on 8 nodes for an 8-GPU worker."""
    graph = build(make.profile((make.group(dp=8, moe_ep=8),), backend="sglang"), make.request())
    assert _main(graph, "SGLangWorker")["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert "multinode" not in _component(graph, "SGLangWorker")


@pytest.mark.parametrize(("gpus", "per_node", "nodes"), [(8, 8, 1), (16, 8, 2), (8, 4, 2), (12, 8, 2)])
def test_gpus_are_per_node_and_node_count_follows(gpus, per_node, nodes):  # B1-02, GEN-17, ENUM-07
    group = make.group(tp=gpus, gpus_per_node=per_node)
    graph = build(make.profile((group,), pools=(make.pool(gpus=32, nodes=4),)), make.request())
    name = "worker" if nodes > 1 else "VllmWorker"
    assert _main(graph, name)["resources"]["limits"]["nvidia.com/gpu"] == str(gpus // nodes)
    assert _component(graph, name).get("multinode") == ({"nodeCount": nodes} if nodes > 1 else None)


def test_cuda_graph_batches_rise_without_repeats():
    for limit in (1, 2, 3, 16, 17, 64, 500, 1024):
        sizes = graph_batches(limit)
        assert sizes == sorted(set(sizes))
        assert sizes[-1] == limit
    graph = build(make.profile((make.group(),), backend="sglang"), make.request())
    written = read_container(_main(graph, "SGLangWorker")).options["--cuda-graph-bs"]
    assert list(map(int, written)) == graph_batches(64)


@pytest.mark.parametrize(
    ("isl", "osl", "context", "room", "expected"),
    [
        (4000, 1000, 40960, 10**6, 6500),
        (20000, 4000, 131072, 10**6, 30000),
        (4000, 1000, 6000, 10**6, 6000),
        (4000, 1000, 40960, 5200, 5200),
        (4000, 1000, 40960, 10, 5000),
    ],
)
def test_longest_request_follows_the_workload(isl, osl, context, room, expected):
    profile = make.profile(workload={"isl": float(isl), "osl": float(osl)}, model_max_context=context)
    assert max_model_len(profile, room) == expected


@pytest.mark.parametrize(
    ("mount", "path", "directory"),
    [
        ("/opt/model-cache", "hub/x", "/opt/model-cache/hub/x"),
        ("/opt/model-cache/", "/opt/model-cache/hub/x/", "/opt/model-cache/hub/x"),
        ("/opt/model-cache", "/hub/x", "/opt/model-cache/hub/x"),
        ("/opt/model-cache", "/opt/model-cache", "/opt/model-cache"),
        ("/opt/model-cache", None, None),
    ],
)
def test_model_path_is_joined_once(mount, path, directory):  # known bug: mount/mount/path
    assert model_cache_for("pvc", mount, path).model_dir == directory


def test_model_cache_reaches_workers_and_frontend():  # GEN-11, MC-05
    graph = build(make.profile(), make.request(modelCache={"pvcName": "models", "pvcModelPath": "qwen"}))
    worker = _main(graph, "VllmWorker")
    assert read_container(worker).model == "/opt/model-cache/qwen"
    assert read_container(worker).served_name == make.MODEL
    for name in ("VllmWorker", "Frontend"):
        assert _main(graph, name)["volumeMounts"][0] == {
            "name": "model-cache",
            "mountPath": "/opt/model-cache",
            "readOnly": True,
        }


def test_a_cache_without_a_model_path_is_a_writable_hugging_face_home():  # MC-09
    graph = build(
        make.profile(), make.request(modelCache={"pvcName": "models", "pvcMountPath": "/opt/models"})
    )
    worker = _main(graph, "VllmWorker")
    assert {"name": "HF_HOME", "value": "/opt/models"} in worker["env"]
    assert "readOnly" not in worker["volumeMounts"][0]
    assert read_container(worker).model == make.MODEL


def test_the_token_secret_is_optional():  # MC-10
    graph = build(make.profile(), make.request())
    assert _main(graph, "VllmWorker")["envFrom"] == [
        {"secretRef": {"name": "hf-token-secret", "optional": True}}
    ]


@pytest.mark.parametrize(("backend", "size"), [("vllm", "16Gi"), ("trtllm", "80Gi"), ("sglang", "64Gi")])
def test_shared_memory_by_backend(backend, size):  # GEN-14
    graph = build(make.profile(backend=backend), make.request())
    assert api.to_dict(graph.dgd)["spec"]["components"][1]["sharedMemorySize"] == size


def test_rdma_only_for_disaggregated_or_multinode():  # GEN-12, GEN-16
    disagg = build(make.profile(_disagg(), pools=(IB,)), make.request())
    decode = _main(disagg, "VllmDecodeWorker")
    assert decode["resources"]["limits"] == {"nvidia.com/gpu": "4", "rdma/ib": "4"}
    assert decode["resources"]["requests"]["rdma/ib"] == "4"
    assert decode["securityContext"] == {"capabilities": {"add": ["IPC_LOCK"]}}
    assert {"name": "UCX_RNDV_SCHEME", "value": "get_zcopy"} in decode["env"]
    agg = build(make.profile((make.group(),), pools=(IB,)), make.request())
    assert "rdma/ib" not in _main(agg, "VllmWorker")["resources"]["limits"]


def test_rdma_without_a_resource_name_is_noted_not_made_up():
    graph = build(make.profile(_disagg(), pools=(make.pool(rdma=True),)), make.request())
    assert _main(graph, "VllmDecodeWorker")["resources"]["limits"] == {"nvidia.com/gpu": "4"}
    assert any("RDMA" in note for note in graph.notes)


def test_efa_is_privileged_uses_libfabric_and_keeps_roles_apart():  # C-37, COM-04, COM-09
    pool = make.pool(rdma=True, rdma_resource="vpc.amazonaws.com/efa")
    graph = build(make.profile(_disagg(), pools=(pool,)), make.request())
    decode = _main(graph, "VllmDecodeWorker")
    assert decode["securityContext"] == {"privileged": True}
    transfer = json.loads(read_container(decode).value("--kv-transfer-config"))
    assert transfer["kv_connector_extra_config"] == {"backends": ["LIBFABRIC"]}
    term = _component(graph, "VllmDecodeWorker")["podTemplate"]["spec"]["affinity"]["podAntiAffinity"]
    (rule,) = term["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["labelSelector"]["matchLabels"] == {"nvidia.com/dynamo-component": "VllmPrefillWorker"}


def test_nodes_are_chosen_by_product_only_among_several_pools():
    h200 = make.pool(product="NVIDIA-H200")
    other = make.pool(sku="l40s", product="NVIDIA-L40S")
    for pools, selector in (((h200,), None), ((h200, other), {"nvidia.com/gpu.product": "NVIDIA-H200"})):
        graph = build(make.profile(pools=pools), make.request())
        assert _component(graph, "VllmWorker")["podTemplate"]["spec"].get("nodeSelector") == selector


def test_amd_gpus_have_their_own_resource():
    profile = make.profile((make.group(sku="mi300"),), pools=(make.pool(sku="mi300"),))
    graph = build(profile, make.request())
    assert _main(graph, "VllmWorker")["resources"]["limits"] == {"amd.com/gpu": "1"}
    assert any("CUDA" in note for note in graph.notes)


@pytest.mark.parametrize("wish", [None, {"planner": {"enabled": False}}, {"planner": None}])
def test_no_planner_unless_asked(wish):  # REQ-07, GEN-04
    graph = build(make.profile(), make.request(**({"features": wish} if wish else {})))
    assert [component.type for component in graph.dgd.spec.components] == ["frontend", "worker"]
    assert graph.extras == ()


def _planner_json(graph: Graph) -> dict:
    extra = next(extra for extra in graph.extras if "planner_config.json" in extra["data"])
    assert extra["metadata"]["labels"]["dgdr.nvidia.com/name"] == "my-model"  # LIFE-12
    return json.loads(extra["data"]["planner_config.json"])


def test_planner_works_towards_the_stated_sla_within_the_budget():
    profile = make.profile(_disagg(), sla={"ttft_ms": 500.0, "optimize": "throughput"})
    config = _planner_json(build(profile, make.request(features={"planner": {"enabled": True}})))
    assert config["optimization_target"] == "sla"
    assert (config["ttft_ms"], config["itl_ms"]) == (500.0, 18.0)
    assert (config["max_gpu_budget"], config["backend"], config["mode"]) == (8, "vllm", "disagg")
    assert (config["prefill_engine_num_gpu"], config["decode_engine_num_gpu"]) == (2, 4)


def test_the_users_planner_settings_win_and_a_slip_is_refused():
    asked = {"max_gpu_budget": 4, "ttft": 321, "optimization_target": "latency"}
    config = _planner_json(build(make.profile(), make.request(features={"planner": asked})))
    assert (config["max_gpu_budget"], config["ttft_ms"], config["optimization_target"]) == (4, 321, "latency")
    with pytest.raises(InvalidInput, match="ttft_m"):
        build(make.profile(), make.request(features={"planner": {"ttft_m": 3}}))


def test_kv_router_sets_the_frontend_and_the_engines_events():  # RT-19
    wish = make.request(features={"kvRouter": {"enabled": True}})
    for backend, flag in (
        ("vllm", "--kv-events-config"),
        ("sglang", "--kv-events-config"),
        ("trtllm", "--publish-events-and-metrics"),
    ):
        graph = build(make.profile(_disagg(), backend=backend), wish)
        assert {"name": "DYN_ROUTER_MODE", "value": "kv"} in _main(graph, "Frontend")["env"]
        for component in api.to_dict(graph.dgd)["spec"]["components"]:
            flags = read_container(component["podTemplate"]["spec"]["containers"][0])
            assert (flag in flags.options) == (component["type"] == "prefill")


def test_mockers_ask_for_no_gpu_and_carry_their_roles_step_times():  # GEN-05
    graph = _shape("mocker_disagg")
    decode = _main(graph, "decode")
    assert "resources" not in decode
    data = {extra["metadata"]["name"]: extra["data"] for extra in graph.extras}
    files = data["my-model-dgd-decode-files"]
    assert set(files) == {"prefill_raw_data.json", "decode_raw_data.json", "step_table.json"}
    assert json.loads(files["decode_raw_data.json"])["z_itl"] == [8.0, 14.0, 9.0]  # 64 x 8192 does not fit
    assert read_container(decode).value("--planner-profile-data") == decode["volumeMounts"][0]["mountPath"]


def test_another_candidate_does_not_borrow_the_picks_step_times():
    pick = make.candidate((make.group(),))
    other = make.candidate((make.group(tp=4),), id="c2")
    profile = make.profile(candidates=(pick, other))
    mocker = make.request(features={"mocker": {"enabled": True}})
    assert build(profile, mocker).extras
    graph = build(profile, mocker, candidate_id="c2")
    assert graph.extras == ()
    assert any("step times" in note for note in graph.notes)


def test_labels_point_back_at_the_request():  # LIFE-11
    graph = build(make.profile(), make.request("x" * 63, namespace="serving"))
    assert graph.dgd.metadata.labels == {
        "dgdr.nvidia.com/name": "x" * 63,
        "dgdr.nvidia.com/namespace": "serving",
    }
    assert graph.dgd.metadata.namespace == "serving"
    assert graph.dgd.metadata.name.startswith("xxx")


@pytest.mark.parametrize("backend", ["vllm", "sglang", "trtllm"])
def test_trust_remote_code_only_when_asked(backend):
    def says(wish) -> bool:
        graph = build(make.profile(backend=backend), wish)
        return "trust-remote-code" in str(to_documents(graph)) or "trust_remote_code" in str(
            to_documents(graph)
        )

    assert not says(make.request())
    assert says(make.request(overrides={"trustRemoteCode": True}))


def test_sglang_graph_flag_is_left_to_newer_engines():
    graph = build(make.profile(backend="sglang"), make.request(runtimeVersionOverride="1.6.1"))
    assert "--cuda-graph-bs" not in read_container(_main(graph, "SGLangWorker")).options


def test_sglang_is_told_what_its_steps_were_priced_with():  # issue 4: wide expert parallelism
    wide = {"dp": 16, "moe_ep": 16, "moe_a2a": "deepep"}
    groups = (
        make.group("prefill", **wide),
        make.group("decode", **wide, max_num_seqs=200),
    )
    pool = make.pool(gpus=32, nodes=4, rdma=True, rdma_resource="rdma/ib")
    graph = build(make.profile(groups, backend="sglang", pools=(pool,)), make.request())
    names = [part["name"] for part in api.to_dict(graph.dgd)["spec"]["components"]]
    prefill, decode = (
        _main(graph, next(n for n in names if role in n.lower())) for role in ("prefill", "decode")
    )
    for main, mode in ((prefill, "normal"), (decode, "low_latency")):
        flags = dict(pairwise(main["args"]))
        assert flags["--moe-a2a-backend"] == "deepep"
        assert flags["--deepep-mode"] == mode
        assert flags["--moe-dense-tp-size"] == "1"
    tokens = {"name": "SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK", "value": "200"}
    assert tokens in decode["env"]
    assert tokens["name"] not in str(prefill.get("env"))
    plain = build(make.profile((make.group(dp=8, moe_ep=8),), backend="sglang"), make.request())
    assert "deepep" not in str(api.to_dict(plain.dgd))
