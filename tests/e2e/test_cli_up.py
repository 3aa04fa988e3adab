"""`up`, `status`, `logs`, `down` and the demo: a file becomes a server that answers, and nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from cli_process import EXAMPLES, armature, environment

from armature.cli.demo import ask

pytestmark = pytest.mark.e2e

QUICKSTART = EXAMPLES / "quickstart.yaml"


def alive(home):
    """Command lines of processes whose environment names this home."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environ = file.read()
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read()
        except OSError:
            continue
        if os.fsencode(home) in environ:
            found.append(command)
    return found


@pytest.fixture
def deployed(tmp_path):
    """The quickstart, running in the background: (name, url)."""
    done = armature("up", QUICKSTART, "--detach", "--port", "0", home=tmp_path)
    try:
        assert done.returncode == 0, done.stderr
        url = re.search(r"http://[\d.:]+", done.stderr)
        name = re.search(r"(\S+) runs in the background", done.stderr)
        assert url, done.stderr
        assert name, done.stderr
        yield name[1], url[0]
    finally:
        armature("down", "--all", home=tmp_path)
        assert alive(tmp_path) == []


def test_a_detached_deployment_answers_is_shown_and_stops(deployed, tmp_path):
    name, url = deployed
    answer = ask(url, "Qwen/Qwen3-32B-FP8", "Hello?", 8)
    assert answer.tokens == 8
    assert answer.ttft_ms > 0

    shown = armature("status", home=tmp_path)
    assert f"{name}: ready" in shown.stdout
    assert url in shown.stdout
    assert armature("status", name, home=tmp_path).stdout.splitlines()[0].startswith(f"{name}: ready")
    lines = armature("logs", name, home=tmp_path).stdout.splitlines()
    assert {line.partition(" | ")[0] for line in lines} >= {"Frontend-0"}
    assert armature("logs", name, "Frontend", "-n", "1", home=tmp_path).stdout.count("\n") == 1
    wrong = armature("logs", name, "no-such-component", home=tmp_path)
    assert wrong.returncode == 1
    assert "Frontend" in wrong.stderr

    again = armature("up", QUICKSTART, "--port", "0", home=tmp_path)
    assert again.returncode == 7
    assert "runs already" in again.stderr
    assert f"armature down {name}" in again.stderr

    stopped = armature("down", name, home=tmp_path)
    assert (stopped.returncode, stopped.stdout) == (0, f"{name}: stopped\n")
    assert alive(tmp_path) == []
    assert "Nothing runs here" in armature("status", home=tmp_path).stdout
    assert armature("down", name, home=tmp_path).returncode == 1


def test_a_written_plan_runs_and_is_replaced(tmp_path):
    out = tmp_path / "out"
    assert armature("plan", QUICKSTART, "-q", "-o", out, home=tmp_path).returncode == 0
    try:
        options = ["--detach", "--port", "0", "--speedup-ratio", "20"]
        assert armature("up", out / "dgd.yaml", *options, home=tmp_path).returncode == 0
        done = armature("up", out / "dgd.yaml", *options, "--replace", home=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "on the profile's step times" in done.stderr
        with urllib.request.urlopen(re.search(r"http://\S+/v1", done.stderr)[0] + "/models") as response:
            assert json.load(response)["data"][0]["id"] == "Qwen/Qwen3-32B-FP8"
    finally:
        assert armature("down", "--all", home=tmp_path).returncode == 0
    assert alive(tmp_path) == []


def test_a_port_in_use_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = armature("up", QUICKSTART, "--port", str(port), home=tmp_path)
    assert done.returncode == 7
    assert f"Port {port}" in done.stderr
    assert "--port" in done.stderr
    assert alive(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_foreground_deployment_leaves_nothing_however_it_ends(number, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "armature", "up", str(QUICKSTART), "--port", "0"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Ctrl-C" in line:
            break
    process.send_signal(number)
    process.stderr.read()
    code = process.wait(30)
    assert code == (-9 if number == signal.SIGKILL else 0)
    for _ in range(300 if number == signal.SIGKILL else 0):  # told to end, it ends after all that it started
        if not alive(tmp_path):
            break
        time.sleep(0.1)
    assert alive(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_start_in_the_background_that_is_broken_off_leaves_nothing(number, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "armature", "up", "-d", str(QUICKSTART), "--port", "0"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "workers ready" in line:
            break
    process.send_signal(number)
    said = process.stderr.read()
    if process.wait(30) == 0:  # it was ready before the signal came
        armature("down", "--all", home=tmp_path)
        assert "in the background" in said
    else:
        assert "error: interrupted" in said
    assert alive(tmp_path) == []


def test_the_demo_plans_runs_answers_and_stops(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "armature.cli.demo"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=environment(tmp_path, TMPDIR=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9"),
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for said in (
        "Choice: ",
        "Why",
        "kind: DynamoGraphDeployment",
        "assistant: ",
        " tokens in, 48 out: the first after",
    ):
        assert said in done.stdout
    assert done.stdout.endswith("Everything is stopped.\n")
    assert alive(tmp_path) == []
    assert list(tmp_path.glob("armature-demo-*")) == []
