"""What the controller of requests keeps of the cluster in memory, and whose changes concern which request."""

from __future__ import annotations

from dataclasses import dataclass, fields

from armature.kube.client import Client, Selector
from armature.kube.kinds import CONFIG_MAP, DGD, DGDR, JOB, POD, Object
from armature.kube.reflector import Reflector
from armature.kube.store import Change, Key
from armature.operator.names import MANAGED_BY, OPERATOR, REQUEST_NAME, REQUEST_NAMESPACE
from armature.operator.runtime.controller import Watch
from armature.operator.runtime.mapping import itself, labelled

__all__ = ["GRAPH_LABEL", "JOB_NAME_LABEL", "Caches", "caches_of", "watches_of"]

JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
GRAPH_LABEL = "nvidia.com/dynamo-graph-deployment-name"


@dataclass(frozen=True, slots=True)
class Caches:
    """profiler_pods: pods of profiling Jobs, by the Job's name. graph_pods: pods of graphs, by the graph's name."""

    requests: Reflector
    jobs: Reflector
    outputs: Reflector
    profiler_pods: Reflector
    graphs: Reflector
    graph_pods: Reflector

    @property
    def all(self) -> tuple[Reflector, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


def caches_of(client: Client, namespace: str = "") -> Caches:
    """Caches of one namespace, or of all."""
    managed = Selector(namespace, labels=f"{MANAGED_BY}={OPERATOR},{REQUEST_NAME}")
    return Caches(
        requests=Reflector(client, DGDR, Selector(namespace)),
        jobs=Reflector(client, JOB, managed),
        outputs=Reflector(client, CONFIG_MAP, managed),
        profiler_pods=Reflector(
            client, POD, Selector(namespace, labels=f"app=dynamo-profiler,{REQUEST_NAME}"),
            label_keys=(JOB_NAME_LABEL,), keep=_status_alone,
        ),
        graphs=Reflector(client, DGD, Selector(namespace)),
        graph_pods=Reflector(
            client, POD, Selector(namespace, labels=GRAPH_LABEL), label_keys=(GRAPH_LABEL,), keep=_status_alone
        ),
    )  # fmt: skip


def _status_alone(pod: Object) -> Object:
    """A pod without its spec, which nobody here reads."""
    metadata = pod["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences", "deletionTimestamp")
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "status": pod.get("status") or {},
    }


def watches_of(caches: Caches) -> list[Watch]:
    """Every change that a request's next pass may depend on."""
    by_request = labelled(REQUEST_NAME, REQUEST_NAMESPACE)
    return [
        Watch(caches.requests, itself),
        Watch(caches.jobs, by_request),
        Watch(caches.outputs, by_request),
        Watch(caches.profiler_pods, by_request),
        Watch(caches.graphs, by_request),
        Watch(caches.graph_pods, lambda change: _of_graph(change, caches)),
    ]


def _of_graph(change: Change, caches: Caches) -> list[Key]:
    """The request that a pod's graph came from."""
    metadata = change.object["metadata"]
    graph = caches.graphs.store.get(
        (metadata.get("labels") or {}).get(GRAPH_LABEL, ""), metadata["namespace"]
    )
    labels = (graph or {}).get("metadata", {}).get("labels") or {}
    return [(labels[REQUEST_NAMESPACE], labels[REQUEST_NAME])] if REQUEST_NAME in labels else []
