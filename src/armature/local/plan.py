"""A graph becomes processes: which, with which flags, and what the user must know about it.

The field's own commands map to ours: `python3 -m dynamo.frontend` (or an image without a command) to
`armature.serving.frontend`, `dynamo.{vllm,sglang,trtllm,mocker}` to `armature.serving.mocker`. Nothing of a graph is
dropped in silence: what cannot run here, and which flags mean nothing here, is said once. Pure, apart from
`engine_of` (by default `engine.engine_for`, which reads model files and estimates).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from armature import api
from armature.api import v1beta1
from armature.errors import PreflightFailed, Problem
from armature.graph.component_view import ComponentView, views
from armature.graph.engine_flags import read_container, unknown_flags
from armature.local.commands import frontend_argv, mocker_argv, router_mode
from armature.local.engine import EngineModel, engine_for
from armature.local.environment import plain_env
from armature.local.ignored import ignored_note
from armature.local.options import UpOptions
from armature.local.spec import Launch, ProcessSpec, Role
from armature.local.state import RunDirectory
from armature.search.operating import transfer_ms
from armature.search.profile import Profile
from armature.workload.shape import Workload

__all__ = ["DEFAULT_PORT", "EngineOf", "process_specs"]

DEFAULT_PORT = 8000
_FRONTEND_STAGE, _WORKER_STAGE = 1, 0
_TRANSFER_TOKENS = 1000


class EngineOf(Protocol):
    """Tells a mocker about the engine it stands in for; see `engine.engine_for`."""

    def __call__(
        self,
        view: ComponentView,
        role: Role,
        *,
        profile: Profile | None,
        options: UpOptions,
        extras: Sequence[Mapping[str, Any]],
    ) -> EngineModel: ...


def process_specs(
    dgd: v1beta1.DynamoGraphDeployment,
    *,
    profile: Profile | None = None,
    options: UpOptions | None = None,
    extras: Sequence[Mapping[str, Any]] = (),
    engine_of: EngineOf = engine_for,
) -> Launch:
    """The processes of a graph, workers first. `extras` are the ConfigMaps that came with it.

    Raises PreflightFailed when nothing of the graph can run here, and what `engine_of` raises.
    """
    return _Planner(dgd, profile, options or UpOptions(), extras, engine_of).launch()


class _Planner:
    """Gathers processes, files and notes of one graph."""

    def __init__(
        self,
        dgd: v1beta1.DynamoGraphDeployment,
        profile: Profile | None,
        options: UpOptions,
        extras: Sequence[Mapping[str, Any]],
        engine_of: EngineOf,
    ) -> None:
        plain = api.to_dict(dgd)
        metadata = plain.get("metadata") or {}
        self.name = str(metadata.get("name") or "graph")
        self.namespace = f"{metadata.get('namespace') or 'default'}-{self.name}"
        self.graph_env: list[Mapping[str, Any]] = list((plain.get("spec") or {}).get("env") or [])
        self.views = views(plain, extras)
        self.profile, self.options, self.extras = profile, options, extras
        self.engine_of = engine_of
        self.directory = RunDirectory(options.home, self.name)
        self.notes: list[str] = []
        self.not_passed: set[str] = set()
        self.files: dict[str, str] = {}

    def launch(self) -> Launch:
        workers = [view for view in self.views if view.flags.is_engine]
        frontends = [view for view in self.views if _is_frontend(view)]
        self._say_what_cannot_run(workers, frontends)
        if not workers:
            raise PreflightFailed(self.name, [self._nothing_runs()])
        roles = self._roles(workers)
        engines = {
            view.name: self.engine_of(
                view, roles[view.name], profile=self.profile, options=self.options, extras=self.extras
            )
            for view in workers
        }
        self._say_what_stands_in(workers, engines)
        processes = [
            process for view in workers for process in self._workers(view, roles[view.name], engines, roles)
        ]
        host, port = self.options.host, self._port(frontends)
        processes += self._frontends(frontends, host, port)
        if (note := ignored_note([*workers, *frontends])) is not None:
            self.notes.append(note)
        if self.not_passed:
            self.notes.append(f"Environment not passed on: {', '.join(sorted(self.not_passed))}.")
        return Launch(
            name=self.name,
            host=host,
            port=port,
            models=tuple(dict.fromkeys(engine.served_name for engine in engines.values())),
            processes=tuple(processes),
            files=self.files,
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def _roles(self, workers: Sequence[ComponentView]) -> dict[str, Role]:
        """From flags and types (C-42); beside prefill workers the others decode, without any they do both."""
        has_prefill = any(view.role == "prefill" and view.replicas for view in workers)
        roles: dict[str, Role] = {}
        for view in workers:
            role: Role = view.role or view.flags.role or "agg"
            if role == "agg" and has_prefill:
                role = "decode"
            if not has_prefill and "decode" in (view.type, view.flags.role):
                self.notes.append(f"{view.name} decodes and the graph has no prefill worker: it does both.")
                role = "agg"
            roles[view.name] = role
        return roles

    def _workers(
        self,
        view: ComponentView,
        role: Role,
        engines: Mapping[str, EngineModel],
        roles: Mapping[str, Role],
    ) -> list[ProcessSpec]:
        engine = engines[view.name]
        table = str(self.directory.step_tables / f"{view.name}.json")
        self.files[table] = msgspec.json.encode(engine.table).decode()
        speedup = self.options.speedup_ratio or view.flags.speedup_ratio or 1.0
        transfer_ms = self._transfer_ms_per_token(engine, engines, roles) if role == "decode" else 0.0
        argv = mocker_argv(
            engine,
            component=view.name,
            role=role,
            namespace=self.namespace,
            discovery=str(self.directory.discovery),
            table=table,
            speedup=speedup,
            transfer_ms_per_token=transfer_ms,
        )
        env = self._env(view)
        return [
            self._process(view.name, replica, (*argv, "--seed", str(replica)), env, _WORKER_STAGE, role)
            for replica in range(view.replicas)
        ]

    def _frontends(self, frontends: Sequence[ComponentView], host: str, port: int) -> list[ProcessSpec]:
        """The first listens on the asked port, further ones where the system puts them."""
        made: list[ProcessSpec] = []
        for view in frontends:
            env = self._env(view)
            mode = self._router_mode(view, env)
            for replica in range(view.replicas):
                argv = self._frontend_argv(host, 0 if made else port, mode)
                made.append(self._process(view.name, replica, argv, env, _FRONTEND_STAGE, None))
        if not frontends:
            self.notes.append(
                "The graph has no frontend of its own; one is started so that it can be reached."
            )
            argv = self._frontend_argv(host, port, "round-robin")
            made.append(self._process("Frontend", 0, argv, {}, _FRONTEND_STAGE, None))
        elif not made:
            self.notes.append(
                "All frontends have 0 replicas: the workers run, and nothing listens for requests."
            )
        elif len(made) > 1:
            self.notes.append(f"{made[0].name} listens on the asked port, the other frontends on free ones.")
        return made

    def _frontend_argv(self, host: str, port: int, mode: str) -> tuple[str, ...]:
        discovery = str(self.directory.discovery)
        return frontend_argv(host=host, port=port, discovery=discovery, namespace=self.namespace, mode=mode)

    def _process(
        self,
        component: str,
        replica: int,
        argv: Sequence[str],
        env: Mapping[str, str],
        stage: int,
        role: Role | None,
    ) -> ProcessSpec:
        name = f"{component}-{replica}"
        return ProcessSpec(
            name=name,
            component=component,
            replica=replica,
            kind="frontend" if stage == _FRONTEND_STAGE else "worker",
            argv=tuple(argv),
            env=dict(env),
            log_path=str(self.directory.logs / f"{name}.log"),
            role=role,
            stage=stage,
        )

    def _router_mode(self, view: ComponentView, env: Mapping[str, str]) -> str:
        mode, note = router_mode(view.flags, env)
        if note:
            self.notes.append(f"{view.name}: {note}")
        return mode

    def _port(self, frontends: Sequence[ComponentView]) -> int:
        """The user's, else the first frontend's `--http-port` or DYN_HTTP_PORT, else 8000."""
        if self.options.port is not None:
            return self.options.port
        for view in frontends:
            text = view.flags.value("--http-port") or self._env(view).get("DYN_HTTP_PORT") or ""
            if text.isdigit() and 0 < int(text) < 65536:
                return int(text)
        return DEFAULT_PORT

    def _env(self, view: ComponentView) -> dict[str, str]:
        passed, left_out = plain_env([*self.graph_env, *(view.container.get("env") or [])])
        self.not_passed.update(left_out)
        return passed

    def _transfer_ms_per_token(
        self, decode: EngineModel, engines: Mapping[str, EngineModel], roles: Mapping[str, Role]
    ) -> float:
        """Time to move a token's KV cache here from a prefill worker, as the search charges it."""
        prefill = next((engines[name] for name, role in roles.items() if role == "prefill"), None)
        if prefill is None or prefill.engine is None or decode.engine is None or decode.facts is None:
            return 0.0
        total = 0
        for view in self.views:
            if view.name in engines and (engine := engines[view.name].engine) is not None:
                total += view.replicas * engine.gpus
        same = prefill.engine.pool.gpu.sku == decode.engine.pool.gpu.sku
        within = same and total <= decode.engine.pool.gpus_per_node
        workload = Workload(isl=_TRANSFER_TOKENS)
        moved = transfer_ms(decode.facts, prefill.engine, decode.engine, workload, within_node=within)
        return moved / _TRANSFER_TOKENS

    def _say_what_stands_in(
        self, workers: Sequence[ComponentView], engines: Mapping[str, EngineModel]
    ) -> None:
        asked = Counter[str]()
        for view in workers:
            engine = engines[view.name]
            gpus = view.gpus or view.replicas * (engine.engine.gpus if engine.engine else 1)
            asked[engine.sku or "GPU"] += gpus
        real = [view for view in workers if view.flags.module != "mocker"]
        total = ", ".join(f"{count} x {sku}" for sku, count in asked.items())
        source = "the profile's" if all(engine.from_profile for engine in engines.values()) else "estimated"
        if real:
            self.notes.append(
                f"No model runs here: mocker engines stand in for {total}, on {source} step times; the text they "
                "generate means nothing."
            )
        if any(engine.tokenizer is None for engine in engines.values()):
            self.notes.append(
                "No tokenizer.json of the model is on this machine: each byte of text counts as a token, so English "
                "prompts are about four times as long as with the model's own."
            )
        for origin in dict.fromkeys(engine.origin for engine in engines.values() if engine.origin):
            names = [name for name, engine in engines.items() if engine.origin == origin]
            self.notes.append(f"{', '.join(names)}: {origin}.")
        for engine in engines.values():
            self.notes.extend(engine.notes)
        for view in workers:
            if view.nodes > 1:
                self.notes.append(
                    f"{view.name}: {view.nodes} nodes per worker; one mocker stands in for all of them."
                )
            for name, close in unknown_flags(view.flags):
                self.notes.append(f"{view.name}: {name} is not a flag of {view.flags.module}; {close} is.")

    def _say_what_cannot_run(
        self, workers: Sequence[ComponentView], frontends: Sequence[ComponentView]
    ) -> None:
        for view in self.views:
            if view in workers or view in frontends:
                continue
            if view.type == "planner" or view.flags.module == "planner":
                why = "the planner does not run on one machine yet: replicas stay as they are"
            elif view.type == "epp":
                why = "an endpoint picker serves a Kubernetes gateway; our frontend routes instead"
            else:
                command = [*(view.container.get("command") or []), *(view.container.get("args") or [])]
                shown = " ".join(str(word) for word in command[:3]) or "its image's own command"
                why = f"{shown[:60]!r} is not a command that we have a counterpart for"
            self.notes.append(f"{view.name} is left out: {why}.")
        for view in workers:
            sidecars = [item for item in view.pod.get("containers") or [] if item is not view.container]
            names = [str(item.get("name")) for item in sidecars if not read_container(item).is_engine]
            if names:
                self.notes.append(
                    f"{view.name}: containers beside the engine are left out: {', '.join(names)}."
                )

    def _nothing_runs(self) -> Problem:
        return Problem(
            "spec.components",
            "has no worker that can run here",
            "workers run `python3 -m dynamo.vllm`, `dynamo.sglang`, `dynamo.trtllm` or `dynamo.mocker`",
            ", ".join(view.name for view in self.views) or None,
        )


def _is_frontend(view: ComponentView) -> bool:
    """By its command; by its type where it has only an image (A1-22)."""
    return view.flags.module == "frontend" or (view.type == "frontend" and not view.container.get("command"))
