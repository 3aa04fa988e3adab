"""The workers of a namespace and the models they serve: discovery kept in step with connections.

Level-triggered: each set that discovery yields is compared with the connections there are. A model is served
while its workers can take a whole request: an aggregated worker, or a prefill and a decode worker (DIS-02).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from random import Random

import zmq.asyncio

from armature.errors import ArmatureError
from armature.serving.discovery.base import Discovery, Instance, ModelCard, Role
from armature.serving.frontend.errors import no_worker, unknown_model
from armature.serving.frontend.template import ChatTemplate, load_template
from armature.serving.frontend.tokens import Tokeniser, load_tokeniser
from armature.serving.router.base import Chooser, WorkerView
from armature.serving.router.modes import chooser_for
from armature.serving.transport.client import WorkerClient

__all__ = ["Model", "Worker", "WorkerPool"]

log = logging.getLogger(__name__)


class Worker:
    """An instance and the connection to it. leaving: it takes no new requests and finishes what it has."""

    __slots__ = ("client", "instance", "leaving")

    def __init__(self, instance: Instance, client: WorkerClient) -> None:
        self.instance = instance
        self.client = client
        self.leaving = False

    @property
    def takes_requests(self) -> bool:
        return self.client.alive and not self.leaving

    @property
    def view(self) -> WorkerView:
        return WorkerView(self.instance.instance_id, self.client.in_flight, self.client.beat.waiting)


class Model:
    """A served model: how to tokenise for it, and its workers by role. The card is that of its first worker."""

    def __init__(
        self, card: ModelCard, tokeniser: Tokeniser, template: ChatTemplate, router_mode: str, rng: Random
    ) -> None:
        self.card = card
        self.tokeniser = tokeniser
        self.template = template
        self.workers: dict[str, Worker] = {}
        self._choosers: dict[Role, Chooser] = {
            role: chooser_for(router_mode, rng) for role in ("agg", "prefill", "decode")
        }

    def alive(self, role: Role) -> list[Worker]:
        """Workers of a role that answer, by id."""
        return [
            worker
            for _, worker in sorted(self.workers.items())
            if worker.instance.role == role and worker.takes_requests
        ]

    @property
    def disaggregated(self) -> bool:
        """Whether requests go through a prefill and a decode worker."""
        return bool(self.alive("prefill") and self.alive("decode"))

    @property
    def missing(self) -> str | None:
        """What keeps the model from being served, for the user; None when it is served."""
        if self.alive("agg") or self.disaggregated:
            return None
        if self.alive("prefill"):
            return "decode worker"
        return "prefill worker" if self.alive("decode") else "worker"

    def choose(self, role: Role) -> Worker:
        """The router's choice. Raises ApiError 503 when no worker of that role is alive."""
        workers = self.alive(role)
        if not workers:
            raise no_worker(self.card.name, f"{role} worker" if role != "agg" else "worker")
        chosen = self._choosers[role].choose([worker.view for worker in workers])
        return next(worker for worker in workers if worker.instance.instance_id == chosen.instance_id)


class WorkerPool:
    """All models of a namespace. `only`: serve no other names than these (empty: whatever is there)."""

    def __init__(
        self,
        discovery: Discovery,
        namespace: str,
        *,
        router_mode: str,
        rng: Random,
        only: frozenset[str] = frozenset(),
    ) -> None:
        self._discovery = discovery
        self._namespace = namespace
        self._router_mode = router_mode
        self._rng = rng
        self._only = only
        self._context = zmq.asyncio.Context()
        self._models: dict[str, Model] = {}
        self._refused: set[tuple[str, str]] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def models(self) -> Mapping[str, Model]:
        """By name, the ones that can be served now."""
        return {name: model for name, model in sorted(self._models.items()) if model.missing is None}

    @property
    def workers(self) -> list[Worker]:
        """Every known worker, by component and id."""
        found = [worker for model in self._models.values() for worker in model.workers.values()]
        return sorted(found, key=lambda worker: (worker.instance.component, worker.instance.instance_id))

    def model(self, name: str) -> Model:
        """Raises ApiError: 404 for a name nobody serves, 503 when its workers are not all there."""
        model = self._models.get(name)
        if model is None:
            raise unknown_model(name, list(self.models))
        if model.missing is not None:
            raise no_worker(name, model.missing)
        return model

    async def run(self) -> None:
        """Follows discovery until cancelled; then closes every connection."""
        try:
            async for instances in self._discovery.watch(self._namespace):
                await self._follow(instances)
        finally:
            for task in self._leaving:
                task.cancel()
            for worker in self.workers:
                await worker.client.close("is not reachable any more: this frontend stops")
            self._context.destroy(linger=0)

    async def _follow(self, instances: tuple[Instance, ...]) -> None:
        wanted = {instance.instance_id: instance for instance in instances if self._serves(instance)}
        for worker in self.workers:
            if wanted.get(worker.instance.instance_id) != worker.instance and not worker.leaving:
                worker.leaving = True
                task = asyncio.create_task(self._remove(worker))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)
        known = {worker.instance.instance_id for worker in self.workers}
        for identity, instance in wanted.items():
            if identity not in known:
                await self._add(instance)

    def _serves(self, instance: Instance) -> bool:
        return not self._only or instance.card.name in self._only

    async def _add(self, instance: Instance) -> None:
        card = instance.card
        model = self._models.get(card.name)
        if model is None:
            try:
                model = await asyncio.to_thread(self._new_model, card)
            except ArmatureError as error:
                if (card.name, str(error)) not in self._refused:
                    log.error("model %s is not served: %s", card.name, error)
                    self._refused.add((card.name, str(error)))
                return
            self._models[card.name] = model
            log.info("model %s: tokeniser %s; chat template %s", card.name, *_descriptions(model))
        client = WorkerClient(self._context, instance.instance_id, instance.address)
        model.workers[instance.instance_id] = Worker(instance, client)
        log.info("worker %s/%s (%s) found", instance.component, instance.instance_id, instance.role)

    async def _remove(self, worker: Worker) -> None:
        """Closes a connection once its last request has ended: a worker that leaves in order finishes them, and
        one that died has lost them at once."""
        await worker.client.idle()
        model = self._models[worker.instance.card.name]
        del model.workers[worker.instance.instance_id]
        if not model.workers:
            del self._models[worker.instance.card.name]
        log.info("worker %s/%s is gone", worker.instance.component, worker.instance.instance_id)
        await worker.client.close()

    def _new_model(self, card: ModelCard) -> Model:
        directory = Path(card.tokenizer) if card.tokenizer else None
        return Model(card, load_tokeniser(directory), load_template(directory), self._router_mode, self._rng)


def _descriptions(model: Model) -> tuple[str, str]:
    return model.tokeniser.description, model.template.description
