"""Foreign graphs run on this machine as processes, survive a crash and leave nothing behind (issue 3 §7, PK-05)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from armature import api
from armature.local import state
from armature.local.up import UpOptions, running

pytestmark = pytest.mark.e2e

CONFORMANCE = Path(__file__).parents[1] / "data" / "conformance"
VLLM_AGG = CONFORMANCE / "examples_backends_vllm_deploy_agg.yaml"


def graph(path: Path):
    return api.to_v1beta1(api.load_one(path))[0]


def options(home: Path, **changes) -> UpOptions:
    return UpOptions(home=home, port=0, offline=True, speedup_ratio=10.0, ready_timeout_s=60, **changes)


def chat(url: str, model: str) -> dict:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 8,
        "ignore_eos": True,
    }
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def processes_of(home: Path) -> list[int]:
    """Pids of all processes, other than this one, that have the home directory on their command line."""
    if sys.platform != "linux":
        listed = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=True)
        lines = [line.split(None, 1) for line in listed.stdout.splitlines() if str(home) in line]
        return [int(pid) for pid, _ in lines if int(pid) != os.getpid()]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(home).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.mark.parametrize(
    ("name", "workers"),
    [
        ("examples_backends_vllm_deploy_agg.yaml", {"worker-0": "agg"}),
        ("examples_backends_sglang_deploy_disagg.yaml", {"decode-0": "decode", "prefill-0": "prefill"}),
        ("examples_backends_mocker_deploy_disagg.yaml", {"decode-0": "decode", "prefill-0": "prefill"}),
    ],
)
def test_a_graph_of_the_field_starts_and_answers(tmp_path, name, workers):
    said: list[str] = []
    with running(graph(CONFORMANCE / name), options=options(tmp_path), report=said.append) as deployment:
        assert {p.name: p.role for p in deployment.processes if p.kind == "worker"} == workers
        assert all(p.state == "ready" and p.port for p in deployment.processes)
        answer = chat(deployment.url, deployment.models[0])
        assert answer["model"] == deployment.models[0]
        assert answer["usage"]["completion_tokens"] == 8
        assert answer["choices"][0]["message"]["content"]
    assert f"{len(workers)} of {len(workers)} worker{'s' * (len(workers) > 1)} ready, frontend ready" in said
    assert processes_of(tmp_path) == []
    assert state.list_deployments(tmp_path) == ()


def test_a_killed_worker_and_a_killed_frontend_come_back(tmp_path):
    with running(graph(VLLM_AGG), options=options(tmp_path), report=lambda _: None) as deployment:
        name, model = deployment.name, deployment.models[0]
        for process in deployment.processes:
            os.kill(process.pid, signal.SIGKILL)
            until(lambda process=process: restarts(tmp_path, name)[process.name] == 1)
            until(lambda: state.status(name, tmp_path).phase == "ready")
        now = state.status(name, tmp_path)
        assert now.url == deployment.url
        assert {p.pid for p in now.processes}.isdisjoint({p.pid for p in deployment.processes})
        until(lambda: listed(now.url) == [model])
        assert chat(now.url, model)["usage"]["completion_tokens"] == 8


def restarts(home: Path, name: str) -> dict[str, int]:
    return {process.name: process.restarts for process in state.status(name, home).processes}


def listed(url: str) -> list[str]:
    try:
        return [model["id"] for model in httpx.get(f"{url}/v1/models").json()["data"]]
    except httpx.HTTPError:
        return []


def command(home: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "armature", *words]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "ARMATURE_HOME": str(home)}


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(home, *words), env=environment(home), capture_output=True, text=True, timeout=90, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_however_up_is_told_to_end_no_process_is_left(tmp_path, number):
    argv = command(tmp_path, "up", str(VLLM_AGG), "--port", "0", "--offline")
    with subprocess.Popen(
        argv, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as foreground:
        assert foreground.stdout is not None
        lines = []
        for line in foreground.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        deployment = state.status("vllm-agg", tmp_path)
        assert chat(deployment.url, deployment.models[0])["choices"]
        assert len(processes_of(tmp_path)) == 3, "".join(lines)  # supervisor, frontend, worker
        foreground.send_signal(number)
        code = foreground.wait(30)
    if number == signal.SIGINT:
        assert code == 0
        assert processes_of(tmp_path) == []
    until(lambda: processes_of(tmp_path) == [])
    until(lambda: state.list_deployments(tmp_path) == ())


def test_up_twice_in_the_background_then_down(tmp_path):
    up = ("up", str(VLLM_AGG), "--port", "0", "--offline", "-d")
    try:
        first = run(tmp_path, *up)
        assert first.returncode == 0, first.stderr
        assert chat(state.status("vllm-agg", tmp_path).url, "Qwen/Qwen3-0.6B")["choices"]
        second = run(tmp_path, *up)
        assert second.returncode == 7
        assert "vllm-agg runs already" in second.stderr
        assert "worker-0: ready" in run(tmp_path, "status").stdout
        assert run(tmp_path, "logs", "vllm-agg", "Frontend").returncode == 0
        assert "stopped" in run(tmp_path, "down", "vllm-agg").stdout
    finally:
        state.down("vllm-agg", home=tmp_path)
    assert processes_of(tmp_path) == []
    assert "Nothing runs here" in run(tmp_path, "status").stdout


def test_a_port_in_use_fails_with_its_number_and_what_to_do(tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        result = run(tmp_path, "up", str(VLLM_AGG), "--port", str(port), "--offline")
    assert result.returncode == 7
    assert f"Port {port}" in result.stderr
    assert "--port" in result.stderr
    assert processes_of(tmp_path) == []


def test_a_request_runs_by_the_graph_planned_for_it(tmp_path):
    """One file to a running deployment: the plan's layout, its step times, the field's own commands mapped."""
    from armature.flow import plan_request

    text = json.dumps(
        {
            "apiVersion": "nvidia.com/v1beta1",
            "kind": "DynamoGraphDeploymentRequest",
            "metadata": {"name": "r"},
            "spec": {
                "model": "Qwen/Qwen3-32B-FP8",
                "backend": "vllm",
                "workload": {"isl": 512, "osl": 64, "concurrency": 8},
            },
        }
    )
    request = api.load_documents(text, "request")[0]
    profile, planned = plan_request(request, hardware_text="8xh200_sxm", offline=True)
    said: list[str] = []
    with running(
        planned.dgd, profile=profile, options=options(tmp_path), report=said.append, extras=planned.extras
    ) as deployment:
        expected = sum(group.replicas for group in profile.picked.groups)
        assert sum(process.kind == "worker" for process in deployment.processes) == expected
        assert chat(deployment.url, "Qwen/Qwen3-32B-FP8")["usage"]["completion_tokens"] == 8
    assert any("on the profile's step times" in line for line in said)
