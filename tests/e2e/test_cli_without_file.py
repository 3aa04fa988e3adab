"""`armature plan` without YAML, through the real command: the same answer as the file that it would have been."""

from __future__ import annotations

import csv
import json

import pytest
from cli_process import REQUEST, armature

pytestmark = pytest.mark.e2e

OPTIONS = ["--isl", "3000", "--osl", "200", "--ttft", "2000", "--tpot", "30", "--request-rate", "2"]


def answer(done):
    """The plan without what tells where its GPUs were written down, and how long it took to say so."""
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    del data["notes"]
    return data


def test_a_written_request_is_valid_and_planned_alike(tmp_path):
    what = ["--model", "Qwen/Qwen3-32B", "--hardware", "2x4xh200_sxm", "--backend", "vllm", *OPTIONS]
    written = armature("plan", *what, "--write-request", home=tmp_path)
    assert (written.returncode, written.stderr) == (0, "")
    valid = armature("validate", "-", stdin=written.stdout, home=tmp_path)
    assert valid.stdout == "ok -: DynamoGraphDeploymentRequest qwen3-32b\n"
    fast = ["--estimator", "roofline", "--json"]
    said = answer(armature("plan", *what, *fast, home=tmp_path))
    read = answer(armature("plan", "-", *fast, stdin=written.stdout, home=tmp_path))
    assert said == read
    assert said["sla"] == {"ttft_ms": 2000.0, "itl_ms": 30.0, "optimize": "throughput"}


def test_options_over_a_file_are_noted_and_win(tmp_path):
    out = tmp_path / "out"
    done = armature(
        "plan", "-", "--itl", "15", "--estimator", "roofline", "-o", out, stdin=REQUEST, home=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "ITL ≤ 15.0 ms" in done.stdout
    assert "--itl 15 (not in it)" in done.stdout
    rows = list(csv.DictReader((out / "pareto.csv").open()))
    assert [row["point"] for row in rows] == [str(n) for n in range(1, len(rows) + 1)]
    assert len(list(csv.DictReader((out / "candidates.csv").open()))) >= len(rows) > 0


def test_nothing_to_plan(tmp_path):
    done = armature("plan", "--isl", "3", home=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: armature plan: 1 problem\n  FILE: ")
