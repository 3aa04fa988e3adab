"""Plans side by side: the verdict holds what the estimates can tell, and says so when they cannot."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_factory import candidate, group, number, profile

from armature.errors import InvalidInput, NothingFits, Problem
from armature.report.compare import Entry, compare_json, compare_lines, judged
from armature.report.words import ASCII, UNICODE


def entry(label, *, spread=0.2, workload=None, sla=None, **changes):
    """An entry whose pick has bands of `spread` around its latencies."""
    made = candidate(label, **changes)
    bands = {name: number(getattr(made, name).value, spread) for name in ("ttft_ms", "itl_ms", "e2e_ms")}
    made = msgspec.structs.replace(made, **bands)
    extra = {key: value for key, value in (("workload", workload), ("sla", sla)) if value is not None}
    return Entry(label, profile([made], **extra))


def failed(label, error=None):
    return Entry(label, None, error or NothingFits("It does not fit.", "Give more GPUs."))


def said(*entries):
    return " ".join(judged(entries).sentences)


def test_the_most_per_gpu_wins_and_bands_that_are_clear_decide():
    a, b = entry("a", per_gpu=300, spread=0.01), entry("b", per_gpu=400, spread=0.01)
    found = judged([a, b])
    assert (found.winner, found.decided, found.measure) == (1, True, "yield")
    text = "b wins: 400 tokens/s per GPU, 33.3 % more than a (300 tokens/s per GPU); its 80 % band lies clear"
    assert text in found.sentences[0]


def test_idle_gpus_of_a_budget_count_and_that_is_said():
    a = entry("a", per_gpu=300)
    busy = msgspec.structs.replace(a.profile.picked, tokens_per_s_per_gpu=400.0)
    a = Entry("a", msgspec.structs.replace(a.profile, candidates=(busy,)))
    assert "than a (300 tokens/s per GPU, idle ones counted)" in said(a, entry("b", per_gpu=500))


def test_bands_that_overlap_leave_it_undecided():
    found = judged([entry("a", per_gpu=300), entry("b", per_gpu=330), entry("c", per_gpu=100)])
    assert (found.winner, found.decided) == (1, False)
    assert "b wins: 330" in found.sentences[0]
    assert "Within the error of the estimate: its 80 % band overlaps that of a." in found.sentences[0]


def test_values_within_a_hundredth_are_level_and_latency_decides():
    found = judged([entry("a", per_gpu=300, itl_ms=12.0), entry("b", per_gpu=301, itl_ms=14.0)])
    assert (found.winner, found.decided) == (0, False)
    assert found.sentences[0] == "a and b are level: tokens/s per GPU within 1 %. a is ahead in latency."


def test_with_prices_for_all_cost_decides():
    a = entry("a", per_gpu=300, spread=0.01, cost_per_million_tokens=1.0)
    b = entry("b", per_gpu=400, spread=0.01, cost_per_million_tokens=2.0)
    found = judged([a, b])
    assert (found.winner, found.measure) == (0, "cost")
    assert "a wins: 1.00 per million tokens, 50 % less than b (2.00 per million tokens)" in found.sentences[0]
    assert judged([a, entry("c", per_gpu=500)]).measure == "yield"  # c has no price


def test_latency_decides_where_all_ask_for_it():
    latency = {"optimize": "latency"}
    a = entry("a", per_gpu=300, itl_ms=12.0, spread=0.01, sla=latency)
    b = entry("b", per_gpu=400, itl_ms=6.0, spread=0.01, sla=latency)
    found = judged([a, b])
    assert (found.winner, found.measure) == (1, "latency")
    assert "ms a request, 48.4 % less than a" in found.sentences[0]
    assert judged([a, entry("c")]).measure == "yield"


def test_what_meets_its_sla_goes_first_and_near_misses_are_named():
    meets = entry("meets", per_gpu=100)
    near = entry("near", per_gpu=900, itl_ms=33.0)  # of 30 ms; 26.4 to 39.6
    far = entry("far", per_gpu=900, itl_ms=60.0)
    found = judged([far, meets])
    assert (found.winner, found.decided) == (1, True)
    assert "meets alone meets what is asked." in found.sentences[0]
    assert "far does not meet what is asked: ITL 60.0 of 30.0 ms." in found.sentences[1]
    found = judged([near, meets])
    assert (found.winner, found.decided) == (1, False)
    assert "within the error of the estimate near may too" in found.sentences[0]


def test_a_winner_at_risk_is_no_sure_one():
    risky, safe = entry("risky", per_gpu=400, spread=0.01, at_risk=True), entry("safe", spread=0.01)
    found = judged([risky, safe])
    assert (found.winner, found.decided) == (0, False)
    assert "risky is at risk: within its 80 % band it may miss a target; safe would not." in found.sentences


def test_when_none_meets_the_closest_is_named_and_nothing_decided():
    found = judged([entry("a", itl_ms=60.0), entry("b", itl_ms=40.0)])
    assert (found.winner, found.decided) == (1, False)
    assert "None meets everything that is asked; b comes closest: ITL 40.0 of 30.0 ms." in found.sentences[0]
    short = entry("short", carries_load=False, request_rate=1.0)
    assert "short comes closest" not in said(short, entry("b", itl_ms=40.0))  # carries a quarter


def test_different_loads_have_no_winner():
    a, b = entry("a"), entry("b", workload={"isl": 100.0, "osl": 10.0})
    found = judged([a, b])
    assert (found.winner, found.measure) == (None, None)
    assert "different loads" in found.sentences[0]


def test_different_slas_and_kinds_of_gpu_are_said():
    a = entry("a", groups=[group("agg", 4, 2, "h200_sxm")])
    b = entry("b", groups=[group("agg", 4, 2, "l40s")], sla={"ttft_ms": 9.0, "optimize": "throughput"})
    assert "own SLA" in said(a, b)
    assert "--price" in said(a, b)


def test_what_could_not_be_planned_loses_no_other():
    assert said(failed("x"), entry("a")) == "a is the only one that can be planned."
    found = judged([failed("x"), failed("y")])
    assert (found.winner, found.sentences) == (None, ("None of them can be planned.",))
    problems = InvalidInput("x.yaml", [Problem("spec.model", "is missing", "add it"), Problem("a", "b")])
    lines = compare_lines([failed("first"), entry("second"), failed("x", problems)], 100, UNICODE)
    assert lines[1].startswith(" first   not planned: It does not fit. Give more GPUs.")
    assert lines[2].startswith("▸second  agg vllm 4×tp2")
    assert "not planned: spec.model: is missing; add it; a: b" in lines[3]


def test_throughput_has_the_latencys_band_turned_over():
    """As many in flight over a latency within 0.8 to 1.2 of the estimate; the value alone where there is no room."""
    a = entry("a", per_gpu=300)
    assert "300 (250\u2013375)" in compare_lines([a], 200, UNICODE)[1]
    assert "300 (" not in compare_lines([a], 80, UNICODE)[1]
    shown = compare_json([a])["entries"][0]["tokens_per_s_per_gpu"]
    assert shown == pytest.approx({"value": 300, "low": 250, "high": 375})


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_lines_fit_and_ascii_is_ascii(width):
    entries = [entry("8xh200_sxm, vllm", cost_per_million_tokens=1.0), entry("b"), failed("c" * 20)]
    for ascii_only in (False, True):
        glyphs = ASCII if ascii_only else UNICODE
        lines = compare_lines(entries, width, glyphs, ascii_only=ascii_only)
        assert all(line.isascii() for line in lines) or not ascii_only
        if width >= 80:
            assert max(map(len, lines)) <= width


def test_json_holds_what_the_table_says():
    entries = [entry("a", per_gpu=300, spread=0.01), entry("b", per_gpu=400, spread=0.01), failed("c")]
    data = json.loads(json.dumps(compare_json(entries), allow_nan=False))
    assert (data["winner"], data["decided"], data["measure"]) == ("b", True, "yield")
    assert [e["label"] for e in data["entries"]] == ["a", "b", "c"]
    assert data["entries"][0]["pick"]["label"] == "agg vllm 4×tp2"
    assert data["entries"][2] == {
        "label": "c",
        "error": "It does not fit.\n  Give more GPUs.",
        "exit_code": 4,
    }


@given(
    values=st.lists(st.tuples(st.floats(1, 5000), st.floats(1, 29), st.booleans()), min_size=1, max_size=6)
)
def test_the_order_of_entries_changes_nothing_and_the_winner_is_the_best_that_meets(values):
    entries = [
        entry(f"e{i}", per_gpu=per_gpu, itl_ms=itl if meets else itl + 31)
        for i, (per_gpu, itl, meets) in enumerate(values)
    ]
    found, turned = judged(entries), judged(entries[::-1])
    assert found.winner is not None
    meeting = [i for i, (_, _, meets) in enumerate(values) if meets]
    if meeting:
        assert found.winner in meeting
        assert values[found.winner][0] * 1.01 >= max(values[i][0] for i in meeting) * (1 - 1e-9)
        assert turned.decided == found.decided
        assert turned.winner is not None
        best = values[len(values) - 1 - turned.winner]
        assert best[:2] == pytest.approx(values[found.winner][:2]) or best[1] == values[found.winner][1]
