"""Many streams at once, workers killed under them, orderly stops, and disaggregated serving (DIS-01, DIS-02)."""

from __future__ import annotations

import asyncio
import json
import signal

import httpx
import openai
import pytest
from serving_harness import Serving, flat_table

pytestmark = pytest.mark.e2e

MODEL = "org/tiny"
BODY = {"model": MODEL, "prompt": [5] * 64, "stream": True, "ignore_eos": True}


async def stream_one(
    client: httpx.AsyncClient, url: str, tokens: int, seed: int = 0
) -> tuple[int, list[dict]]:
    """(tokens received, errors received) of one streamed request."""
    received, errors, done = 0, [], 0
    body = BODY | {"max_tokens": tokens, "prompt": [seed % 250, *BODY["prompt"]]}
    async with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
        if answer.status_code != 200:
            return 0, [json.loads(await answer.aread())["error"]]
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                done += 1
            elif line:
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    errors.append(event["error"])
                else:
                    received += bool(event["choices"][0]["text"])
    assert done == 1
    return received, errors


def http_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None))


async def until_running(client: httpx.AsyncClient, url: str, *counts: int) -> None:
    """Waits until the frontend has so many requests in flight on its workers, in order."""
    async with asyncio.timeout(20):
        while True:
            instances = (await client.get(f"{url}/health")).json()["instances"]
            if tuple(instance["in_flight"] for instance in instances) == counts:
                return


def test_200_streams_at_once_all_finish(tmp_path):
    async def load(url):
        async with http_client() as client:
            return await asyncio.gather(*(stream_one(client, url, 20, seed) for seed in range(200)))

    with Serving(tmp_path) as one:
        one.frontend()
        one.workers("agg", "agg")
        one.until_ready(2)
        results = asyncio.run(load(one.url))
        assert results == [(20, [])] * 200
        text = httpx.get(f"{one.url}/metrics").text
        assert 'dynamo_frontend_active_requests{dynamo_namespace="test",model="org/tiny"} 0.0' in text
        shares = [instance["in_flight"] for instance in httpx.get(f"{one.url}/health").json()["instances"]]
        assert shares == [0, 0]


def test_a_killed_worker_ends_its_requests_with_one_error_each_and_the_others_finish(tmp_path):
    async def load(one, victim):
        async with http_client() as client:
            running = [asyncio.create_task(stream_one(client, one.url, 300, seed)) for seed in range(40)]
            await until_running(client, one.url, 20, 20)
            await asyncio.sleep(0.3)
            victim.kill()
            async with asyncio.timeout(30):
                results = await asyncio.gather(*running)
            after = await stream_one(client, one.url, 5)
            return results, after

    with Serving(tmp_path) as one:
        one.frontend()
        victim, _ = one.workers("agg", "agg", table=flat_table(decode_ms=8.0))
        one.until_ready(2)
        results, after = asyncio.run(load(one, victim))
        failed = [(received, errors) for received, errors in results if errors]
        assert len(failed) == 20
        assert all(len(errors) == 1 and errors[0]["code"] == "worker_lost" for _, errors in failed)
        assert all(0 < received < 300 for received, _ in failed)
        assert f"lost after {failed[0][0]} output tokens" in failed[0][1][0]["message"]
        assert [result for result in results if not result[1]] == [(300, [])] * 20
        assert after == (5, [])
        one.until_ready(1)


def test_the_openai_client_raises_when_its_worker_dies(tmp_path):
    with Serving(tmp_path) as one:
        one.frontend()
        (victim,) = one.workers("agg")
        one.until_ready()
        client = openai.OpenAI(base_url=f"{one.url}/v1", api_key="none", max_retries=0)
        stream = client.completions.create(model=MODEL, prompt="hello", max_tokens=20_000, stream=True)
        next(iter(stream))
        victim.kill()
        with pytest.raises(openai.APIError, match="Send it again"):
            list(stream)
        with pytest.raises(openai.APIStatusError):  # 503 while it is known, 404 after
            client.completions.create(model=MODEL, prompt="hello", max_tokens=2)


def test_a_stopped_worker_finishes_what_it_has(tmp_path):
    """SIGTERM: its record goes, no new request reaches it, and the running one is served to its end."""
    with Serving(tmp_path) as one:
        one.frontend()
        first, _ = one.workers("agg", "agg", table=flat_table(decode_ms=10.0))
        one.until_ready(2)

        async def load():
            async with http_client() as client:
                running = [asyncio.create_task(stream_one(client, one.url, 80, seed)) for seed in range(4)]
                await until_running(client, one.url, 2, 2)
                first.popen.send_signal(signal.SIGTERM)
                return await asyncio.gather(*running)

        assert asyncio.run(load()) == [(80, [])] * 4
        assert first.popen.wait(30) == 0


def test_a_stopped_frontend_finishes_its_streams(tmp_path):
    with Serving(tmp_path) as one:
        frontend = one.frontend()
        one.workers("agg", table=flat_table(decode_ms=10.0))
        one.until_ready()

        async def load():
            async with http_client() as client:
                running = asyncio.create_task(stream_one(client, one.url, 80))
                await until_running(client, one.url, 1)
                frontend.popen.send_signal(signal.SIGTERM)
                return await running

        assert asyncio.run(load()) == (80, [])
        assert frontend.popen.wait(30) == 0


def test_disaggregated_serving_hands_over_and_says_the_same(tmp_path):
    """DIS-01: prefill on one worker, decode on the other; neither alone serves the model."""
    with Serving(tmp_path) as one:
        one.frontend()
        prefill, decode = one.workers("prefill", "decode", more=("--kv-transfer-ms-per-token", "0.1"))
        one.until_ready(2)
        client = openai.OpenAI(base_url=f"{one.url}/v1", api_key="none", max_retries=0)
        whole = client.completions.create(model=MODEL, prompt="hello there", max_tokens=30)
        assert (whole.usage.completion_tokens, whole.choices[0].finish_reason) == (30, "length")
        assert (
            client.completions.create(model=MODEL, prompt="hello", max_tokens=1).usage.completion_tokens == 1
        )
        streamed = client.completions.create(model=MODEL, prompt="hello there", max_tokens=30, stream=True)
        assert "".join(chunk.choices[0].text for chunk in streamed) == whole.choices[0].text
        tokens = [_counter(process.port, "vllm:generation_tokens_total") for process in (prefill, decode)]
        assert tokens == [3.0, 58.0]
        decode.kill()
        decode.popen.wait(30)
        with pytest.raises(openai.APIStatusError) as gone:
            client.completions.create(model=MODEL, prompt="hello", max_tokens=20_000)
        assert gone.value.status_code == 503
        one.workers("decode")
        one.until_ready(2)
        again = client.completions.create(model=MODEL, prompt="hello there", max_tokens=30)
        assert again.choices[0].text == whole.choices[0].text


def _counter(port: int, name: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return float(next(line for line in text.splitlines() if line.startswith(name)).split()[-1])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--step-table", "/nowhere/steps.json"], "--step-table: cannot be read: No such file"),
        (["--speedup-ratio", "0", "--block-size", "0"], "2 problems"),
    ],
)
def test_a_mocker_with_wrong_flags_says_what_is_wrong(tmp_path, flags, words):
    with Serving(tmp_path) as one:
        process = one.start(
            *("armature.serving.mocker", "--model", "m", "--served-model-name", "m", "--component", "c"),
            *(
                "--discovery",
                str(tmp_path),
                "--namespace",
                "x",
                "--step-table",
                str(tmp_path / "none.json"),
                *flags,
            ),
        )
        assert process.popen.wait(30) == 2
        assert words in process.log.read_text()
