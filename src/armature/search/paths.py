"""Which path a layout's requests take: at their own gaps (`path`), or with a fixed number in flight (`closed`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from armature.perf.estimate import Floats
from armature.search.closed import closed_agg_path, closed_split_path
from armature.search.operating import Engine, moved_ms
from armature.search.path import Path, agg_path, first_tokens, split_path
from armature.search.traced import Prompts
from armature.workload.requests import Requests

__all__ = ["FirstTokens", "PathOf", "agg_path_of", "split_path_of"]


class PathOf(Protocol):
    def __call__(
        self,
        requests: Requests,
        in_flight: float,
        *,
        prefill: int,
        servers: int,
        lanes: int,
        in_node: bool,
        closed: int | None,
    ) -> Path:
        """prefill: index of the prefill engine; servers, lanes: what prompts, and what decoding, is dealt to; closed:
        the fixed number of requests in the whole layout, None where they come by themselves."""
        ...


def agg_path_of(engine: Engine, prompts: Prompts) -> PathOf:
    """Of an engine's aggregated layouts."""

    def path(
        requests: Requests,
        in_flight: float,
        *,
        prefill: int,
        servers: int,
        lanes: int,
        in_node: bool,
        closed: int | None,
    ) -> Path:
        if closed is not None:
            return closed_agg_path(engine, requests, servers, closed, prompts)
        return agg_path(engine, requests, servers, in_flight, prompts)

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

    def path(
        requests: Requests,
        in_flight: float,
        *,
        prefill: int,
        servers: int,
        lanes: int,
        in_node: bool,
        closed: int | None,
    ) -> Path:
        first, held = senders[prefill]
        moved = moved_ms(held, first.engine, decode, within_node=in_node) / isl
        if closed is not None:
            return closed_split_path(
                first.engine, decode, requests, servers, lanes, moved, closed, first.prompts
            )
        return split_path(decode, requests, first.at(requests, servers), lanes, moved)

    return path
