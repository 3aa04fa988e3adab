"""`armature select`: profile.json alone gives any point's graph, and the plan's own byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from armature.cli.main import main
from armature.search.profile import Profile

DATA = Path(__file__).parents[2] / "data" / "cli" / "request.yaml"
FANCY = """\
  sla: {ttft: 1000, itl: 20}
  features: {planner: {plannerMinEndpoint: 2}, mocker: {enabled: true}, kvRouter: {enabled: true}}
  overrides:
    trustRemoteCode: true
    dgd: {metadata: {annotations: {team: "7"}}, spec: {components: [{name: Frontend, replicas: 2}]}}
"""


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=captured.out, stderr=captured.err)

    return call


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A plan written to a directory, once per request; tests leave it as it is."""
    made: dict[str, Path] = {}

    def write(text=""):
        if text not in made:
            file = tmp_path_factory.mktemp("request") / "request.yaml"
            file.write_text(DATA.read_text() + text)
            made[text] = file.parent / "out"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("HOME", str(file.parent))
                assert main(["plan", str(file), "--estimator", "roofline", "-q", "-o", str(made[text])]) == 0
        return made[text]

    return write


def points(run, out):
    return json.loads(run("select", out, "--list", "--json").stdout)


@pytest.mark.parametrize("text", ["", FANCY], ids=["plain", "planner, mocker, overrides"])
def test_the_picks_own_point_gives_the_plans_files_byte_for_byte(run, planned, tmp_path, text):
    out = planned(text)
    profile = Profile.read(out / "profile.json")
    again = tmp_path / "again"
    done = run("select", out / "profile.json", "--candidate", profile.pick, "-o", again)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {
        p.name: p.read_bytes() for p in out.iterdir()
    }
    printed = run("select", out, "--candidate", "1").stdout
    assert printed.encode().endswith((out / "dgd.yaml").read_bytes())
    if text == "":
        assert printed.encode() == (out / "dgd.yaml").read_bytes()
    else:
        assert [d["kind"] for d in yaml.safe_load_all(printed)][-1] == "DynamoGraphDeployment"
        assert len(list(yaml.safe_load_all(printed))) > 1


def test_any_point_becomes_the_pick(run, planned, tmp_path):
    out = planned("  sla: {ttft: 1000, itl: 20}\n")
    front = points(run, out)
    assert [p["point"] for p in front] == list(range(1, len(front) + 1))
    assert [p["tokens_per_s_per_user"] for p in front] == sorted(p["tokens_per_s_per_user"] for p in front)
    last = front[-1]
    done = run("select", out, "--point", last["point"], "--offline", "-o", tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert f"Chosen by hand: point {last['point']} of the front" in done.stderr
    found = Profile.read(tmp_path / "b" / "profile.json")
    assert found.pick == last["id"]
    dgd = (tmp_path / "b" / "dgd.yaml").read_text()
    assert dgd != (out / "dgd.yaml").read_text()
    assert run("validate", tmp_path / "b" / "dgd.yaml").returncode == 0
    told = json.loads(run("select", out, "--point", last["point"], "--json", "-q").stdout)
    assert told["pick"]["id"] == last["id"]
    assert told["dgd"] == yaml.safe_load(dgd)


def test_another_points_step_times_come_from_where_the_plans_came(run, planned, monkeypatch):
    """A roofline plan's tables are not mixed with measured ones, unless asked."""
    from armature import flow

    out = planned("  sla: {ttft: 1000, itl: 20}\n")
    point, asked, make = points(run, out)[-1]["point"], [], flow.step_times
    monkeypatch.setattr(flow, "step_times", lambda kind: asked.append(kind) or make("roofline"))
    assert run("select", out, "--point", point, "--offline").returncode == 0
    assert run("select", out, "--point", point, "--offline", "--estimator", "auto").returncode == 0
    assert asked == ["roofline", "auto"]


def test_the_list_marks_the_pick_and_fits(run, planned):
    out = planned("  sla: {ttft: 1000, itl: 20}\n")
    lines = run("select", out, "--list", "--width", "80").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == len(points(run, out)) + 1
    assert "point" in lines[0]
    assert sum("▸" in line or ">" in line for line in lines) <= 1


def test_a_plan_of_another_candidate_writes_what_select_writes(run, planned, tmp_path):
    """`up` reads the step times of profile.json beside dgd.yaml: they must be those of the graph's engines."""
    out, request = planned(), planned().parent / "request.yaml"
    profile = Profile.read(out / "profile.json")
    other = next(c.id for c in profile.candidates if c.mode != profile.picked.mode)
    more = ("--candidate", other, "--estimator", "roofline", "-q", "-o")
    assert run("plan", request, *more, tmp_path / "planned").returncode == 0
    assert run("select", out, *more, tmp_path / "selected").returncode == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "planned").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "selected").iterdir()
    }
    assert Profile.read(tmp_path / "planned" / "profile.json").pick == other


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 2, ["--point", "--candidate", "--list"]),
        (["--point", "1", "--candidate", "1"], 2, ["--point: cannot be combined with --candidate"]),
        (["--point", "0"], 2, ["--point: must be from 1 to", "got 0"]),
        (["--point", "9999"], 2, ["--point: must be from 1 to", "got 9999"]),
        (["--point", "one"], 2, ["--point", "integer"]),
        (["--candidate", "agg-of-dreams"], 1, ["agg-of-dreams"]),
    ],
)
def test_wrong_choices(run, planned, options, code, said):
    done = run("select", planned(), *options)
    assert (done.returncode, done.stdout) == (code, "")
    for words in said:
        assert words in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not a profile"),
        (b"[]", "is not a profile"),
        (b"\xff", "is not a profile"),
        (b'{"version": 1}', "version: must be 2"),
        (b'{"version": 2}', "is not a profile"),
        (None, "file: cannot be read: No such file"),
    ],
)
def test_what_is_no_profile(run, tmp_path, content, said):
    file = tmp_path / "profile.json"
    if content is not None:
        file.write_bytes(content)
    for where in (file, tmp_path):
        done = run("select", where, "--list")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{file}: 1 problem" in done.stderr
        assert said in done.stderr


def test_a_profile_without_its_request_says_so(run, planned, tmp_path):
    data = json.loads((planned() / "profile.json").read_text())
    file = tmp_path / "profile.json"
    for request, said in [({}, "holds no request"), ({"kind": "Pod"}, "The profile's request")]:
        file.write_text(json.dumps({**data, "request": request}))
        done = run("select", file, "--point", "1")
        assert done.returncode in (1, 2)
        assert said in done.stderr
