"""Becomes a container: makes its namespaces and its root, and runs its command as their first process.

Run by the agent as `python -I -S launch.py MODE`, so it imports nothing but a few modules of the standard library.
A container's root is this machine's file system under a private layer of memory (overlay), so that it can write
anywhere and nothing of it stays. Whatever this process starts dies with it, and it dies with the agent: the kernel's
parent-death signal takes the first process of the PID namespace, and that takes all others.

The plan comes as JSON on stdin (`runtime` writes it). `sandbox` is a process that holds a pod's namespaces,
`container` runs a container, `exec` one more command in it. On `status_fd` one JSON line says `{"pid": N}`, as the
agent sees it, and one more `{"error": ...}` when the command could not be started.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
from typing import Any, NoReturn

__all__ = ["main"]

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWPID, _CLONE_NEWNET = 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 1, 2, 4, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_OLD = "/.armature-old"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_libc = ctypes.CDLL(None, use_errno=True)


def main(mode: str, plan: dict[str, Any]) -> int:
    """The exit code of what ran; 128 + N after signal N."""
    _die_with(plan["agent"])
    return {"sandbox": _sandbox, "container": _container, "exec": _exec}[mode](plan)


def _sandbox(plan: dict[str, Any]) -> NoReturn:
    flags = _CLONE_NEWUTS | _CLONE_NEWIPC | (_CLONE_NEWNET if plan["network"] else 0)
    _check(_libc.unshare(flags), "make a pod's namespaces")
    name = plan["hostname"].encode()[:63]
    _check(_libc.sethostname(name, len(name)), "set a pod's host name")
    os.write(1, b"ready\n")
    os.execvp("sleep", ["sleep", "infinity"])


def _container(plan: dict[str, Any]) -> int:
    _join(plan["sandbox_pid"], ("net", "uts", "ipc"))
    _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID), "make a container's namespaces")
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)

    def prepare() -> None:
        _make_root(plan)
        os.makedirs(plan["cwd"], exist_ok=True)

    return _run(plan, prepare)


def _exec(plan: dict[str, Any]) -> int:
    _join(plan["pid"], ("net", "uts", "ipc", "pid", "mnt"))
    return _run(plan, lambda: None)


def _run(plan: dict[str, Any], prepare: Any) -> int:
    """Forks into the PID namespace, executes the command there and waits for it."""
    status_fd = plan["status_fd"]
    os.set_inheritable(status_fd, False)
    alive, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if select.select([alive], [], [], 0)[0]:  # the parent ended in between: the signal will never come
            os._exit(127)
        try:
            prepare()
            os.chdir(plan["cwd"])
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            _execute(plan["argv"], plan["env"])
        except OSError as error:
            os.write(status_fd, json.dumps({"error": str(error)}).encode() + b"\n")
        os._exit(128)
    os.write(status_fd, json.dumps({"pid": pid}).encode() + b"\n")
    os.close(status_fd)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _execute(argv: list[str], env: dict[str, str]) -> NoReturn:
    program = argv[0]
    if "/" not in program:
        folders = env.get("PATH", os.defpath).split(":")
        found = (os.path.join(folder, program) for folder in folders)
        program = next((path for path in found if os.access(path, os.X_OK) and os.path.isfile(path)), "")
        if not program:
            raise OSError(f'exec: "{argv[0]}": executable file not found in $PATH')
    try:
        os.execve(program, argv, env)
    except OSError as error:
        raise OSError(f'exec: "{argv[0]}": {error.strerror}') from None


def _make_root(plan: dict[str, Any]) -> None:
    """Root is an overlay over the machine's; what the pod mounts is bound into it from the root we leave."""
    base = plan["scratch"]
    _mount("tmpfs", base, "tmpfs", 0, "mode=0755")
    upper, work, root = (os.path.join(base, name) for name in ("upper", "work", "root"))
    for path in (upper, work, root):
        os.mkdir(path)
    _mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={work}")
    os.makedirs(root + _OLD)
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(number, root.encode(), (root + _OLD).encode()), "change a container's root")
    os.chdir("/")
    _mount("proc", "/proc", "proc", 0)
    _mount(_OLD + "/sys", "/sys", None, _MS_BIND | _MS_REC)
    _make_devices()
    for item in plan["mounts"]:
        _bind(_OLD + item["source"], item["target"], item["read_only"])
    _check(_libc.umount2(_OLD.encode(), _MNT_DETACH), "leave the machine's root")
    os.rmdir(_OLD)
    if plan["read_only_root"]:
        _mount(None, "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY)


def _make_devices() -> None:
    _mount("tmpfs", "/dev", "tmpfs", _MS_NOSUID, "mode=0755")
    for name in _DEVICES:
        _bind(f"{_OLD}/dev/{name}", f"/dev/{name}", False)
    for name, kind, options in (
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=0620"),
        ("shm", "tmpfs", "mode=1777,size=1g"),
    ):
        os.mkdir(f"/dev/{name}")
        _mount(kind, f"/dev/{name}", kind, _MS_NOSUID | (_MS_NODEV if kind == "tmpfs" else 0), options)
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd"}
    links |= {name: f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))}
    for name, to in links.items():
        os.symlink(to, f"/dev/{name}")


def _bind(source: str, target: str, read_only: bool) -> None:
    """A bind mount; the target is made where there is none, as a folder or a file like the source."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb"):
            pass
    _mount(source, target, None, _MS_BIND | _MS_REC)
    if read_only:
        _mount(None, target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    coded = [None if text is None else text.encode() for text in (source, target, kind)]
    done = _libc.mount(*coded, ctypes.c_ulong(flags), options.encode() or None)
    _check(done, f"mount {kind or source or 'again'} on {target}")


def _join(pid: int, kinds: tuple[str, ...]) -> None:
    """Enters namespaces of another process. The mount namespace is left last: after it /proc may be another."""
    handles = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in kinds]
    for handle in handles:
        _check(_libc.setns(handle, 0), "join a pod's namespaces")
        os.close(handle)


def _die_with(agent: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != agent:
        sys.exit(127)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot {what}: {os.strerror(number)}")


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        sys.exit(main(sys.argv[1], asked))
    except OSError as error:
        print(f"process node: {error}", file=sys.stderr)
        sys.exit(125)
