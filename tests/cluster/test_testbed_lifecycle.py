"""A testbed of its own for each test: up, down, side by side, and nothing left whichever way it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from armature_testbed.layout import Layout
from armature_testbed.lifecycle import running_state
from armature_testbed.namespace import namespace_of, processes_in
from armature_testbed.testbed import Testbed

COMMAND = [sys.executable, "-m", "armature_testbed.cli"]


def command(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=100)
    assert not check or done.returncode == 0, done.stderr
    return done


def left_over(directory: Path, namespace: int) -> dict[str, object]:
    """Processes, mounts and files that a testbed has left."""
    return {
        "processes": list(processes_in(namespace)),
        "named": [
            path.parent.name
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if str(directory) in _text(path) and path.parent.name != str(os.getpid())
        ],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line],
        "files": list(directory.parent.iterdir()) if directory.parent.exists() else [],
    }


NOTHING = {"processes": [], "named": [], "mounts": [], "files": []}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def until(holds, limit_s: float = 15.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "testbeds" / "one"
    yield directory
    command("down", "--dir", str(directory))


def test_up_twice_status_and_down(directory, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert command("status", "--dir", str(directory), check=False).returncode == 1
    said = command("up", "--dir", str(directory)).stderr
    assert all(stage in said for stage in ("etcd", "kube-apiserver", "kube-scheduler", "kwok", "ready"))
    state = running_state(directory)
    assert state.namespace != namespace_of(os.getpid())
    assert "Already up" in command("up", "--dir", str(directory)).stderr
    assert running_state(directory).supervisor_pid == state.supervisor_pid
    status = command("status", "--dir", str(directory)).stdout
    assert status.startswith("up") and "ended" not in status
    assert command("logs", "etcd", "--dir", str(directory)).returncode == 0
    assert "There are: " in command("logs", "nothing", "--dir", str(directory), check=False).stderr
    whoami = command(
        "run", "--dir", str(directory), "--", "kubectl", "auth", "whoami", "--output=json"
    ).stdout
    assert json.loads(whoami)["status"]["userInfo"]["username"] == "testbed-admin"
    command("down", "--dir", str(directory))
    assert left_over(directory, state.namespace) == NOTHING
    assert list(tmp_path.iterdir()) == [directory.parent]
    assert "There is none." in command("down", "--dir", str(directory)).stderr


def test_two_live_side_by_side(testbed, directory):
    command("up", "--dir", str(directory), "--no-kwok")
    other = Testbed.attach(directory)
    other.kubectl("create", "namespace", "only-there")
    assert "only-there" not in testbed.kubectl("get", "namespaces")
    assert other.component("kube-apiserver").pid != testbed.component("kube-apiserver").pid
    assert other.state.component("kwok") is None


def test_a_command_added_by_a_user_ends_in_order(directory, tmp_path):
    command("up", "--dir", str(directory), "--no-kwok")
    script = f"trap 'echo bye > {tmp_path / 'said'}; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    Testbed.attach(directory).start("mine", ["/bin/sh", "-c", script])
    until(lambda: "up" in Layout(directory).log("mine").read_text())
    command("down", "--dir", str(directory))
    assert (tmp_path / "said").read_text() == "bye\n"


def test_a_killed_supervisor_takes_its_processes_along(directory):
    command("up", "--dir", str(directory))
    state = running_state(directory)
    os.kill(state.supervisor_pid, signal.SIGKILL)
    until(lambda: not list(processes_in(state.namespace)))
    command("up", "--dir", str(directory))  # what it left on disk is no hindrance
    state = running_state(directory)
    command("down", "--dir", str(directory))
    assert left_over(directory, state.namespace) == NOTHING


def test_up_killed_half_way_leaves_nothing(directory):
    starting = subprocess.Popen([*COMMAND, "up", "--dir", str(directory)], stderr=subprocess.DEVNULL)
    until(lambda: (state := Layout(directory).read_state()) is not None and state.component("kube-apiserver"))
    namespace = Layout(directory).read_state().namespace
    starting.kill()
    starting.wait()
    until(lambda: left_over(directory, namespace) == NOTHING)


def test_a_part_that_cannot_start_is_named_with_its_last_words(directory, tmp_path):
    """kube-scheduler of this one is a program that gives up."""
    from armature.errors import StartFailed
    from armature_testbed import lifecycle
    from armature_testbed.programs import Programs

    broken = tmp_path / "kube-scheduler"
    broken.write_text("#!/bin/sh\necho no way >&2\nexit 3\n")
    broken.chmod(0o755)
    paths = {**Testbed.here().launch.programs.paths, "kube-scheduler": str(broken)}
    with pytest.raises(StartFailed, match=r"(?s)kube-scheduler ended with status 3.*no way"):
        lifecycle.up(directory, say=lambda _: None, programs=Programs(paths))
    assert list(directory.parent.iterdir()) == []


def test_run_ends_its_own_testbed_with_the_command(tmp_path):
    script = 'echo "$ARMATURE_TESTBED"; kubectl get namespaces --output=name; exit 7'
    done = command("run", "--fresh", "--no-kwok", "--", "sh", "-c", script, check=False)
    assert done.returncode == 7
    where, *namespaces = done.stdout.split()
    assert "namespace/default" in namespaces
    assert not Path(where).exists()


def test_run_killed_takes_testbed_and_command_along():
    running = subprocess.Popen(
        [*COMMAND, "run", "--fresh", "--no-kwok", "--", "sh", "-c", 'echo "$ARMATURE_TESTBED"; sleep 1000'],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    directory = Path(running.stdout.readline().strip())
    namespace = running_state(directory).namespace
    running.kill()
    running.wait()
    running.stdout.close()
    until(lambda: not list(processes_in(namespace)) and not directory.exists())
