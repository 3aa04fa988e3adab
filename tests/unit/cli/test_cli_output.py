"""Files are written whole or not at all; widths come from where they are known."""

from __future__ import annotations

import os
import resource
import signal

import pytest

from armature.cli.output import console, output_width, write_files
from armature.errors import OutputFailed


def test_files_are_written_and_replaced(tmp_path):
    target = tmp_path / "a" / "b"
    assert write_files(target, {"x": b"1", "y": b"2"}) == (target / "x", target / "y")
    write_files(target, {"x": b"3"})
    assert (target / "x").read_bytes() == b"3"
    assert sorted(p.name for p in target.iterdir()) == ["x", "y"]


@pytest.fixture
def small_files():
    """The kernel refuses files over 64 KiB (EFBIG), as a full disk refuses them with ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_when_one_file_cannot_be_written_none_is(tmp_path, small_files):
    target = tmp_path / "out"
    target.mkdir()
    (target / "x").write_bytes(b"old")
    with pytest.raises(OutputFailed, match=r"Cannot write .*/y"):
        write_files(target, {"x": b"new", "y": b"0" * 200_000})
    assert {p.name: p.read_bytes() for p in target.iterdir()} == {"x": b"old"}


def test_a_directory_made_for_nothing_is_removed(tmp_path, small_files):
    with pytest.raises(OutputFailed, match="Nothing was written"):
        write_files(tmp_path / "out", {"y": b"0" * 200_000})
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_directory_should_be(tmp_path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(OutputFailed, match="out"):
        write_files(tmp_path / "out", {"x": b"1"})
    assert (tmp_path / "out").read_text() == "in the way"


def test_a_directory_in_place_of_a_file(tmp_path):
    (tmp_path / "y").mkdir()
    with pytest.raises(OutputFailed, match="/y"):
        write_files(tmp_path, {"y": b"1"})
    assert [p.name for p in tmp_path.iterdir()] == ["y"]


def test_where_nothing_can_be_written_nothing_needs_removing(tmp_path):
    """A name the file system refuses is refused again when its draft is removed, as on a read-only one."""
    with pytest.raises(OutputFailed, match=r"Cannot write .*File name too long"):
        write_files(tmp_path, {"y" * 300: b"1"})


def test_width_is_asked_or_told_or_a_hundred(monkeypatch):
    monkeypatch.setenv("COLUMNS", "77")
    assert output_width(90) == 90
    assert output_width(None) == 77
    monkeypatch.setenv("COLUMNS", "wide")

    def no_terminal(_fd):
        raise OSError

    monkeypatch.setattr(os, "get_terminal_size", no_terminal)
    assert output_width(None) == 100


@pytest.mark.parametrize(("no_color", "plain"), [("1", True), ("", False)])
def test_no_color_means_no_escape_code_at_all(monkeypatch, capfd, no_color, plain):
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    console().print("said", style="bold red")
    assert ("\x1b" not in capfd.readouterr().out) == plain
