"""Latency of one worker under a Poisson stream: time to first token and time between tokens, as distributions.

Two things happen in a continuous-batching engine at once. Prompts queue: those that come during a step are computed in
the next one, as many as its chunk holds, each making that step longer. And every request in flight gets one token per
step, so each prompt delays all of them. `Lane` says what steps cost where this happens, `load_of` what it comes to.

Where a prompt takes several steps, or a step one prompt, the queue is a single server with constant service (M/D/1, and
QNA's approximations for more regular streams). Where a step holds many and nothing decodes, it is a bulk queue
(`perf.queueing.batch_queue`). Where requests decode beside them, the server never rests: a gated queue, in which a step
lasts `fixed + marginal * (arrivals during the step before)`, whose moments have closed forms; the smaller wait of that
and the single server's is taken. Ranks that step together are one server. Derivation and measured errors:
docs/search.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import structs

from armature.perf.estimate import FloatLike, Floats
from armature.perf.queueing import (
    HIGHEST,
    TINY,
    Batched,
    batch_queue,
    delayed_share,
    gamma_cdf,
    gamma_mean_below,
    mixture_quantile,
    renewals,
    round_robin_wait_ms,
    wait_shape,
)
from armature.search.lane import Lane, Steps, held_up, steps_of

__all__ = [
    "Between",
    "FirstToken",
    "Load",
    "decoding_only",
    "first_token_of",
    "found_in_flight",
    "joined_loads",
    "load_of",
    "quantiles",
    "rate_at",
]


class FirstToken(msgspec.Struct, frozen=True):
    """Time to first token: `own_ms`, and a delay of `delay_ms` on average: for the share `delayed` of requests one of
    gamma `shape`, for the others up to `idle_ms` until the running step ends."""

    own_ms: Floats
    delay_ms: Floats
    idle_ms: Floats
    delayed: Floats
    shape: Floats


class Between(msgspec.Struct, frozen=True):
    """A request's mean time between tokens: `base_ms`, and what prompts add, on average `mean_ms - base_ms`, in gamma
    `shape`; never above `most_ms`. The share `none` of requests meets no prompt."""

    base_ms: Floats
    mean_ms: Floats
    none: Floats
    shape: Floats
    most_ms: Floats


_Part = TypeVar("_Part", FirstToken, Between)


class Load(msgspec.Struct, frozen=True):
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
    _, servers, _ = _of_group(lane, 1.0, servers, in_flight)
    in_flight = np.asarray(in_flight, dtype=np.float64)
    each = np.maximum(lane.own_ms - lane.chunks * lane.decode_ms, 0.0)
    rate = np.zeros(np.broadcast_shapes(in_flight.shape, lane.own_ms.shape, servers.shape))
    for turn in range(3):
        if turn:
            group = np.maximum(rate * lane.ranks, TINY)
            steps = steps_of(lane, group, servers)
            each = steps.interference_ms * held_up(lane, group) / group * lane.ranks
        linear = tokens * lane.decode_ms + lane.own_ms + in_flight * each
        square = lane.own_ms * each
        rate = 2.0 * in_flight / np.maximum(linear + np.sqrt(linear**2 + 4.0 * square * in_flight), TINY)
    return np.asarray(1000.0 * rate, dtype=np.float64)


def first_token_of(lane: Lane, rate_per_s: FloatLike, servers: FloatLike, in_flight: FloatLike) -> Floats:
    """Mean time to first token: `load_of(...).first`'s, without the rest."""
    rate, servers, in_flight = _of_group(lane, rate_per_s, servers, in_flight)
    return lane.own_ms + _queue(lane, steps_of(lane, rate, servers), rate, servers, in_flight).delay_ms


def load_of(
    lane: Lane, rate_per_s: FloatLike, servers: FloatLike, in_flight: FloatLike, tokens: float
) -> Load:
    """Latency in a lane that `rate_per_s` requests reach, each `servers`-th of a Poisson stream, with `in_flight`
    requests decoding on average and `tokens` (output tokens less one) to each. Arguments broadcast with the lane."""
    rate, servers, in_flight = _of_group(lane, rate_per_s, servers, in_flight)
    steps = steps_of(lane, rate, servers)
    queue = _queue(lane, steps, rate, servers, in_flight)
    first = _first_token(lane, steps, queue, rate, servers)
    return Load(first, _between(lane, steps, queue.since, rate, servers, in_flight, max(tokens, 1.0)))


