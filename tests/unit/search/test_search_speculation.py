"""A search whose engines draft: who can, what it changes, and what the graph then asks of the engines (issue 4 §3)."""

from __future__ import annotations

import json

import pytest
import yaml
from search_ask import request_for
from search_fakes import inventory, pool

from armature.api import default_request
from armature.errors import InvalidInput
from armature.graph.build import build
from armature.graph.preflight import require
from armature.model.resolve import resolve_model
from armature.perf.roofline import RooflineEstimator
from armature.search.profile import Profile
from armature.search.rapid import profile
from armature.search.select import engines_of

R1 = resolve_model("deepseek-ai/DeepSeek-R1", offline=True, env={})
GLM = resolve_model("zai-org/GLM-4.5", offline=True, env={})
DENSE = resolve_model("Qwen/Qwen3-32B", offline=True, env={})
DRAFTS = {"nextn": 2, "acceptanceRate": 0.8}


def request(speculation=None, **spec):
    features = {"speculation": speculation} if speculation else {}
    return request_for(**{"model": "m", "features": features, "sla": {"ttft": 5000, "itl": 60}, **spec})


def plan(asked, facts=R1, gpus=8) -> Profile:
    return profile(asked, inventory(pool(gpus)), facts, RooflineEstimator())


@pytest.fixture(scope="module")
def with_and_without():
    return plan(request(DRAFTS)), plan(request())


def test_it_shortens_decode_and_says_so(with_and_without):
    fast, plain = with_and_without
    assert fast.picked.tokens_per_s > plain.picked.tokens_per_s
    assert min(c.unloaded_itl_ms for c in fast.candidates) < 0.7 * min(
        c.unloaded_itl_ms for c in plain.candidates
    )
    assert any(
        n.startswith("Drafting 2 tokens of which 0.8 hold makes 2.44 tokens a step") for n in fast.notes
    )
    assert not any("Drafting" in note for note in plain.notes)


def test_no_engine_drafts_across_pipeline_stages(with_and_without):
    fast, _ = with_and_without
    assert {group.pp for c in fast.candidates for group in c.groups} == {1}


def test_the_profile_keeps_it_for_whoever_makes_engines_again(with_and_without):
    fast, plain = with_and_without
    assert Profile.from_json(fast.to_json()).speculation == fast.speculation
    assert plain.speculation is None
    (engine,) = engines_of(fast, fast.picked, R1, RooflineEstimator()).values()
    group = fast.picked.groups[0]
    assert engine.fit.kv_room_tokens == group.kv_room_tokens
    table = fast.step_tables[group.role]
    row, column = len(table.context) // 2, len(table.batch) // 2
    again = engine.times.decode_ms(table.batch[column], table.context[row])
    assert table.decode_ms[row][column] == pytest.approx(float(again), rel=1e-3)


def test_a_model_without_such_layers_is_refused():
    with pytest.raises(InvalidInput, match=r"Qwen/Qwen3-32B has no multi-token-prediction layers"):
        plan(request(DRAFTS), DENSE)


def test_a_backend_that_cannot_is_refused_and_left_out_of_auto():
    with pytest.raises(InvalidInput, match=r"trtllm cannot draft .*Glm4Moe.*\n?.*set spec.backend to"):
        plan(request(DRAFTS, backend="trtllm"), GLM)
    found = plan(request(DRAFTS, backend="auto"), GLM)
    assert {c.backend for c in found.candidates} <= {"vllm", "sglang"}


def arguments(found, asked):
    graph = build(found, asked)
    require(graph, found)
    document = json.loads(graph.dgd.model_dump_json(by_alias=True, exclude_none=True))
    pods = [c["podTemplate"]["spec"]["containers"][0] for c in document["spec"]["components"]]
    return [pod["args"] for pod in pods if "dynamo.frontend" not in str(pod)], graph


def test_vllm_is_told(with_and_without):
    (args, *_), _ = arguments(with_and_without[0], request(DRAFTS))
    assert json.loads(args[args.index("--speculative-config") + 1]) == {
        "method": "mtp",
        "num_speculative_tokens": 2,
    }
    (plain, *_), _ = arguments(with_and_without[1], request())
    assert "--speculative-config" not in plain


def test_sglang_is_told():
    asked = request(DRAFTS, backend="sglang")
    (args, *_), _ = arguments(plan(asked), asked)
    said = {name: args[args.index(name) + 1] for name in args if name.startswith("--speculative")}
    assert said == {
        "--speculative-algorithm": "EAGLE",
        "--speculative-num-steps": "2",
        "--speculative-eagle-topk": "1",
        "--speculative-num-draft-tokens": "3",
    }


def test_trtllm_is_told():
    asked = request(DRAFTS, backend="trtllm")
    _, graph = arguments(plan(asked), asked)
    files = [yaml.safe_load(text) for extra in graph.extras for text in extra["data"].values()]
    assert files and all(
        config["speculative_config"] == {"decoding_type": "MTP", "num_nextn_predict_layers": 2}
        for config in files
    )


def test_the_planner_and_the_mockers_are_told():
    asked = request(DRAFTS)
    asked.spec.features.planner = {"enabled": True}
    asked = default_request(asked)
    found = plan(asked)
    graph = build(found, asked)
    configs = [
        json.loads(e["data"]["planner_config.json"])
        for e in graph.extras
        if "planner_config.json" in e["data"]
    ]
    assert [config["speculative_nextn"] for config in configs] == [2]
    asked.spec.features.planner, asked.spec.features.mocker.enabled = None, True
    graph = build(found, asked)
    tables = [
        json.loads(e["data"]["step_table.json"]) for e in graph.extras if "step_table.json" in e["data"]
    ]
    role = found.picked.groups[-1].role
    assert [list(row) for row in found.step_tables[role].decode_ms] in [
        table["decode_ms"] for table in tables
    ]
