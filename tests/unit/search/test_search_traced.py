"""Prompts of a trace on a worker: against each prompt computed by itself, and a stream's own gaps."""

from __future__ import annotations

import lzma
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from search_fakes import dense_facts

from armature.hardware.catalog import GPUS
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec
from armature.perf.roofline import RooflineEstimator
from armature.search.traced import Prompts
from armature.workload.requests import Requests
from armature.workload.trace import trace_of

TRACES = Path(__file__).parents[2] / "data" / "traces"
TIMES = RooflineEstimator().engine(
    EngineSpec(dense_facts(), GPUS["h200_sxm"], "vllm", Parallelism(tp=2), "bf16")
)
CHUNK = 8192


@cache
def requests_of(name):
    with lzma.open(TRACES / f"mooncake_{name}.jsonl.xz") as file:
        return trace_of(file, name).requests


CONVERSATIONS, SYNTHETIC = "conversation_trace_first5000", "synthetic_trace"


def stream(gaps, isl=None):
    isl = np.full(len(gaps), 1000) if isl is None else np.asarray(isl)
    return Requests(isl, np.full(len(gaps), 10), np.asarray(gaps, dtype=float))


def alone_ms(isl, cached):
    """One prompt, chunk after chunk, without any of the module's shortcuts."""
    done = np.arange(cached, isl, CHUNK)
    return float(np.sum(TIMES.prefill_ms(np.minimum(CHUNK, isl - done), 1.0, done)))


@pytest.mark.parametrize("name", [CONVERSATIONS, SYNTHETIC], ids=["conversations", "synthetic"])
@pytest.mark.parametrize("room", [0.0, 3e6])
def test_the_moments_are_those_of_prompts_computed_one_by_one(name, room):
    requests = requests_of(name)
    found = Prompts(TIMES, requests, room, CHUNK).costs(np.array([2]))
    cached = requests.cached_tokens(2, room)
    each = np.array([alone_ms(*pair) for pair in zip(requests.isl.tolist(), cached.tolist(), strict=True)])
    assert found.mean_ms[0] == pytest.approx(each.mean(), rel=0.02)
    assert found.cv2[0] == pytest.approx(each.var() / each.mean() ** 2, rel=0.05)
    assert found.longest_ms[0] == pytest.approx(each.max(), rel=0.05)
    assert found.new_tokens[0] == pytest.approx((requests.isl - cached).mean())


def test_each_prompt_s_time_is_what_the_moments_are_of():
    requests = requests_of(CONVERSATIONS)
    ms, new = Prompts(TIMES, requests, 3e6, CHUNK).ms(4)
    found = Prompts(TIMES, requests, 3e6, CHUNK).costs(np.array([4]))
    assert ms.mean() == pytest.approx(found.mean_ms[0]) and new.mean() == pytest.approx(found.new_tokens[0])
    assert (new == requests.isl - requests.cached_tokens(4, 3e6)).all()


def test_a_cache_shortens_prompts_and_more_caches_share_less():
    counts, requests = np.array([1, 2, 5, 8, 1000]), requests_of(SYNTHETIC)
    none = Prompts(TIMES, requests, 0.0, CHUNK).costs(counts)
    some = Prompts(TIMES, requests, 5e6, CHUNK).costs(counts)
    assert (some.mean_ms < none.mean_ms).all() and (np.ptp(none.mean_ms) < 1e-9)
    unlimited = Prompts(TIMES, requests, 1e12, CHUNK).costs(counts)
    assert (np.diff(unlimited.new_tokens) > 0).all()
    assert some.mean_ms[0] < 0.7 * none.mean_ms[0]


def test_equal_prompts_do_not_vary_and_numbers_of_servers_between_nodes_lie_between():
    found = Prompts(TIMES, stream([0.0] + [1.0] * 50), 1e9, CHUNK).costs(np.array([1, 5, 300]))
    assert found.cv2 == pytest.approx([0, 0, 0]) and found.mean_ms == pytest.approx(
        [alone_ms(1000, 0)] * 3, rel=0.02
    )
    counts = np.array([4, 5, 6])
    four, five, six = Prompts(TIMES, requests_of(CONVERSATIONS), 4e6, CHUNK).costs(counts).new_tokens
    assert four <= five <= six
