"""Which path a layout's requests take: at their own gaps (`path`), or with a fixed number in flight (`closed`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from armature.perf.estimate import Floats
from armature.search.closed import closed_agg_path, closed_split_path
from armature.search.operating import Engine, moved_ms
from armature.search.path import Path, agg_path, first_tokens, split_path
from armature.workload.requests import Requests

__all__ = ["PathOf", "agg_path_of", "split_path_of"]


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


def agg_path_of(engine: Engine) -> PathOf:
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
            return closed_agg_path(engine, requests, servers, closed)
        return agg_path(engine, requests, servers, in_flight)

    return path


def split_path_of(senders: Mapping[int, tuple[Engine, float]], decode: Engine, isl: int) -> PathOf:
    """Of disaggregated layouts. senders: by index, the prefill engine and the KV bytes that each of its GPUs holds of a
    prompt of `isl` tokens."""
    known: dict[tuple[int, int], tuple[Requests, Floats]] = {}

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
        (engine, held), key = senders[prefill], (prefill, servers)
        moved = moved_ms(held, engine, decode, within_node=in_node) / isl
        if closed is not None:
            return closed_split_path(engine, decode, requests, servers, lanes, moved, closed)
        if key not in known or known[key][0] is not requests:
            known[key] = requests, first_tokens(engine, requests, servers)
        return split_path(decode, requests, known[key][1], lanes, moved)

    return path
