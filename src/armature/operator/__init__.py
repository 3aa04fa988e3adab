"""The operator: a request on Kubernetes, through the same functions as on a laptop.

Layer 8. `request/` decides what a DynamoGraphDeploymentRequest needs next, `profiling/` answers it in a Job or in the
operator itself, `runtime/` is what every controller runs on.
"""

__all__: list[str] = []
