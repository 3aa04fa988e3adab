"""A build is made once for a version, whole or not at all, whoever else builds at the same time.

The compiler is a script here; `make testbed` runs the real one.
"""

from __future__ import annotations

import concurrent.futures
import os

import pytest

from armature.errors import StartFailed
from armature_testbed import go_build
from armature_testbed.go_build import GoModule, Target, built_folder, ensure_built

GO = """#!/bin/sh
case "$1" in
  version) echo "go version $(cat "$GO_VERSION_FILE")";;
  build)
    echo build >> "$GO_CALLS"
    echo "go: downloading example.com/module v1.0.0" >&2
    echo example.com/package >&2
    sleep 0.2
    [ -e "$GO_FAILS" ] && { echo "main.go:3: undefined: x" >&2; exit 1; }
    while [ "$1" != -o ]; do shift; done
    printf 'binary' > "$2";;
  list) echo "$GO_FILES";;
esac
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module with one binary, one link and one folder of files, and a `go` that writes down when it compiles."""
    (tmp_path / "go" / "thing").mkdir(parents=True)
    (tmp_path / "go" / "thing" / "go.mod").write_text("module thing")
    (tmp_path / "dependency" / "crds").mkdir(parents=True)
    (tmp_path / "dependency" / "crds" / "one.yaml").write_text("kind: One")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "go"
    script.write_text(GO)
    script.chmod(0o755)
    (tmp_path / "version").write_text("go1.26.8 linux/amd64")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GO_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("GO_FAILS", str(tmp_path / "fails"))
    monkeypatch.setenv("GO_FILES", str(tmp_path / "dependency"))
    monkeypatch.setenv("GO_VERSION_FILE", str(tmp_path / "version"))
    monkeypatch.setattr(go_build, "_SOURCES", tmp_path / "go")
    return GoModule("thing", (Target("thing", ".", ("other",)),), {"example.com/dependency": ("crds",)})


def compiles(tmp_path) -> int:
    path = tmp_path / "calls"
    return len(path.read_text().split()) if path.exists() else 0


def test_a_build_is_whole_and_made_once(module, tmp_path):
    said: list[str] = []
    cache = tmp_path / "cache"
    built = ensure_built(module, say=said.append, cache=cache)
    assert (built / "bin" / "other").read_text() == "binary"
    assert (built / "share" / "dependency" / "crds" / "one.yaml").read_text() == "kind: One"
    assert ensure_built(module, say=said.append, cache=cache) == built == built_folder(module, cache=cache)
    assert compiles(tmp_path) == 1
    assert said[0] == "thing: building thing" and "built in" in said[-1]


def test_two_builds_at_once_make_one(module, tmp_path):
    said: list[str] = []
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(ensure_built, module, say=said.append, cache=tmp_path / "cache") for _ in range(3)
        ]
        assert len({run.result() for run in runs}) == 1
    assert compiles(tmp_path) == 1
    assert said.count("thing: another build is at work; waiting for it") == 2


def test_what_a_killed_build_left_does_no_harm(module, tmp_path):
    cache = tmp_path / "cache"
    left = cache / ".thing-0123456789abcdef.part" / "bin"
    left.mkdir(parents=True)
    (left / "thing").write_text("half")
    built = ensure_built(module, say=lambda _: None, cache=cache)
    assert (built / "bin" / "thing").read_text() == "binary"
    assert [path.name for path in cache.iterdir() if path.name.endswith(".part")] == []


@pytest.mark.parametrize("changed", ["go.mod", "go.sum", "main.go", "version"])
def test_whatever_the_binaries_depend_on_makes_another_build(module, tmp_path, changed):
    before = ensure_built(module, say=lambda _: None, cache=tmp_path / "cache")
    if changed == "version":
        (tmp_path / "version").write_text("go1.27.0 linux/amd64")
    else:
        (module.source / changed).write_text("changed")
    assert built_folder(module, cache=tmp_path / "cache") is None
    assert ensure_built(module, say=lambda _: None, cache=tmp_path / "cache") != before
    assert before.is_dir()


def test_a_failed_build_says_what_the_compiler_said_and_leaves_nothing(module, tmp_path):
    (tmp_path / "fails").touch()
    with pytest.raises(StartFailed, match=r"main.go:3: undefined: x\n.*go build"):
        ensure_built(module, say=lambda _: None, cache=tmp_path / "cache")
    assert built_folder(module, cache=tmp_path / "cache") is None
    (tmp_path / "fails").unlink()
    assert ensure_built(module, say=lambda _: None, cache=tmp_path / "cache").is_dir()


def test_without_go_one_line_says_what_to_install(module, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(StartFailed, match="no `go` on PATH") as failed:
        ensure_built(module, say=lambda _: None, cache=tmp_path / "cache")
    assert "Install Go 1.26" in failed.value.mend
