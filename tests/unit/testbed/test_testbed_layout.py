"""A testbed's directory: one user at a time, gone without a trace, and its state whole or not there."""

from __future__ import annotations

import os
import threading

import pytest

from armature.errors import InvalidInput
from armature.local.proc import ProcessId
from armature_testbed.layout import Component, Layout, State, default_directory


def test_state_is_read_back_and_knows_what_runs(tmp_path):
    own = ProcessId.of(os.getpid())
    state = State(own.pid, own.started, 4026531840, False, (Component("etcd", own.pid, own.started),), 3.5)
    layout = Layout(tmp_path)
    assert layout.read_state() is None
    layout.write_state(state)
    found = layout.read_state()
    assert found == state and found.running and found.component("etcd").running
    assert found.component("kwok") is None
    assert not Component("etcd", own.pid, own.started, exit_code=-9).running
    assert not Component("etcd", own.pid, "another's start").running
    layout.state.write_bytes(b"{half")
    assert layout.read_state() is None


def test_a_second_user_waits_and_finds_the_directory_gone_and_new(tmp_path):
    layout = Layout(tmp_path / "one")
    order: list[str] = []

    def second():
        with Layout(tmp_path / "one").locked():
            order.append("second")
            assert list(layout.directory.iterdir()) == []

    with layout.locked():
        thread = threading.Thread(target=second)
        thread.start()
        with pytest.raises(BlockingIOError), layout.locked(wait=False):
            pass
        (layout.directory / "file").touch()
        order.append("first")
        layout.remove()
    thread.join(timeout=5)
    assert order == ["first", "second"]
    assert layout.directory.is_dir()


def test_emptied_keeps_the_directory_alone(tmp_path):
    layout = Layout(tmp_path)
    layout.pki.mkdir()
    (layout.pki / "ca.key").touch()
    layout.state.touch()
    (tmp_path / "link").symlink_to(layout.pki)
    layout.empty()
    assert list(tmp_path.iterdir()) == []


def test_name_is_a_directory_under_home(tmp_path):
    assert default_directory("one", {"ARMATURE_HOME": str(tmp_path)}) == tmp_path / "testbed" / "one"
    for name in ("", "..", "a/b"):
        with pytest.raises(InvalidInput):
            default_directory(name, {"ARMATURE_HOME": str(tmp_path)})
