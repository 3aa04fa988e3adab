"""How passes fare, under the names that the dashboards of Dynamo's operator read (OM-01 to OM-03, OM-08)."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

from armature.errors import InvalidInput
from armature.kube.errors import ApiError

__all__ = ["ReconcileMetrics", "error_type"]

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


def error_type(error: BaseException) -> str:
    """The label of OM-03 for an error that ended a pass."""
    if isinstance(error, ApiError):
        return error.error_type
    if isinstance(error, TimeoutError):
        return "timeout"
    return "validation" if isinstance(error, InvalidInput) else "internal"


class ReconcileMetrics:
    """resource_type: the kind as users write it (`DynamoGraphDeployment`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("resource_type", "namespace", "result")
        self._duration = Histogram(
            "dynamo_operator_reconcile_duration_seconds",
            "Duration of reconciliation loops",
            labels,
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._total = Counter(
            "dynamo_operator_reconcile_total", "Total number of reconciliations", labels, registry=registry
        )
        self._errors = Counter(
            "dynamo_operator_reconcile_errors_total",
            "Total reconciliation errors by type",
            ("resource_type", "namespace", "error_type"),
            registry=registry,
        )

    def passed(
        self,
        resource_type: str,
        namespace: str,
        result: Literal["success", "requeue"],
        duration_s: float,
    ) -> None:
        self._duration.labels(resource_type, namespace, result).observe(duration_s)
        self._total.labels(resource_type, namespace, result).inc()

    def failed(self, resource_type: str, namespace: str, error: BaseException, duration_s: float) -> None:
        self._duration.labels(resource_type, namespace, "error").observe(duration_s)
        self._total.labels(resource_type, namespace, "error").inc()
        self._errors.labels(resource_type, namespace, error_type(error)).inc()
