"""Waiting time in front of a server, from first principles; the load model of later issues grows from here."""

from __future__ import annotations

import numpy as np

from armature.perf.estimate import Floats

__all__ = ["MAX_UTILISATION", "round_robin_wait_ms"]

MAX_UTILISATION = 0.95
"""Above this share of capacity a queue grows faster than any estimate of it is worth."""


def round_robin_wait_ms(service_ms: Floats, utilisation: Floats, servers: Floats) -> Floats:
    """Mean wait of a Poisson stream dealt round-robin to `servers` equal servers with constant service time.

    Kingman's approximation, W = rho / (1 - rho) * (ca2 + cs2) / 2 * s (Kingman 1961, "The single server queue in
    heavy traffic"). Dealing a Poisson stream round-robin to c servers leaves Erlang-c gaps at each, so ca2 = 1/c;
    constant service has cs2 = 0. Exact for c = 1 (M/D/1). Shapes broadcast; `utilisation` is clipped to
    MAX_UTILISATION, so the result is finite; a caller that may exceed it must mark the point overloaded itself.
    """
    rho = np.clip(utilisation, 0.0, MAX_UTILISATION)
    return np.asarray(rho / (1.0 - rho) / (2.0 * np.maximum(servers, 1.0)) * service_ms, dtype=np.float64)
