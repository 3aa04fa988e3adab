"""Waiting in front of a server, from first principles: the mathematics under `search.load`.

Streams are Poisson, dealt round-robin to `servers` equal servers: each sees gaps of an Erlang distribution, whose
squared coefficient of variation is `1 / servers`. Everything is vectorised and finite, and but for
`batch_queue` nothing falls as the rate rises.

Where a server takes several requests at once, `batch_queue` has its wait: a bulk queue (Bailey 1954, "On queueing
processes with bulk service"), by its moments.

Sources: Kingman 1961 ("The single server queue in heavy traffic"); Krämer & Langenbach-Belz 1976 ("Approximate formulae
for the delay in the queueing system GI/G/1"); Whitt 1983 ("The Queueing Network Analyzer", Bell System Technical
Journal 62); Cox 1962 ("Renewal Theory"); Booton 1954 ("Nonlinear control systems with random inputs": statistical
linearisation); Wilson & Hilferty 1931 for the gamma distribution's quantiles.
"""

from __future__ import annotations

import msgspec
import numpy as np

from armature.perf.estimate import FloatLike, Floats

__all__ = [
    "HIGHEST",
    "MAX_UTILISATION",
    "Batched",
    "batch_queue",
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
ROUNDS = 4
"""Rounds of a fixed point of batches: below 90 % of capacity they change by less than 1 % after these."""
HIGHEST = 0.98
"""Utilisations are clipped here, so that every wait is finite; the sweep marks points above MAX_UTILISATION."""


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


class Batched(msgspec.Struct, frozen=True):
    """A server that takes batches. delay_ms: mean time to the end of a request's batch, less that of a batch of one;
    working: share of requests that find it at work; step_ms: mean time of a batch; slope_ms: what one more request
    adds to a batch, those that do not fit counted; paced_ms: mean wait at a server that takes one at a time, as fast as
    full batches go."""

    delay_ms: Floats
    working: Floats
    step_ms: Floats
    slope_ms: Floats
    paced_ms: Floats


def batch_queue(
    rate: Floats, servers: Floats, *, alone_ms: Floats, each_ms: Floats, full_ms: Floats, most: Floats
) -> Batched:
    """A Poisson stream dealt round-robin to `servers` servers; each, when free, takes all that wait, up to `most`.

    rate: requests per millisecond of one server. A batch of m takes alone_ms + each_ms * (m - 1), a full one full_ms *
    most. Those that come during one batch are the next, and of a batch that is too large the rest costs full_ms each:
    the mean and variance of batches are those of the linear recursion with the mean slope (statistical linearisation).
    A server rests after a batch during which none comes; who comes then starts the next alone (renewal theory). In
    heavy traffic the wait is never below that of a server which computes requests one by one at the pace of full
    batches. Mean time within 13 % of a simulated queue of one or two servers; of many servers it can be a fifth too
    long, and fall a little with the rate, where a batch of one lasts about a gap.
    """
    k = servers + 0.0 * rate
    ca2, first = 1.0 / k, rate * alone_ms
    poisson = bool(np.all(k <= 1.0))
    stays = np.where(k <= 1.0, np.exp(-first), 1.0 - gamma_cdf(first, 1.0, k))
    follow = renewals(first, k)
    slope = each_ms + 0.0 * k
    later = np.clip((alone_ms - slope) / (1.0 - np.minimum(rate * slope, HIGHEST)), alone_ms, full_ms * most)
    for _ in range(ROUNDS):
        come = rate * later
        gone = np.exp(-come)
        if not poisson:
            gone = np.where(k <= 1.0, gone, 1.0 - gamma_mean_below(np.ones_like(k), k, come))
        # Share of batches that start with who comes to a rest.
        rests = gone / np.maximum(1.0 - stays + gone, TINY)
        joined = rests * follow + (1.0 - rests) * come  # who come during a batch
        many = np.clip(joined / np.maximum(1.0 - rests, TINY), 1.0, 1.0 + np.maximum(first, come))
        shape = np.maximum(many * k * (1.0 - np.minimum(rate * slope, HIGHEST) ** 2), 0.5)
        slope = each_ms + (full_ms - each_ms) * (1.0 - gamma_cdf(most + 0.5, many, shape))
        beyond = many - gamma_mean_below(many, shape, most + 0.0 * many)
        later = np.maximum(alone_ms + each_ms * (many - 1.0) + (full_ms - each_ms) * beyond, alone_ms)
    batch = rests + joined
    step = rests * alone_ms + (1.0 - rests) * later
    wide = ca2 * (rests + joined**2 + joined - batch**2) / (1.0 - np.minimum(rate * slope, HIGHEST) ** 2)
    varies = slope**2 * wide  # of the time of a batch
    left = rests * _counted(first, k) / rate + (1.0 - rests) * rate * later**2 / 2.0 + rate * varies / 2.0
    together = rests * ca2 * follow**2 + (1.0 - rests) * 2.0 * _counted(rate * later, k) + rate**2 * varies
    ahead, behind = together / batch / 2.0, np.minimum(together / batch, most - 1.0) / 2.0
    wait = left / batch + slope * ahead + each_ms * behind
    full = np.minimum(batch, most)
    paced = round_robin_wait_ms(full_ms, rate * full_ms, k)
    least = paced + (step - full_ms) / 2.0 + full_ms * (full + 1.0) / 2.0 - alone_ms
    return Batched(np.maximum(wait, least), joined / batch, step, slope, paced)


def _counted(x: Floats, k: Floats) -> Floats:
    """Integral from 0 to `x` of the renewal function of Erlang gaps of mean 1 and shape `k`: that of the first gap's
    distribution, then the asymptote (Cox 1962)."""
    ca2 = 1.0 / k
    first = np.maximum(x - gamma_mean_below(np.ones_like(x), k, x), 0.0)
    later = x * x / 2.0 - (1.0 - ca2) / 2.0 * x + (1.0 - ca2**2) / 12.0
    return np.asarray(
        np.where(k <= 1.0, x * x / 2.0, np.where(x > 1.0, np.maximum(first, later), first)), np.float64
    )


def gamma_cdf(x: FloatLike, mean: FloatLike, shape: FloatLike) -> Floats:
    """P(Z <= x) of a gamma distribution, by Wilson and Hilferty's cube root (within 0.01 for shapes from 0.5)."""
    ratio = np.maximum(x, 0.0) / np.maximum(mean, TINY)
    z = (np.cbrt(ratio) - (1.0 - 1.0 / (9.0 * shape))) * (3.0 * np.sqrt(shape))
    # Page's logistic form of the normal distribution, within 2e-4; its exponent kept from overflow.
    return np.asarray(1.0 / (1.0 + np.exp(np.minimum(z * (-1.5976 - 0.07056 * z * z), 60.0))), np.float64)


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
    mean_ms: Floats,
    shape: Floats,
    most_ms: FloatLike = np.inf,
) -> Floats:
    """Quantile `q` of a delay that is uniform on [0, idle_ms] for some, and for the share `delayed` is
    a gamma variable of `mean_ms` and `shape`; at most `most_ms`. Bisection, to a millionth of where it starts;
    arrays of one shape, which `q` broadcasts with."""
    low = np.zeros(np.broadcast_shapes(np.shape(q), mean_ms.shape))
    high = np.minimum(np.maximum(idle_ms, 20.0 * mean_ms), most_ms) + low
    for _ in range(20):
        x = (low + high) / 2.0
        uniform = np.where(idle_ms > 0.0, np.minimum(x / np.maximum(idle_ms, TINY), 1.0), 1.0)
        share = (1.0 - delayed) * uniform + delayed * gamma_cdf(x, mean_ms, shape)
        low, high = np.where(share < q, x, low), np.where(share < q, high, x)
    return high
