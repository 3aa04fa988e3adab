"""The frontend's metrics, by the names that Dynamo's dashboards and planner read (FM-01 to FM-09)."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["FrontendMetrics", "RequestMetrics"]

_TTFT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_ITL_S = (0.0005, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5)
_DURATION_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
_TOKENS = (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144)

_MODEL = ("dynamo_namespace", "model")


class FrontendMetrics:
    """All families of one frontend, in a registry of its own."""

    def __init__(self, namespace: str, clock: Callable[[], float] = time.perf_counter) -> None:
        self.namespace = namespace
        self.clock = clock
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "dynamo_frontend_requests",
            "Requests ended.",
            (*_MODEL, "endpoint", "request_type", "status"),
            registry=self.registry,
        )
        self.active = self._gauge("active_requests", "Requests from HTTP entry to completion.")
        self.inflight = self._gauge("inflight_requests", "Deprecated: as dynamo_frontend_active_requests.")
        self.queued = self._gauge("queued_requests", "Deprecated: requests without a first token yet.")
        self.stage = Gauge(
            "dynamo_frontend_stage_requests",
            "Requests now in a stage (preprocess, route, dispatch).",
            ("dynamo_namespace", "stage", "phase"),
            registry=self.registry,
        )
        self.ttft = self._histogram("time_to_first_token_seconds", "HTTP entry to first token.", _TTFT_S)
        self.itl = self._histogram("inter_token_latency_seconds", "Between two tokens of a request.", _ITL_S)
        self.duration = self._histogram("request_duration_seconds", "HTTP entry to last token.", _DURATION_S)
        self.isl = self._histogram("input_sequence_tokens", "Prompt tokens per request.", _TOKENS)
        self.osl = self._histogram("output_sequence_tokens", "Output tokens per request.", _TOKENS)
        self._children: dict[str, _Children] = {}

    def render(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)

    def request(self, model: str, endpoint: str, *, stream: bool, began: float) -> RequestMetrics:
        """Begins a request of a served model that came in at `began` (of `clock`)."""
        children = self._children.get(model)
        if children is None:
            children = self._children[model] = _Children(self, model)
        labels = (self.namespace, model, endpoint, "stream" if stream else "unary")
        return RequestMetrics(self, children, labels, began)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"dynamo_frontend_{name}", text, _MODEL, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"dynamo_frontend_{name}", text, _MODEL, buckets=buckets, registry=self.registry)


class _Children:
    """The labelled series of one model, looked up once: a lookup per token costs more than the observation."""

    def __init__(self, metrics: FrontendMetrics, model: str) -> None:
        labels = (metrics.namespace, model)
        self.active = metrics.active.labels(*labels)
        self.inflight = metrics.inflight.labels(*labels)
        self.queued = metrics.queued.labels(*labels)
        self.ttft = metrics.ttft.labels(*labels)
        self.itl = metrics.itl.labels(*labels)
        self.duration = metrics.duration.labels(*labels)
        self.isl = metrics.isl.labels(*labels)
        self.osl = metrics.osl.labels(*labels)


class RequestMetrics:
    """One request's contribution. Every begun request must be ended, once, by `end`."""

    def __init__(
        self, metrics: FrontendMetrics, children: _Children, labels: tuple[str, ...], began: float
    ) -> None:
        self._metrics = metrics
        self._children = children
        self._labels = labels
        self._clock = metrics.clock
        self._began = began
        self._last: float | None = None
        self._stage: tuple[str, str] | None = None
        self.output_tokens = 0
        children.active.inc()
        children.inflight.inc()
        children.queued.inc()

    def stage(self, stage: str, phase: str = "") -> None:
        """Moves the request to a stage; an empty name takes it out of the stages."""
        gauge, namespace = self._metrics.stage, self._metrics.namespace
        if self._stage is not None:
            gauge.labels(namespace, *self._stage).dec()
        self._stage = (stage, phase) if stage else None
        if self._stage is not None:
            gauge.labels(namespace, *self._stage).inc()

    def prompt(self, tokens: int) -> None:
        self._children.isl.observe(tokens)

    def tokens(self, count: int) -> None:
        """`count` tokens arrived, now."""
        now = self._clock()
        if self._last is None:
            self._children.ttft.observe(now - self._began)
            self._children.queued.dec()
            self.stage("")
            gaps, gap = count - 1, 0.0
        else:
            gaps, gap = count, (now - self._last) / count
        for _ in range(gaps):
            self._children.itl.observe(gap)
        self._last = now
        self.output_tokens += count

    def end(self, status: str) -> None:
        """status: success, error or cancelled."""
        self.stage("")
        if self._last is None:
            self._children.queued.dec()
        self._children.active.dec()
        self._children.inflight.dec()
        if status == "success":
            self._children.duration.observe(self._clock() - self._began)
            self._children.osl.observe(self.output_tokens)
        self._metrics.requests.labels(*self._labels, status).inc()
