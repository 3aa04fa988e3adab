"""Start, state, logs and stop with a real supervisor process over small stand-in programs (issue 3 §7)."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from armature.errors import ArmatureError, OutputFailed, StartFailed
from armature.local import state
from armature.local.describe import changes, describe, progress
from armature.local.options import UpOptions
from armature.local.proc import ProcessId
from armature.local.spec import Launch, ProcessSpec
from armature.local.up import _Run, launch

WORKER = """print("hello from", __import__("os").getpid())\nprint('{"ready": true, "port": 1}', flush=True)
import time\nwhile True: time.sleep(1)\n"""
FRONTEND = """
import http.server, json, sys
asked = 0
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global asked
        asked += 1  # the first time the worker is not discovered yet
        body = json.dumps({"models": ["m"], "instances": [{"ready": True}] if asked > 1 else []}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Health)
print(json.dumps({"ready": True, "port": server.server_port}), flush=True)
server.serve_forever()
"""


def process(home: Path, name: str, program: str, *, kind: str = "worker", argv: tuple[str, ...] = ()):
    logs = state.RunDirectory(home, "g").logs
    return ProcessSpec(
        name=f"{name}-0",
        component=name,
        replica=0,
        kind=kind,
        argv=(sys.executable, "-S", "-c", program, *argv),
        env={},
        log_path=str(logs / f"{name}-0.log"),
        stage=int(kind == "frontend"),
    )


def plan(
    home: Path,
    worker: str = WORKER,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    files: dict[str, str] | None = None,
) -> Launch:
    return Launch(
        name="g",
        host=host,
        port=port,
        models=("m",),
        processes=(
            process(home, "W", worker),
            process(home, "F", FRONTEND, kind="frontend", argv=("--port", str(port))),
        ),
        files=files or {},
        notes=("a note",),
    )


def detached(home: Path, report: Callable[[str], None] = lambda _: None, **changes) -> state.Deployment:
    options = UpOptions(home=home, detach=True, ready_timeout_s=30, **changes)
    return launch(plan(home), options=options, report=report)


def until(condition: Callable[[], bool], limit_s: float = 15.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def all_gone(deployment: state.Deployment) -> bool:
    left = [ProcessId(p.pid, p.started) for p in deployment.processes if p.pid is not None]
    return not any(process.alive for process in [*left, deployment.supervisor])


@pytest.fixture
def home(tmp_path):
    yield tmp_path
    state.down("g", home=tmp_path)


def test_up_in_the_background_status_logs_and_down(home):
    said: list[str] = []
    deployment = detached(home, said.append)
    assert deployment.phase == "ready"
    assert said[0] == "note: a note"
    assert "1 of 1 worker ready, frontend ready" in said
    assert any(deployment.url in line for line in said)

    found = state.status("g", home)
    assert found.running
    assert found.detached
    assert [p.name for p in state.list_deployments(home)[0].processes] == ["W-0", "F-0"]
    worker = found.processes[0]
    assert next(state.logs("g", "W", home=home)) == f"hello from {worker.pid}"
    assert f"W-0 | hello from {worker.pid}" in list(state.logs("g", home=home))
    with pytest.raises(ArmatureError, match="no component 'X'"):
        state.logs("g", "X", home=home)

    assert state.down("g", home=home)
    assert all_gone(found)
    assert not state.RunDirectory(home, "g").state.exists()
    assert list(state.logs("g", "W", home=home))  # logs outlive the run
    assert state.list_deployments(home) == ()


def test_down_twice_and_down_of_nothing_is_no_error(home):
    detached(home)
    assert [state.down("g", home=home) for _ in range(2)] == [True, False]
    assert not state.down("never-there", home=home)


def test_status_of_what_does_not_run_says_what_does(home):
    with pytest.raises(ArmatureError, match="No deployment 'x'"):
        state.status("x", home)
    detached(home)
    with pytest.raises(ArmatureError, match="Running here: g"):
        state.status("x", home)


def test_state_that_cannot_be_read_runs_nothing_and_crashes_nothing(home):
    for name, data in {"garbage": b"\x00garbage", "empty": b"{}"}.items():
        path = state.RunDirectory(home, name).state
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    assert state.list_deployments(home) == ()
    with pytest.raises(ArmatureError, match="Nothing runs here"):
        state.status("garbage", home)
    assert not state.down("garbage", home=home)


def test_up_twice_is_refused_and_replace_starts_over(home):
    first = detached(home)
    with pytest.raises(StartFailed, match=f"g runs already at {first.url}"):
        detached(home)
    second = detached(home, replace=True)
    assert second.supervisor != first.supervisor
    assert all_gone(first)
    assert state.status("g", home).running


def test_a_process_that_does_not_start_shows_the_end_of_its_log_and_ends_the_rest(home):
    options = UpOptions(home=home, detach=True, ready_timeout_s=30)
    broken = plan(home, "import sys\nsys.exit('the table is missing')")
    with pytest.raises(StartFailed, match=r"W-0 ended with exit code 1\.\n    the table is missing"):
        launch(broken, options=options, report=lambda _: None)
    directory = state.RunDirectory(home, "g")
    assert not directory.state.exists()
    assert "the table is missing" in "".join(state.logs("g", "W", home=home))


def test_waiting_for_readiness_ends_with_the_name_of_who_is_late(home):
    options = UpOptions(home=home, detach=True, ready_timeout_s=0.7)
    slow = plan(home, "print('loading', flush=True)\nimport time\ntime.sleep(60)")
    with pytest.raises(StartFailed, match=r"not ready after 0\.7 s: waiting for W-0") as caught:
        launch(slow, options=options, report=lambda _: None)
    assert "loading" in str(caught.value)
    assert state.list_deployments(home) == ()


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
@pytest.mark.parametrize("port", [0, 8000])
def test_an_address_of_another_machine_is_not_called_a_port_in_use(home, host, port):
    with pytest.raises(StartFailed, match=f"Cannot listen on {host}: ") as caught:
        launch(plan(home, port=port, host=host), options=UpOptions(home=home), report=lambda _: None)
    assert "--host" in str(caught.value)


def test_a_port_in_use_is_named_with_its_holder(home):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(StartFailed, match=f"Port {port} on 127.0.0.1 is in use") as caught:
            launch(plan(home, port=port), options=UpOptions(home=home), report=lambda _: None)
        assert "--port" in str(caught.value)
        if sys.platform == "linux":
            assert f"pid {os.getpid()}" in str(caught.value)


def test_a_killed_supervisor_is_noticed_and_cleaned_away(home):
    deployment = detached(home)
    os.kill(deployment.supervisor_pid, signal.SIGKILL)
    until(lambda: not deployment.running)
    assert state.list_deployments(home) == ()
    until(lambda: all_gone(deployment))


def test_a_deployment_whose_directory_is_removed_ends(home):
    """`rm -rf ~/.armature`: no command could find it any more."""
    deployment = detached(home)
    shutil.rmtree(home)
    until(lambda: all_gone(deployment))
    assert not home.exists()


def test_up_after_a_kill_cleans_up_and_says_so(home):
    directory = state.RunDirectory(home, "g")
    directory.make()
    left = made(phase="ready", supervisor_pid=os.getpid(), supervisor_started="long ago")
    state.write(directory.state, msgspec.json.encode(left))
    said: list[str] = []
    detached(home, said.append)
    assert "Cleaning up after a run of g that was killed." in said
    assert state.status("g", home).running


FOREGROUND = """
import signal
import sys
from pathlib import Path
import msgspec
from armature.local.options import UpOptions
from armature.local.spec import Launch
from armature.local.up import launch
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Launch)
launch(plan, options=UpOptions(home=Path(sys.argv[2])), report=lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_however_the_foreground_ends_nothing_is_left(home, tmp_path, number, exit_code):
    """Ctrl-C ends it in order; killed, it cannot, and its supervisor does."""
    path = tmp_path / "plan.json"
    path.write_bytes(msgspec.json.encode(plan(home)))
    argv = [sys.executable, "-c", FOREGROUND, str(path), str(home)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as foreground:
        assert foreground.stdout is not None
        for line in foreground.stdout:
            if line.startswith("Ctrl-C"):
                break
        deployment = state.status("g", home)
        foreground.send_signal(number)
        code = foreground.wait(20)
    assert code == exit_code
    until(lambda: all_gone(deployment))
    until(lambda: not state.RunDirectory(home, "g").state.exists())


def test_whether_the_supervisor_has_ended_does_not_hang_on_popens_lock(home):
    """Ctrl-C just as `Popen.poll` has taken it leaves it locked: `up` then never came back."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run = _Run(plan(home), UpOptions(home=home), print, process)
        with process._waitpid_lock:
            assert not run._ended()
            process.stdin.close()
            until(run._ended)


def test_following_logs_ends_with_the_deployment(home):
    detached(home)
    lines = state.logs("g", "F", True, home=home, sleep=lambda _: state.down("g", home=home) and None)
    assert any('"ready": true' in line for line in lines)


def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputFailed, match=r"ARMATURE_HOME"):
        launch(plan(blocked), options=UpOptions(home=blocked), report=lambda _: None)


def test_a_full_disk_leaves_the_old_state_and_no_draft(tmp_path):
    """A file size limit of zero stands in for the full disk: the write itself fails, as there."""
    path = tmp_path / "state.json"
    state.write(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OutputFailed, match=os.strerror(errno.EFBIG)):
            state.write(path, b"new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_home_is_the_environments_or_the_users():
    assert state.default_home({"ARMATURE_HOME": "/somewhere"}) == Path("/somewhere")
    assert state.default_home({}) == Path.home() / ".armature"


def made(**changes) -> state.Deployment:
    processes = (
        state.Process("W-0", "W", "worker", "ready", "w.log", pid=1, port=5, restarts=0),
        state.Process("F-0", "F", "frontend", "starting", "f.log"),
    )
    fields = {
        "name": "g",
        "phase": "starting",
        "host": "0.0.0.0",
        "port": 8000,
        "models": ("m",),
        "processes": processes,
        "notes": (),
        "supervisor_pid": 1,
        "supervisor_started": "1",
        "started_at": 100.0,
    }
    return state.Deployment(**{**fields, **changes})


def test_a_deployment_in_words():
    deployment = made()
    assert progress(deployment) == "1 of 1 worker ready, frontend starting"
    assert describe(deployment, 3765.0) == [
        "g: starting for 1 h 1 min",
        "  http://127.0.0.1:8000/v1  m",
        "  W-0: ready pid 1 port 5",
        "  F-0: starting",
    ]
    assert made(host="::").url == "http://[::1]:8000"


def test_changes_between_two_looks_in_words():
    before = made()
    worker, frontend = before.processes
    died = msgspec.structs.replace(worker, state="waiting", restarts=1, message="was killed by SIGKILL")
    back = msgspec.structs.replace(worker, restarts=1)
    assert changes(before, before) == []
    assert changes(before, made(processes=(died, frontend))) == ["W-0 was killed by SIGKILL"]
    assert changes(made(processes=(died, frontend)), made(processes=(back, frontend))) == [
        "W-0 is ready again (restart 1)"
    ]
