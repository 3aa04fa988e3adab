"""Preflight finds each known "generated manifest does not run" bug, and our own graphs have none of them."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import graph_factory as make
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature import api
from armature.api import v1beta1
from armature.errors import PreflightFailed
from armature.graph.build import Graph, build
from armature.graph.preflight import gpu_count, preflight, require

DISAGG = (make.group("prefill", replicas=2, tp=2), make.group("decode", tp=4))
PROFILE = make.profile(DISAGG)


def _graph() -> Graph:
    return build(PROFILE, make.request())


def _changed(change, graph: Graph | None = None) -> Graph:
    """The graph with `change` applied to its plain form."""
    graph = graph or _graph()
    data = copy.deepcopy(api.to_dict(graph.dgd))
    change(data)
    typed = v1beta1.DynamoGraphDeployment.model_validate(data, by_alias=True, by_name=False)
    return dataclasses.replace(graph, dgd=typed)


def _rules(graph: Any, profile=PROFILE) -> str:
    return "\n".join(str(problem) for problem in preflight(graph, profile))


def _main(data: dict, index: int) -> dict:
    return data["spec"]["components"][index]["podTemplate"]["spec"]["containers"][0]


def _flag(index: int, flag: str, value: str | None):
    def change(data: dict) -> None:
        args = _main(data, index)["args"]
        at = args.index(flag)
        if value is None:
            del args[at : at + 2]
        else:
            args[at + 1] = value

    return change


def test_a_generated_graph_passes_and_counts_its_gpus():
    graph = _graph()
    assert preflight(graph, PROFILE) == ()
    assert preflight(graph) == ()
    assert preflight(graph.dgd, PROFILE) == ()
    assert preflight(api.to_dict(graph.dgd), PROFILE) == ()
    assert gpu_count(graph) == gpu_count(graph.dgd) == PROFILE.picked.gpus == 8
    require(graph, PROFILE)


def test_names_too_long():
    def change(data):
        data["metadata"]["name"] = "a" * 30

    assert "Grove allows 45" in _rules(_changed(change))
    with pytest.raises(PreflightFailed, match="cannot start"):
        require(_changed(change), PROFILE)


@pytest.mark.parametrize("length", [1, 30, 45, 63])
@pytest.mark.parametrize("backend", ["vllm", "sglang", "trtllm"])
def test_a_63_character_request_still_passes(backend, length):
    for groups in (DISAGG, (make.group(dp=16, moe_ep=16),)):
        profile = make.profile(groups, backend=backend, pools=(make.pool(gpus=16, nodes=2),))
        wish = make.request("x" * length, features={"planner": {"enabled": True}})
        assert preflight(build(profile, wish), profile) == ()


@pytest.mark.parametrize("name", ["Upper", "9lead", "dot.ted", "-a", "a" * 64, ""])
def test_a_graph_name_that_no_service_can_have(name):
    assert "DNS label" in _rules(_changed(lambda data: data["metadata"].update(name=name)))


def test_duplicate_component_names_are_found_without_regard_to_case():
    data = api.to_dict(_graph().dgd)
    data["spec"]["components"][2]["name"] = "vllmprefillworker"
    assert "names must be unique" in _rules(data)


def test_model_path_doubled():
    wish = make.request(modelCache={"pvcName": "models", "pvcModelPath": "hub/x"})
    graph = build(PROFILE, wish)
    assert preflight(graph, PROFILE) == ()
    doubled = _changed(_flag(1, "--model", "/opt/model-cache/opt/model-cache/hub/x"), graph)
    assert "repeats its mount" in _rules(doubled)


def test_a_model_path_that_nothing_is_mounted_over():
    assert "no volume is mounted over the model path" in _rules(_changed(_flag(1, "--model", "/models/x")))


def test_node_count_wrong():
    groups = (make.group(tp=16),)
    profile = make.profile(groups, pools=(make.pool(gpus=32, nodes=4),))
    graph = build(profile, make.request())
    assert preflight(graph, profile) == ()
    wrong = _changed(lambda data: data["spec"]["components"][1]["multinode"].update(nodeCount=4), graph)
    text = _rules(wrong, profile)
    assert "flags need 16 GPUs per worker, its pods ask for 8 on 4 nodes, 32 in all" in text
    assert "has 4 nodes per worker" in text
    none = _changed(lambda data: data["spec"]["components"][1].pop("multinode"), graph)
    assert "8 on 1 node, 8 in all" in _rules(none, profile)


def test_attention_dp_gpus_counted_twice():
    profile = make.profile(
        (make.group(dp=8, moe_ep=8),), backend="sglang", pools=(make.pool(gpus=64, nodes=8),)
    )
    graph = build(profile, make.request())
    assert preflight(graph, profile) == ()

    def change(data):
        _main(data, 1)["resources"]["limits"]["nvidia.com/gpu"] = "64"

    assert "flags need 8 GPUs per worker, its pods ask for 64" in _rules(_changed(change, graph), profile)


def test_a_candidate_that_cannot_fit():
    profile = make.profile((make.group(weight_bytes_per_gpu=130 * make.GIB),))
    assert "needs 170.0 GiB per GPU; h200_sxm has 141.0 GiB" in _rules(
        build(profile, make.request()), profile
    )


def test_a_kv_cache_that_cannot_hold_what_the_flags_let_in():
    profile = make.profile((make.group(kv_room_tokens=100_000),))
    assert "lets in 64 requests of 5000 tokens" in _rules(build(profile, make.request()), profile)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_never_passes(value):
    bad = make.candidate(DISAGG, tokens_per_s=value)
    profile = make.profile(candidates=(bad,))
    assert "tokens_per_s: is not finite" in _rules(build(profile, make.request()), profile)


def test_nan_in_a_flag():
    assert "--max-num-seqs is not a number" in _rules(_changed(_flag(2, "--max-num-seqs", "nan")))


def test_total_gpus_ignored():
    small = msgspec.structs.replace(PROFILE, gpus_budget=4)
    assert "asks for 8 GPUs; the budget is 4" in _rules(_graph(), small)


def test_replicas_that_are_not_the_candidates():
    more = _changed(lambda data: data["spec"]["components"][1].update(replicas=1))
    assert "asks for 6 GPUs; candidate c1 has 8" in _rules(more)


@pytest.mark.parametrize("value", [None, "40960"])
def test_max_model_length_left_at_the_models_maximum(value):
    assert "leaves the longest request at the model's 40960 tokens" in _rules(
        _changed(_flag(2, "--max-model-len", value))
    )


@pytest.mark.parametrize(
    ("value", "says"), [("4500", "allows 4500 tokens; ISL + OSL is 5000"), ("50000", "40960")]
)
def test_max_model_length_that_is_too_short_or_beyond_the_model(value, says):
    assert says in _rules(_changed(_flag(2, "--max-model-len", value)))


def test_a_workload_at_the_models_limit_may_use_all_of_it():
    profile = make.profile(workload={"isl": 40000.0, "osl": 900.0}, model_max_context=40960, groups=(
        make.group(max_num_seqs=4, batch=4),))  # fmt: skip
    assert preflight(build(profile, make.request()), profile) == ()


def test_no_limit_of_requests():
    assert "no limit of concurrent requests" in _rules(_changed(_flag(2, "--max-num-seqs", None)))


def test_a_parallelism_that_the_engine_cannot_express():
    """TensorRT-LLM has attention TP or attention DP, never both."""
    profile = make.profile((make.group(tp=2, dp=4, moe_ep=8),), backend="trtllm")
    assert "trtllm runs this as" in _rules(build(profile, make.request()), profile)


def test_a_misspelt_flag():
    def change(data):
        args = _main(data, 1)["args"]
        args[args.index("--tensor-parallel-size")] = "--tensor-parallelism-size"

    assert "did you mean --tensor-parallel-size?" in _rules(_changed(change))


def test_gpus_missing():
    assert "asks for no GPU" in _rules(_changed(lambda data: _main(data, 1)["resources"].pop("limits")))


def test_image_missing_or_unfilled():
    assert "is required" in _rules(_changed(lambda data: _main(data, 0).pop("image")))
    assert "not an image reference" in _rules(
        _changed(lambda data: _main(data, 0).update(image="a:${VERSION}"))
    )


def test_a_config_map_that_is_not_among_the_documents():
    profile = make.profile(DISAGG, backend="trtllm")
    graph = build(profile, make.request())
    assert preflight(graph, profile) == ()
    assert "which is not among the documents" in _rules(dataclasses.replace(graph, extras=()), profile)


def test_a_mount_without_a_volume():
    def change(data):
        _main(data, 1)["volumeMounts"] = [{"name": "nothing", "mountPath": "/x"}]

    assert "mounts no volume of the pod" in _rules(_changed(change))


def test_a_config_file_that_nothing_mounts():
    profile = make.profile(DISAGG, backend="trtllm")
    graph = build(profile, make.request())

    def change(data):
        _main(data, 1)["volumeMounts"] = []

    assert "names a file that nothing mounts" in _rules(_changed(change, graph), profile)


def test_prefill_without_decode():
    data = api.to_dict(_graph().dgd)
    del data["spec"]["components"][2]
    assert "nobody to decode" in "\n".join(map(str, preflight(data)))


def test_two_engines_or_the_wrong_framework():
    data = api.to_dict(_graph().dgd)
    data["spec"]["backendFramework"] = "sglang"
    assert "is sglang, but the workers run vllm" in "\n".join(map(str, preflight(data)))
    _main(data, 1)["command"] = ["python3", "-m", "dynamo.sglang"]
    assert "mixes engines" in "\n".join(map(str, preflight(data)))


def test_mockers_need_no_gpus():
    for groups in (DISAGG, (make.group(dp=16, moe_ep=16),)):
        profile = make.profile(groups, pools=(make.pool(gpus=16, nodes=2),))
        graph = build(profile, make.request(features={"mocker": {"enabled": True}}))
        assert gpu_count(graph) == 0
        assert preflight(graph, profile) == ()


def test_problems_come_all_at_once_and_point_at_their_place():
    def change(data):
        _flag(2, "--max-num-seqs", None)(data)
        _flag(1, "--max-model-len", None)(data)
        data["metadata"]["name"] = "Bad"

    problems = preflight(_changed(change), PROFILE)
    assert {problem.path for problem in problems} == {
        "metadata.name",
        "spec.components[1].podTemplate.spec.containers[0].args",
        "spec.components[2].podTemplate.spec.containers[0].args",
    }


def test_another_candidate_is_judged_as_itself():
    pick, other = make.candidate((make.group(),)), make.candidate((make.group(tp=4),), id="c2")
    profile = make.profile(candidates=(pick, other))
    graph = build(profile, make.request(), candidate_id="c2")
    assert preflight(graph, profile) == ()
    assert preflight(graph.dgd, profile, candidate_id="c2") == ()
    assert preflight(graph.dgd, profile) != ()


layouts = st.one_of(
    st.builds(lambda tp, r: {"tp": tp, "replicas": r}, st.sampled_from([1, 2, 4, 8, 16]), st.integers(1, 4)),
    st.builds(lambda n: {"dp": n, "moe_ep": n}, st.sampled_from([2, 4, 8, 16, 32])),
    st.builds(lambda n, pp: {"tp": n, "moe_ep": n, "pp": pp}, st.sampled_from([2, 8]), st.integers(1, 2)),
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["vllm", "sglang", "trtllm"]),
    layouts,
    st.none() | layouts,
    st.sampled_from([4, 8]),
    st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True),
    st.booleans(),
)
def test_whatever_is_built_can_start(backend, main, prefill, per_node, name, planner):
    """Any layout of any engine: preflight finds nothing, and the GPUs are the candidate's."""
    node = {"gpus_per_node": per_node}
    groups = (make.group(**main, **node),)
    if prefill is not None:
        groups = (make.group("prefill", **prefill, **node), make.group("decode", **main, **node))
    pool = make.pool(
        gpus=256, nodes=256 // per_node, gpus_per_node=per_node, rdma=True, rdma_resource="rdma/ib"
    )
    profile = make.profile(groups, backend=backend, pools=(pool,))
    graph = build(profile, make.request(name, features={"planner": {"enabled": planner}}))
    assert preflight(graph, profile) == ()
    assert gpu_count(graph) == profile.picked.gpus
