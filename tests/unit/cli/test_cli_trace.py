"""`traceRef` through the command line: where its path starts, and what it may refer to on a laptop."""

from __future__ import annotations

import json

import pytest

from armature.cli.main import main

REQUEST = """apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeploymentRequest
metadata: {name: traced}
spec:
  model: Qwen/Qwen3-32B
  backend: vllm
  hardware: {gpuSku: h200_sxm, totalGpus: 8}
  workload:
    traceRef: REF
"""
LOG = "timestamp,isl,osl\n0,1000,50\n0.5,1500,10\n2,10,30\n"


@pytest.fixture
def plan(tmp_path, capsys):
    def call(ref, *options):
        (tmp_path / "r.yaml").write_text(REQUEST.replace("REF", ref))
        code = main(
            ["plan", str(tmp_path / "r.yaml"), "--estimator", "roofline", "--offline", "--json", *options]
        )
        out, err = capsys.readouterr()
        return code, json.loads(out) if code == 0 else None, err

    return call


def test_a_relative_path_starts_at_the_requests_file(plan, tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "day.csv").write_text(LOG)
    code, answer, err = plan("{path: logs/day.csv}")
    assert code == 0, err
    assert answer["trace"]["source"] == "day.csv" and answer["trace"]["requests"] == 3
    assert answer["workload"] == {"isl": 837, "osl": 30, "request_rate": 1.0, "longest_tokens": 1510}
    worker = json.dumps(answer["dgd"])
    assert '"--max-model-len", "1510"' in worker, "the engine takes the longest request"


@pytest.mark.parametrize("ref", ["{configMap: {name: a, key: b}}", "{pvc: {name: a, path: b}}"])
def test_a_cluster_s_places_are_refused_here(plan, ref):
    code, _, err = plan(ref)
    assert code == 2
    assert "can be read in a cluster only" in err and "traceRef.path" in err


def test_what_is_wrong_with_the_trace_is_said_with_its_lines(plan, tmp_path):
    (tmp_path / "a.csv").write_text(LOG + "3,-1,2\n4,x,2\n")
    code, _, err = plan("{path: a.csv}")
    assert code == 2
    assert (
        "a.csv: 2 problems" in err
        and "line 5: isl must not be negative" in err
        and "line 6: isl must be a" in err
    )
    assert plan("{path: nowhere.csv}")[0] == 2


def test_a_trace_on_the_command_line(plan, tmp_path, monkeypatch, capsys):
    """From the working directory, over the file's own, and written down so that it holds anywhere."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "day.csv").write_text(LOG)
    monkeypatch.chdir(tmp_path / "here")
    code, answer, err = plan("{configMap: {name: a, key: b}}", "--trace", "day.csv", "--request-rate", "3")
    assert code == 0, err
    assert answer["workload"]["request_rate"] == 3 and answer["workload"]["isl"] == 837
    alone = ["plan", "--model", "Qwen/Qwen3-32B", "--hardware", "8xh200_sxm", "--trace", "day.csv"]
    assert main([*alone, "--write-request"]) == 0
    written = capsys.readouterr().out
    assert f"path: {tmp_path}/here/day.csv" in written and "isl" not in written


def test_lengths_and_a_trace_at_once_are_refused_in_the_options_names(capsys):
    assert main(["plan", "--model", "Qwen/Qwen3-32B", "--isl", "5", "--trace", "a.csv"]) == 2
    assert "--isl: cannot be combined with a trace (got 5); remove it" in capsys.readouterr().err


def test_lengths_replace_a_trace_of_the_file(plan):
    code, answer, err = plan("{path: nowhere.csv}", "--isl", "500", "--osl", "50")
    assert code == 0, err
    assert answer["trace"] is None and answer["workload"]["isl"] == 500
    assert any("spec.workload.traceRef does not apply" in note for note in answer["notes"])


def test_drafting_on_the_command_line(capsys):
    model = ["plan", "--model", "deepseek-ai/DeepSeek-R1", "--hardware", "8xh200_sxm", "--offline", "--json"]
    code = main(
        [*model, "--estimator", "roofline", "--backend", "vllm", "--nextn", "1", "--acceptance", "0.85"]
    )
    out, err = capsys.readouterr()
    assert code == 0, err
    assert json.loads(out)["speculation"] == {"nextn": 1, "acceptance_rate": 0.85}
    assert main([*model, "--nextn", "1"]) == 2
    assert "--acceptance: required field is missing; add --acceptance" in capsys.readouterr().err
    assert main([*model, "--nextn", "99", "--acceptance", "0.8"]) == 2
    assert "--nextn: must be at most 16 tokens (got 99)" in capsys.readouterr().err


def test_generate_takes_a_trace_and_drafts_too(tmp_path, capsys):
    (tmp_path / "day.csv").write_text(LOG)
    model = [
        "generate",
        "--model",
        "deepseek-ai/DeepSeek-R1",
        "--hardware",
        "8xh200_sxm",
        "--offline",
        "--json",
    ]
    drafts = ["--nextn", "1", "--acceptance", "0.85", "--estimator", "roofline"]
    code = main([*model, "--trace", str(tmp_path / "day.csv"), *drafts])
    out, err = capsys.readouterr()
    assert code == 0, err
    answer = json.loads(out)
    assert answer["trace"]["requests"] == 3 and answer["means_choice"] is None
    assert "--speculative-config" in json.dumps(answer["dgd"])
