"""The real search's picks and other candidates, written down: each can start and has the candidate's GPUs."""

from __future__ import annotations

import json

import pytest
import yaml

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
