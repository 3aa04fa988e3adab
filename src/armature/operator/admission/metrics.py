"""How reviews fare, under the names that the dashboards of Dynamo's operator read (OM-04 to OM-06, OM-08)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from armature.operator.admission.review import Answered

__all__ = ["AdmissionMetrics"]

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class AdmissionMetrics:
    """resource_type: the kind as users write it. result: `allowed` or `denied`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("resource_type", "operation")
        self._duration = Histogram(
            "dynamo_operator_webhook_duration_seconds",
            "Duration of webhook validation requests",
            labels,
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._requests = Counter(
            "dynamo_operator_webhook_requests_total",
            "Total number of webhook admission requests",
            (*labels, "result"),
            registry=registry,
        )
        self._denials = Counter(
            "dynamo_operator_webhook_denials_total",
            "Total number of webhook denials by reason",
            (*labels, "reason"),
            registry=registry,
        )

    def reviewed(self, answered: Answered, duration_s: float) -> None:
        about = (answered.kind, answered.operation)
        self._duration.labels(*about).observe(duration_s)
        self._requests.labels(*about, "denied" if answered.denied else "allowed").inc()
        if answered.denied:
            self._denials.labels(*about, answered.denied).inc()
