"""A running testbed as tests and tools hold it: its kubeconfig, kubectl and users, and its parts to stop and start."""

from __future__ import annotations

import datetime
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import msgspec

from armature.errors import ArmatureError, StartFailed
from armature_testbed import components
from armature_testbed.certificates import Authority, KeyPair
from armature_testbed.layout import Component, Layout, State
from armature_testbed.lifecycle import VARIABLE, running_state
from armature_testbed.namespace import enter_command
from armature_testbed.start import Launch, kubeconfig_text

__all__ = ["Testbed"]


class Testbed:
    """One running testbed.

    Commands run in its network namespace from wherever this is used; `client` and whatever else opens sockets of this
    process works only inside it (`armature-testbed run -- CMD`).
    """

    __test__ = False  # pytest: not a test class

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory)
        self.launch = msgspec.json.decode(self.layout.launch.read_bytes(), type=Launch)

    @classmethod
    def attach(cls, directory: Path) -> Testbed:
        """The testbed that runs from this directory. Raises ArmatureError when none does."""
        if running_state(directory) is None:
            raise ArmatureError(f"No testbed runs in {directory}.", "Start one: armature-testbed up")
        return cls(directory)

    @classmethod
    def here(cls, env: Mapping[str, str] | None = None) -> Testbed | None:
        """The testbed that this process runs in; None outside of one."""
        stated = (os.environ if env is None else env).get(VARIABLE)
        return cls.attach(Path(stated)) if stated else None

    @property
    def state(self) -> State:
        """As its supervisor wrote it last. Raises ArmatureError once it is down."""
        state = running_state(self.layout.directory)
        if state is None:
            raise ArmatureError(f"The testbed in {self.layout.directory} has ended.")
        return state

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.layout.kubeconfig

    @property
    def authority(self) -> Authority:
        """What signs its certificates: servers' that the apiserver is to trust, users'."""
        pki = self.layout.pki
        return Authority(KeyPair((pki / "ca.crt").read_bytes(), (pki / "ca.key").read_bytes()))

    def program(self, name: str) -> str:
        """The path of one of its programs. Raises StartFailed when this machine does not have it."""
        path = self.launch.programs.paths.get(name)
        if path is None:
            raise StartFailed(f"The testbed has no {name}.", "Build everything: armature-testbed build")
        return path

    def command(self, argv: Sequence[str]) -> list[str]:
        """What to run so that `argv` runs in the testbed's network namespace."""
        return [*enter_command(self.state), *argv]

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """An environment in which kubectl and helm are the testbed's and speak to it."""
        base = os.environ if base is None else base
        path = os.pathsep.join(filter(None, (self.launch.programs.search_path, base.get("PATH"))))
        return {
            **base,
            VARIABLE: str(self.layout.directory),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": path,
        }

    def run(
        self, argv: Sequence[str], *, stdin: str | None = None, check: bool = True, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in it and returns what it printed. With `check`, raises ArmatureError when it fails."""
        done = subprocess.run(
            self.command(argv),
            input=stdin,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if check and done.returncode != 0:
            raise ArmatureError(
                f"{' '.join(argv)} ended with {done.returncode}:\n{done.stderr or done.stdout}".rstrip()
            )
        return done

    def kubectl(
        self,
        *arguments: str,
        stdin: str | None = None,
        check: bool = True,
        kubeconfig: Path | None = None,
        timeout_s: float = 60.0,
    ) -> str:
        """What `kubectl ARGUMENTS` prints, both streams when it may fail. Raises ArmatureError when it must not."""
        argv = [self.program("kubectl"), f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]
        done = self.run(argv, stdin=stdin, check=check, timeout_s=timeout_s)
        return done.stdout if check else done.stdout + done.stderr

    def get(self, *arguments: str) -> dict[str, object]:
        """An object or a list: `kubectl get ARGUMENTS -o json`."""
        found: dict[str, object] = json.loads(self.kubectl("get", *arguments, "--output=json"))
        return found

    def user_kubeconfig(
        self, user: str, groups: Sequence[str] = (), *, server: str = components.SERVER_URL
    ) -> Path:
        """A kubeconfig of a user with a client certificate; RBAC gives them nothing until a test does."""
        authority = self.authority
        client = authority.client(user, groups, datetime.datetime.now(datetime.UTC))
        name = "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in user)
        port = server.rpartition(":")[2]
        path = self.layout.users / f"{name}-{port}.kubeconfig"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(kubeconfig_text(authority.pair.certificate_pem, client, user, server=server))
        return path

    def client(self, *, token: str | None = None, base_url: str = components.SERVER_URL) -> httpx.Client:
        """An HTTP client of the API with the administrator's rights, or with those of a bearer token."""
        context = ssl.create_default_context(cafile=str(self.layout.pki / "ca.crt"))
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if token is None:
            context.load_cert_chain(self.layout.pki / "admin.crt", self.layout.pki / "admin.key")
        return httpx.Client(base_url=base_url, headers=headers, verify=context, timeout=30.0, trust_env=False)

    def component(self, name: str) -> Component:
        """One of its processes as last known. Raises ArmatureError for an unknown name."""
        state = self.state
        found = state.component(name)
        if found is None:
            there = ", ".join(component.name for component in state.components)
            raise ArmatureError(f"The testbed has no process {name!r}; it has {there}.")
        return found

    def start(
        self, name: str, argv: Sequence[str] | None = None, env: Mapping[str, str] | None = None
    ) -> int:
        """Starts a process of any kind under the testbed's supervisor, or one of its own that was stopped (without
        `argv`); returns its pid. Its output goes to the log of that name, and it is ended with the testbed.

        argv[0] is looked up among the testbed's programs first. Raises ArmatureError when it cannot be started.
        """
        if argv is not None:
            argv = [self.launch.programs.paths.get(argv[0], argv[0]), *argv[1:]]
        return self._ask({"do": "start", "name": name, "argv": argv, "env": dict(env) if env else None})

    def stop(self, name: str, *, grace_s: float = 0.0) -> None:
        """Ends one of its processes: SIGKILL, after SIGTERM and `grace_s` where that is not 0."""
        self._ask({"do": "stop", "name": name, "grace_s": grace_s})

    def pause(self, name: str) -> None:
        """SIGSTOP: it neither answers nor closes its connections."""
        os.kill(self.component(name).pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        os.kill(self.component(name).pid, signal.SIGCONT)

    def restart_apiserver(self, *, down_s: float = 0.0) -> None:
        """SIGKILL, `down_s` of nothing, the same again on the same port; returns once it is ready."""
        self.stop("kube-apiserver")
        time.sleep(down_s)
        self.start("kube-apiserver")
        self.wait_ready()

    def wait_ready(self, *, limit_s: float = 60.0) -> None:
        """Until the apiserver says that it is ready. Raises ArmatureError after `limit_s`."""
        kubectl = [self.program("kubectl"), f"--kubeconfig={self.kubeconfig}", "get", "--raw=/readyz"]
        self.wait_for(
            lambda: self.run(kubectl, check=False).stdout == "ok",
            "the apiserver to be ready",
            limit_s=limit_s,
        )

    def wait_for(
        self, holds: Callable[[], bool], what: str, *, limit_s: float = 30.0, every_s: float = 0.1
    ) -> None:
        """Until `holds()`. Raises ArmatureError, naming `what` was waited for, after `limit_s`."""
        end = time.monotonic() + limit_s
        while not holds():
            if time.monotonic() > end:
                raise ArmatureError(f"Waited {limit_s:.0f} s in vain for {what}.")
            time.sleep(every_s)

    def compact_etcd(self) -> int:
        """Drops all history before now, so that a list or watch from an older resourceVersion is refused (410) by an
        apiserver that does not have it in its own watch cache: restart it too. Returns the revision."""
        with httpx.Client(base_url=components.ETCD_URL, timeout=30.0, trust_env=False) as etcd:
            header = (
                etcd.post("/v3/kv/range", json={"key": "AA==", "limit": "1"})
                .raise_for_status()
                .json()["header"]
            )
            revision = int(header["revision"])
            etcd.post("/v3/kv/compaction", json={"revision": revision, "physical": True}).raise_for_status()
        return revision

    def _ask(self, request: dict[str, object]) -> int:
        """One request of the supervisor. Raises ArmatureError with its complaint."""
        handle = os.open(self.layout.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(30.0)
                connection.connect(f"/proc/self/fd/{handle}/{self.layout.control.name}")
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("rb") as stream:
                    answer = json.loads(stream.readline())
        except OSError as error:
            raise ArmatureError(f"The testbed's supervisor does not answer: {error}.") from None
        finally:
            os.close(handle)
        if not answer["ok"]:
            raise ArmatureError(str(answer["error"]))
        return int(answer["pid"])
