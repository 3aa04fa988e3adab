"""The real search's picks and other candidates, written down: each can start and has the candidate's GPUs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from msgspec import structs

from armature import api
from armature.api import v1beta1
from armature.graph.build import build, to_documents
from armature.graph.component_view import views
from armature.graph.preflight import gpu_count, preflight
from armature.hardware.inventory import parse_hardware
from armature.model.resolve import resolve_model
from armature.perf.roofline import RooflineEstimator
from armature.search.rapid import profile

CONFIG_MAP_LIMIT = 1024 * 1024  # bytes, Kubernetes


def _request(model: str, backend: str, **spec):
    data = {"metadata": {"name": "a" * 63}, "spec": {"model": model, "backend": backend, **spec}}
    return api.default_request(
        v1beta1.DynamoGraphDeploymentRequest.model_validate(data, by_alias=True, by_name=False)
    )


@pytest.mark.parametrize(
    ("model", "backend", "hardware"),
    [
        ("Qwen/Qwen3-32B-FP8", "vllm", "8xh200_sxm"),
        ("deepseek-ai/DeepSeek-R1", "sglang", "4x8xh200_sxm"),
        ("Qwen/Qwen3-30B-A3B", "trtllm", "2x4xgb200"),
    ],
)
def test_candidates_of_a_real_search_can_start(model, backend, hardware):
    request = _request(model, backend)
    found = profile(
        request, parse_hardware(hardware), resolve_model(model, offline=True), RooflineEstimator()
    )
    for candidate in (found.picked, *found.candidates[:: max(1, len(found.candidates) // 12)]):
        graph = build(found, request, candidate_id=candidate.id)
        assert preflight(graph, found) == ()
        assert gpu_count(graph) == candidate.gpus
        assert api.load_documents(yaml.safe_dump_all(to_documents(graph)), candidate.id)


def test_config_maps_of_a_real_profile_are_small_and_readable():
    features = {"mocker": {"enabled": True}, "planner": {"enabled": True}}
    request = _request("Qwen/Qwen3-32B-FP8", "vllm", features=features)
    facts = resolve_model("Qwen/Qwen3-32B-FP8", offline=True)
    found = profile(request, parse_hardware("8xh200_sxm"), facts, RooflineEstimator())
    graph = build(found, request)
    assert all(len(json.dumps(extra)) < CONFIG_MAP_LIMIT for extra in graph.extras)
    for view in views(api.to_dict(graph.dgd), graph.extras):
        if view.role is not None:
            folder = view.flags.value("--planner-profile-data")
            assert json.loads(view.files[f"{folder}/step_table.json"])["decode_ms"]


def _placement(view) -> tuple[str, ...]:
    """Product labels that a worker's pods accept."""
    if selector := view.pod.get("nodeSelector"):
        return (selector["nvidia.com/gpu.product"],)
    terms = view.pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (rule,) = terms["nodeSelectorTerms"][0]["matchExpressions"]
    assert (rule["key"], rule["operator"]) == ("nvidia.com/gpu.product", "In")
    return tuple(rule["values"])


@pytest.mark.parametrize("product", [None, "NVIDIA-H100-80GB-HBM3-CUSTOM"], ids=["stated", "discovered"])
def test_workers_on_unequal_gpus_are_placed_on_their_own(product):
    """Issue 4 §1: prefill on one SKU, decode on another, each pod on nodes with its GPU."""
    request = _request("Qwen/Qwen3-32B-FP8", "vllm")
    found_pools = parse_hardware("4xh200_sxm,8xh100_sxm")
    first, second = found_pools.pools
    pools = replace(found_pools, pools=(first, replace(second, product=product)))
    found = profile(request, pools, resolve_model("Qwen/Qwen3-32B-FP8", offline=True), RooflineEstimator())
    mixed = [c for c in found.candidates if len({group.sku for group in c.groups}) == 2]
    assert len(mixed) > 5
    expected = {"h200_sxm": ("NVIDIA-H200",), "h100_sxm": (product or "NVIDIA-H100-80GB-HBM3",)}
    for candidate in (mixed[0], mixed[-1], next(c for c in found.candidates if c.mode == "agg")):
        graph = build(found, request, candidate_id=candidate.id)
        assert preflight(graph, found) == ()
        assert gpu_count(graph) == candidate.gpus
        workers = [view for view in views(api.to_dict(graph.dgd), graph.extras) if view.role is not None]
        assert [_placement(view) for view in workers] == [expected[g.sku] for g in candidate.groups]
        unknown = {g.sku for g in candidate.groups if g.sku == "h200_sxm" or product is None}
        assert sum("change its node affinity" in note for note in graph.notes) == len(unknown)


def test_more_workers_than_their_own_gpus_hold_are_found():
    """The budget of both pools is not enough: each has its own."""
    request = _request("Qwen/Qwen3-32B-FP8", "vllm")
    facts = resolve_model("Qwen/Qwen3-32B-FP8", offline=True)
    found = profile(request, parse_hardware("4xh200_sxm,8xh100_sxm"), facts, RooflineEstimator())
    candidate = next(c for c in found.candidates if [g.sku for g in c.groups] == ["h200_sxm", "h100_sxm"])
    small = structs.replace(found.inventory[0], gpus=candidate.groups[0].gpus - 1)
    inventory = (small, structs.replace(found.inventory[1], gpus=12))
    problems = preflight(
        build(found, request, candidate_id=candidate.id), structs.replace(found, inventory=inventory)
    )
    assert any(f"asks for {candidate.groups[0].gpus} h200_sxm" in str(problem) for problem in problems)
