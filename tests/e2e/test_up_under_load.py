"""`armature up` as a user meets it: the unmodified OpenAI client, many streams, a worker that dies (issue 3)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import openai
import pytest

from armature import api
from armature.flow import plan_request
from armature.local.state import Deployment, status
from armature.local.up import UpOptions, running

pytestmark = pytest.mark.e2e

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.yaml"
MODEL = "Qwen/Qwen3-32B-FP8"
MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def quickstart(tmp_path):
    profile, graph = plan_request(api.load_one(QUICKSTART), offline=True)

    def start(speedup_ratio: float):
        options = UpOptions(
            home=tmp_path, port=0, offline=True, speedup_ratio=speedup_ratio, ready_timeout_s=60
        )
        return running(
            graph.dgd, profile=profile, options=options, extras=graph.extras, report=lambda _: None
        )

    return start


def client_of(deployment: Deployment, kind: type = openai.OpenAI):
    return kind(base_url=f"{deployment.url}/v1", api_key="none", max_retries=0, timeout=60)


async def stream(client: openai.AsyncOpenAI, tokens: int) -> int:
    """Tokens received; raises the client's own error when the stream ends with one."""
    received = 0
    answer = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=tokens, stream=True, extra_body={"ignore_eos": True}
    )
    async for chunk in answer:
        received += bool(chunk.choices and chunk.choices[0].delta.content)
    return received


async def streams(deployment: Deployment, count: int, tokens: int) -> list[int | BaseException]:
    async with client_of(deployment, openai.AsyncOpenAI) as client:
        return await asyncio.gather(*(stream(client, tokens) for _ in range(count)), return_exceptions=True)


def test_the_openai_client_chats_and_streams_with_what_was_planned(quickstart):
    with quickstart(10.0) as deployment:
        client = client_of(deployment)
        assert [model.id for model in client.models.list()] == [MODEL]
        answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=12)
        assert answer.choices[0].finish_reason in ("stop", "length")
        assert 0 < answer.usage.completion_tokens <= 12
        chunks = list(
            client.chat.completions.create(
                model=MODEL,
                messages=MESSAGES,
                max_tokens=12,
                stream=True,
                stream_options={"include_usage": True},
                extra_body={"ignore_eos": True},
            )
        )
        assert chunks[-1].usage.completion_tokens == 12


def test_200_streams_at_once_finish(quickstart):
    """The plan holds 71 requests on each of two workers, so 58 of the 200 wait their turn."""
    with quickstart(20.0) as deployment:
        results = asyncio.run(streams(deployment, 200, 24))
    assert [result for result in results if isinstance(result, BaseException)] == []
    assert set(results) == {24}


def test_a_worker_killed_under_load_costs_one_error_each_and_comes_back(quickstart, tmp_path):
    with quickstart(1.0) as deployment:
        first = next(process for process in deployment.processes if "worker" in process.name.lower())

        async def kill_under_load() -> list[int | BaseException]:
            load = asyncio.create_task(streams(deployment, 40, 400))
            await asyncio.sleep(1.5)
            os.kill(first.pid, signal.SIGKILL)
            return await load

        results = asyncio.run(kill_under_load())
        errors = [result for result in results if isinstance(result, BaseException)]
        assert len(errors) == 20, "round-robin: half of the streams were on the killed worker"
        assert all(isinstance(error, openai.APIError) for error in errors)
        assert all("worker VllmWorker" in str(error) and "died" in str(error) for error in errors)
        assert [result for result in results if not isinstance(result, BaseException)] == [400] * 20

        end = time.monotonic() + 30
        while True:
            now = next(p for p in status(deployment.name, home=tmp_path).processes if p.name == first.name)
            if now.pid != first.pid and now.restarts == 1 and now.state == "ready":
                break
            assert time.monotonic() < end, now
            time.sleep(0.1)
        assert asyncio.run(streams(deployment, 4, 8)) == [8] * 4
