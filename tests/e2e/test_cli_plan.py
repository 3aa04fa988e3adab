"""`plan`, `validate` and the commands that look, through the real command."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import yaml
from cli_process import EXAMPLES, REQUEST, armature

from armature.search.profile import Profile

pytestmark = pytest.mark.e2e

QUICKSTART = EXAMPLES / "quickstart.yaml"
ALL_EXAMPLES = sorted(EXAMPLES.glob("*.yaml"))


@pytest.mark.parametrize("example", ALL_EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_valid_and_planned(example, tmp_path):
    done = armature("validate", example, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"ok {example}: DynamoGraphDeploymentRequest")
    done = armature("plan", example, "--offline", "-o", tmp_path / "out", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Choice: " in done.stdout
    assert len(done.stdout.splitlines()) <= 64
    assert armature("validate", tmp_path / "out" / "dgd.yaml", home=tmp_path).returncode == 0


def test_the_plan_fits_its_width_and_needs_no_unicode(tmp_path):
    for width in (80, 100):
        out = armature("plan", QUICKSTART, "--width", str(width), home=tmp_path).stdout
        assert max(map(len, out.splitlines())) <= width
        assert "\x1b" not in out
    latin = armature("plan", QUICKSTART, home=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert latin.returncode == 0, latin.stderr
    assert latin.stdout.isascii()


def test_output_is_the_graph_and_the_profile(tmp_path):
    out = tmp_path / "deep" / "out"
    done = armature("plan", QUICKSTART, "-o", out, "--quiet", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    dgd = yaml.safe_load((out / "dgd.yaml").read_text())
    assert dgd["apiVersion"] == "nvidia.com/v1beta1"
    profile = Profile.read(out / "profile.json")
    assert profile.model == "Qwen/Qwen3-32B-FP8"
    assert (out / "profile.json").stat().st_size <= 700_000
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_the_cache_of_step_times_changes_nothing_but_the_time(tmp_path):
    """Cold, warm, with every entry ruined, with none to be had: the same plan to the last digit."""
    cache = tmp_path / "cache"

    def plan(place=cache):
        done = armature("plan", QUICKSTART, "--json", home=tmp_path, env={"ARMATURE_CACHE": str(place)})
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    plain = plan(place="off")
    assert plan() == plain
    entries = list((cache / "steps").iterdir())
    assert entries
    assert plan() == plain
    for entry, ruin in zip(entries, (b"", b"garbage", *[entries[0].read_bytes()[:1000]] * 99), strict=False):
        entry.write_bytes(ruin)
    assert plan() == plain
    (tmp_path / "file").touch()
    assert plan(place=tmp_path / "file") == plain


def test_json_is_json_and_holds_the_same_graph(tmp_path):
    done = armature("plan", QUICKSTART, "--json", "-o", tmp_path / "out", home=tmp_path)
    data = json.loads(done.stdout)
    assert data["dgd"] == yaml.safe_load((tmp_path / "out" / "dgd.yaml").read_text())
    assert data["pick"]["id"] in [candidate["id"] for candidate in data["candidates"]]
    assert data["reasons"]


def test_validate_lists_every_problem_of_every_file(tmp_path):
    bad, worse = tmp_path / "bad.yaml", tmp_path / "worse.yaml"
    bad.write_text(REQUEST.replace("isl: 4000", "isl: 0").replace("totalGpus: 8", "totalGpus: -1"))
    worse.write_text("a: [")
    done = armature("validate", QUICKSTART, bad, worse, tmp_path / "none.yaml", home=tmp_path)
    assert done.returncode == 2
    assert done.stdout == f"ok {QUICKSTART}: DynamoGraphDeploymentRequest quickstart\n"
    for said in (
        "bad.yaml: spec.workload.isl",
        "bad.yaml: spec.hardware.totalGpus",
        "worse.yaml",
        "none.yaml",
    ):
        assert said in done.stderr


def test_validate_reads_stdin(tmp_path):
    done = armature("validate", "-", stdin=REQUEST, home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "ok -: DynamoGraphDeploymentRequest test\n")


def test_support_says_where_numbers_come_from(tmp_path):
    only = ["--gpu", "mi300", "--gpu", "h200_sxm", "--gpu", "t4"]
    done = armature("support", "deepseek-ai/DeepSeek-R1", "--offline", *only, home=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert list(rows) == ["GPU", "mi300", "h200_sxm", "t4"]
    assert "roofline" in rows["mi300"]
    assert "does not fit" in rows["t4"]
    if sys.platform == "linux":
        assert "silicon" in rows["h200_sxm"]


def test_help_imports_none_of_the_rooms():
    """What `--help` costs is what it imports: no numpy, no pydantic, no rich."""
    code = (
        "import sys; from armature.cli.main import main; main(['--help']);"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'numpy', 'pydantic', 'rich', 'msgspec', 'yaml',"
        " 'httpx', 'asyncio', 'aiconfigurator_core'}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_plan_from_options_imports_only_what_it_uses(tmp_path):
    """Issue 4 §6. No older version of the API, no YAML, no masked arrays, no estimator library, no HTTP client."""
    options = [
        "plan",
        "--model",
        "Qwen/Qwen3-32B",
        "--hardware",
        "4xh200_sxm",
        "--estimator",
        "roofline",
        "--offline",
    ]
    unused = ("aiconfigurator_core", "armature.api.v1alpha1.dgd", "asyncio", "httpx", "numpy.ma", "yaml")
    code = (
        f"import sys; from armature.cli.main import main; assert main({options}) == 0;"
        f"print([m for m in {unused} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stderr.strip() == "[]"


def test_a_strict_sla_in_seconds_is_missed_with_the_numbers_as_written(tmp_path):
    """0.04 ms, where 40 was meant, is not shown as 0.0; and the unit is said first among the notes."""
    request = REQUEST + "  sla: {ttft: 2, itl: 0.04}\n"
    done = armature("plan", "-", "--strict-sla", "--estimator", "roofline", home=tmp_path, stdin=request)
    assert done.returncode == 5
    assert re.search(r"itl_ms [\d.]+ against 0\.04", done.stderr), done.stderr
    notes = done.stdout.partition("\nNotes\n")[2].splitlines()
    assert "the unit is milliseconds" in notes[0]
