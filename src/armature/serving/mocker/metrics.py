"""A mocker's metrics, under the names that vLLM gives the same quantities, and its own about keeping time.

Read from the engine when scraped: counting costs the steps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from armature.serving.mocker.worker import MockWorker

__all__ = ["WorkerMetrics"]


class WorkerMetrics(Collector):
    """Metrics of one worker, labelled with the model's served name."""

    def __init__(self, worker: MockWorker, model_name: str) -> None:
        self._worker = worker
        self._model_name = model_name
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        worker, engine = self._worker, self._worker.engine
        caches = [rank.cache for rank in engine.ranks]
        gauges: tuple[tuple[str, str, float], ...] = (
            ("vllm:num_requests_running", "Requests in the running batch.", engine.running),
            ("vllm:num_requests_waiting", "Requests waiting to be scheduled.", engine.waiting),
            ("vllm:kv_cache_usage_perc", "KV blocks in use, 0 to 1.", engine.kv_usage),
            ("armature_mocker_step_lag_seconds", "How late the last step ended.", worker.lag_s),
        )
        counters: tuple[tuple[str, str, float], ...] = (
            ("vllm:num_preemptions", "Sequences preempted.", engine.preemptions),
            ("vllm:prefix_cache_queries", "Prompt tokens looked up.", sum(c.queried_tokens for c in caches)),
            ("vllm:prefix_cache_hits", "Prompt tokens found cached.", sum(c.hit_tokens for c in caches)),
            ("vllm:generation_tokens", "Tokens generated.", worker.output_tokens),
            ("armature_mocker_requests", "Requests accepted.", worker.requests),
            ("armature_mocker_steps", "Steps computed.", worker.steps),
        )
        for name, text, value in gauges:
            gauge = GaugeMetricFamily(name, text, labels=["model_name"])
            gauge.add_metric([self._model_name], value)
            yield gauge
        for name, text, value in counters:
            counter = CounterMetricFamily(name, text, labels=["model_name"])
            counter.add_metric([self._model_name], value)
            yield counter
