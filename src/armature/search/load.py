"""Latency of one worker under a Poisson stream: time to first token and time between tokens, as distributions.

Two things happen in a continuous-batching engine at once. Prompts queue: those that come during a step are computed in
the next one, as many as its chunk holds, each making that step longer. And every request in flight gets one token per
step, so each prompt delays all of them. `Lane` says what steps cost where this happens, `load_of` what it comes to.

The queue of prompts is a mix of two that are understood. Where a chunk holds one prompt, it is a single server with
constant service (M/D/1, and QNA's approximations for more regular streams). Where it holds many, it is a gated queue:
a step lasts `fixed + marginal * (arrivals during the step before)`, whose moments have closed forms. The smaller wait
of the two is taken. Derivation and measured errors: docs/search.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from armature.perf.estimate import FloatLike, Floats
from armature.perf.queueing import (
    TINY,
    delayed_share,
    gamma_cdf,
    gamma_mean_below,
    mixture_quantile,
    renewals,
    round_robin_wait_ms,
    wait_shape,
)
from armature.search.lane import HIGHEST, Lane, Steps, steps_of, times_felt

__all__ = [
    "Between",
    "FirstToken",
    "Load",
    "decoding_only",
    "first_token_of",
    "found_in_flight",
    "load_of",
    "quantiles",
    "rate_at",
]


@dataclass(frozen=True, slots=True)
class FirstToken:
    """Time to first token: `own_ms`, and a delay of `delay_ms` on average: for the share `delayed` of requests one of
    gamma `shape`, for the others up to `idle_ms` until the running step ends."""

    own_ms: Floats
    delay_ms: Floats
    idle_ms: Floats
    delayed: Floats
    shape: Floats


@dataclass(frozen=True, slots=True)
class Between:
    """A request's mean time between tokens: `base_ms`; for the share `met` of requests, prompts add at least
    `first_ms`, on average over all requests `mean_ms - base_ms`, in gamma `shape`; never above `most_ms`."""

    base_ms: Floats
    mean_ms: Floats
    met: Floats
    first_ms: Floats
    shape: Floats
    most_ms: Floats


@dataclass(frozen=True, slots=True)
class Load:
    first: FirstToken
    between: Between


def found_in_flight(batch: FloatLike, servers: FloatLike) -> Floats:
    """Mean number in flight of a lane in which a request, once there, finds `batch` in flight, itself included.

    Requests of a Poisson stream find as many as there are on average; of a more regular stream, (1 - ca2) / 2 fewer
    (the renewal function again). Below one request the lane idles in between.
    """
    mine = (1.0 + 1.0 / np.maximum(np.asarray(servers, dtype=np.float64), 1.0)) / 2.0
    batch = np.asarray(batch, dtype=np.float64)
    return np.asarray(batch - mine * (1.0 - np.exp(-batch / mine)), dtype=np.float64)


def rate_at(lane: Lane, servers: FloatLike, in_flight: FloatLike, tokens: float) -> Floats:
    """Requests per second that keep `in_flight` requests in a lane, by Little's law.

    in_flight = rate * (own + tokens * ITL), and ITL * tokens * (1 - rate * interference) = tokens * decode + rate * own
    * interference (the prompts that wait when a first token comes out): a quadratic equation in the rate. What a prompt
    costs the others depends a little on the rate; two rounds settle that.
    """
    servers = np.maximum(np.asarray(servers, dtype=np.float64), 1.0)
    in_flight = np.asarray(in_flight, dtype=np.float64)
    each = np.maximum(lane.own_ms - lane.chunks * lane.decode_ms, 0.0)
    rate = np.zeros(np.broadcast_shapes(in_flight.shape, lane.own_ms.shape, servers.shape))
    for turn in range(3):
        if turn:
            steps = steps_of(lane, np.maximum(rate, TINY), servers)
            come = rate * (steps.mean_ms if lane.room > 1.0 else lane.own_ms)
            each = steps.interference_ms * times_felt(come, lane.ranks)
        linear = tokens * lane.decode_ms + lane.own_ms + in_flight * each
        square = lane.own_ms * each
        rate = 2.0 * in_flight / np.maximum(linear + np.sqrt(linear**2 + 4.0 * square * in_flight), TINY)
    return np.asarray(1000.0 * rate, dtype=np.float64)


def first_token_of(lane: Lane, rate_per_s: FloatLike, servers: FloatLike, in_flight: FloatLike) -> Floats:
    """Mean time to first token: `load_of(...).first`'s, without the rest."""
    rate = np.maximum(np.asarray(rate_per_s, dtype=np.float64) / 1000.0, TINY)
    servers = np.maximum(np.asarray(servers, dtype=np.float64), 1.0)
    steps = steps_of(lane, rate, servers)
    return lane.own_ms + _queue(lane, steps, rate, servers, np.asarray(in_flight, dtype=np.float64)).delay_ms


