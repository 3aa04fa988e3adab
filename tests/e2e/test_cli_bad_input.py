"""Bad input, each kind once, through the real command: one clear error, its exit code, no traceback."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys

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


DGD = """\
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {name: graph}
spec:
  components:
  - {name: Frontend, type: frontend}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a: [1, 2\nb: }", ["YAML"], id="not YAML"),
        pytest.param("just words", ["mapping"], id="no mapping"),
        pytest.param("", ["empty"], id="empty"),
        pytest.param("# only a comment\n", ["empty"], id="comment only"),
        pytest.param(f"{REQUEST}---\n{REQUEST}", ["document"], id="two documents"),
        pytest.param(changed("  model:", "  modle:"), ["modle", "did you mean model?"], id="unknown key"),
        pytest.param(changed("isl: 4000", "isl: many"), ["spec.workload.isl", "many"], id="wrong type"),
        pytest.param(changed("isl: 4000", "isl: -5"), ["spec.workload.isl", "-5"], id="negative"),
        pytest.param(changed("isl: 4000", "isl: 0"), ["spec.workload.isl", "got 0"], id="isl 0"),
        pytest.param(changed("osl: 1000", "osl: 0"), ["spec.workload.osl"], id="osl 0"),
        pytest.param(changed("isl: 4000", "isl: 2000000"), ["isl"], id="isl 2,000,000"),
        pytest.param(changed("totalGpus: 8", "totalGpus: 0"), ["spec.hardware.totalGpus"], id="totalGpus 0"),
        pytest.param(
            changed("gpuSku: h200_sxm", "gpuSku: h2000"), ["spec.hardware.gpuSku"], id="unknown GPU"
        ),
        pytest.param(
            changed("backend: vllm", "backend: llama"), ["spec.backend", "vllm"], id="unknown backend"
        ),
        pytest.param(changed("v1beta1", "v1"), ["apiVersion"], id="unknown version"),
        pytest.param(DGD, ["armature up"], id="a graph"),
    ],
)
def test_plan_refuses_a_wrong_request(text, said, tmp_path):
    file = tmp_path / "request.yaml"
    file.write_text(text)
    done = armature("plan", file, "--offline", home=tmp_path)
    refused(done, 2, *said)
    assert done.stdout == ""


def test_all_problems_of_a_request_come_at_once(tmp_path):
    text = changed("isl: 4000, osl: 1000", "isl: 0, osl: -1, tfft: 3").replace("totalGpus: 8", "totalGpus: 0")
    done = armature("plan", "-", stdin=text, home=tmp_path)
    refused(done, 2, "isl", "osl", "tfft", "totalGpus", "problems")


def test_plan_refuses_what_is_no_text_file(tmp_path):
    refused(armature("plan", tmp_path / "none.yaml", home=tmp_path), 2, "none.yaml", "not found")
    refused(armature("plan", tmp_path, home=tmp_path), 2, "directory")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(bytes(range(256)) * 10)
    refused(armature("plan", binary, home=tmp_path), 2, "UTF-8")
    refused(armature("plan", "-", stdin=b"\xff\xfe\x00", home=tmp_path), 2, "stdin", "UTF-8")
    refused(armature("plan", "-", stdin="", home=tmp_path), 2, "stdin")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_plan_refuses_a_file_it_may_not_read(tmp_path):
    secret = tmp_path / "secret.yaml"
    secret.write_text(REQUEST)
    secret.chmod(0)
    refused(armature("plan", secret, home=tmp_path), 2, "secret.yaml", "Permission")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hardware", "nonsense"], ["--hardware", "nonsense"]),
        (["--hardware", ""], ["--hardware"]),
        (["--hardware", "0xh200_sxm"], ["--hardware"]),
        (["--price", "nonsense"], ["--price", "SKU=PRICE"]),
        (["--price", "h200_sxm=free"], ["--price", "h200_sxm=free"]),
        (["--price", "h2000=3"], ["--price", "h2000"]),
        (["--width", "3"], ["--width"]),
        (["--backend", "llama"], ["--backend"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
)
def test_plan_refuses_a_wrong_option(options, said, tmp_path):
    refused(armature("plan", "-", *options, stdin=REQUEST, home=tmp_path), 2, *said)


def test_a_candidate_that_does_not_exist(tmp_path):
    done = armature("plan", "-", "--candidate", "agg-of-dreams", stdin=REQUEST, home=tmp_path)
    refused(done, 1, "agg-of-dreams")


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


def test_a_model_too_large_says_what_would_fit(tmp_path):
    request = changed("Qwen/Qwen3-32B-FP8", "deepseek-ai/DeepSeek-R1").replace("h200_sxm", "l40s")
    done = armature(
        "plan", "-", "--offline", stdin=request.replace("totalGpus: 8", "totalGpus: 1"), home=tmp_path
    )
    refused(done, 4, "l40s", "does not fit")


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
    refused(done, 8, "standard output", "No space left")


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
