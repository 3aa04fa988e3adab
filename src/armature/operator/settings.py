"""What an operator is told when it starts, apart from the objects it looks after."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Settings"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """image: of this operator itself, which profiling Jobs run too. pull_policy, pull_secrets: for it. profiling: in a
    Job, or in the operator's own processes (`inline`, for rapid requests). namespace: the only one to look after; None
    for all. discover: whether GPUs are looked up where a request leaves them open. dcgm_endpoint: where a DCGM exporter
    answers, `{POD_IP}` being its pod's address. workers: processes that profile inline.
    """

    image: str
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    profiling: Literal["job", "inline"] = "job"
    namespace: str | None = None
    discover: bool = True
    dcgm_endpoint: str = "http://{POD_IP}:9400/metrics"
    workers: int = 1
