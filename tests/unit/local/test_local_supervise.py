"""The supervisor with real children: small Python programs that crash, hang or ignore signals (issue 3 §7)."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.local.logs import CappedLog, follow, tail
from armature.local.proc import ProcessId, cannot_listen, port_holder
from armature.local.spec import ProcessSpec
from armature.local.supervise import RestartPolicy, Supervisor, restart_delay_s
from armature.local.supervisor import phase_of

READY = """print('{"ready": true, "port": %d}', flush=True)\n"""
SLEEP = "import time\ntime.sleep(60)\n"
QUICK = RestartPolicy(first_s=0.01, cap_s=0.02, max_crashes=3, window_s=60.0)


def spec(tmp_path: Path, program: str, name: str = "w-0", **changes) -> ProcessSpec:
    fields = {
        "name": name,
        "component": name.partition("-")[0],
        "replica": 0,
        "kind": "worker",
        "argv": (sys.executable, "-S", "-c", program),
        "env": {},
        "log_path": str(tmp_path / "logs" / f"{name}.log"),
    }
    return ProcessSpec(**{**fields, **changes})


def drive(supervisor: Supervisor, until: Callable[[], bool], limit_s: float = 20.0) -> None:
    """Ticks until something holds; the limit only keeps a broken test from hanging."""
    end = time.monotonic() + limit_s
    while not until():
        supervisor.tick(0.05)
        assert time.monotonic() < end, [(child.spec.name, child.state) for child in supervisor.children]


def gone(pid: int) -> bool:
    return not ProcessId.of(pid).alive


@pytest.fixture
def supervisors():
    made: list[Supervisor] = []
    yield made.append
    for supervisor in made:
        supervisor.stop()


def test_a_ready_line_among_other_output_makes_a_process_ready_and_tells_its_port(tmp_path, supervisors):
    program = "print('{loading')\nprint('[1, 2]')\nprint('{\"ready\": false}')\n" + READY % 4711 + SLEEP
    supervisor = Supervisor([spec(tmp_path, program)])
    supervisors(supervisor)
    drive(supervisor, lambda: supervisor.ready)
    assert supervisor.children[0].port == 4711
    assert "{loading" in (tmp_path / "logs" / "w-0.log").read_text()


def test_both_streams_reach_the_log_to_the_last_word(tmp_path, supervisors):
    program = "import sys\nprint('out')\nsys.stderr.write('x' * 200_000 + 'last word')\nsys.exit(3)"
    supervisor = Supervisor([spec(tmp_path, program)])
    supervisors(supervisor)
    drive(supervisor, lambda: supervisor.failed != ())
    text = (tmp_path / "logs" / "w-0.log").read_text()
    assert "out" in text
    assert text.endswith("last word")


def test_a_process_that_ends_before_it_was_ready_has_failed_and_is_not_tried_again(tmp_path, supervisors):
    supervisor = Supervisor([spec(tmp_path, "raise SystemExit(3)")], policy=QUICK)
    supervisors(supervisor)
    drive(supervisor, lambda: supervisor.failed != ())
    child = supervisor.children[0]
    assert (child.exit_code, child.restarts, child.message) == (3, 0, "ended with exit code 3")


def test_a_program_that_is_not_there_has_failed(tmp_path, supervisors):
    supervisor = Supervisor([spec(tmp_path, "", argv=("/nonexistent/program",))])
    supervisors(supervisor)
    supervisor.tick(0)
    assert "could not be started" in supervisor.children[0].message


def test_a_crash_after_readiness_is_restarted_on_the_port_it_had(tmp_path, supervisors):
    """`--port 0` picked 4711 the first time; clients must find it there again."""
    program = "import sys\n" + READY % 4711 + "print('port is', sys.argv[-1], flush=True)\n" + SLEEP
    argv = (sys.executable, "-S", "-c", program, "--port", "0")
    supervisor = Supervisor([spec(tmp_path, "", argv=argv)], policy=QUICK)
    supervisors(supervisor)
    log = tmp_path / "logs" / "w-0.log"
    drive(supervisor, lambda: supervisor.ready and log.read_text().count("\n") == 2)
    first = supervisor.children[0].pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    drive(supervisor, lambda: supervisor.ready and supervisor.children[0].pid != first)
    assert supervisor.children[0].restarts == 1
    drive(supervisor, lambda: log.read_text().count("\n") == 5)
    assert "armature: w-0 was killed by SIGKILL; starts again in " in log.read_text()
    ports = [line for line in log.read_text().splitlines() if line.startswith("port")]
    assert ports == ["port is 0", "port is 4711"]


def test_it_gives_up_after_too_many_crashes_and_says_so(tmp_path, supervisors):
    supervisor = Supervisor([spec(tmp_path, READY % 1 + "raise SystemExit(9)")], policy=QUICK)
    supervisors(supervisor)
    drive(supervisor, lambda: supervisor.failed != ())
    child = supervisor.children[0]
    assert child.restarts == QUICK.max_crashes - 1
    assert child.message == "ended with exit code 9; gave up after 3 crashes within 60 s"


def test_what_ignores_sigterm_is_killed_and_what_it_started_as_well(tmp_path):
    program = f"""
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.signal(15, signal.SIG_IGN)\\n{SLEEP!s}"])
print("child", child.pid, flush=True)
{READY % 1}
{SLEEP}
""".replace(f"\\n{SLEEP!s}", "\\nimport time; time.sleep(60)")
    supervisor = Supervisor([spec(tmp_path, program)], grace_s=0.3)
    drive(supervisor, lambda: supervisor.ready)
    pid = supervisor.children[0].pid
    assert pid is not None
    grandchild = int((tmp_path / "logs" / "w-0.log").read_text().split()[1])  # printed before it was ready
    assert not gone(grandchild)
    supervisor.stop()
    child = supervisor.children[0]
    assert child.state == "stopped"
    assert "was killed" in child.message
    end = time.monotonic() + 10
    while not (gone(pid) and gone(grandchild)):  # init reaps the grandchild when it gets to it
        assert time.monotonic() < end
        time.sleep(0.02)


def test_stages_stop_one_after_the_other_the_highest_first(tmp_path):
    marks = tmp_path / "order"
    program = f"""
