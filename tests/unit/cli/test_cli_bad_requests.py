"""Bad requests and options, each kind once: one clear error that names the place, exit code 2, no result."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from armature.cli.main import main

REQUEST = (Path(__file__).parents[2] / "data" / "cli" / "request.yaml").read_text()

DGD = """\
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {name: graph}
spec:
  components:
  - {name: Frontend, type: frontend}
"""


def changed(old, new):
    assert old in REQUEST
    return REQUEST.replace(old, new)


@pytest.fixture
def refused(capsys):
    def check(arguments, code, said):
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        assert "Traceback" not in captured.err
        for words in said:
            assert words in captured.err

    return check


@pytest.fixture
def stdin(monkeypatch):
    def give(data: bytes):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a: [1, 2\nb: }", ["YAML"], id="not YAML"),
        pytest.param("just words", ["mapping"], id="no mapping"),
        pytest.param("", ["empty"], id="empty"),
        pytest.param("# only a comment\n", ["empty"], id="comment only"),
        pytest.param(f"{REQUEST}---\n{REQUEST}", ["2 documents", "one"], id="two documents"),
        pytest.param(
            changed("  model:", "  modle:"), ["spec.modle", "did you mean model?"], id="unknown key"
        ),
        pytest.param(changed("isl: 4000", "isl: many"), ["spec.workload.isl", "many"], id="wrong type"),
        pytest.param(changed("isl: 4000", "isl: -5"), ["spec.workload.isl", "-5"], id="negative"),
        pytest.param(changed("isl: 4000", "isl: 0"), ["spec.workload.isl", "got 0"], id="isl 0"),
        pytest.param(changed("osl: 1000", "osl: 0"), ["spec.workload.osl", "got 0"], id="osl 0"),
        pytest.param(
            changed("isl: 4000", "isl: 2000000"), ["spec.workload.isl", "2000000"], id="isl 2,000,000"
        ),
        pytest.param(
            changed("isl: 4000", "isl: 900000"), ["spec.workload", "context"], id="past the context"
        ),
        pytest.param(changed("totalGpus: 8", "totalGpus: 0"), ["spec.hardware.totalGpus"], id="totalGpus 0"),
        pytest.param(
            changed("gpuSku: h200_sxm", "gpuSku: h2000"), ["spec.hardware.gpuSku"], id="unknown GPU"
        ),
        pytest.param(
            changed("backend: vllm", "backend: llama"), ["spec.backend", "vllm"], id="unknown backend"
        ),
        pytest.param(changed("v1beta1", "v1"), ["apiVersion"], id="unknown version"),
        pytest.param(DGD, ["kind", "armature up"], id="a graph"),
    ],
)
def test_plan_refuses_a_wrong_request(text, said, tmp_path, refused):
    file = tmp_path / "request.yaml"
    file.write_text(text)
    refused(["plan", file, "--offline"], 2, said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hardware", "nonsense"], ["--hardware", "nonsense"]),
        (["--hardware", ""], ["--hardware"]),
        (["--hardware", "0xh200_sxm"], ["--hardware"]),
        (["--price", "nonsense"], ["--price", "SKU=PRICE"]),
        (["--price", "h200_sxm=free"], ["--price", "h200_sxm=free"]),
        (["--price", "h2000=3"], ["--price", "h2000"]),
    ],
)
def test_plan_refuses_a_wrong_option(options, said, stdin, refused):
    stdin(REQUEST.encode())
    refused(["plan", "-", *options], 2, said)


def test_wrong_prices_in_the_environment_are_named(stdin, refused, monkeypatch):
    monkeypatch.setenv("ARMATURE_PRICES", "nonsense")
    stdin(REQUEST.encode())
    refused(["plan", "-"], 2, ["$ARMATURE_PRICES"])


@pytest.mark.parametrize("ratio", ["0", "-1", "nan", "inf"])
def test_up_refuses_a_ratio_that_is_no_speed(ratio, stdin, refused):
    stdin(REQUEST.encode())
    refused(["up", "-", "--speedup-ratio", ratio], 2, ["--speedup-ratio"])


def test_up_refuses_what_it_cannot_run(tmp_path, refused):
    file = tmp_path / "x.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\n")
    refused(["up", file], 2, ["no request and no graph"])


def test_stdin_that_is_no_text_or_empty(stdin, refused):
    stdin(b"\xff\xfe\x00")
    refused(["plan", "-"], 2, ["stdin", "UTF-8"])
    stdin(b"")
    refused(["plan", "-"], 2, ["stdin", "empty"])


def test_what_is_no_text_file(tmp_path, refused):
    refused(["plan", tmp_path / "none.yaml"], 2, ["none.yaml", "not found"])
    refused(["plan", tmp_path], 2, ["directory"])
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(bytes(range(256)) * 10)
    refused(["plan", binary], 2, ["UTF-8"])


def test_all_problems_come_at_once(stdin, refused):
    text = changed("isl: 4000, osl: 1000", "isl: 0, osl: -1, tfft: 3").replace("totalGpus: 8", "totalGpus: 0")
    stdin(text.encode())
    refused(["plan", "-"], 2, ["4 problems", "isl", "osl", "tfft", "totalGpus"])


def test_a_candidate_that_does_not_exist(stdin, refused):
    stdin(REQUEST.encode())
    refused(["plan", "-", "--estimator", "roofline", "--candidate", "agg-of-dreams"], 1, ["agg-of-dreams"])


def test_a_model_too_large_says_what_would_fit(stdin, refused):
    request = changed("Qwen/Qwen3-32B-FP8", "deepseek-ai/DeepSeek-R1").replace("h200_sxm", "l40s")
    stdin(request.replace("totalGpus: 8", "totalGpus: 1").encode())
    refused(["plan", "-", "--offline", "--estimator", "roofline"], 4, ["l40s", "does not fit", "would fit"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["down"], 2, ["--all"]),
        (["down", "x", "--all"], 2, ["--all"]),
        (["down", "nothing-of-this-name"], 1, ["nothing-of-this-name"]),
        (["status", "nothing-of-this-name"], 1, ["nothing-of-this-name"]),
        (["logs", "nothing-of-this-name"], 1, ["nothing-of-this-name"]),
        (["status", "../.."], 2, ["name"]),
        (["hardware", "--hardware", "nonsense"], 2, ["--hardware", "nonsense"]),
        (["models", "no-such-model"], 3, ["no-such-model"]),
        (["support", "nobody/has-this-model", "--offline"], 3, ["nobody/has-this-model"]),
    ],
)
def test_other_commands_refuse_what_is_not_there(arguments, code, said, refused, tmp_path, monkeypatch):
    monkeypatch.setenv("ARMATURE_HOME", str(tmp_path))
    refused(arguments, code, said)
