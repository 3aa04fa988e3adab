"""SD-01, SD-11: registries of instances, in a directory and in memory, behave alike."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from contextlib import aclosing

import pytest

from armature.errors import InvalidInput
from armature.serving.discovery.base import Instance, MemoryDiscovery, ModelCard
from armature.serving.discovery.file import FileDiscovery, process_lives

CARD = ModelCard("org/m", "org/m", 4096, 16, 100)


def instance(
    identity: str = "w1", *, namespace: str = "ns", pid: int | None = None, host: str | None = None
) -> Instance:
    return Instance(
        namespace,
        "decode",
        identity,
        "decode",
        "tcp://127.0.0.1:1",
        host or socket.gethostname(),
        os.getpid() if pid is None else pid,
        CARD,
    )


@pytest.fixture(params=["file", "memory"])
def make(request, tmp_path):
    return lambda: FileDiscovery(tmp_path, poll_s=0.01) if request.param == "file" else MemoryDiscovery()


def test_what_is_registered_is_listed_until_it_is_unregistered(make):
    async def scenario():
        discovery = make()
        for one in (instance("b"), instance("a"), instance("z", namespace="other")):
            await discovery.register(one)
        assert await discovery.list("ns") == (instance("a"), instance("b"))
        await discovery.unregister(instance("a"))
        await discovery.unregister(instance("a"))
        assert await discovery.list("ns") == (instance("b"),)
        await discovery.heartbeat(instance("c"))  # its record was lost: a heartbeat puts it back
        assert await discovery.list("ns") == (instance("b"), instance("c"))

    asyncio.run(scenario())


def test_a_watch_yields_whole_sets_on_change(make):
    async def scenario():
        discovery = make()
        async with aclosing(discovery.watch("ns")) as sets, asyncio.timeout(10):
            assert await anext(sets) == ()
            await discovery.register(instance("a"))
            assert await anext(sets) == (instance("a"),)
            await discovery.heartbeat(instance("a"))  # no change, no set
            await discovery.register(instance("b"))
            assert await anext(sets) == (instance("a"), instance("b"))
            await discovery.unregister(instance("a"))
            assert await anext(sets) == (instance("b"),)

    asyncio.run(scenario())


def test_a_dead_process_is_dropped_at_once_even_as_a_zombie(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        discovery = FileDiscovery(tmp_path)
        asyncio.run(discovery.register(instance("gone", pid=process.pid)))
        asyncio.run(discovery.register(instance("far", pid=process.pid, host="another-host")))
        assert len(asyncio.run(discovery.list("ns"))) == 2
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, not reaped
        assert not process_lives(process.pid)
        assert [one.instance_id for one in asyncio.run(discovery.list("ns"))] == ["far"]
        assert not (tmp_path / "ns/decode/gone.json").exists()
    finally:
        process.kill()
        process.communicate()


def test_a_record_without_heartbeats_is_stale(tmp_path):
    now = time.time()
    writer = FileDiscovery(tmp_path)
    reader = FileDiscovery(tmp_path, stale_after_s=5, now=lambda: now + 6)
    asyncio.run(writer.register(instance("w")))
    assert asyncio.run(reader.list("ns")) == ()
    later = FileDiscovery(tmp_path, now=lambda: now + 6)
    asyncio.run(later.heartbeat(instance("w")))
    assert len(asyncio.run(reader.list("ns"))) == 1


def test_foreign_files_are_passed_over_and_drafts_never_seen(tmp_path):
    folder = tmp_path / "ns/decode"
    folder.mkdir(parents=True)
    (folder / "broken.json").write_text("{")
    (folder / ".w.json.1").write_text("{")
    (folder / "notes.txt").write_text("hello")
    discovery = FileDiscovery(tmp_path)
    asyncio.run(discovery.register(instance("w")))
    assert [one.instance_id for one in asyncio.run(discovery.list("ns"))] == ["w"]
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [".w.json.1"]


def test_names_cannot_leave_the_directory(tmp_path):
    with pytest.raises(InvalidInput, match="instance_id"):
        asyncio.run(FileDiscovery(tmp_path).register(instance("../../up")))
