"""Waiting in front of a server, from first principles: the mathematics under `search.load`.

Streams are Poisson, dealt round-robin to `servers` equal servers: each sees gaps of an Erlang distribution, whose
squared coefficient of variation is `1 / servers`. Everything is vectorised, finite, and never falls as the rate rises.

Sources: Kingman 1961 ("The single server queue in heavy traffic"); Krämer & Langenbach-Belz 1976 ("Approximate formulae
for the delay in the queueing system GI/G/1"); Whitt 1983 ("The Queueing Network Analyzer", Bell System Technical
Journal 62); Cox 1962 ("Renewal Theory"); Wilson & Hilferty 1931 for the gamma distribution's quantiles.
"""

from __future__ import annotations

import numpy as np

from armature.perf.estimate import FloatLike, Floats

__all__ = [
    "MAX_UTILISATION",
    "delayed_share",
    "gamma_cdf",
    "gamma_mean_below",
    "mixture_quantile",
    "renewals",
    "round_robin_wait_ms",
    "wait_shape",
]

MAX_UTILISATION = 0.95
"""Above this share of capacity a queue grows faster than any estimate of it is worth."""
TINY = 1e-12
HIGHEST = 0.98
"""Utilisations are clipped here, so that every wait is finite."""


def round_robin_wait_ms(service_ms: FloatLike, utilisation: FloatLike, servers: FloatLike) -> Floats:
    """Mean wait of a Poisson stream dealt round-robin to `servers` equal servers with constant service time.

    Kingman's approximation, W = rho / (1 - rho) * (ca2 + cs2) / 2 * s with ca2 = 1 / servers and cs2 = 0, times
    Krämer and Langenbach-Belz's correction exp(-2 (1 - rho) (1 - ca2)^2 / (3 rho (ca2 + cs2))) for gaps more regular
    than a Poisson stream's. Exact for one server (M/D/1). Shapes broadcast; `utilisation` is clipped to HIGHEST, so
    the result is finite; a caller that may exceed it must mark the point overloaded itself.
    """
    rho = np.clip(utilisation, 0.0, HIGHEST)
    ca2 = 1.0 / np.maximum(servers, 1.0)
    regular = np.exp(-2.0 * (1.0 - rho) * (1.0 - ca2) ** 2 / (3.0 * np.maximum(rho, TINY) * ca2))
    return np.asarray(rho / (1.0 - rho) * ca2 / 2.0 * regular * service_ms, dtype=np.float64)


def delayed_share(utilisation: FloatLike, servers: FloatLike) -> Floats:
    """Share of requests that find their server busy: the utilisation for one server (PASTA), less for more (Whitt's
    QNA, equations 49-52, constant service)."""
    rho = np.clip(utilisation, 0.0, HIGHEST)
    ca2 = 1.0 / np.maximum(servers, 1.0)
    h = (1.0 + ca2) / (1.0 - rho + 4.0 * rho**2 * ca2)
    return np.asarray(np.clip(rho + (ca2 - 1.0) * rho * (1.0 - rho) * h, 0.0, 1.0), dtype=np.float64)


def wait_shape(utilisation: FloatLike) -> Floats:
    """Shape (one over the squared coefficient of variation) of the wait of those that wait, service constant: QNA's
    equation 53, exact for M/D/1; 3 in light traffic, where it is what is left of one service, 1 in heavy."""
    rho = np.clip(utilisation, 0.0, 1.0)
    return np.asarray(
        1.0 / (2.0 * rho - 1.0 + 4.0 / 3.0 * (1.0 - rho)).clip(1.0 / 3.0, 1.0), dtype=np.float64
    )


def renewals(expected: FloatLike, servers: FloatLike) -> Floats:
    """How many more requests reach a server within the time in which `expected` do on average, after one that did.

    The renewal function of Erlang gaps: `expected` itself for one server (Poisson); less for more, since gaps are then
    regular: its asymptote `expected - (1 - ca2) / 2`, and before that the chance of the first gap being over.
    """
    x = np.asarray(expected, dtype=np.float64)
    k = np.maximum(np.asarray(servers, dtype=np.float64), 1.0)
    some = np.maximum(gamma_cdf(x, 1.0, k), x - (1.0 - 1.0 / k) / 2.0)
    return np.asarray(np.where(k <= 1.0, x, some), dtype=np.float64)


def gamma_cdf(x: FloatLike, mean: FloatLike, shape: FloatLike) -> Floats:
    """P(Z <= x) of a gamma distribution, by Wilson and Hilferty's cube root (within 0.01 for shapes from 0.5)."""
    ratio = np.maximum(x, 0.0) / np.maximum(mean, TINY)
    z = (np.cbrt(ratio) - (1.0 - 1.0 / (9.0 * shape))) * 3.0 * np.sqrt(shape)
    # Page's logistic form of the normal distribution, within 2e-4.
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(z * (1.5976 + 0.07056 * z * z), -60.0, 60.0))), np.float64)


def gamma_mean_below(mean: Floats, shape: Floats, most: Floats) -> Floats:
    """E[min(Z, most)] of a gamma distribution: never above `mean` nor `most`."""
    below = mean * gamma_cdf(most, mean * (shape + 1.0) / shape, shape + 1.0)
    found = below + most * (1.0 - gamma_cdf(most, mean, shape))
    return np.asarray(np.minimum(np.minimum(found, mean), most), dtype=np.float64)


def mixture_quantile(
    q: FloatLike,
    *,
    idle_ms: Floats,
    delayed: Floats,
    least_ms: FloatLike,
    mean_ms: Floats,
    shape: Floats,
    most_ms: FloatLike = np.inf,
) -> Floats:
    """Quantile `q` of a delay that is uniform on [0, idle_ms] for some, and for the share `delayed` is `least_ms` and
    a gamma variable of `mean_ms` and `shape` more; at most `most_ms`. Bisection, to a millionth of where it starts;
    arrays of one shape, which `q` broadcasts with."""
    low = np.zeros(np.broadcast_shapes(np.shape(q), mean_ms.shape))
    high = np.minimum(np.maximum(idle_ms, least_ms + 20.0 * mean_ms), most_ms) + low
    for _ in range(20):
        x = (low + high) / 2.0
        uniform = np.where(idle_ms > 0.0, np.minimum(x / np.maximum(idle_ms, TINY), 1.0), 1.0)
        share = (1.0 - delayed) * uniform + delayed * np.where(
            x > least_ms, gamma_cdf(x - least_ms, mean_ms, shape), 0.0
        )
        low, high = np.where(share < q, x, low), np.where(share < q, high, x)
    return high