import signal, sys, time
def stop(*_):
    open({str(marks)!r}, "a").write(sys.argv[1] + " ")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
{READY % 1}
while True: time.sleep(1)
"""
    specs = [
        spec(tmp_path, "", f"{name}-0", argv=(sys.executable, "-S", "-c", program, name), stage=stage)
        for name, stage in (("worker", 0), ("frontend", 1))
    ]
    supervisor = Supervisor(specs)
    drive(supervisor, lambda: supervisor.ready)
    supervisor.stop()
    assert marks.read_text().split() == ["frontend", "worker"]
    assert [child.exit_code for child in supervisor.children] == [0, 0]


def test_stopping_while_a_restart_is_due_starts_nothing(tmp_path):
    slow = RestartPolicy(first_s=30.0)
    supervisor = Supervisor([spec(tmp_path, READY % 1 + "raise SystemExit(1)")], policy=slow)
    drive(supervisor, lambda: supervisor.children[0].state == "waiting")
    supervisor.stop()
    assert supervisor.children[0].state == "stopped"
    assert not supervisor.children[0].running


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux")
def test_a_killed_supervisor_leaves_nothing(tmp_path):
    """SIGKILL leaves no chance to clean up: the kernel ends the children."""
    program = f"""
import sys
from armature.local.spec import ProcessSpec
from armature.local.supervise import Supervisor
argv = (sys.executable, "-S", "-c", {READY % 1 + SLEEP!r})
supervisor = Supervisor([ProcessSpec("w-0", "w", 0, "worker", argv, {{}}, {str(tmp_path / "w.log")!r})])
while not supervisor.ready:
    supervisor.tick(0.05)
print(supervisor.children[0].pid, flush=True)
while True:
    supervisor.tick(1)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = ProcessId.of(int(process.stdout.readline()))
    assert child.alive
    process.kill()
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 10
    while child.alive:
        assert time.monotonic() < end
        time.sleep(0.02)


@given(st.lists(st.floats(0, 1000), max_size=12), st.floats(0, 1000))
@settings(max_examples=100, deadline=None)
def test_back_off_doubles_up_to_its_cap_and_ends(crashes, now):
    policy = RestartPolicy()
    delay = restart_delay_s(crashes, now, policy)
    recent = [at for at in crashes if now - at <= policy.window_s]
    if len(recent) >= policy.max_crashes:
        assert delay is None
    else:
        assert delay is not None
        assert policy.first_s <= delay <= policy.cap_s


def test_back_off_in_numbers():
    policy = RestartPolicy(max_crashes=8)
    delays = [restart_delay_s([100.0] * count, 100.0, policy) for count in range(1, 9)]
    assert delays == [1, 2, 4, 8, 16, 30, 30, None]
    assert restart_delay_s([0.0, 1.0, 500.0], 500.0, policy) == 1  # old crashes are forgotten


def test_the_phase_of_the_whole_follows_from_its_parts(tmp_path):
    children = Supervisor([spec(tmp_path, "", "a-0"), spec(tmp_path, "", "b-0")]).children
    cases = {
        ("starting", "ready", False): "starting",
        ("ready", "ready", False): "ready",
        ("failed", "ready", False): "failed",
        ("failed", "ready", True): "degraded",
        ("waiting", "ready", True): "degraded",
    }
    for (first, second, was_ready), phase in cases.items():
        children[0].state, children[1].state = first, second
        assert phase_of(children, was_ready=was_ready) == phase


def test_a_log_keeps_to_its_size_with_one_predecessor(tmp_path):
    log = CappedLog(tmp_path / "a.log", max_bytes=100)
    for number in range(50):
        log.write(b"line %03d\n" % number)
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    assert tail(tmp_path / "a.log", 1) == ["line 049"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_does_not_stop_the_process_that_logs():
    log = CappedLog(Path("/dev/full"))
    log.write(b"lost")
    log.close()
    assert "No space left" in log.failed


def test_tail_of_a_large_log_reads_only_its_end(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert tail(path, 2) == ["line 49998", "line 49999"]
    assert len(tail(path, 100_000, max_bytes=1000)) < 100
    assert tail(tmp_path / "none.log", 5) == []


def test_following_sees_old_lines_new_lines_and_a_log_begun_anew(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("one\ntwo\n")
    steps = iter([lambda: path.write_text("one\ntwo\nthree\n"), lambda: path.write_text("four\n")])
    left = [2]

    def sleep(_: float) -> None:
        next(steps)()
        left[0] -= 1

    lines = follow({"a": path}, lines=1, until=lambda: left[0] == 0, sleep=sleep)
    assert list(lines) == [("a", "two"), ("a", "three"), ("a", "four")]


def test_the_holder_of_a_port_is_named(tmp_path):
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert getattr(cannot_listen("127.0.0.1", port), "errno", None) == errno.EADDRINUSE
        if sys.platform == "linux":
            assert f"(pid {os.getpid()})" in (port_holder(port) or "")
    assert cannot_listen("127.0.0.1", port) is None
    assert port_holder(port) is None


def test_a_process_id_is_not_taken_for_a_later_process_of_its_pid():
    own = ProcessId.of(os.getpid())
    assert own.alive
    assert not ProcessId(own.pid, "1").alive
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    assert not ProcessId.of(process.pid).alive
