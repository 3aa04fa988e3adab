"""A testbed's life as a command sees it: up, found again, down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from armature.errors import ArmatureError, StartFailed
from armature_testbed import namespace
from armature_testbed.layout import Layout, State
from armature_testbed.programs import Programs, find_programs
from armature_testbed.start import Launch

__all__ = ["VARIABLE", "down", "running_state", "up"]

VARIABLE = "ARMATURE_TESTBED"
"""In the environment of every process of a testbed: its directory."""
_STOP_LIMIT_S = 15.0


def up(
    directory: Path,
    *,
    say: Callable[[str], None],
    kwok: bool = True,
    stay: bool = True,
    programs: Programs | None = None,
) -> State:
    """Starts a testbed and waits until it is ready; one that runs already is left as it is.

    stay: it outlives this process; otherwise it ends with it. Raises StartFailed, with nothing left behind.
    """
    programs = programs or find_programs(say=say)
    directory = Path(os.path.abspath(directory))
    layout = Layout(directory)
    with layout.locked():
        state = running_state(directory)
        if state is not None and state.ready_s is not None:
            say(f"Already up in {directory}.")
            return state
        _clean(layout)
        try:
            return _start(layout, programs, say=say, kwok=kwok, stay=stay)
        except BaseException:
            _clean(layout)
            layout.remove()
            raise


def running_state(directory: Path) -> State | None:
    """The state of the testbed that runs from this directory; None when none does."""
    state = Layout(directory).read_state()
    return state if state is not None and state.running else None


def down(directory: Path) -> bool:
    """Ends a testbed and removes its every trace; says whether there was anything. Ending what is not up is no error.

    Raises ArmatureError when a process would not die.
    """
    directory = Path(os.path.abspath(directory))
    if not directory.is_dir():
        return False
    layout = Layout(directory)
    with layout.locked():
        _clean(layout)
        layout.remove()
    return True


def _start(
    layout: Layout, programs: Programs, *, say: Callable[[str], None], kwok: bool, stay: bool
) -> State:
    root = os.geteuid() == 0
    layout.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment = {
        **os.environ,
        VARIABLE: str(layout.directory),
        "KUBECONFIG": str(layout.kubeconfig),
        "PATH": os.pathsep.join(filter(None, (programs.search_path, os.environ.get("PATH")))),
    }
    launch = Launch(programs, environment, user_namespace=not root, kwok=kwok)
    layout.launch.touch(mode=0o600)
    layout.launch.write_bytes(msgspec.json.encode(launch))
    argv = [*namespace.new_namespace_command(root=root), sys.executable, "-m", "armature_testbed.supervisor"]
    argv += [str(layout.directory), str(os.getpid()), *(["--stay"] if stay else [])]
    with layout.log("supervisor").open("ab") as log:
        process = subprocess.Popen(
            argv,
            env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            heard = json.loads(line)
            if "error" in heard:
                process.wait()
                raise StartFailed(f"The testbed did not start: {heard['error']}")
            say(f"{heard['seconds']:5.1f} s  {heard['stage']}")
    state = running_state(layout.directory)
    if state is None or state.ready_s is None:
        raise StartFailed(
            f"The testbed did not start: its supervisor ended with status {process.wait()}.\n"
            + layout.log("supervisor").read_text()[-2000:],
            "Without root it needs user namespaces: `unshare --user --net true` must work.",
        )
    return state


def _clean(layout: Layout) -> None:
    """No process, no namespace and no file of the testbed is left. The caller holds the lock."""
    state = layout.read_state()
    if state is not None and state.running:
        os.kill(state.supervisor_pid, signal.SIGTERM)
        end = time.monotonic() + _STOP_LIMIT_S
        while state.running and time.monotonic() < end:
            time.sleep(0.02)
        if state.running:
            os.kill(state.supervisor_pid, signal.SIGKILL)
    if state is not None and not _empty_namespace(layout.directory, state):
        raise ArmatureError(f"Processes of the testbed in {layout.directory} would not end.")
    layout.empty()


def _empty_namespace(directory: Path, state: State) -> bool:
    """Kills what outlived the supervisor. A namespace's number may be given anew once it is gone, so it is taken for
    ours only when a process in it bears our mark, and held while the killing goes on."""
    for pid in namespace.processes_in(state.namespace):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/ns/net", "rb") as held:
            number = os.fstat(held.fileno()).st_ino
            if number == state.namespace and namespace.environment_of(pid, VARIABLE) == str(directory):
                return namespace.kill_all(number)
    return True
