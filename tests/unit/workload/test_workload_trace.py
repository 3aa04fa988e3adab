"""Traces in every format they come in, and everything that can be wrong with one (issue 4 §3)."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.errors import InvalidInput
from armature.workload import collect
from armature.workload.requests import Requests
from armature.workload.rows import MOST_SHOWN
from armature.workload.shape import Workload
from armature.workload.trace import mooncake_lines, read_trace, trace_of

TRACES = Path(__file__).parents[2] / "data" / "traces"
MOONCAKE = b"""{"timestamp": 0, "input_length": 1000, "output_length": 50, "hash_ids": [0, 1]}
{"timestamp": 500, "input_length": 1500, "output_length": 10, "hash_ids": [0, 1, 2]}
{"timestamp": 2000, "input_length": 10, "output_length": 30, "hash_ids": [7]}
"""


def read(data: bytes | str, source: str = "trace"):
    return trace_of(io.BytesIO(data.encode() if isinstance(data, str) else data), source)


def columns(trace):
    r = trace.requests
    return r.isl.tolist(), r.osl.tolist(), np.cumsum(r.gap_s).round(6).tolist()


def test_mooncake():
    trace = read(MOONCAKE)
    assert columns(trace) == ([1000, 1500, 10], [50, 10, 30], [0, 0.5, 2.0])
    assert trace.requests.cached_tokens(1, 1e9).tolist() == [0, 1024, 0]
    assert trace.summary.prefix_share == pytest.approx(1024 / 2510)
    assert trace.notes == ()


LOGS = {
    "azure": """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,1000,50
2023-11-16 18:17:04.4799600,1500,10
2023-11-16 18:17:05.9799600,10,30
""",
    "burstgpt": """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,1000,50,1050,Conversation log
