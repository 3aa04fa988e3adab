"""The unmodified OpenAI client against real processes (FE-02, FE-04, FE-06, FE-11)."""

from __future__ import annotations

import json
import re
import socket

import httpx
import openai
import pytest
from serving_harness import Serving

pytestmark = pytest.mark.e2e

MODEL = "org/tiny"
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    with Serving(tmp_path_factory.mktemp("openai")) as one:
        one.frontend()
        one.workers("agg", more=("--max-model-len", "2048", "--speedup-ratio", "20"))
        one.until_ready()
        yield one


@pytest.fixture(scope="module")
def client(serving):
    with openai.OpenAI(base_url=f"{serving.url}/v1", api_key="none", max_retries=0) as one:
        yield one


def test_chat(client):
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=40, temperature=0.5)
    assert answer.choices[0].finish_reason == "length"
    assert len(answer.choices[0].message.content) == 40  # a byte is a token, and the words are ASCII
    assert (answer.usage.completion_tokens, answer.usage.prompt_tokens) == (40, 23)
    assert answer.usage.total_tokens == 63


def test_chat_streams_the_same_words_token_by_token_with_usage(client):
    whole = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=40)
    options = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=40, stream=True, stream_options=options
        )
    )
    texts = [
        chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content
    ]
    assert "".join(texts) == whole.choices[0].message.content
    assert len(texts) == 40
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 40
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 16


def test_an_answer_without_a_limit_ends_by_itself(client):
    answer = client.chat.completions.create(model=MODEL, messages=HELLO)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content.split()[-1].isalpha()


def test_a_stop_string_ends_the_answer(client):
    whole = (
        client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=60).choices[0].message.content
    )
    word = whole.split()[3]
    for stream in (False, True):
        answer = client.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=60, stop=[word], stream=stream
        )
        if stream:
            chunks = list(answer)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            reason = chunks[-1].choices[0].finish_reason
        else:
            text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
        assert (text, reason) == (whole[: whole.index(word)], "stop")


def test_completions_take_text_and_tokens(client):
    text = client.completions.create(model=MODEL, prompt="hello", max_tokens=12)
    tokens = client.completions.create(model=MODEL, prompt=list(b"hello"), max_tokens=12)
    assert text.choices[0].text == tokens.choices[0].text
    assert tokens.usage.prompt_tokens == 5
    streamed = client.completions.create(model=MODEL, prompt="hello", max_tokens=12, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == text.choices[0].text


def test_models_with_a_slash_in_the_name(client):
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError, match="not served here"):
        client.models.retrieve("org/other")


