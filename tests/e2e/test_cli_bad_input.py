"""What only a process meets: files without permission, full disks, closed pipes, a hub that does not answer.

Wrong requests and options stand in tests/unit/cli/test_cli_bad_requests.py.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import EXAMPLES, REQUEST, armature, environment

pytestmark = pytest.mark.e2e


def refused(done, code, *said):
    """The command ended with this code and one error that says all of `said`, and printed no result."""
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr, f"{words!r} not in {done.stderr!r}"


def changed(old, new):
    assert old in REQUEST
    return REQUEST.replace(old, new)


def test_plan_refuses_a_file_it_cannot_read(tmp_path):
    """Root may read any file, so the file is one that nobody can read, where there is such a one."""
    secret = Path("/proc/self/mem")
    if not secret.exists() or os.geteuid() != 0:
        secret = tmp_path / "mem"
        secret.write_text(REQUEST)
        secret.chmod(0)
    refused(armature("plan", secret, home=tmp_path), 2, "mem", "cannot be read")


UNKNOWN = changed("Qwen/Qwen3-32B-FP8", "nobody/has-this-model")


def test_an_unknown_model_offline(tmp_path):
    refused(armature("plan", "-", "--offline", stdin=UNKNOWN, home=tmp_path), 3, "nobody/has-this-model")


def test_an_unknown_model_when_nobody_listens(tmp_path):
    env = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    refused(armature("plan", "-", stdin=UNKNOWN, home=tmp_path, env=env), 3, "nobody/has-this-model")


def test_an_unknown_model_when_the_hub_never_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        done = armature("plan", "-", stdin=UNKNOWN, home=tmp_path, env=env, timeout=30)
    refused(done, 3, "nobody/has-this-model")


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_an_output_that_cannot_be_written_leaves_nothing(tmp_path):
    out = tmp_path / "out"
    done = armature("plan", "-", "-o", out, stdin=REQUEST, home=tmp_path, preexec_fn=limit_files)
    refused(done, 8, str(out), "Nothing was written")
    assert not out.exists()


def test_a_full_disk_leaves_what_was_there(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    try:
        (disk / "dgd.yaml").write_text("old")
        done = armature("plan", "-", "-o", disk, stdin=REQUEST, home=tmp_path)
        refused(done, 8, "No space left")
        assert {p.name: p.read_text() for p in disk.iterdir()} == {"dgd.yaml": "old"}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_in_place_of_the_output_directory(tmp_path):
    (tmp_path / "out").write_text("in the way")
    refused(armature("plan", "-", "-o", tmp_path / "out", stdin=REQUEST, home=tmp_path), 8, "out")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_stdout(tmp_path):
    with open("/dev/full", "wb") as full:
        done = armature("models", home=tmp_path, stdout=full, stderr=subprocess.PIPE)
    refused(done, 8, "Cannot write the output", "No space left")


@pytest.mark.parametrize(
    "arguments", [["models"], ["hardware", "--catalog"], ["plan", str(EXAMPLES / "quickstart.yaml")]]
)
def test_a_reader_that_goes_away_early_is_no_error_to_talk_about(arguments, tmp_path):
    """`armature ... | true`, and stdout is unbuffered so that every line is a write of its own."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-u", "-m", "armature", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=closed,
            stderr=subprocess.PIPE,
            env=environment(tmp_path),
            timeout=60,
            check=False,
        )
    assert done.returncode == 141
    assert done.stderr == b""
