"""What the OpenAI endpoints accept, and the exact reason for what they refuse (FE-02, FE-12)."""

from __future__ import annotations

import json

import pytest

from armature.serving.frontend.errors import ApiError
from armature.serving.frontend.openai_types import packed, parse_chat, parse_completion, stop_strings

HELLO = [{"role": "user", "content": "hello"}]


def chat(**fields):
    return parse_chat(json.dumps({"model": "m", "messages": HELLO} | fields).encode())


def refusal(call, *arguments, **fields) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*arguments, **fields)
    return caught.value


def test_sampling_fields_and_unknown_ones_pass_and_the_newer_limit_wins():
    request = chat(
        temperature=0.2, top_p=1, seed=3, user="me", max_tokens=5, max_completion_tokens=7, ignore_eos=True
    )
    assert request.max_tokens == 7


def test_text_parts_become_one_string_and_an_assistant_may_be_silent():
    parts = [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]
    request = chat(messages=[{"role": "user", "content": parts}, {"role": "assistant", "content": None}])
    assert [message["content"] for message in request.messages] == ["hello", ""]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"n": 2}, "n", "may only be 1"),
        ({"max_tokens": 0}, "max_tokens", "at least 1, got 0"),
        ({"max_completion_tokens": -4}, "max_completion_tokens", "at least 1"),
        ({"max_tokens": "many"}, "max_tokens", "'max_tokens': expected `int | null`, got `str`"),
        ({"min_tokens": 9, "max_tokens": 3}, "min_tokens", "above max_tokens"),
        ({"messages": []}, "messages", "at least one"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", "must be one of"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "text or a list"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0]",
            "image_url",
        ),
        ({"stream_options": {"include_usage": True}}, "stream_options", "stream: true"),
        ({"logprobs": True}, "logprobs", "not served"),
        ({"tool_choice": "required"}, "tool_choice", "cannot be forced"),
        ({"response_format": {"type": "json_object"}}, "response_format", "text"),
        ({"model": ""}, "model", "empty"),
    ],
)
def test_a_chat_request_is_refused_with_its_field(fields, param, words):
    error = refusal(chat, **fields)
    assert (error.status, error.param) == (400, param)
    assert words in error.message


def test_missing_fields_and_bad_json_are_named():
    missing = refusal(parse_chat, b'{"model": "m"}')
    assert (missing.param, missing.code) == ("messages", "missing_field")
    assert refusal(parse_chat, b"{").code == "invalid_json"
    assert refusal(parse_chat, b'{"model": "\xff"}').status == 400
    assert "object" in refusal(parse_chat, b"[]").message


def test_an_error_has_the_shape_that_clients_read():
    body = json.loads(refusal(chat, n=2).body())
    assert set(body["error"]) == {"message", "type", "code", "param"}


@pytest.mark.parametrize("prompt", ["hello", ["hello"], [1, 2, 3], [[1, 2, 3]]])
def test_a_completion_takes_one_prompt_as_text_or_tokens(prompt):
    request = parse_completion(json.dumps({"model": "m", "prompt": prompt}).encode())
    assert request.prompt in ("hello", [1, 2, 3])


@pytest.mark.parametrize("prompt", ["", [], ["a", "b"], [[1], [2]], [1, "a"], [-1], [2**32], [1.5]])
def test_other_prompts_are_refused(prompt):
    body = json.dumps({"model": "m", "prompt": prompt}).encode()
    error = refusal(lambda: packed(parse_completion(body).prompt))
    assert (error.status, error.param) == (400, "prompt")


@pytest.mark.parametrize(("field", "value"), [("echo", True), ("suffix", "x"), ("best_of", 3)])
def test_fields_that_would_change_the_form_of_a_completion_are_refused(field, value):
    assert (
        refusal(parse_completion, json.dumps({"model": "m", "prompt": "x", field: value}).encode()).param
        == field
    )


def test_stop_strings():
    assert stop_strings(None) == ()
    assert stop_strings("end") == ("end",)
    assert stop_strings(["a", "", "b"]) == ("a", "b")
    assert refusal(stop_strings, ["x"] * 17).param == "stop"