5.5,ChatGPT,1500,10,1510,Conversation log
7,GPT-4,10,30,40,API log
""",
    "openai usage": """{"created": 1731600000, "id": "a", "prompt_tokens": 1000, "completion_tokens": 50}
{"created": 1731600000.5, "id": "b", "prompt_tokens": 1500, "completion_tokens": 10}
{"created": 1731600002, "id": "c", "prompt_tokens": 10, "completion_tokens": 30}
""",
    "epoch ms, semicolons": "time;isl;osl\n1731600000000;1000;50\n1731600000500;1500;10\n1731600002000;10;30\n",
    "unit in its name, tabs": "arrival_us\tisl\tosl\n0\t1000\t50\n500000\t1500\t10\n2000000\t10\t30\n",
    "zones": """{"arrivedAt": "2026-01-31T08:15:00+01:00", "inputTokens": 1000, "outputTokens": 50}
{"arrivedAt": "2026-01-31T07:15:00.5Z", "inputTokens": 1500, "outputTokens": 10}
{"arrivedAt": "2026-01-31T07:15:02", "inputTokens": 10.0, "outputTokens": 30}
""",
    "blank lines, CRLF, byte order mark": "\ufefftime,isl,osl\r\n\r\n0,1000,50\r\n0.5,1500,10\r\n\r\n2,10,30",
}


@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS.keys())
def test_logs(log):
    trace = read(log)
    assert columns(trace) == ([1000, 1500, 10], [50, 10, 30], [0, 0.5, 2.0])
    assert trace.summary.prefix_share is None
    assert trace.summary.rate_per_s == pytest.approx(1.0)
    assert not trace.requests.has_prefixes


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_compressed_files_are_told_by_their_content(pack, tmp_path):
    path = tmp_path / "trace"
    path.write_bytes(pack(MOONCAKE))
    assert columns(read_trace(path)) == columns(read(MOONCAKE))


BAD = {
    "empty": ("", "is empty"),
    "blank": ("\n \n", "is empty"),
    "a header alone": ("timestamp,isl,osl\n", "holds no request"),
    "no arrival column": ("isl,osl\n1,2\n", "none has arrival times"),
    "what would do": ("timestamp,isl,tokens\n1,2,3\n", "output_length, output_tokens, completion_tokens"),
    "what there is": ('{"a": 1, "isl": 2, "osl": 3}', "a, isl, osl"),
    "negative": ("timestamp,isl,osl\n1,2,3\n2,-5,3\n", "line 3: isl must not be negative (got '-5')"),
    "not whole": (
        '{"timestamp":0,"isl":1,"osl":2}\n{"timestamp":1,"isl":1.5,"osl":2}',
        "line 2: isl must be a whole",
    ),
    "too long": ("timestamp,isl,osl\n1,2,3000000\n", "line 2: osl must be at most 1,048,576 tokens"),
    "no time": ("timestamp,isl,osl\nyesterday,2,3\n", "line 2: timestamp must be a time (got 'yesterday')"),
    "infinite": ("timestamp,isl,osl\ninf,2,3\n", "timestamp must be a time"),
    "a broken line": (MOONCAKE.decode() + '{"timestamp": 3000, "input_len', "line 4: is not a JSON object"),
    "how to mend it": (MOONCAKE.decode() + "oops", '"output_length": 500}, or remove the line'),
    "a missing value": (
        MOONCAKE.decode() + '{"timestamp": 3000, "input_length": 5}',
        "line 4: has no output_length",
    ),
    "a short row": ("timestamp,isl,osl\n1,2\n", "line 2: has 2 values for 3 columns"),
    "no numbers": (
        '{"timestamp":0,"input_length":1,"output_length":2,"hash_ids":"x"}',
        "line 1: hash_ids must be a list",
    ),
    "an array": (json.dumps([{"timestamp": 0}]), "jq -c"),
    "parquet": ("PAR1....", "Parquet"),
    "no text": ("\x00\x01\x02", "is no text"),
    "a request without tokens": ("timestamp,isl,osl\n1,2,0\n", "holds no request"),
}


@pytest.mark.parametrize(("data", "said"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_error_that_says_where_and_how_to_mend_it(data, said):
    with pytest.raises(InvalidInput) as error:
        read(data)
    assert said in str(error.value)
    assert all(problem.mend for problem in error.value.problems)


def test_every_broken_line_is_counted_and_the_first_are_shown():
    lines = [f"{n},{-1 if n % 2 else 5},3" for n in range(1000)]
    with pytest.raises(InvalidInput) as error:
        read("\n".join(["timestamp,isl,osl", *lines]))
    problems = error.value.problems
    assert len(problems) == MOST_SHOWN + 1
    assert [p.path for p in problems[:3]] == ["line 3", "line 5", "line 7"]
    assert problems[-1].rule == "480 more lines are broken"


def test_a_broken_line_far_down_has_its_number():
    """Past the first piece, which is read line by line anyway."""
    good = b'{"timestamp": 1, "input_length": 5, "output_length": 5}\n'
    many = 30_000
    with pytest.raises(InvalidInput) as error:
        read(good * many + b"\n" + b'{"timestamp": 1, "input_length": -5, "output_length": 5}\n' + good)
    assert [str(p) for p in error.value.problems] == [
        f"line {many + 2}: input_length must not be negative (got -5); write the tokens, or remove the line"
    ]


def test_a_file_that_is_no_such_thing_ends_early():
    with pytest.raises(InvalidInput) as error:
        read(b"{\n" * 300_000)
    assert len(error.value.problems) == MOST_SHOWN + 1


def test_damaged_and_missing_files(tmp_path):
    (tmp_path / "cut.gz").write_bytes(gzip.compress(MOONCAKE)[:-12])
    for name, said in (("cut.gz", "damaged or cut short"), ("none", "not found"), ("", "is a directory")):
        with pytest.raises(InvalidInput, match=said):
            read_trace(tmp_path / name)


def test_times_out_of_order_are_sorted_and_said():
    trace = read("timestamp,isl,osl\n5,50,1\n3,30,1\n4,40,1\n")
    assert columns(trace) == ([30, 40, 50], [1, 1, 1], [0, 1, 2])
    assert trace.notes == ("1 requests of the trace come before the line above them: sorted by time.",)


def test_failed_requests_are_left_out_and_said():
    trace = read("timestamp,isl,osl\n0,5,1\n1,5,0\n2,0,1\n3,5,1\n")
    assert len(trace.requests) == 2 and trace.requests.gap_s.tolist() == [0, 3]
    assert trace.notes[0].startswith("2 requests of the trace have no prompt or no answer")


def test_one_request_and_requests_of_one_instant_have_no_rate():
    for data in ("timestamp,isl,osl\n0,5,1\n", "timestamp,isl,osl\n0,5,1\n0,6,1\n"):
        trace = read(data)
        assert trace.summary.rate_per_s == 0 and trace.summary.gap_cv == 0
        assert Workload.of(trace.requests).request_rate is None
        assert any("no rate" in note for note in trace.notes)


def test_the_summary_is_that_of_the_file():
    trace = read_trace(TRACES / "mooncake_conversation_trace_first5000.jsonl.xz")
    s, r = trace.summary, trace.requests
    assert (s.requests, s.kept, s.duration_s) == (5000, 5000, 1593.0)
    assert (s.isl.mean, s.isl.max) == (r.isl.mean(), r.isl.max()) == (13066.1918, 123192)
    assert s.isl.p50 == np.quantile(r.isl, 0.5, method="inverted_cdf")
    assert s.osl.p95 == np.quantile(r.osl, 0.95, method="inverted_cdf")
    assert s.rate_per_s == pytest.approx(4999 / 1593) and s.peak_rate_per_s >= s.rate_per_s
    assert s.gap_cv > 2.5, "its times are whole steps of three seconds"
    assert s.prefix_share == pytest.approx(0.3394, abs=1e-4)
    assert r.block_tokens == 512


def test_a_coarse_clock_is_said():
    coarse = read("timestamp,isl,osl\n" + "".join(f"{3 * (n // 9)},5,1\n" for n in range(90)))
    assert any("times are 3 s apart or the same" in note for note in coarse.notes)
    assert read("timestamp,isl,osl\n" + "".join(f"{n / 3},5,1\n" for n in range(90))).notes == ()


def read_or_refuse(data):
    """The trace, or None when it was refused with mends for all that is wrong; any other error is the test's."""
    try:
        return read(data)
    except InvalidInput as error:
        assert all(problem.mend for problem in error.problems)  # noqa: PT017
        return None