def load_of(
    lane: Lane, rate_per_s: FloatLike, servers: FloatLike, in_flight: FloatLike, tokens: float
) -> Load:
    """Latency in a lane that `rate_per_s` requests reach, each `servers`-th of a Poisson stream, with `in_flight`
    requests decoding on average and `tokens` (output tokens less one) to each. Arguments broadcast with the lane."""
    rate = np.maximum(np.asarray(rate_per_s, dtype=np.float64) / 1000.0, TINY)
    servers = np.maximum(np.asarray(servers, dtype=np.float64), 1.0)
    in_flight = np.asarray(in_flight, dtype=np.float64)
    steps = steps_of(lane, rate, servers)
    queue = _queue(lane, steps, rate, servers, in_flight)
    first = _first_token(lane, steps, queue, rate, servers)
    return Load(first, _between(lane, steps, queue.backlog, rate, servers, in_flight, max(tokens, 1.0)))


def decoding_only(itl_ms: Floats, slope_ms: Floats, servers: FloatLike, in_flight: Floats) -> Between:
    """Time between tokens where nothing but decode steps happens: it varies with the number in flight alone."""
    wander = _wander_ms(slope_ms, in_flight, servers, itl_ms)
    zero = np.zeros_like(itl_ms)
    return Between(
        base_ms=zero,
        mean_ms=itl_ms,
        met=zero + 1.0,
        first_ms=zero,
        shape=np.clip(itl_ms**2 / np.maximum(wander**2, TINY), 0.2, 1e4),
        most_ms=zero + np.inf,
    )


def quantiles(load: Load, q: FloatLike) -> tuple[Floats, Floats]:
    """Quantile `q` of (TTFT, mean ITL of a request), milliseconds; `q` broadcasts with the load."""
    first, between = load.first, load.between
    idle_part = (1.0 - first.delayed) * first.idle_ms / 2.0
    ttft = first.own_ms + mixture_quantile(
        q,
        idle_ms=first.idle_ms,
        delayed=first.delayed,
        least_ms=0.0,
        mean_ms=np.maximum(first.delay_ms - idle_part, 0.0) / np.maximum(first.delayed, TINY),
        shape=first.shape,
    )
    most = np.maximum(between.most_ms - between.base_ms, 0.0)
    itl = between.base_ms + mixture_quantile(
        q,
        idle_ms=np.zeros_like(between.base_ms),
        delayed=between.met,
        least_ms=between.first_ms,
        mean_ms=np.maximum(
            (between.mean_ms - between.base_ms) / np.maximum(between.met, TINY) - between.first_ms, TINY
        ),
        shape=between.shape,
        most_ms=most,
    )
    return ttft, itl


@dataclass(frozen=True, slots=True)
class _Queue:
    """Prompts that wait. idle_ms: what is left of a running step at most; step_ms: the step that runs; taken: share of
    time in steps with prompts; single: where one prompt at a time describes it; working: share of time in steps;
    backlog: prompts that wait when a first token comes out."""

    delay_ms: Floats
    idle_ms: Floats
    step_ms: Floats
    taken: Floats
    single: npt.NDArray[np.bool_]
    working: Floats
    backlog: Floats


