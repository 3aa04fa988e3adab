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


FAST = ["--model", "Qwen/Qwen3-32B", "--estimator", "roofline", "--offline"]


def test_generate_gives_a_graph_that_validates(tmp_path):
    done = armature("generate", *FAST, "--hardware", "8xh200_sxm", "--tp", "2", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("Not optimised: 1×tp2")
    valid = armature("validate", "-", stdin=done.stdout, home=tmp_path)
    assert valid.stdout.startswith("ok -: DynamoGraphDeployment qwen3-32b")
    assert "warning" not in valid.stdout


def test_select_takes_any_point_and_its_graph_validates(tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    plan = ["plan", *FAST, "--hardware", "8xh200_sxm", "--itl", "30", "-q", "-o", out]
    assert armature(*plan, home=tmp_path).returncode == 0
    front = json.loads(armature("select", out, "--list", "--json", home=tmp_path).stdout)
    point = next(p["point"] for p in reversed(front) if not p["picked"])
    chosen = ["select", out, "--point", str(point), "--estimator", "roofline", "--offline", "-o", other]
    done = armature(*chosen, home=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert sorted(p.name for p in other.iterdir()) == sorted(p.name for p in out.iterdir())
    assert json.loads((other / "profile.json").read_text())["pick"] == front[point - 1]["id"]
    valid = armature("validate", other / "dgd.yaml", home=tmp_path)
    assert (valid.returncode, "warning" in valid.stdout) == (0, False)


def test_compare_says_who_wins_and_what_cannot_be(tmp_path):
    kinds = [word for sku in ("8xh200_sxm", "8xl40s", "1xt4") for word in ("--hardware", sku)]
    done = armature("compare", *FAST, *kinds, "--itl", "80", "--width", "90", home=tmp_path)
    assert done.returncode == 4
    assert max(map(len, done.stdout.splitlines())) <= 90
    assert "\n▸8xh200_sxm  " in done.stdout
    assert "\n 1xt4        not planned: " in done.stdout
    assert done.stderr == "error: 1 of 3 could not be planned; the table says why.\n"
    ascii_only = armature("compare", *FAST, *kinds, home=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert ascii_only.stdout.isascii()
