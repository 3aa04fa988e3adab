"""Tokens to the bytes of an answer: stop strings, usage and the exact form of server-sent events (FE-02, FE-11)."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from armature.serving.frontend.errors import worker_lost
from armature.serving.frontend.stream import Reply, StopFilter, TextStream, Usage, sse_error
from armature.serving.frontend.tokens import ByteTokeniser

USAGE = Usage(prompt=7, completion=2, cached=4)


def reply(endpoint, *, usage: bool = False) -> Reply:
    return Reply(endpoint, "1", "org/m", 1700000000, usage_in_chunks=usage)


def events(data: bytes) -> list[dict]:
    lines = data.decode().split("\n\n")
    assert lines.pop() == ""
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]


def test_a_chat_stream_in_the_order_that_clients_expect():
    answer = reply("chat_completions", usage=True)
    data = answer.begin() + answer.chunk('say "é"\n') + answer.finish("length", USAGE)
    assert data.endswith(b"\n\ndata: [DONE]\n\n")
    first, chunk, last, usage = events(data)
    assert {one["id"] for one in (first, chunk, last, usage)} == {"chatcmpl-1"}
    assert {one["object"] for one in (first, chunk, last, usage)} == {"chat.completion.chunk"}
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunk["choices"] == [
        {"index": 0, "delta": {"content": 'say "é"\n'}, "logprobs": None, "finish_reason": None}
    ]
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "length")
    assert [one["usage"] for one in (first, chunk, last)] == [None] * 3
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 4},
    }


def test_a_completion_stream_has_text_and_no_role_and_usage_only_where_asked():
    answer = reply("completions")
    chunk, last = events(answer.begin() + answer.chunk("hi") + answer.finish("stop", USAGE))
    assert chunk["object"] == "text_completion"
    assert chunk["choices"][0]["text"] == "hi"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert "usage" not in chunk


def test_whole_answers():
    chat = json.loads(reply("chat_completions").body("hi", "stop", USAGE))
    assert chat["object"] == "chat.completion"
    assert chat["choices"][0]["message"] == {"role": "assistant", "content": "hi", "refusal": None}
    assert chat["usage"]["total_tokens"] == 9
    text = json.loads(reply("completions").body("hi", "stop", USAGE))
    assert text["choices"][0]["text"] == "hi"


def test_a_stream_that_fails_says_so_once_and_ends():
    data = sse_error(worker_lost("worker w died", 5))
    assert data.count(b"data: ") == 2
    assert events(data)[0]["error"]["code"] == "worker_lost"
    assert data.endswith(b"data: [DONE]\n\n")


@settings(max_examples=200, deadline=None)
@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    st.integers(1, 4),
)
def test_stop_strings_cut_as_if_the_whole_text_were_known(text, stops, width):
    """However the text is cut into pieces. Reference: the first place where any stop string is complete."""
    stopper = StopFilter(tuple(stops))
    out = ""
    for start in range(0, len(text), width):
        out += stopper.feed(text[start : start + width])
        if stopper.stopped:
            break
    else:
        out += stopper.end()
    cuts = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    if not cuts:
        assert (out, stopper.stopped) == (text, False)
    else:
        assert stopper.stopped
        assert any(text.startswith(out + stop) for stop in stops)
        assert len(out) >= min(cuts)
        assert not any(stop in out for stop in stops)


def test_tokens_after_a_stop_string_are_not_counted():
    stream = TextStream(ByteTokeniser().detokeniser(), ("END",))
    assert "".join(stream.feed(list(b"oneENDtwo"))) == "one"
    assert (stream.stopped, stream.count, stream.end()) == (True, 6, "")
