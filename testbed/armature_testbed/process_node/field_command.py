"""Runs the field's own commands (`python3 -m dynamo.*`) as ours in pods of a process node, as `armature.local` does.

The package `dynamo` under `field/` is on the path of every container, so a pod's command runs as it is written, in exec
form or in any shell script, and arrives here with its arguments filled in. Engines become mockers with predicted step
times; the process is replaced, so that signals and exit codes are its own.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

from armature.errors import ArmatureError
from armature.graph.component_view import ComponentView
from armature.graph.engine_flags import EngineFlags, read_flags
from armature.local.commands import frontend_argv, mocker_argv, router_mode
from armature.local.engine import EngineModel, engine_for
from armature.local.ignored import ignored_note
from armature.local.options import UpOptions
from armature.local.spec import Role
from armature.search.operating import transfer_ms
from armature.workload.shape import Workload
from armature_testbed.process_node.image import DISCOVERY_VARIABLE

__all__ = ["Command", "command_for", "main"]

_TRANSFER_TOKENS = 1000
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Command:
    """What to run instead, what it needs in files, and what to say about it."""

    argv: tuple[str, ...]
    files: Mapping[str, str]
    notes: tuple[str, ...]


def main(module: str) -> NoReturn:
    """Replaces this process by ours. Ends it with one clear error where there is no counterpart."""
    try:
        command = command_for(module, sys.argv[1:], os.environ, tempfile.gettempdir())
    except ArmatureError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    for path, text in command.files.items():
        Path(path).write_text(text)
    for note in command.notes:
        print(f"dynamo.{module}: {note}", file=sys.stderr, flush=True)
    os.execv(command.argv[0], command.argv)


def command_for(module: str, argv: Sequence[str], env: Mapping[str, str], folder: str) -> Command:
    """Our command for one of the field's. folder: where its files may be written.

    Raises ArmatureError where there is none, or what its engine asks is not known.
    """
    if module == "profiler":
        return Command((sys.executable, "-m", "armature", "profile", *argv), {}, ())
    if module == "planner":
        raise ArmatureError("The planner does not run on process nodes yet: replicas stay as they are.")
    view = _view(module, argv, env)
    ignored = ignored_note([view])
    notes = [ignored] if ignored else []
    if module == "frontend":
        mode, note = router_mode(view.flags, env)
        port = view.flags.value("--http-port") or env.get("DYN_HTTP_PORT") or "8000"
        frontend = frontend_argv(
            host="0.0.0.0", port=int(port), discovery=_discovery(env), namespace=_namespace(env), mode=mode
        )
        return Command(frontend, {}, tuple(filter(None, (*notes, note))))
    return _worker(view, env, folder, notes)


def _worker(view: ComponentView, env: Mapping[str, str], folder: str, notes: list[str]) -> Command:
    role = _role(view.flags, env)
    engine = engine_for(view, role, profile=None, options=_options(view.flags), extras=())
    table = os.path.join(folder, "armature-step-table.json")
    port = env.get("DYN_SYSTEM_PORT", "")
    argv = mocker_argv(
        engine,
        component=view.name,
        role=role,
        namespace=_namespace(env),
        discovery=_discovery(env),
        table=table,
        speedup=view.flags.speedup_ratio or 1.0,
        transfer_ms_per_token=_transfer_ms_per_token(engine) if role == "decode" else 0.0,
        system_port=int(port) if port.isdigit() else 0,
    )
    argv += ["--host", _own_address(env)]
    if engine.origin:
        notes.append(f"{engine.origin}.")
    return Command(tuple(argv), {table: msgspec.json.encode(engine.table).decode()}, (*notes, *engine.notes))


def _view(module: str, argv: Sequence[str], env: Mapping[str, str]) -> ComponentView:
    words = ["python3", "-m", f"dynamo.{module}", *argv]
    flags = read_flags(words, env, files=_read_files(argv))
    return ComponentView(
        index=0,
        name=env.get("DYN_COMPONENT") or flags.role or module,
        type=env.get("DYN_COMPONENT", ""),
        replicas=1,
        nodes=1,
        pod={},
        container={"command": words},
        container_path="the command line",
        flags=flags,
        gpus_per_pod=0,
        role=flags.role,
    )


def _options(flags: EngineFlags) -> UpOptions:
    """With the step table of the profile that a mocker is pointed at, where there is one."""
    given = flags.value("--planner-profile-data")
    table = Path(given, "step_table.json") if given else None
    return UpOptions(step_table=table if table is not None and table.is_file() else None, offline=True)


def _role(flags: EngineFlags, env: Mapping[str, str]) -> Role:
    """From the flags; else from the component's type, as the operator writes it."""
    kind = env.get("DYN_COMPONENT", "")
    if flags.role is not None:
        return flags.role
    return "prefill" if kind == "prefill" else "decode" if kind == "decode" else "agg"


def _transfer_ms_per_token(decode: EngineModel) -> float:
    """From a prefill worker of the same engine on another node: a pod cannot know the other one's."""
    if decode.engine is None or decode.facts is None:
        return 0.0
    workload = Workload(isl=_TRANSFER_TOKENS)
    moved = transfer_ms(decode.facts, decode.engine, decode.engine, workload, within_node=False)
    return moved / _TRANSFER_TOKENS


def _namespace(env: Mapping[str, str]) -> str:
    """The graph's, where the operator said it; else the pod's."""
    said = env.get("DYN_NAMESPACE_PREFIX") or env.get("DYN_NAMESPACE") or env.get("POD_NAMESPACE")
    if said:
        return said
    return _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.is_file() else "default"


def _discovery(env: Mapping[str, str]) -> str:
    if DISCOVERY_VARIABLE not in env:
        raise ArmatureError(f"{DISCOVERY_VARIABLE} is not set.", "Process nodes set it for every container.")
    return env[DISCOVERY_VARIABLE]


def _own_address(env: Mapping[str, str]) -> str:
    return env.get("POD_IP") or socket.gethostbyname(socket.gethostname())


def _read_files(argv: Sequence[str]) -> dict[str, str]:
    """The configuration files that a command line names, by path."""
    found: dict[str, str] = {}
    for word in argv:
        path = Path(word.rpartition("=")[2])
        if path.suffix in (".yaml", ".yml", ".json") and path.is_file():
            found[str(path)] = path.read_text(errors="replace")
    return found
