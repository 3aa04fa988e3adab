"""Adds process nodes to a running testbed, and takes them away."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence


from armature.errors import StartFailed
from armature.local.logs import tail
from armature_testbed.testbed import Testbed

__all__ = ["add_process_node", "remove_process_node"]

_POLL_S = 0.1


def add_process_node(
    testbed: Testbed,
    name: str,
    *,
    cpu: str = "16",
    memory: str = "64Gi",
    gpus: int = 0,
    labels: Sequence[str] = (),
    images: Sequence[str] = (),
    options: Sequence[str] = (),
    limit_s: float = 60.0,
) -> None:
    """Starts a node agent in the testbed and returns once its Node is Ready.

    labels: `KEY=VALUE`. images: further images to run, `PATTERN[=COMMAND]`. options: more of the agent's own flags.
    Raises StartFailed, with the agent's last words, when it ends or is not Ready in time.
    """
    argv = [sys.executable, "-m", "armature_testbed.process_node", name]
    argv += [f"--testbed={testbed.layout.directory}", f"--cpu={cpu}", f"--memory={memory}", f"--gpus={gpus}"]
    argv += [f"--label={label}" for label in labels]
    argv += [f"--image={image}" for image in images]
    component = _component(name)
    testbed.start(component, [*argv, *options], {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    end = time.monotonic() + limit_s
    ready = "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    while testbed.kubectl("get", "node", name, ready, "--ignore-not-found") != "True":
        if not testbed.component(component).running or time.monotonic() > end:
            words = "\n".join(tail(testbed.layout.log(component), 20))
            raise StartFailed(f"Process node {name} did not become Ready.\n{words}")
        time.sleep(_POLL_S)


def remove_process_node(testbed: Testbed, name: str, *, limit_s: float = 30.0) -> None:
    """Deletes the Node; its agent ends every pod and itself. Raises ArmatureError when it does not in time."""
    testbed.kubectl("delete", "node", name, "--ignore-not-found")
    testbed.wait_for(
        lambda: not testbed.component(_component(name)).running,
        f"process node {name} to end",
        limit_s=limit_s,
    )


def _component(name: str) -> str:
    return f"node-{name}"
