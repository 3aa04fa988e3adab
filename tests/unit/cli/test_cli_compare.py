"""`armature compare`: which entries there are, and that an error of one loses no other."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from armature.cli.asked import Asked
from armature.cli.compare import _combined
from armature.cli.main import main
from armature.errors import InvalidInput

REQUEST = (Path(__file__).parents[2] / "data" / "cli" / "request.yaml").read_text()


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ARMATURE_PRICES", raising=False)

    def call(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(["compare", "--estimator", "roofline", "--offline", *map(str, arguments)])
        captured = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=captured.out, stderr=captured.err)

    return call


def labels(*axes):
    return [ask.label for ask in _combined(*axes, Asked())]


def test_what_is_given_more_than_once_is_varied_and_named():
    assert labels([], ["m"], ["8xh100_sxm", "8xh200_sxm"], []) == ["8xh100_sxm", "8xh200_sxm"]
    assert labels(["a.yaml"], [], ["x", "y"], ["vllm", "sglang"]) == [
        "x, vllm",
        "x, sglang",
        "y, vllm",
        "y, sglang",
    ]
    assert labels(["d/a.yaml", "e/b.yaml"], [], [], []) == ["a.yaml", "b.yaml"]
    assert labels(["d/a.yaml", "e/a.yaml"], [], [], []) == ["d/a.yaml", "e/a.yaml"]


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (([], ["m"], ["x"], []), "nothing to compare with"),
        ((["a"], [], [], []), "nothing to compare with"),
        (([], ["m"], ["x", "x"], []), "is there twice"),
        ((["a", "a"], [], [], []), "is there twice"),
        (([], [str(i) for i in range(9)], [str(i) for i in range(9)], []), "81 combinations, more than 64"),
    ],
)
def test_too_few_too_many_or_twice(axes, said):
    with pytest.raises(InvalidInput, match=said):
        labels(*axes)


def test_two_kinds_of_gpu_for_one_request_from_stdin(run):
    done = run(
        "-", "--hardware", "8xh200_sxm", "--hardware", "8xl40s", "--itl", "60", "--json", stdin=REQUEST
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [e["inventory"][0]["sku"] for e in data["entries"]] == ["h200_sxm", "l40s"]
    assert all(e["sla"]["itl_ms"] == 60 for e in data["entries"])
    assert data["winner"] == "8xh200_sxm"
    assert data["verdict"]


def test_an_entry_that_fails_has_its_row_and_its_exit_code(run, tmp_path):
    good = tmp_path / "good.yaml"
    good.write_text(REQUEST)
    bad = tmp_path / "bad.yaml"
    bad.write_text(REQUEST.replace("isl: 4000", "isl: 0"))
    done = run(good, bad, tmp_path / "none.yaml")
    assert done.returncode == 2
    assert "▸good.yaml" in done.stdout or ">good.yaml" in done.stdout
    assert "bad.yaml   not planned: spec.workload.isl: must be between" in done.stdout
    assert "none.yaml  not planned: file: not found" in done.stdout
    assert "good.yaml is the only one that can be planned." in done.stdout
    assert done.stderr == "error: 2 of 3 could not be planned; the table says why.\n"
    done = run("--model", "Qwen/Qwen3-32B-FP8", "--hardware", "1xt4", "--hardware", "8xh200_sxm")
    assert done.returncode == 4
    done = run(
        "--model", "Qwen/Qwen3-32B-FP8", "--hardware", "h200_sxm", "--backend", "vllm", "--backend", "vlm"
    )
    assert done.returncode == 2
    assert "--backend: must be one of" in done.stdout


def test_what_all_fail_with_is_said_once(run):
    done = run("--model", "m", "--hardware", "8xl4", "--hardware", "8xl40s", "--isl", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("--isl: must be between") == 1


def test_prices_make_cost_decide(run):
    done = run(
        *("--model", "Qwen/Qwen3-32B-FP8", "--hardware", "8xh200_sxm", "--hardware", "8xh100_sxm"),
        *("--price", "h200_sxm=9", "--price", "h100_sxm=1", "--json"),
    )
    data = json.loads(done.stdout)
    assert (data["measure"], data["winner"]) == ("cost", "8xh100_sxm")
