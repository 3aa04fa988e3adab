"""The machine's own programs are taken only where they make a whole control plane."""

from __future__ import annotations

import os

import pytest

from armature_testbed import programs
from armature_testbed.go_build import CONTROL_PLANE, HELM
from armature_testbed.programs import API_PROGRAMS, PROGRAMS, find_programs, installed


@pytest.fixture
def assets(tmp_path):
    """A folder of programs, by name."""

    def make(folder: str, names) -> str:
        home = tmp_path / folder
        home.mkdir()
        for name in names:
            (home / name).write_text("")
            (home / name).chmod(0o755)
        return str(home)

    return make


@pytest.fixture
def no_builds(monkeypatch):
    def build(module, **_):
        raise AssertionError(f"{module.name} would be built")

    monkeypatch.setattr(programs, "ensure_built", build)


@pytest.mark.usefixtures("no_builds")
def test_a_whole_control_plane_is_taken_from_assets_and_path(assets):
    env = {"KUBEBUILDER_ASSETS": assets("assets", API_PROGRAMS), "PATH": assets("path", (*PROGRAMS, "helm"))}
    found = find_programs(say=print, env=env)
    assert found.missing == ()
    assert found.paths["etcd"] == os.path.join(env["KUBEBUILDER_ASSETS"], "etcd")
    assert found.paths["kwok"] == os.path.join(env["PATH"], "kwok")
    assert found.search_path == os.pathsep.join([env["KUBEBUILDER_ASSETS"], env["PATH"]])


def test_half_a_control_plane_is_not_mixed_with_a_built_one(assets, monkeypatch, tmp_path):
    built = tmp_path / "built"
    (built / "bin").mkdir(parents=True)
    for name in (*PROGRAMS, "lws", "helm"):
        (built / "bin" / name).write_text("")
        (built / "bin" / name).chmod(0o755)
    monkeypatch.setattr(programs, "ensure_built", lambda module, **_: built)
    monkeypatch.setattr(programs, "built_folder", lambda module: built if module is HELM else None)
    monkeypatch.setattr(programs, "go_version", lambda: "go1.26.8")
    found = find_programs(say=print, env={"PATH": assets("path", API_PROGRAMS)})
    assert {os.path.dirname(path) for path in found.paths.values()} == {str(built / "bin")}
    assert found.missing == ()
    assert set(CONTROL_PLANE.targets[0].links) < set(found.paths)


@pytest.mark.usefixtures("no_builds")
def test_without_go_the_api_alone_runs_and_says_so(assets, monkeypatch):
    monkeypatch.setattr(programs, "go_version", lambda: None)
    said: list[str] = []
    found = find_programs(
        say=said.append, env={"KUBEBUILDER_ASSETS": assets("assets", API_PROGRAMS), "PATH": ""}
    )
    assert found.missing == ("kube-controller-manager", "kube-scheduler", "kwok")
    assert len(said) == 1 and "nothing is scheduled" in said[0]


def test_what_is_not_there_is_not_found(assets):
    assert installed(("etcd", "kubectl"), {"PATH": assets("path", ["etcd"])}).keys() == {"etcd"}