def _of_group(
    lane: Lane, rate_per_s: FloatLike, servers: FloatLike, in_flight: FloatLike
) -> tuple[Floats, Floats, Floats]:
    """(rate per millisecond, servers, in flight) of the ranks that step together."""
    return (
        np.maximum(np.asarray(rate_per_s, dtype=np.float64) * lane.ranks / 1000.0, TINY),
        np.maximum(np.asarray(servers, dtype=np.float64) / lane.ranks, 1.0),
        np.asarray(in_flight, dtype=np.float64) * lane.ranks,
    )


def decoding_only(itl_ms: Floats, slope_ms: Floats, servers: FloatLike, in_flight: Floats) -> Between:
    """Time between tokens where nothing but decode steps happens: it varies with the number in flight alone."""
    wander = _wander_ms(slope_ms, in_flight, servers, itl_ms)
    zero = np.zeros_like(itl_ms)
    return Between(
        base_ms=zero,
        mean_ms=itl_ms,
        none=zero,
        shape=np.clip(itl_ms**2 / np.maximum(wander**2, TINY), 0.2, 1e4),
        most_ms=zero + np.inf,
    )


def quantiles(load: Load, q: FloatLike) -> tuple[Floats, Floats]:
    """Quantile `q` of (TTFT, mean ITL of a request), milliseconds; `q` broadcasts with the load. Both at once."""
    first, between = load.first, load.between
    idle_part = (1.0 - first.delayed) * first.idle_ms / 2.0
    delay = np.maximum(first.delay_ms - idle_part, 0.0) / np.maximum(first.delayed, TINY)
    added = np.maximum(between.mean_ms - between.base_ms, TINY)
    most = np.maximum(between.most_ms - between.base_ms, 0.0)
    ttft, itl = mixture_quantile(
        q,
        idle_ms=_both(first.idle_ms, 0.0 * added),
        delayed=_both(first.delayed, np.ones_like(added)),
        mean_ms=_both(delay, added),
        shape=_both(first.shape, between.shape),
        most_ms=_both(np.full_like(delay, np.inf), most),
    )
    return first.own_ms + ttft, np.where(q <= between.none, between.base_ms, between.base_ms + itl)


def _both(first: Floats, between: Floats) -> Floats:
    """(2, 1, ...): one axis more, over which quantiles are."""
    return np.stack([first, between])[:, None]


def joined_loads(loads: Sequence[Load]) -> Load:
    """Loads of shape (n,), one after the other."""
    return Load(
        _joined(FirstToken, [load.first for load in loads]),
        _joined(Between, [load.between for load in loads]),
    )


def _joined(kind: type[_Part], parts: Sequence[_Part]) -> _Part:
    columns = zip(*(structs.astuple(part) for part in parts), strict=True)
    return kind(*(np.concatenate(column) for column in columns))


class _Queue(msgspec.Struct, frozen=True):
    """Prompts that wait. idle_ms: what is left of a running step at most; step_ms: the step that runs, slope_ms: what a
    prompt adds to it; taken: share of requests that find prompts ahead; single: where one prompt at a time describes
    it; working: share of requests that find a step running; since: prompts that come, on average, while one waits and
    is computed; paced_ms: what the wait varies by at least."""

    delay_ms: Floats
    idle_ms: Floats
    step_ms: Floats
    slope_ms: Floats
    taken: Floats
    single: npt.NDArray[np.bool_]
    working: Floats
    since: Floats
    paced_ms: Floats | float = 0.0