@settings(max_examples=150)
@given(st.binary(max_size=400), st.integers(0, len(MOONCAKE)), st.booleans())
def test_whatever_is_read_is_a_trace_or_one_error_of_ours(noise, at, inside):
    data = MOONCAKE[:at] + noise + MOONCAKE[at:] if inside else noise
    trace = read_or_refuse(data)
    if trace is not None:
        r = trace.requests
        assert len(r) >= 1 and (r.isl >= 1).all() and (r.osl >= 1).all() and (r.gap_s >= 0).all()
        assert np.isfinite(r.gap_s).all() and np.isfinite(trace.summary.rate_per_s)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8)), max_size=5))
def test_whatever_a_csv_holds(rows):
    text = "timestamp,isl,osl\n1,5,5\n" + "".join(",".join(row) + "\n" for row in rows)
    trace = read_or_refuse(text)
    assert trace is None or len(trace.requests) >= 1


@st.composite
def some_requests(draw):
    count = draw(st.integers(1, 30))
    tokens = st.lists(st.integers(1, 5000), min_size=count, max_size=count)
    isl = np.array(draw(tokens))
    gaps = draw(st.lists(st.integers(0, 100_000), min_size=count, max_size=count))
    gap_s = np.array([0, *gaps[1:]]) / 1000.0
    blocks = -(-isl // 512)
    hashed = draw(st.booleans())
    ids = np.array(
        draw(st.lists(st.integers(0, 2**64 - 1), min_size=int(blocks.sum()), max_size=int(blocks.sum())))
        if hashed
        else [],
        dtype=np.uint64,
    ).view(np.int64)
    return Requests(
        isl, np.array(draw(tokens)), gap_s, ids, np.cumsum(blocks) if hashed else np.array([], dtype=np.int64)
    )


@settings(max_examples=60)
@given(some_requests())
def test_reading_what_was_written_gives_the_same(requests):
    back = read(b"".join(mooncake_lines(requests))).requests
    assert (back.isl == requests.isl).all() and (back.osl == requests.osl).all()
    assert np.allclose(back.gap_s, requests.gap_s, atol=1e-6)
    assert (back.block_ids == requests.block_ids).all() and (back.block_ends == requests.block_ends).all()
    assert (back.longest_isl, back.longest_tokens) == (requests.longest_isl, requests.longest_tokens)


def test_of_a_long_stream_a_piece_is_kept_as_it_was_and_lengths_are_counted_over_all(monkeypatch):
    monkeypatch.setattr(collect, "WINDOW", 3000)
    count = 40_000
    rng = np.random.default_rng(1)
    isl = rng.integers(1, 4000, count)
    whole = Requests(isl, rng.integers(1, 100, count), np.r_[0.0, np.full(count - 1, 0.25)])
    trace = read(b"".join(mooncake_lines(whole)))
    s, r = trace.summary, trace.requests
    assert s.requests == count and 3000 <= s.kept < count / 2 and s.kept == len(r)
    assert s.isl.mean == isl.mean() and s.isl.max == isl.max() == r.longest_isl
    assert r.rate_per_s == pytest.approx(s.rate_per_s) == pytest.approx(4.0)
    starts = [n for n in np.flatnonzero(isl == r.isl[0]) if isl[n : n + 9].tolist() == r.isl[:9].tolist()]
    assert len(starts) == 1
    assert (isl[starts[0] :][: len(r)] == r.isl).all(), "requests that follow one another, in their order"
    assert any("drawn from its 40,000" in note for note in trace.notes)
    assert (read(b"".join(mooncake_lines(whole))).requests.isl == r.isl).all(), "the same one every time"


def test_requests_past_the_models_context_are_left_out_and_said():
    trace = read(MOONCAKE).within(1100)
    assert columns(trace) == ([1000, 10], [50, 30], [0, 2.0])
    assert trace.requests.longest_tokens == 1050
    assert trace.requests.block_ids.tolist() == [0, 1, 7]
    assert trace.notes[0].startswith(
        "1 of 3 requests of the trace are longer than the model's context of 1,100"
    )
    assert read(MOONCAKE).within(10_000).notes == ()
    with pytest.raises(InvalidInput, match="none of its requests fits"):
        read(MOONCAKE).within(20)


def test_the_workload_of_a_trace():
    trace = read(MOONCAKE)
    own = Workload.of(trace.requests)
    assert (own.isl, own.osl, own.request_rate) == (837, 30, 1.0)
    assert (own.longest_isl, own.longest_tokens) == (1500, 1510)
    assert Workload.of(trace.requests, request_rate=4.0).requests.duration_s == 0.5
    fixed = Workload.of(trace.requests, concurrency=3)
    assert (fixed.request_rate, fixed.concurrency) == (None, 3)
