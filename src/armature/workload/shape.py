"""What is asked of a deployment: the shape of its requests, its load and its targets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from armature.workload.requests import Requests

__all__ = ["Requests", "Sla", "Workload"]


@dataclass(frozen=True, slots=True)
class Workload:
    """Mean request shape and, when stated, the load.

    isl, osl: input and output tokens of a request. request_rate: requests per second over the whole
    deployment. concurrency: requests in flight over the whole deployment. At most one of the two is set.
    requests: those of a trace, when one is given; isl and osl are then their rounded means, and their gaps fit
    request_rate.
    """

    isl: int = 4000
    osl: int = 1000
    request_rate: float | None = None
    concurrency: float | None = None
    requests: Requests | None = None

    @classmethod
    def of(
        cls, requests: Requests, *, request_rate: float | None = None, concurrency: float | None = None
    ) -> Workload:
        """The workload of a trace: at the asked load, else at the trace's own rate."""
        if request_rate is None and concurrency is None and requests.rate_per_s > 0:
            request_rate = float(f"{requests.rate_per_s:.4g}")  # nobody means more digits
        if request_rate is not None:
            requests = requests.scaled(request_rate)
        return cls(
            isl=max(1, round(requests.mean_isl)),
            osl=max(1, round(requests.mean_osl)),
            request_rate=request_rate,
            concurrency=concurrency,
            requests=requests,
        )

    @property
    def longest_isl(self) -> int:
        """Tokens of the longest prompt, which a worker's memory must hold."""
        return self.isl if self.requests is None else self.requests.longest_isl

    @property
    def longest_tokens(self) -> int:
        """Tokens of the longest request, prompt and answer."""
        return self.isl + self.osl if self.requests is None else self.requests.longest_tokens

    @property
    def mean_context(self) -> float:
        """Tokens in the KV cache of a request, averaged over its decode phase."""
        return self.isl + self.osl / 2


@dataclass(frozen=True, slots=True)
class Sla:
    """Targets in milliseconds; None means not stated. `optimize` chooses among what meets them."""

    ttft_ms: float | None = None
    itl_ms: float | None = None
    e2e_ms: float | None = None
    optimize: Literal["throughput", "latency"] = "throughput"

    @property
    def targets(self) -> dict[str, float]:
        """Stated targets by name (`ttft_ms`, `itl_ms`, `e2e_ms`)."""
        stated = {"ttft_ms": self.ttft_ms, "itl_ms": self.itl_ms, "e2e_ms": self.e2e_ms}
        return {name: value for name, value in stated.items() if value is not None}

    def loosened(self, factor: float) -> Sla:
        """Every stated target times `factor`."""
        ttft, itl, e2e = (
            None if value is None else value * factor for value in (self.ttft_ms, self.itl_ms, self.e2e_ms)
        )
        return replace(self, ttft_ms=ttft, itl_ms=itl, e2e_ms=e2e)
