"""A search on a trace: lengths, rate and memory from its requests, and what it did to the choice (issue 4 §3)."""

from __future__ import annotations

import html
import io
import json

import numpy as np
import pytest
from msgspec import structs
from search_ask import request_for
from search_fakes import FormulaEstimator, dense_facts, inventory, pool

from armature.errors import ArmatureError
from armature.report.html import report_html
from armature.report.terminal import plan_lines
from armature.report.trace import trace_sentences
from armature.search.profile import Profile
from armature.search.rapid import profile
from armature.workload.trace import trace_of


def request(**workload):
    return request_for(workload={"traceRef": {"path": "t"}, **workload}, sla={"ttft": 2000, "itl": 50})


def trace(isl=(1000, 3000), osl=(100, 300), every_s=0.5, count=40, hashes=False):
    rows = []
    for n in range(count):
        row = {
            "timestamp": int(1000 * every_s * n),
            "input_length": isl[n % len(isl)],
            "output_length": osl[n % len(osl)],
        }
        if hashes:
            row["hash_ids"] = list(range(-(-row["input_length"] // 512)))
        rows.append(json.dumps(row))
    return trace_of(io.BytesIO("\n".join(rows).encode()), "t.jsonl")


def plan(trace, facts=None, pools=None, **workload) -> Profile:
    return profile(
        request(**workload),
        inventory(*(pools or (pool(),))),
        facts or dense_facts(),
        FormulaEstimator(),
        trace=trace,
    )


def test_lengths_and_rate_are_those_of_the_trace():
    found = plan(trace())
    assert found.workload == {"isl": 2000, "osl": 200, "request_rate": 2.0, "longest_tokens": 3300}
    assert found.trace is not None and found.trace.requests == 40
    assert found.picked.request_rate == pytest.approx(2.0)


def test_a_stated_load_goes_over_the_traces_own():
    assert plan(trace(), requestRate=7).workload["request_rate"] == 7
    assert "request_rate" not in plan(trace(), concurrency=5).workload


def test_a_worker_holds_the_longest_request_of_the_trace():
    """By the mean alone one GPU would do: half its memory is free, enough for 150,000 tokens."""
    facts = dense_facts(max_context=2_000_000)
    long = trace(isl=(1000,) * 39 + (900_000,), osl=(100,))
    found = plan(long, facts)
    assert all(group.kv_room_tokens >= 900_000 for c in found.candidates for group in c.groups)
    assert found.means_choice is not None
    assert min(c.groups[-1].gpus_per_worker for c in found.candidates) > 1
    assert found.means_choice.groups[-1].kv_room_tokens < 900_000
    assert "the choice would be" in trace_sentences(found)[1]


def test_requests_past_the_models_context_are_left_out():
    found = plan(trace(), dense_facts(max_context=2000))
    assert found.workload["isl"] == 1000 and found.workload["longest_tokens"] == 1100
    assert any(note.startswith("20 of 40 requests of the trace are longer") for note in found.notes)


def test_a_trace_that_was_not_read_is_not_passed_over():
    with pytest.raises(ArmatureError, match="was not read"):
        plan(None)


def test_the_profile_keeps_it_and_the_plan_says_it():
    found = plan(trace(hashes=True))
    assert Profile.from_json(found.to_json()).trace == found.trace
    contained, effect = trace_sentences(found)
    assert contained.startswith(
        "t.jsonl: 40 requests in 19.5 s, 2.00/s; busiest minute 2.00/s, gaps vary 0.00 times"
    )
    assert "prompts 1,000 tokens in the median, 3,000 at p95, 3,000 at most" in contained
    assert "96 % of prompt tokens repeat the beginning of an earlier prompt" in contained
    assert effect.startswith("With nothing but mean lengths and the rate, the choice would be")
    text = "\n".join(line.text for line in plan_lines(found, 100))
    assert "2,000 → 200 tokens (means of a trace), 2 requests/s" in text
    assert "\nTrace\n" in text
    page = html.unescape(report_html(found, {}))
    assert contained in page and effect in page
    without = structs.replace(found, trace=None)
    assert trace_sentences(without) == () and "<h3>Trace" not in report_html(without, {})


def test_without_arrivals_apart_no_load_is_asked():
    found = plan(trace(every_s=0.0))
    assert "request_rate" not in found.workload
    assert any("no rate" in note for note in found.notes)
    assert np.isfinite(found.picked.tokens_per_s)
