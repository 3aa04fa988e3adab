"""Where the testbed's programs are: on this machine already, or built from their Go modules.

The machine's own, from `KUBEBUILDER_ASSETS` or PATH, are taken only where all are there: a controller manager beside an
apiserver of another version is a cluster that nobody runs. Without Go, etcd, kube-apiserver and kubectl alone (what
envtest ships) make a testbed whose API works and which schedules nothing; it says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from armature.errors import StartFailed
from armature_testbed.go_build import CONTROL_PLANE, HELM, built_folder, ensure_built, go_version

__all__ = ["API_PROGRAMS", "PROGRAMS", "Programs", "build_all", "find_programs", "installed"]

API_PROGRAMS = ("etcd", "kube-apiserver", "kubectl")
PROGRAMS = (*API_PROGRAMS, "kube-controller-manager", "kube-scheduler", "kwok")


class Programs(msgspec.Struct, frozen=True):
    """Paths of programs by name. share: files of the Go modules (CRDs of LeaderWorkerSet), where they were built.
    missing: what a whole control plane has and this machine lacks."""

    paths: dict[str, str]
    share: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def search_path(self) -> str:
        """Their folders in the form of PATH."""
        return os.pathsep.join(dict.fromkeys(os.path.dirname(path) for path in self.paths.values()))


def find_programs(*, say: Callable[[str], None], env: Mapping[str, str] | None = None) -> Programs:
    """The control plane's programs, built first if need be. Raises StartFailed when they cannot be had."""
    here = installed((*PROGRAMS, "helm"), os.environ if env is None else env)
    if all(name in here for name in PROGRAMS):
        return Programs(here)
    if go_version() is None and all(name in here for name in API_PROGRAMS):
        missing = tuple(name for name in PROGRAMS if name not in here)
        say(f"No Go and no {', '.join(missing)} here: the API works, but nothing is scheduled or run.")
        return Programs(here, missing=missing)
    return _built(ensure_built(CONTROL_PLANE, say=say))


def build_all(*, say: Callable[[str], None]) -> Programs:
    """Like `find_programs`, with Helm."""
    programs = find_programs(say=say)
    if "helm" not in programs.paths:
        ensure_built(HELM, say=say)
        programs = find_programs(say=say)
    return programs


def installed(names: tuple[str, ...], env: Mapping[str, str]) -> dict[str, str]:
    """Which of these programs `KUBEBUILDER_ASSETS` (first) and PATH have, and where."""
    path = os.pathsep.join(filter(None, (env.get("KUBEBUILDER_ASSETS"), env.get("PATH"))))
    found = {name: shutil.which(name, path=path) for name in names}
    return {name: os.path.abspath(path) for name, path in found.items() if path is not None}


def _built(control_plane: Path) -> Programs:
    paths = {name: str(control_plane / "bin" / name) for name in (*PROGRAMS, "lws")}
    if not all(os.access(path, os.X_OK) for path in paths.values()):
        raise StartFailed(
            f"{control_plane} is not whole.", f"Remove it and build again: rm -r {control_plane}"
        )
    helm = built_folder(HELM)
    if helm is not None:
        paths["helm"] = str(helm / "bin" / "helm")
    return Programs(paths, str(control_plane / "share"))