def _queue(lane: Lane, steps: Steps, rate: Floats, servers: Floats, in_flight: Floats) -> _Queue:
    s, most, ranks = steps.marginal_ms, lane.room * lane.ranks, lane.ranks
    busy = 1.0 - np.exp(-in_flight)
    idle = lane.decode_ms * busy
    own, rank_rate, rank_servers = lane.own_ms, rate / ranks, servers * ranks
    if lane.chunks > 1.0 and np.any(ranks > 1.0):
        # An idle rank's prompt waits for the step of the others, and its short last chunk for their long ones.
        others = 1.0 - (1.0 - np.minimum(rank_rate * own, HIGHEST)) ** (ranks - 1.0)
        idle = np.maximum(idle, others * own / lane.chunks)
        own = own + others * np.maximum(lane.chunks * lane.longest_ms - own, 0.0)
    waited = round_robin_wait_ms(own, rank_rate * own, rank_servers) + own - lane.own_ms
    single = idle / 2.0 + waited
    if lane.one_by_one:
        return _Queue(
            delay_ms=single
            + lane.spare_ms * gamma_cdf(lane.before_ms + waited, 1.0 / rank_rate, rank_servers),
            idle_ms=idle,
            step_ms=steps.mean_ms,
            slope_ms=s,
            taken=np.minimum(rank_rate * own, HIGHEST),
            single=np.ones_like(single, dtype=np.bool_),
            working=busy,
            since=held_up(lane, rate) * (lane.own_ms + waited),
        )
    if not np.any(lane.decode_ms):
        many, one = _batches(lane, s, rate, servers, single.shape), most + 0.0 * single <= 1.0
        return _Queue(
            delay_ms=np.where(one, single, many.delay_ms),
            idle_ms=idle,
            step_ms=np.where(one, steps.mean_ms, many.step_ms),
            slope_ms=many.slope_ms,
            taken=np.where(one, np.minimum(rate * own, HIGHEST), many.working),
            single=one,
            working=many.working,
            since=np.zeros_like(single),
            paced_ms=many.paced_ms,
        )
    ca2, rho = 1.0 / servers, np.minimum(rate * s, HIGHEST)
    come = rate * steps.mean_ms
    # The step a request comes in is a long one more often than not: E[X^2] / E[X].
    varies = ca2 * come * s * s / (1.0 - rho**2) + _jump(lane, steps, rate, servers)[0]
    met = steps.mean_ms + varies / np.maximum(steps.mean_ms, TINY)
    ahead = busy * s * renewals(rate * met / 2.0, servers)
    full = lane.shared_ms[-1] / most
    overhead = round_robin_wait_ms(full, rate * full, servers) - round_robin_wait_ms(s, rate * s, servers)
    often = gamma_cdf(2.0 * come, most, most)  # more come in two steps than one takes
    gated = busy * met / 2.0 + ahead + np.maximum(overhead, 0.0) * often
    wait = np.where(ranks > 1.0, gated, np.minimum(single, gated))
    behind = np.minimum(ahead, (most - 1.0) / 2.0 * s)
    later = np.maximum(wait - busy * met / 2.0, 0.0) / most
    return _Queue(
        delay_ms=wait + behind,
        idle_ms=idle,
        step_ms=steps.mean_ms,
        slope_ms=s,
        taken=np.minimum(rate * (s + steps.fixed_ms * steps.filled), HIGHEST),
        single=(single <= gated) & (ranks <= 1.0),
        working=busy,
        since=rate * (lane.own_ms + behind + later),
    )


def _batches(lane: Lane, marginal: Floats, rate: Floats, servers: Floats, shape: tuple[int, ...]) -> Batched:
    """`batch_queue` of the lanes whose steps hold several prompts; zeros elsewhere."""
    most = lane.room * lane.ranks
    values = [
        np.broadcast_to(v, shape)
        for v in (rate, servers, lane.own_ms, marginal, lane.shared_ms[-1] / most, most)
    ]
    rows = np.flatnonzero((values[5] > 1.0).any(axis=tuple(range(1, len(shape)))))
    rate, servers, own, each, full, most = values if len(rows) == shape[0] else [v[rows] for v in values]
    found = batch_queue(rate, servers, alone_ms=own, each_ms=each, full_ms=full, most=most)
    if len(rows) == shape[0]:
        return found
    whole = [np.zeros(shape) for _ in Batched.__struct_fields__]
    for column, part in zip(whole, structs.astuple(found), strict=True):
        column[rows] = part
    return Batched(*whole)


def _first_token(lane: Lane, steps: Steps, queue: _Queue, rate: Floats, servers: Floats) -> FirstToken:
    """The delay's distribution: its mean is the queue's."""
    delay, idle = queue.delay_ms, queue.idle_ms + 0.0 * queue.delay_ms
    alone = not np.any(lane.decode_ms)
    gap_ends = gamma_cdf(idle, 1.0 / rate, servers)
    found = np.where(queue.single | (not alone), delayed_share(queue.taken, servers), queue.taken)
    delayed = np.maximum(1.0 - (1.0 - found) * (1.0 - gap_ends), TINY)
    shape = wait_shape(queue.taken)
    if not lane.one_by_one:
        s = queue.slope_ms
        rho = np.minimum(rate * s, HIGHEST)
        others = (1.0 - delayed) * idle
        jump = (0.0, 0.0) if alone else _jump(lane, steps, rate, servers)
        ratio = _gated_ratio(rate, s, rho, 1.0 / servers, queue.step_ms, *jump)
        second = ratio * delay**2 / np.maximum(queue.working, TINY)
        second = np.maximum(second, delay**2 + queue.paced_ms**2 + queue.step_ms**2 / 12.0 * alone)
        mean = np.maximum(delay - others / 2.0, TINY) / delayed
        variance = (second - others * idle / 3.0) / delayed - mean**2
        many = np.clip(mean**2 / np.maximum(variance, TINY), 0.8, 30.0)
        shape = np.where(queue.single, shape, many)
    return FirstToken(lane.own_ms + 0.0 * delay, delay, idle, delayed, shape + 0.0 * delay)


