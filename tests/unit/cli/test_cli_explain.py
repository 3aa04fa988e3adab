"""`armature explain`: of a request and of a profile, for a person and as JSON; bad layouts are one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from armature.cli.main import main

DATA = Path(__file__).parents[2] / "data" / "cli" / "request.yaml"
ASKED = (
    "--model",
    "Qwen/Qwen3-32B-FP8",
    "--hardware",
    "8xh200_sxm",
    "--backend",
    "vllm",
    "--estimator",
    "roofline",
)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=captured.out, stderr=captured.err)

    return call


def test_a_request_is_explained_and_every_layout_has_an_answer(run):
    done = run(
        "explain", *ASKED, "--itl", 30, "--why-not", "tp=8", "--why-not", "tp=3", "--price", "h200_sxm=3"
    )
    assert done.returncode == 0, done.stderr
    titles = [line for line in done.stdout.splitlines() if line and line[0].isalpha()]
    assert [t for t in titles if t in ("Why not", "Why", "Considered", "What one step would change")] == [
        "Why not", "Why", "Considered", "What one step would change",
    ]  # fmt: skip
    text = " ".join(done.stdout.split())
    assert "- tp=8: " in text
    assert (
        "- tp=3: Impossible: Qwen/Qwen3-32B-FP8 does not split so: tp 3 does not divide its 64 attention"
        in text
    )
    assert "J/token at board power" in text
    assert "per million tokens" in text
    assert "ITL 10 % looser (33.0 ms): " in text
    assert "One GPU fewer (7 h200_sxm): " in text


def test_as_json_with_the_numbers(run):
    done = run("explain", *ASKED, "--itl", 1, "--why-not", "mode=disagg,tp=3", "--json")
    data = json.loads(done.stdout)
    assert not data["meets_sla"]
    assert data["binding"] == "itl_ms"
    assert data["suggestions"][0]["holds"]
    assert {"what", "to", "outcome", "text", "sla"} <= data["suggestions"][0].keys()
    assert {step["what"] for step in data["relaxations"]} == {"itl_ms", "gpus"}
    (answer,) = data["why_not"]
    assert (answer["verdict"], answer["rule"], answer["rank"]) == ("impossible", "heads", None)
    assert data["pick"]["joules_per_token"] > 0


def test_a_profile_says_as_much_as_it_knows(run, tmp_path):
    planned = run("plan", *ASKED, "--itl", 30, "-o", tmp_path / "out", "-q")
    assert planned.returncode == 0
    fresh = run("explain", *ASKED, "--itl", 30, "--why-not", "tp=8")
    for where in (tmp_path / "out", tmp_path / "out" / "profile.json"):
        done = run("explain", where, "--why-not", "tp=8", "--why-not", "tp=64")
        assert done.returncode == 0, done.stderr
        assert "tp=64: It is not among the " in done.stdout
        after = "Why\n" + done.stdout.partition("\nWhy\n")[2]
        assert after == "Why\n" + fresh.stdout.partition("\nWhy\n")[2], "all but the answers is the same"


@pytest.mark.parametrize(
    "option", [("--itl", "3"), ("--hardware", "1xl4"), ("--price", "l4=1"), ("--estimator", "roofline")]
)
def test_options_that_would_change_a_finished_profile_are_refused(run, tmp_path, option):
    run("plan", *ASKED, "-o", tmp_path, "-q")
    done = run("explain", tmp_path, *option)
    assert done.returncode == 2
    assert f"{option[0]}: cannot change a finished profile; explain the request instead" in done.stderr


def test_a_file_of_a_request_is_read_as_plan_reads_it(run, tmp_path):
    by_file = run("explain", DATA, "--estimator", "roofline", "--json")
    assert by_file.returncode == 0, by_file.stderr
    as_json = tmp_path / "request.json"
    import yaml

    as_json.write_text(json.dumps(yaml.safe_load(DATA.read_text())))
    assert run("explain", as_json, "--estimator", "roofline", "--json").stdout == by_file.stdout


def test_every_malformed_layout_is_told_at_once(run):
    done = run("explain", *ASKED, "--why-not", "tpp=8", "--why-not", "backend=vlm")
    assert done.returncode == 2
    assert "--why-not: 2 problems" in done.stderr
    assert "did you mean tp?" in done.stderr
    assert "did you mean vllm?" in done.stderr


def test_what_fits_nowhere_is_told_what_would_hold_it(run):
    for command in ("plan", "explain"):
        done = run(
            command,
            "--model",
            "Qwen/Qwen3-32B-FP8",
            "--hardware",
            "1xl4",
            "--estimator",
            "roofline",
            "--backend",
            "vllm",
        )
        assert done.returncode == 4
        assert "It would fit on 4 l4 instead of 1, or 1 " in done.stderr


def test_a_broken_profile_is_an_error_with_a_mend(run, tmp_path):
    broken = tmp_path / "profile.json"
    broken.write_text('{"candidates": [], "version": 2}')
    done = run("explain", broken)
    assert done.returncode == 2
    assert "make one with `armature plan FILE -o DIR`" in done.stderr
