"""`armature generate` (AIC-04): a graph without a sweep, by the same builder and preflight as the plan's."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from armature.cli.generate import _sides
from armature.cli.main import main
from armature.errors import InvalidInput
from armature.search.direct import Side
from armature.search.profile import Profile

REQUEST = Path(__file__).parents[2] / "data" / "cli" / "request.yaml"
GUIDE = [
    "--model-path",
    "Qwen/Qwen3-32B-FP8",
    "--total-gpus",
    "8",
    "--system",
    "h200_sxm",
    "--backend",
    "vllm",
]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    def call(*arguments):
        code = main(["generate", "--estimator", "roofline", "--offline", *map(str, arguments)])
        captured = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=captured.out, stderr=captured.err)

    return call


def test_the_guides_own_line_gives_a_graph(run):
    """The field's guide: `cli generate --model-path ... --total-gpus 8 --system h200_sxm --backend vllm`."""
    done = run(*GUIDE)
    assert done.returncode == 0, done.stderr
    dgd = yaml.safe_load(done.stdout)
    assert dgd["kind"] == "DynamoGraphDeployment"
    assert [c.get("replicas") for c in dgd["spec"]["components"]] == [1, 1]
    assert done.stderr.startswith("Not optimised: 1×tp1, ")
    assert "Estimate (estimated): TTFT " in done.stderr
    assert "1 of 8 GPUs" in done.stderr


def test_files_are_those_of_a_plan_and_select_reads_them(run, tmp_path, capsys):
    out = tmp_path / "out"
    done = run(REQUEST, "--tp", 2, "--replicas", 3, "-o", out, "-q")
    assert (done.returncode, done.stdout) == (0, "")
    assert sorted(p.name for p in out.iterdir()) == [
        "candidates.csv",
        "dgd.yaml",
        "pareto.csv",
        "profile.json",
        "report.html",
    ]
    profile = Profile.read(out / "profile.json")
    assert profile.reasons[0].startswith("Not optimised")
    assert main(["validate", str(out / "dgd.yaml")]) == 0
    capsys.readouterr()
    assert main(["select", str(out), "--candidate", profile.pick, "-q"]) == 0
    assert capsys.readouterr().out.encode() == (out / "dgd.yaml").read_bytes()


def test_json_says_that_it_is_not_optimised(run):
    answer = json.loads(run(*GUIDE, "--json", "-q", "--disagg", "3xtp1:1xtp4").stdout)
    assert answer["reasons"][0].startswith("Not optimised: 3×tp1 → 1×tp4")
    assert answer["pick"]["label"] == "disagg vllm 3×tp1 → 1×tp4"
    assert answer["dgd"]["kind"] == "DynamoGraphDeployment"


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("2:1", (Side(2), Side(1))),
        ("3xtp1:1xtp4", (Side(3, "tp1"), Side(1, "tp4"))),
        (" 1 × dep8 : 2", (Side(1, "dep8"), Side(2))),
    ],
)
def test_sides(text, sides):
    assert _sides(text) == sides


@pytest.mark.parametrize("text", ["", "2", "0:1", "1:1:1", "tp1:tp2", "-1:2", "2:x"])
def test_what_is_no_pair_of_sides(text):
    with pytest.raises(InvalidInput, match="--disagg: is no P:D"):
        _sides(text)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "there is nothing to generate"),
        ([*GUIDE, "--tp", "0"], 2, "--tp"),
        ([*GUIDE, "--tp", "3"], 4, "No worker of tp 3"),
        ([*GUIDE, "--isl", "0"], 2, "--isl: must be between"),
        ([*GUIDE, "--replicas", "9"], 4, "at most 8 fit"),
        ([*GUIDE[:3], "1", "--system", "t4"], 4, "does not fit"),
        (["--model", "nobody/has-this", "--hardware", "l40s"], 3, "nobody/has-this"),
    ],
)
def test_what_is_refused(run, arguments, code, said):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
