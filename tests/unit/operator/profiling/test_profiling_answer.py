"""One function answers for Job and operator alike, and what it says survives a ConfigMap."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import yaml

from armature.errors import ArmatureError
from armature.operator.profiling.answer import MOST_POINTS, Failure, Running, another_point, answer_of
from armature.operator.profiling.program import into_directory, profile
from armature.operator.profiling.report import answered, failed_with, outcome_of, told
from armature.search.profile import Profile

EXAMPLE = Path(__file__).parents[4] / "examples" / "quickstart.yaml"
SUB_PHASES = ["SweepingPrefill", "SweepingDecode", "SelectingConfig", "BuildingCurves", "GeneratingDGD"]


def request(**spec):
    whole = yaml.safe_load(EXAMPLE.read_text())
    whole["spec"] |= spec
    return whole


def test_answer_is_the_plan_and_says_each_sub_phase():  # LIFE-03
    steps = []
    answer = answer_of(request(), found=None, tell=steps.append)
    assert steps == SUB_PHASES
    assert answer.graph["kind"] == "DynamoGraphDeployment"
    assert answer.missed == []
    assert answer.targets == 2
    assert {"backend", "parallelization", "throughput", "ttft", "itl", "source"} <= set(
        answer.pareto[0]
    )  # DGDR-20
    for item in answer.pareto:
        assert item["ttftLow"] <= item["ttft"] <= item["ttftHigh"]
        assert item["itlLow"] <= item["itl"] <= item["itlHigh"]


def test_missed_target_is_said_with_how_much_and_what_would_meet_it():
    answer = answer_of(request(sla={"ttft": 10, "itl": 2}), found=None)
    assert len(answer.missed) == 2
    assert "% above the 2.00 ms asked" in answer.missed[1]
    assert answer.would_meet


def test_load_that_nothing_carries_is_missed_too():
    answer = answer_of(request(workload={"isl": 4000, "osl": 1000, "requestRate": 500}), found=None)
    assert any("less than the 500 requests/s asked" in missed for missed in answer.missed)


def test_another_point_by_number_is_the_one_in_the_status():
    answer = answer_of(request(), found=None)
    other = next(item for item in answer.pareto if item["id"] != answer.point)
    chosen = another_point(answer.profile, str(other["point"]))
    assert chosen.point == other["id"]
    assert chosen.graph["spec"] != answer.graph["spec"]
    assert answer_of(request(), found=None, point=other["id"]).graph == chosen.graph
    with pytest.raises(ArmatureError, match="no candidate"):
        another_point(answer.profile, "999")


def test_long_front_is_thinned_and_keeps_its_ends_and_the_pick():
    from armature.operator.profiling.answer import _thinned

    points = [{"point": number} for number in range(1, 301)]
    kept = [item["point"] for item in _thinned(points, 77)]
    assert len(kept) <= MOST_POINTS
    assert (kept[0], kept[-1]) == (1, 300)
    assert 78 in kept
    assert kept == sorted(set(kept))


def test_what_is_written_is_what_is_read():
    answer = answer_of(request(), found=None)
    assert outcome_of(answered(answer)) == answer
    assert outcome_of(told("SweepingDecode")) == Running(
        "SweepingDecode", told("SweepingDecode")["data"]["message"]
    )
    assert outcome_of(failed_with("Initializing", Failure("no model"))) == Failure("no model")
    assert outcome_of({"data": {}}) is None
    assert outcome_of(None) is None
    size = sum(len(text) for text in answered(answer)["data"].values())
    assert size < 700_000  # a ConfigMap holds 1 MiB


def test_result_that_cannot_be_read_is_a_failure_and_not_a_crash():
    whole = answered(answer_of(request(), found=None))
    for broken in ({"data": whole["data"]}, whole | {"binaryData": {"profile.json.gz": "%%%"}}):
        outcome = outcome_of(broken)
        assert isinstance(outcome, Failure)
        assert "cannot be read" in outcome.message


def test_program_writes_files_as_the_fields_profiler_does(tmp_path):
    assert profile(request(), None, [into_directory(tmp_path)])
    status = yaml.safe_load((tmp_path / "profiler_status.yaml").read_text())
    assert (status["status"], status["phase"]) == ("success", "Done")
    kinds = [doc["kind"] for doc in yaml.safe_load_all((tmp_path / "final_config.yaml").read_text())]
    assert kinds[-1] == "DynamoGraphDeployment"
    Profile.read(_unpacked(tmp_path))


def _unpacked(directory: Path) -> Path:
    target = directory / "profile.json"
    target.write_bytes(gzip.decompress((directory / "profile.json.gz").read_bytes()))
    return target


def test_program_fails_in_words():
    written = []
    unknown = request(model="nobody/none")
    assert not profile(unknown, None, [written.append], model_cache=Path("/nowhere"))
    assert written[-1]["data"]["profiler_status"] == "failed"
    assert "nobody/none" in written[-1]["data"]["profiler_error"]


def test_model_in_the_cache_is_the_one_that_is_planned(tmp_path):
    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 1024}
    config |= {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
    config |= {"intermediate_size": 3072, "vocab_size": 151936, "max_position_embeddings": 40960}
    (tmp_path / "config.json").write_text(json.dumps(config))
    answer = answer_of(request(model="private/tiny"), found=None, model_cache=tmp_path)
    assert b"private/tiny" in answer.profile