def test_errors_are_the_clients_own_kinds(client):
    with pytest.raises(openai.NotFoundError, match=r"Served: org/tiny") as unknown:
        client.chat.completions.create(model="org/other", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="n may only be 1"):
        client.chat.completions.create(model=MODEL, messages=HELLO, n=2)
    with pytest.raises(openai.BadRequestError, match=r"2048 tokens; 3001 are needed") as long:
        client.completions.create(model=MODEL, prompt=[1] * 3000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(
        openai.BadRequestError, match=r"2048 tokens; 2105 are needed \(5 in the prompt and 2100"
    ):
        client.completions.create(model=MODEL, prompt="hello", max_tokens=2100, stream=True)


def test_bytes_on_the_wire(serving):
    body = {"model": MODEL, "messages": HELLO, "max_tokens": 2, "stream": True}
    answer = httpx.post(f"{serving.url}/v1/chat/completions", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(
        json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk" for event in events[:-2]
    )


def test_other_requests_fail_in_openais_shape(serving):
    url = serving.url
    answers = {
        "bad json": httpx.post(f"{url}/v1/chat/completions", content=b"{"),
        "no such path": httpx.get(f"{url}/v2/models"),
        "wrong method": httpx.get(f"{url}/v1/completions"),
    }
    assert [answer.status_code for answer in answers.values()] == [400, 404, 405]
    for answer in answers.values():
        assert set(answer.json()["error"]) == {"message", "type", "code", "param"}


def test_health_and_metrics_of_frontend_and_worker(serving, client):
    client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)
    health = httpx.get(f"{serving.url}/health").json()
    assert (health["status"], health["models"]) == ("healthy", [MODEL])
    assert health["instances"][0]["role"] == "agg"
    assert httpx.get(f"{serving.url}/live").status_code == 200
    text = httpx.get(f"{serving.url}/metrics").text
    labels = f'dynamo_namespace="test",model="{MODEL}"'
    for name in ("active_requests", "inflight_requests", "queued_requests"):
        assert f"dynamo_frontend_{name}{{{labels}}} 0.0" in text
    for name in (
        *("time_to_first_token_seconds", "inter_token_latency_seconds", "request_duration_seconds"),
        *("input_sequence_tokens", "output_sequence_tokens"),
    ):
        assert f"dynamo_frontend_{name}_count{{{labels}}}" in text
        assert re.search(
            rf'dynamo_frontend_{name}_bucket{{dynamo_namespace="test",le="[^"]+",model="{MODEL}"}}', text
        )
    assert (
        'dynamo_frontend_stage_requests{dynamo_namespace="test",phase="aggregated",stage="dispatch"} 0.0'
        in text
    )
    assert (
        f'dynamo_frontend_requests_total{{dynamo_namespace="test",endpoint="chat_completions",model="{MODEL}"'
        in text
    )
    system = health["instances"][0]["system_address"]
    worker = httpx.get(f"http://{system}/metrics").text
    assert f'vllm:num_requests_running{{model_name="{MODEL}"}} 0.0' in worker
    assert httpx.get(f"http://{system}/health").json()["role"] == "agg"


def test_a_client_that_goes_away_frees_the_worker(serving):
    """The request would run for minutes; after the client has gone nothing of it is left on the worker."""
    body = {"model": MODEL, "prompt": [1] * 10, "max_tokens": 2000, "stream": True}
    with httpx.stream("POST", f"{serving.url}/v1/completions", json=body) as answer:
        next(answer.iter_lines())
    system = httpx.get(f"{serving.url}/health").json()["instances"][0]["system_address"]
    for _ in range(200):
        worker = httpx.get(f"http://{system}/metrics").text
        if f'vllm:num_requests_running{{model_name="{MODEL}"}} 0.0' in worker:
            break
    else:
        raise AssertionError("the request still runs")
    generated = next(line for line in worker.splitlines() if line.startswith("vllm:generation_tokens_total"))
    assert float(generated.split()[-1]) < 2000


def test_a_body_above_the_limit_is_refused(tmp_path):
    with Serving(tmp_path) as one:
        one.frontend("--max-body-bytes", "1000")
        answer = httpx.post(f"{one.url}/v1/chat/completions", content=b"x" * 1001)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_without_a_worker_the_frontend_says_so(tmp_path):
    with Serving(tmp_path) as one:
        one.frontend("--router-mode", "kv")
        assert httpx.get(f"{one.url}/health").status_code == 503
        body = {"model": MODEL, "messages": HELLO}
        answer = httpx.post(f"{one.url}/v1/chat/completions", json=body)
        assert answer.status_code == 404
        assert "no worker is ready" in answer.json()["error"]["message"]
        assert one.processes[0].log.read_text().count("routed round-robin") == 1


def test_start_and_stop_of_a_frontend(tmp_path):
    with Serving(tmp_path) as one, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = one.start(
            *("armature.serving.frontend", "--port", str(port)),
            *("--discovery", str(tmp_path), "--namespace", "x"),
        )
        assert refused.popen.wait(30) == 7
        lines = refused.log.read_text().splitlines()
        assert len(lines) == 1
        assert f"Port {port} on 127.0.0.1 is in use" in lines[0]
        assert one.frontend().stop() == 0
