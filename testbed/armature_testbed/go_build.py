"""Builds the testbed's Go modules, once for a version: into a cache outside the tree that builds may share.

A build goes to `<cache>/<module>-<hash>/bin`. It is made under another name beside it and renamed when whole, under a
lock: two builds at once make one, and what a killed one left is removed by the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from armature.errors import StartFailed
from armature.local.proc import die_with_parent

__all__ = [
    "CONTROL_PLANE",
    "HELM",
    "GoModule",
    "Target",
    "built_folder",
    "cache_directory",
    "ensure_built",
    "go_version",
]

_SOURCES = Path(__file__).parent.parent / "go"
_PROGRESS_S = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """One binary: the package it is built from and the other names it answers to."""

    name: str
    package: str
    links: tuple[str, ...] = ()
    ldflags: str = ""


@dataclass(frozen=True, slots=True)
class GoModule:
    """One Go module of the testbed: its folder under `testbed/go`, and what is built from it.

    files: folders of its dependencies that a running testbed reads, by module; copied beside the binaries.
    """

    name: str
    targets: tuple[Target, ...]
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return _SOURCES / self.name

    def key(self, go: str) -> str:
        """Changes when anything does that the binaries depend on."""
        digest = hashlib.sha256(f"{go}\n{self.targets!r}\n{sorted(self.files.items())!r}\n".encode())
        for path in sorted(self.source.glob("*")):
            if path.name in ("go.mod", "go.sum") or path.suffix == ".go":
                digest.update(f"{path.name}\n".encode() + path.read_bytes())
        return digest.hexdigest()[:16]


_KUBERNETES = "-X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 " \
    "-X k8s.io/component-base/version.gitMinor=36"  # fmt: skip

CONTROL_PLANE = GoModule(
    "control-plane",
    (
        Target(
            "control-plane",
            ".",
            ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"),
            _KUBERNETES,
        ),
        Target("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
        Target("lws", "sigs.k8s.io/lws/cmd"),
    ),
    {"sigs.k8s.io/lws": ("config/crd/bases", "config/webhook")},
)
HELM = GoModule(
    "helm",
    (
        Target(
            "helm", "helm.sh/helm/v3/cmd/helm", ldflags="-X helm.sh/helm/v3/internal/version.version=v3.19.0"
        ),
    ),
)


def cache_directory(env: Mapping[str, str] | None = None) -> Path:
    """`$XDG_CACHE_HOME/armature/testbed`, or the same under `~/.cache`."""
    stated = (os.environ if env is None else env).get("XDG_CACHE_HOME")
    return (Path(stated) if stated else Path.home() / ".cache") / "armature" / "testbed"


def go_version() -> str | None:
    """`go1.26.8 linux/amd64`; None without Go."""
    if shutil.which("go") is None:
        return None
    found = subprocess.run(["go", "version"], capture_output=True, text=True, check=False, cwd=_SOURCES)
    return found.stdout.strip().removeprefix("go version ") or None


def built_folder(module: GoModule, *, cache: Path | None = None) -> Path | None:
    """The folder with the module's binaries in `bin/`; None while it is not built."""
    go = go_version()
    folder = (cache or cache_directory()) / f"{module.name}-{module.key(go)}" if go else None
    return folder if folder and folder.is_dir() else None


def ensure_built(module: GoModule, *, say: Callable[[str], None], cache: Path | None = None) -> Path:
    """The folder with the module's binaries in `bin/`, built now if need be.

    Raises StartFailed without Go or when the build fails, with the compiler's last words.
    """
    go = go_version()
    if go is None:
        raise StartFailed(
            f"The testbed's {module.name} must be built, and there is no `go` on PATH.",
            "Install Go 1.26 or newer, or put etcd, kube-apiserver, kube-controller-manager, kube-scheduler, "
            "kubectl, kwok and helm on PATH.",
        )
    home = cache or cache_directory()
    built = home / f"{module.name}-{module.key(go)}"
    if built.is_dir():
        return built
    with _locked(home, module.name, say):
        for left in home.glob(f".{module.name}-*.part"):  # we hold the lock: nobody is at work on it
            shutil.rmtree(left, ignore_errors=True)
        if not built.is_dir():
            draft = home / f".{built.name}.part"
            started = time.monotonic()
            _build(module, draft, say)
            draft.rename(built)
            say(f"{module.name}: built in {time.monotonic() - started:.0f} s, kept in {built}")
    return built


@contextlib.contextmanager
def _locked(home: Path, name: str, say: Callable[[str], None]) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another build is at work; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(module: GoModule, draft: Path, say: Callable[[str], None]) -> None:
    (draft / "bin").mkdir(parents=True)
    for target in module.targets:
        output = draft / "bin" / target.name
        what = f"{module.name}: building {target.name}"
        say(what)
        flags = ["-trimpath", "-v", "-ldflags", f"-s -w {target.ldflags}".strip()]
        _go(module, ["build", *flags, "-o", str(output), target.package], what, say)
        for link in target.links:
            (draft / "bin" / link).symlink_to(target.name)
    for dependency, folders in module.files.items():
        found = _go(module, ["list", "-m", "-f", "{{.Dir}}", dependency], module.name, say)
        for folder in folders:
            target_folder = draft / "share" / Path(dependency).name / folder
            shutil.copytree(Path(found.strip()) / folder, target_folder, copy_function=shutil.copyfile)


def _go(module: GoModule, arguments: list[str], what: str, say: Callable[[str], None]) -> str:
    """Runs go, with a line of progress every few seconds; returns stdout. Raises StartFailed."""
    process = subprocess.Popen(
        ["go", *arguments],
        cwd=module.source,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),
    )
    assert process.stderr is not None
    lines: list[str] = []
    reader = threading.Thread(target=_collect, args=(process.stderr, lines), daemon=True)
    reader.start()
    started = said = time.monotonic()
    try:
        while reader.is_alive():
            reader.join(timeout=0.1)
            now = time.monotonic()
            if now - said >= _PROGRESS_S:
                said = now
                say(f"{what}: {now - started:.0f} s, {_progress(lines)}")
        output = process.stdout.read() if process.stdout else ""
        if process.wait() != 0:
            raise StartFailed(
                f"{what} failed:\n" + "".join(lines[-15:]).rstrip(),
                f"It ran: go {' '.join(arguments)} (in {module.source})",
            )
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return output


def _collect(stream: IO[str], lines: list[str]) -> None:
    for line in stream:
        lines.append(line)


def _progress(lines: list[str]) -> str:
    """What `go build -v` has said so far: modules it fetched, packages it began to compile."""
    if not lines:
        return "compiled before: looking, then linking"
    fetched = sum(line.startswith("go: downloading") for line in lines)
    return f"{fetched} modules fetched, {len(lines) - fetched} packages compiled; now {lines[-1].split()[-1]}"
