"""`plan --open` shows the page where there is a browser, and says where the page is where there is none (UI-01)."""

from __future__ import annotations

import stat
import tempfile
import webbrowser
from pathlib import Path

import pytest

from armature.cli.main import main
from armature.report.words import layout
from armature.search.profile import Profile

REQUEST = Path(__file__).parents[2] / "data" / "cli" / "request.yaml"
WITHOUT = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    """Plans the request with options: (exit code, stderr). The browsers found before are forgotten, after too."""
    for name in WITHOUT:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(webbrowser, "_tryorder", None)
    monkeypatch.setattr(webbrowser, "_browsers", {})

    def run(*options):
        code = main(
            ["plan", str(REQUEST), "--estimator", "roofline", "--offline", "-q", "--open", *map(str, options)]
        )
        return code, capsys.readouterr().err

    return run


def a_browser(tmp_path):
    """A program that notes what it is asked to show, and that file."""
    program, seen = tmp_path / "browser", tmp_path / "seen"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {seen}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program, seen


def test_the_users_browser_gets_the_page_that_was_written(plan, tmp_path, monkeypatch):
    program, seen = a_browser(tmp_path)
    monkeypatch.setenv("BROWSER", f"{program} %s")
    code, said = plan("-o", tmp_path / "out")
    page = tmp_path / "out" / "report.html"
    assert code == 0
    assert seen.read_text() == f"{page.as_uri()}\n"
    assert said.splitlines()[-1] == f"opened {page}"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_without_a_directory_the_page_is_a_temporary_file(plan, tmp_path, monkeypatch):
    program, seen = a_browser(tmp_path)
    monkeypatch.setenv("BROWSER", f"{program} %s")
    code, said = plan()
    (directory,) = (tmp_path / "temporary").iterdir()
    assert [path.name for path in directory.iterdir()] == ["report.html"]
    page = directory / "report.html"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert seen.read_text() == f"{page.as_uri()}\n"
    assert (code, said) == (0, f"opened {page}\n")


def test_without_a_browser_the_path_is_said(plan, tmp_path, monkeypatch):
    """A text browser may be there; it runs no scripts and would take the terminal."""
    program, seen = a_browser(tmp_path)
    program.rename(tmp_path / "w3m")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("TERM", "xterm")
    code, said = plan("-o", tmp_path / "out")
    assert code == 0
    assert said.splitlines()[-1].endswith(f"open this page in one: {tmp_path / 'out' / 'report.html'}")
    assert not seen.exists()


def test_a_browser_that_fails_is_none(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER", f"{tmp_path / 'nowhere'} %s")
    monkeypatch.setattr(
        webbrowser, "register_standard_browsers", lambda: setattr(webbrowser, "_tryorder", [])
    )
    code, said = plan()
    assert code == 0
    assert "No browser was found here" in said


def test_where_no_temporary_directory_is_the_error_names_the_mend(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    code, said = plan()
    assert code == 8
    assert "temporary directory" in said
    assert "-o DIR" in said


def test_select_writes_the_page_of_its_pick(plan, tmp_path):
    plan("-o", tmp_path / "out")
    profile = Profile.read(tmp_path / "out" / "profile.json")
    pages = []
    for id in (profile.pick, profile.pareto[-1]):
        assert (
            main(
                [
                    "select",
                    str(tmp_path / "out"),
                    "--candidate",
                    id,
                    "-o",
                    str(tmp_path / id),
                    "-q",
                    "--estimator",
                    "roofline",
                ]
            )
            == 0
        )
        pages.append((tmp_path / id / "report.html").read_bytes())
    assert pages[0] == (tmp_path / "out" / "report.html").read_bytes()
    assert f"Choice: {layout(profile.candidate(profile.pareto[-1]))}" in pages[1].decode()
