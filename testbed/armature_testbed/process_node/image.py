"""What every container of a process node has from its image: this machine's Python environment and its paths."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from armature_testbed.process_node.runtime import Bind

__all__ = ["DISCOVERY_VARIABLE", "Image", "this_machine"]

DISCOVERY_VARIABLE = "ARMATURE_DISCOVERY"
"""The directory through which our workers and frontends find each other; all process nodes of a testbed share it."""
_FIELD = Path(__file__).with_name("field")
_PREFIXED = ("PATH", "PYTHONPATH")


@dataclass(frozen=True, slots=True)
class Image:
    """env: variables of every container; a pod's own replace them, but its PATH and PYTHONPATH come after ours, whose
    programs are the image's. binds: folders of this machine that are not on its root file system."""

    env: Mapping[str, str]
    binds: tuple[Bind, ...] = ()

    def environment(self, pods: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of a container whose pod gives it `pods`."""
        made = {**self.env, **pods}
        for name in _PREFIXED:
            made[name] = os.pathsep.join(filter(None, (self.env.get(name), pods.get(name))))
        return made


def this_machine(discovery: Path, env: Mapping[str, str] | None = None) -> Image:
    """The image that is this machine: `python`, `python3` and `armature` are those that run the agent."""
    env = os.environ if env is None else env
    programs = [
        str(Path(sys.executable).parent),
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
    ]
    modules = [str(_FIELD), *(path for path in sys.path if path and os.path.isdir(path))]
    passed = {name: env[name] for name in ("ARMATURE_CACHE", "XDG_CACHE_HOME", "HF_HOME") if name in env}
    variables = {
        "PATH": os.pathsep.join([*programs, "/sbin", "/bin"]),
        "PYTHONPATH": os.pathsep.join(modules),
        "PYTHONUNBUFFERED": "1",
        "HOME": env.get("HOME", "/root"),
        "LANG": "C.UTF-8",
        DISCOVERY_VARIABLE: str(discovery),
        **passed,
    }
    needed = [*modules, sys.prefix, sys.base_prefix, *programs[:1]]
    elsewhere = sorted({os.path.realpath(path) for path in needed if _elsewhere(path)})
    binds = [Bind(path, path, read_only=True) for path in elsewhere]
    return Image(variables, (*binds, Bind(str(discovery.resolve()), str(discovery.resolve()))))


def _elsewhere(path: str) -> bool:
    """Whether a folder is on another file system than `/`, which alone is under a container's own."""
    return os.path.isdir(path) and os.stat(path).st_dev != os.stat("/").st_dev
