"""Which path a layout's requests take: at their own gaps (`path`), or with a fixed number in flight (`closed`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from armature.perf.estimate import Floats
from armature.search.closed import closed_agg_path, closed_split_path
from armature.search.operating import Engine, moved_ms
from armature.search.path import Path, agg_path, first_tokens, split_path
from armature.search.traced import Prompts
from armature.workload.requests import Requests

__all__ = ["Dealt", "FirstTokens", "Followed", "PathOf", "agg_path_of", "split_path_of"]


class Followed(NamedTuple):
    """What the requests met. ttft_ms, itl_ms: mean, p50 and p95; ITL 0 when none has two tokens. rate: requests per
    second, where a fixed number in flight and not the arrivals decides."""

    ttft_ms: tuple[float, ...]
    itl_ms: tuple[float, ...]
    rate: float | None

    @classmethod
    def of(cls, path: Path) -> Followed:
        figures = path.figures
        return cls(figures[:3], figures[3:], path.rate)


class Dealt(NamedTuple):
    """How a layout takes requests. prefill: index of the prefill engine, -1 when aggregated; servers, lanes: what
    prompts, and what decoding, is dealt to; in_node: whether one node holds the layout. in_flight: a first guess of the
    mean number in a lane; closed: the fixed number in the whole layout, None where requests come by themselves."""

    prefill: int
    servers: int
    lanes: int
    in_node: bool
    in_flight: float
    closed: int | None


PathOf = Callable[[Requests, Dealt], Followed]


def agg_path_of(engine: Engine, prompts: Prompts) -> PathOf:
    """Of an engine's aggregated layouts."""

    def path(requests: Requests, dealt: Dealt) -> Followed:
        servers, closed = dealt.servers, dealt.closed
        if closed is None:
            return Followed.of(agg_path(engine, requests, servers, dealt.in_flight, prompts))
        return prompts.once(
            (engine.max_batch, engine.parallelism, servers, closed),
            engine.times,
            lambda: Followed.of(closed_agg_path(engine, requests, servers, closed, prompts)),
        )

    return path


class FirstTokens:
    """When first tokens leave the workers of one prefill engine: the same for every engine that decodes."""

    def __init__(self, engine: Engine, prompts: Prompts) -> None:
        self.engine, self.prompts = engine, prompts
        self._known: dict[int, tuple[Requests, Floats]] = {}

    def at(self, requests: Requests, servers: int) -> Floats:
        """`first_tokens`; kept for the requests that were asked last."""
        known = self._known.get(servers)
        if known is None or known[0] is not requests:
            known = requests, first_tokens(self.engine, requests, servers, self.prompts)
            self._known[servers] = known
        return known[1]


def split_path_of(senders: Mapping[int, tuple[FirstTokens, float]], decode: Engine, isl: int) -> PathOf:
    """Of disaggregated layouts. senders: by index, the prefill engine and the KV bytes that each of its GPUs holds of a
    prompt of `isl` tokens."""

    def path(requests: Requests, dealt: Dealt) -> Followed:
        (first, held), servers, lanes, closed = (
            senders[dealt.prefill],
            dealt.servers,
            dealt.lanes,
            dealt.closed,
        )
        moved = moved_ms(held, first.engine, decode, within_node=dealt.in_node) / isl
        if closed is None:
            return Followed.of(split_path(decode, requests, first.at(requests, servers), lanes, moved))
        prompts = first.prompts
        return prompts.once(
            (decode.max_batch, servers, lanes, moved, closed),
            decode.times,
            lambda: Followed.of(
                closed_split_path(first.engine, decode, requests, servers, lanes, moved, closed, prompts)
            ),
        )

    return path