def _jump(lane: Lane, steps: Steps, rate: Floats, servers: Floats) -> tuple[Floats, Floats]:
    """Second and third central moment of what the first prompt adds to a step, as those see it who come. A step with
    prompts begins soon after one came, so that of a regular stream few come in it."""
    share = np.minimum(rate * steps.mean_ms * steps.filled, 1.0)
    jump = np.maximum(steps.fixed_ms - lane.decode_ms, 0.0)
    come = rate * lane.own_ms
    second = (
        share * (1.0 - share) * jump**2 * np.minimum(renewals(come, servers) / np.maximum(come, TINY), 1.0)
    )
    return second, second * (1.0 - 2.0 * share) * jump


def _gated_ratio(
    rate: Floats, s: Floats, rho: Floats, ca2: Floats, step_ms: Floats, second: FloatLike, third: FloatLike
) -> Floats:
    """E[Z^2] / E[Z]^2 of the delay Z = (U + rho) Y + noise in a gated queue: U uniform, Y the step that a request comes
    in. The cumulants of a step, X' = fixed + s * arrivals(X), solve linear equations each; second, third: what else it
    varies with."""
    k1 = np.maximum(step_ms, TINY)
    k2 = ca2 * rate * s**2 * k1 / (1.0 - rho**2) + second
    k3 = ca2**2 * (3.0 * rho * rate * s**2 * k2 + rate * s**3 * k1) / (1.0 - rho**3) + third
    y1 = (k2 + k1**2) / k1
    y2 = (k3 + 3.0 * k1 * k2 + k1**3) / k1
    z1 = (0.5 + rho) * y1
    z2 = (1.0 / 3.0 + rho + rho**2) * y2 + ca2 * rate * s**2 * y1
    return np.asarray(np.maximum(z2 / np.maximum(z1**2, TINY), 1.0), dtype=np.float64)


def _between(
    lane: Lane,
    steps: Steps,
    since: Floats,
    rate: Floats,
    servers: Floats,
    in_flight: Floats,
    tokens: float,
) -> Between:
    """A request's own decode steps take `tokens * decode_ms`; prompts that come meanwhile, and those still waiting when
    it began, make it longer, and during that more come: the busy period of a queue that starts with this work, whose
    number of prompts is generalised Poisson (Consul & Famoye 1992). Besides, the number in flight wanders."""
    base, each = lane.decode_ms, steps.interference_ms
    felt = held_up(lane, rate)
    left = 1.0 - np.minimum(felt * each, HIGHEST)
    backlog = renewals(since, servers)
    begun = felt * tokens * base + backlog
    prompts = begun / left
    spread = (begun / left**3 + backlog**2 / left**2) / servers
    if lane.one_by_one:  # who comes while another rank's prompt is computed adds nothing
        spread = spread * (1.0 - np.minimum(rate / lane.ranks * lane.own_ms, HIGHEST)) ** (lane.ranks - 1.0)
    prompts_shape = np.clip(prompts**2 / np.maximum(spread, TINY), 0.2, 1e4)
    mean = gamma_mean_below(prompts * each / tokens, prompts_shape, np.maximum(lane.longest_ms - base, TINY))
    cut = np.minimum(mean * tokens / np.maximum(prompts * each, TINY), 1.0)
    wander = _wander_ms(lane.slope_ms / lane.ranks / left, in_flight, servers, base + mean)
    # A spell of many arrivals brings both more prompts and more in flight: their deviations add up.
    deviation = np.sqrt(spread) * each / tokens * cut + wander
    return Between(
        base_ms=base + 0.0 * mean,
        mean_ms=base + mean,
        none=1.0 - gamma_cdf(since + felt * tokens * base, 1.0, servers),
        shape=np.clip(mean**2 / np.maximum(deviation**2, TINY), 0.2, 1e4),
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
