"""What the options of `plan` and of the commands that look change; in this process, with the real rooms."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from armature.cli.main import main

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart.yaml"

REQUEST = (Path(__file__).parents[2] / "data" / "cli" / "request.yaml").read_text()


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """The command in this process: its returncode, stdout and stderr."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ARMATURE_PRICES", raising=False)

    def call(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=captured.out, stderr=captured.err)

    return call


def test_the_older_api_version_on_demand(run, tmp_path):
    done = run("plan", "--estimator", "roofline", QUICKSTART, "--json", "--api-version", "v1alpha1")
    assert json.loads(done.stdout)["dgd"]["apiVersion"] == "nvidia.com/v1alpha1"


def test_stdin_hardware_backend_and_prices(run, tmp_path):
    text = REQUEST.replace("  hardware: {gpuSku: h200_sxm, totalGpus: 8}\n", "")
    options = ["--hardware", "2x4xh100_sxm", "--backend", "sglang", "--price", "h100_sxm=2.5", "--json"]
    done = run("plan", "--estimator", "roofline", "-", *options, stdin=text)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [(p["sku"], p["gpus"], p["nodes"]) for p in data["inventory"]] == [("h100_sxm", 8, 2)]
    assert {c["backend"] for c in data["candidates"]} == {"sglang"}
    assert data["pick"]["cost_per_million_tokens"] > 0


def test_hardware_on_the_command_line_wins_over_the_request(run, tmp_path):
    done = run("plan", "--estimator", "roofline", "-", "--hardware", "4xl40s", "--json", stdin=REQUEST)
    assert done.returncode == 0, done.stderr
    assert [(p["sku"], p["gpus"]) for p in json.loads(done.stdout)["inventory"]] == [("l40s", 4)]


def test_another_candidate_of_the_table(run, tmp_path):
    plain = json.loads(run("plan", "--estimator", "roofline", QUICKSTART, "--json").stdout)
    other = run("plan", "--estimator", "roofline", QUICKSTART, "--json", "--candidate", "2")
    assert other.returncode == 0, other.stderr
    chosen = json.loads(other.stdout)
    assert any("candidate 2" in note for note in chosen["notes"])
    assert chosen["pick"] == plain["pick"]
    by_id = run("plan", "--estimator", "roofline", QUICKSTART, "--json", "--candidate", plain["table"][1])
    assert json.loads(by_id.stdout)["dgd"] == chosen["dgd"]


def test_strict_sla_fails_after_the_plan_is_printed(run, tmp_path):
    text = REQUEST + "  sla: {ttft: 1, itl: 0.1}\n"
    assert run("plan", "--estimator", "roofline", "-", stdin=text).returncode == 0
    done = run("plan", "--estimator", "roofline", "-", "--strict-sla", "-o", tmp_path / "out", stdin=text)
    assert done.returncode == 5
    assert "MISSES the SLA" in done.stdout
    assert "error: The SLA is missed" in done.stderr
    assert (tmp_path / "out" / "dgd.yaml").exists()
    assert run("plan", "--estimator", "roofline", QUICKSTART, "--strict-sla").returncode == 0


def test_hardware_reads_product_strings_and_descriptions(run, tmp_path):
    assert "h100_sxm" in run("hardware", "NVIDIA-H100-80GB-HBM3").stdout
    out = run("hardware", "--hardware", "2x8xh200_sxm").stdout
    assert "h200_sxm" in out
    assert "16" in out
    catalog = run("hardware", "--catalog").stdout
    for sku in ("h200_sxm", "mi300", "gb300", "l40s"):
        assert f"\n{sku} " in catalog
    unknown = run("hardware", "--hardware", "nonsense")
    assert unknown.returncode == 2


def test_models_lists_and_shows(run, tmp_path):
    names = run("models").stdout.splitlines()
    assert "Qwen/Qwen3-32B" in names
    shown = run("models", "Qwen/Qwen3-32B-FP8", "--offline")
    assert shown.returncode == 0, shown.stderr
    for words in ("architecture", "weights", "h200_sxm", "Smallest worker"):
        assert words in shown.stdout
    none = run("models", "no-such-model")
    assert none.returncode == 3


def test_how_gpus_are_linked_stays_as_the_file_says(run, tmp_path):
    """--hardware replaces what the file counts; and the written request plans alike."""
    text = REQUEST.replace("totalGpus: 8}", "totalGpus: 8, rdma: true, interconnect: pcie}")
    options = ["--hardware", "2x4xh100_pcie"]
    done = run("plan", "-", *options, "--estimator", "roofline", "--json", stdin=text)
    assert done.returncode == 0, done.stderr
    (pool,) = json.loads(done.stdout)["inventory"]
    assert (pool["sku"], pool["nodes"], pool["rdma"], pool["link"]) == ("h100_pcie", 2, True, "pcie")
    written = run("plan", "-", *options, "--write-request", stdin=text).stdout
    again = json.loads(run("plan", "-", "--estimator", "roofline", "--json", stdin=written).stdout)
    assert {**again, "notes": []} == {**json.loads(done.stdout), "notes": []}


def test_the_objective_of_aiconfigurator_makes_a_plan_that_starts(run):
    """Its rules on any step times; the graph is checked as every other."""
    options = ["--model", "Qwen/Qwen3-32B", "--hardware", "8xh200_sxm", "--backend", "vllm", "--isl", "4000"]
    options += ["--osl", "1000", "--ttft", "2000", "--itl", "30", "--estimator", "roofline", "--json"]
    ours, theirs = (json.loads(run("plan", *options, "--objective", o).stdout) for o in ("armature", "aic"))
    assert not any("AIConfigurator" in note for note in ours["notes"])
    assert any("as AIConfigurator 0.12 does" in note for note in theirs["notes"])
    assert theirs["meets_sla"] and theirs["pick"]["id"] != ours["pick"]["id"]
    assert theirs["dgd"]["kind"] == "DynamoGraphDeployment"


def test_the_objective_of_aiconfigurator_takes_no_load(run):
    options = ["--model", "Qwen/Qwen3-32B", "--hardware", "8xh200_sxm", "--estimator", "roofline"]
    done = run("plan", *options, "--objective", "aic", "--request-rate", "3")
    assert done.returncode == 2
    assert "request" in done.stderr and "leave it out, or leave --objective out" in done.stderr