def _queue(lane: Lane, steps: Steps, rate: Floats, servers: Floats, in_flight: Floats) -> _Queue:
    s, room = steps.marginal_ms, lane.room
    busy = 1.0 - np.exp(-in_flight)
    idle = lane.decode_ms * busy
    if np.any(lane.ranks > 1.0):  # an idle rank's prompt waits for the step of the others
        others = 1.0 - (1.0 - np.minimum(rate * lane.own_ms, HIGHEST)) ** (lane.ranks - 1.0)
        idle = np.maximum(idle, others * lane.own_ms / lane.chunks)
    one = s + steps.fixed_ms
    single = idle / 2.0 + round_robin_wait_ms(one, rate * one, servers)
    taken = np.minimum(rate * (s + steps.fixed_ms * steps.filled), HIGHEST)
    if room <= 1.0:
        shared = lane.spare_ms * gamma_cdf(lane.before_ms + single - idle / 2.0, 1.0 / rate, servers)
        backlog = renewals(rate * (lane.own_ms + single - idle / 2.0), servers)
        yes = np.ones_like(single, dtype=np.bool_)
        return _Queue(single + shared, idle, steps.mean_ms, taken, yes, busy, backlog)
    ca2, rho = 1.0 / servers, np.minimum(rate * s, HIGHEST)
    # A lane without requests that decode is idle now and then; a prompt that comes then starts at once.
    come = rate * steps.mean_ms
    none = np.exp(-come)
    alone = lane.decode_ms <= 0.0
    working = np.where(alone, delayed_share(come / (none + come), servers), busy)
    spread = ca2 * np.where(alone, none + come**2 + come - (none + come) ** 2, come)
    # The step a request comes in is a long one more often than not: E[X^2] / E[X].
    met = steps.mean_ms + spread * s * s / np.maximum(steps.mean_ms, TINY) / (1.0 - rho**2)
    ahead = working * s * renewals(rate * met / 2.0, servers)
    full = lane.shared_ms[-1] / room
    overhead = round_robin_wait_ms(full, rate * full, servers) - round_robin_wait_ms(s, rate * s, servers)
    often = gamma_cdf(2.0 * come, room, room)  # more come in two steps than one takes
    gated = working * met / 2.0 + ahead + np.maximum(overhead, 0.0) * often
    wait = np.minimum(single, gated)
    behind = np.minimum(ahead, (room - 1.0) / 2.0 * s)
    later = np.maximum(wait - working * met / 2.0, 0.0) / room
    backlog = renewals(rate * (lane.own_ms + behind + later), servers)
    taken = np.where(lane.decode_ms > 0.0, taken, working)
    return _Queue(wait + behind, idle, steps.mean_ms, taken, np.asarray(single <= gated), working, backlog)


def _first_token(lane: Lane, steps: Steps, queue: _Queue, rate: Floats, servers: Floats) -> FirstToken:
    """The delay's distribution: its mean is the queue's."""
    delay, idle = queue.delay_ms, queue.idle_ms + 0.0 * queue.delay_ms
    gap_ends = gamma_cdf(idle, 1.0 / rate, servers)
    delayed = np.maximum(1.0 - (1.0 - delayed_share(queue.taken, servers)) * (1.0 - gap_ends), TINY)
    shape = wait_shape(queue.taken)
    if lane.room > 1.0:
        s = steps.marginal_ms
        rho = np.minimum(rate * s, HIGHEST)
        alone = (1.0 - delayed) * idle
        second = (
            _gated_ratio(rate, s, rho, 1.0 / servers, queue.step_ms)
            * delay**2
            / np.maximum(queue.working, TINY)
        )
        mean = np.maximum(delay - alone / 2.0, TINY) / delayed
        variance = (second - alone * idle / 3.0) / delayed - mean**2
        # On a lane that is idle now and then, what is left of a running step is most of the wait, and that is uniform.
        most = np.where(lane.decode_ms > 0.0, 30.0, 4.0)
        many = np.clip(mean**2 / np.maximum(variance, TINY), 0.8, most)
        shape = np.where(queue.single, shape, many)
    return FirstToken(lane.own_ms + 0.0 * delay, delay, idle, delayed, shape + 0.0 * delay)


