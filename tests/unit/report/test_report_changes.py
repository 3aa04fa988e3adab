"""What would change the choice: three lines at most, and only those worth a line."""

from __future__ import annotations

import pytest
from msgspec import structs
from report_factory import profile

from armature.report.changes import change_lines, worth_saying
from armature.report.explained import explain_json, explain_lines
from armature.report.words import UNICODE
from armature.search.profile import Outcome, Relaxation, Suggestion
from armature.workload.summary import Spread, TraceSummary


def outcome(**changes) -> Outcome:
    values = {
        "layout": "aggregated vllm, 2×tp2", "mode": "agg", "gpus": 4, "request_rate": 4.0, "concurrency": 100.0,
        "ttft_ms": 200.0, "itl_ms": 20.0, "e2e_ms": 20_000.0, "tokens_per_s": 4000.0, "tokens_per_s_per_gpu": 1000.0,
        "meets_sla": True, "carries_load": True,
    }  # fmt: skip
    return Outcome(**{**values, **changes})


def step(
    what="itl_ms", *, relaxes=True, buys=True, gain=0.05, saved=0, holds=True, text="step."
) -> Relaxation:
    return Relaxation(
        what, None, 0.1, 33.0, relaxes, buys, outcome(meets_sla=holds), gain, saved, 0.0, None, text
    )


def texts(made) -> list[str]:
    return [line.text for line in change_lines(made, 80, UNICODE)]


def test_three_steps_at_most_and_none_that_buys_nothing():
    steps = (*(step(text=f"step {n}.") for n in range(4)), step(buys=False, text="vain."))
    made = structs.replace(profile(), relaxations=steps)
    assert texts(made) == ["What one step would change", "  - step 0.", "  - step 1.", "  - step 2."]
    said = [line.text for line in explain_lines(made)]
    assert "  - vain." in said, "explain leaves nothing out"


def test_where_no_step_is_worth_it_that_is_one_line():
    made = structs.replace(profile(), relaxations=(step(buys=False),))
    assert texts(made)[1:] == ["  - No step of 10 % or of one GPU would change anything for the better."]
    assert texts(profile()) == []


@pytest.mark.parametrize(
    ("changes", "load", "worth"),
    [
        ({"what": "gpus", "gain": 0.0}, {}, True),
        ({"what": "gpus", "gain": -0.12}, {}, False),
        ({"what": "gpus", "gain": 0.0}, {"request_rate": 4.0}, False),
        ({"what": "load", "gain": 0.1}, {"request_rate": 4.0}, True),
        ({"what": "load", "gain": 0.1, "saved": -2}, {"request_rate": 4.0}, False),
        ({"what": "load", "gain": 0.1, "holds": False}, {"request_rate": 4.0}, False),
    ],
)
def test_a_tighter_step_is_worth_a_line_when_it_costs_nothing(changes, load, worth):
    made = structs.replace(profile(), workload={"isl": 4000, "osl": 1000, **load})
    assert worth_saying(step(relaxes=False, buys=False, **changes), made) == worth


def test_what_would_meet_a_missed_sla_stands_in_place_of_steps():
    found = Suggestion(
        "gpus", "h200_sxm", 16.0, True, {}, outcome(), "16 h200_sxm instead of 8: it meets everything."
    )
    made = structs.replace(profile(), relaxations=(step(),), suggestions=(found,))
    assert texts(made) == ["What would meet it", "  - 16 h200_sxm instead of 8: it meets everything."]
    data = explain_json(made)
    assert data["trace"] == []
    assert data["suggestions"][0]["to"] == 16
    assert data["relaxations"][0]["outcome"]["gpus"] == 4
    assert "why_not" not in data


def test_explain_says_what_the_trace_contained():
    trace = TraceSummary("log.jsonl", 3, 3, 2.0, 1.5, 1.5, 1.0, Spread(9, 9, 9, 9), Spread(5, 5, 5, 5))
    made = structs.replace(profile(), trace=trace)
    assert any("log.jsonl: 3 requests" in line.text for line in explain_lines(made))
    assert "log.jsonl: 3 requests" in explain_json(made)["trace"][0]
