"""TTFT over ISL, and ITL over context and concurrency, of the picked engines: what a planner scales by (PROF-06)."""

from __future__ import annotations

import numpy as np

from armature.model.facts import ModelFacts
from armature.perf.estimate import host_ms
from armature.perf.lattice import distinct
from armature.perf.steptable import chunked_prefill_ms
from armature.search.operating import CHUNK_TOKENS, Engine
from armature.search.profile import Curves

__all__ = ["curves"]

POINTS = 16


def curves(prefill: Engine, decode: Engine, facts: ModelFacts) -> Curves:
    """Curves of one worker each, up to the model's context limit and the worker's largest batch, log-spaced.

    concurrency counts requests in flight on one decode worker; ITL is that of decode steps alone.
    """
    isl = distinct(np.geomspace(64, max(facts.max_context, 128), POINTS).round())
    batch = distinct(np.geomspace(1, max(decode.max_batch, 2), POINTS).round())
    itl = decode.times.decode_ms(batch[None, :], isl[:, None])
    ttft = host_ms(prefill.times) + chunked_prefill_ms(prefill.times, isl, float(CHUNK_TOKENS))
    return Curves(
        isl=tuple(isl.tolist()),
        ttft_ms=tuple(ttft.tolist()),
        context=tuple(isl.tolist()),
        concurrency=tuple((batch * decode.lanes).tolist()),
        itl_ms=tuple(tuple(row) for row in itl.tolist()),
    )