def _gated_ratio(rate: Floats, s: Floats, rho: Floats, ca2: Floats, step_ms: Floats) -> Floats:
    """E[Z^2] / E[Z]^2 of the delay Z = (U + rho) Y + noise in a gated queue: U uniform, Y the step that a request comes
    in. The cumulants of a step, X' = fixed + s * arrivals(X), solve linear equations each."""
    k1 = np.maximum(step_ms, TINY)
    k2 = ca2 * rate * s**2 * k1 / (1.0 - rho**2)
    k3 = ca2**2 * (3.0 * rho * rate * s**2 * k2 + rate * s**3 * k1) / (1.0 - rho**3)
    y1 = (k2 + k1**2) / k1
    y2 = (k3 + 3.0 * k1 * k2 + k1**3) / k1
    z1 = (0.5 + rho) * y1
    z2 = (1.0 / 3.0 + rho + rho**2) * y2 + ca2 * rate * s**2 * y1
    return np.asarray(np.maximum(z2 / np.maximum(z1**2, TINY), 1.0), dtype=np.float64)


def _between(
    lane: Lane,
    steps: Steps,
    backlog: Floats,
    rate: Floats,
    servers: Floats,
    in_flight: Floats,
    tokens: float,
) -> Between:
    """A request's own decode steps take `tokens * decode_ms`; prompts that come meanwhile, and those still waiting when
    it began, make it longer, and during that more come: the busy period of a queue that starts with this work, whose
    number of prompts is generalised Poisson (Consul & Famoye 1992). Besides, the number in flight wanders."""
    base, each = lane.decode_ms, steps.interference_ms
    felt = rate * times_felt(rate * np.maximum(steps.mean_ms, lane.own_ms * (lane.room <= 1.0)), lane.ranks)
    left = 1.0 - np.minimum(felt * each, HIGHEST)
    begun = felt * tokens * base + backlog
    prompts = begun / left
    spread = (begun / left**3 + backlog**2 / left**2) / servers
    prompts_shape = np.clip(prompts**2 / np.maximum(spread, TINY), 0.2, 1e4)
    mean = gamma_mean_below(prompts * each / tokens, prompts_shape, np.maximum(lane.longest_ms - base, TINY))
    met = np.clip(1.0 - np.exp(-begun), TINY, 1.0)
    first = each / tokens * (1.0 - met)
    slope = lane.slope_ms / left
    wander = _wander_ms(slope, in_flight, servers, base + mean)
    variance = (
        spread * (each / tokens) ** 2 * np.minimum(mean * tokens / np.maximum(prompts * each, TINY), 1.0) ** 2
    )
    rest = np.maximum(mean / met - first, TINY)
    second = (variance + wander**2 + mean**2) / met - (mean / met) ** 2
    return Between(
        base_ms=base + 0.0 * mean,
        mean_ms=base + mean,
        met=met,
        first_ms=first,
        shape=np.clip(rest**2 / np.maximum(second, TINY), 0.2, 1e4),
        most_ms=lane.longest_ms + 0.0 * mean,
    )


def _wander_ms(slope_ms: Floats, in_flight: Floats, servers: FloatLike, itl_ms: Floats) -> Floats:
    """Standard deviation of a request's ITL from the number in flight, which wanders about its mean.

    More in flight are slower and stay longer: a deviation decays 1 - f times as fast as it would, f the elasticity of
    ITL to the number in flight, so its variance is N / (1 - f) (the linear-noise approximation); averaged over one
    request's life with an exponential autocorrelation.
    """
    f = np.clip(slope_ms * in_flight / np.maximum(itl_ms, TINY), 0.0, 0.9)
    x = 1.0 - f
    averaged = 2.0 * (x - 1.0 + np.exp(-x)) / x**2
    variance = in_flight * (1.0 + 1.0 / np.asarray(servers)) / 2.0 / x * averaged
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)) * slope_ms, dtype=np.float64)
