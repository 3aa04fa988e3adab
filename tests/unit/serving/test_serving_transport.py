"""Frontend and worker over real sockets in one loop (SD-14): streams, cancellation, loss."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
import zmq.asyncio

from armature.serving.frontend.tokens import ByteTokeniser
from armature.serving.mocker.engine import Engine, EngineLimits
from armature.serving.mocker.text import Speaker
from armature.serving.mocker.timing import LinearClock
from armature.serving.mocker.worker import MockWorker
from armature.serving.transport.client import WorkerClient, WorkerLost
from armature.serving.transport.messages import (
    Beat,
    Cancel,
    Generate,
    Handoff,
    Output,
    Outputs,
    Ping,
    ProtocolMismatch,
    decode_from_frontend,
    decode_from_worker,
    encode,
    pack_tokens,
)
from armature.serving.transport.server import WorkerServer

PROMPT = pack_tokens(list(range(100)))


class Rig:
    """A worker in this loop and a client of it."""

    def __init__(self, worker: MockWorker, server: WorkerServer, client: WorkerClient, tasks) -> None:
        self.worker = worker
        self.server = server
        self.client = client
        self.tasks = tasks

    async def kill(self) -> None:
        """What the kernel does to a killed process's sockets, and nothing else."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.server.close()


@asynccontextmanager
async def rig(*, step_ms: float = 1.0, host_ms: float = 0.0, changed=lambda: None, **limits):
    context = zmq.asyncio.Context()
    engine = Engine(EngineLimits(**limits), LinearClock(step_ms))
    worker = MockWorker(
        engine, Speaker(ByteTokeniser(), 0), "w1", kv_transfer_ms_per_token=0.01, host_ms=host_ms
    )
    server = WorkerServer(context, worker)
    tasks = [asyncio.create_task(server.run()), asyncio.create_task(worker.run(server))]
    client = WorkerClient(context, "w1", server.address, changed)
    one = Rig(worker, server, client, tasks)
    try:
        async with asyncio.timeout(20):
            await until(lambda: client.alive)
            yield one
    finally:
        await client.close()
        await one.kill()
        context.destroy(linger=0)


async def until(condition) -> None:
    while not condition():  # noqa: ASYNC110 - the condition is another task's state
        await asyncio.sleep(0.005)


async def collect(stream) -> tuple[list[int], Output]:
    tokens: list[int] = []
    while True:
        for output in await stream.next():
            tokens += output.tokens
            if output.finish or output.error:
                return tokens, output


def test_requests_stream_and_end():
    async def scenario():
        async with rig() as one:
            streams = [one.client.submit(PROMPT, count) for count in (1, 5, 9)]
            results = [await collect(stream) for stream in streams]
            assert [len(tokens) for tokens, _ in results] == [1, 5, 9]
            assert {last.finish for _, last in results} == {"length"}
            assert results[2][0][:5] == results[1][0]  # the same prompt, the same words
            _, last = await collect(one.client.submit(PROMPT, None))
            assert last.finish == "stop"
            assert last.cached_tokens == 96
            for stream in streams:
                stream.close()

    asyncio.run(scenario())


def test_a_prompt_waits_for_the_host_and_one_computed_elsewhere_does_not():
    """The engine's `host_ms` is between a prompt's arrival and its place in the queue; cancelling it there is safe."""

    async def scenario():
        async with rig(host_ms=60.0) as one:
            loop = asyncio.get_running_loop()
            start = loop.time()
            _, last = await collect(one.client.submit(PROMPT, 3, prefill_only=True))
            assert loop.time() - start > 0.05
            one.client.submit(PROMPT, 50).close()
            await asyncio.sleep(0.1)
            assert one.worker.requests == 1
            assert one.worker.beat().waiting == one.worker.beat().running == 0
            start = loop.time()
            await collect(one.client.submit(PROMPT, 3, handoff=last.handoff))
            assert loop.time() - start < 0.05

    asyncio.run(scenario())


def test_prefill_hands_over_and_decode_goes_on_where_it_stopped():
    """DIS-01."""

    async def scenario():
        async with rig() as one:
            whole, _ = await collect(one.client.submit(PROMPT, 6))
            first, last = await collect(one.client.submit(PROMPT, 6, prefill_only=True))
            assert last.handoff == Handoff("w1", whole[0], 100)
            rest, end = await collect(one.client.submit(PROMPT, 6, handoff=last.handoff))
            assert (first + rest, end.finish) == (whole, "length")
            _, refused = await collect(one.client.submit(PROMPT, 1, handoff=last.handoff))
            assert "nothing is left" in refused.error

    asyncio.run(scenario())


def test_a_closed_stream_is_cancelled_on_the_worker():
    async def scenario():
        async with rig(step_ms=5.0) as one:
            stream = one.client.submit(PROMPT, 100_000, prefill_only=False)
            await stream.next()
            stream.close()
            await until(lambda: len(one.worker.engine) == 0)
            assert one.client.in_flight == 0
            await one.client.idle()
            await one.worker.drained()

    asyncio.run(scenario())


def test_what_the_engine_cannot_run_is_one_error():
    async def scenario():
        async with rig(block_size=16, num_gpu_blocks=2) as one:
            tokens, last = await collect(one.client.submit(PROMPT, 5))
            assert tokens == []
            assert "32 tokens" in last.error

    asyncio.run(scenario())


def test_a_broken_connection_loses_every_request_once():
    async def scenario():
        changes: list[bool] = []
        async with rig(step_ms=20.0, changed=lambda: changes.append(True)) as one:
            streams = [one.client.submit(PROMPT, 1000) for _ in range(5)]
            await asyncio.gather(*(stream.next() for stream in streams))
            await one.kill()
            for stream in streams:
                with pytest.raises(WorkerLost, match=r"w1 died"):
                    await collect(stream)
                stream.close()
            assert not one.client.alive
            with pytest.raises(WorkerLost):
                one.client.submit(PROMPT, 1)
            assert len(changes) == 2  # alive, dead

    asyncio.run(scenario())


def test_a_silent_worker_is_given_up_and_welcome_back(monkeypatch):
    monkeypatch.setattr("armature.serving.transport.client.BEAT_S", 0.02)
    monkeypatch.setattr("armature.serving.transport.client.SILENT_BEATS", 10)

    async def scenario():
        context = zmq.asyncio.Context()
        worker = context.socket(zmq.ROUTER)
        port = worker.bind_to_random_port("tcp://127.0.0.1")
        client = WorkerClient(context, "w1", f"tcp://127.0.0.1:{port}")
        try:
            async with asyncio.timeout(20):
                identity, data = await worker.recv_multipart()
                assert decode_from_frontend(data) == Ping()
                await worker.send_multipart([identity, encode(Beat(0, 3, 0.5))])
                await until(lambda: client.alive)
                stream = client.submit(PROMPT, 5)
                with pytest.raises(WorkerLost, match="hangs"):
                    await stream.next()
                assert not client.alive
                await worker.send_multipart([identity, encode(Beat(0, 0, 0.0))])
                await until(lambda: client.alive)
        finally:
            await client.close()
            context.destroy(linger=0)

    asyncio.run(scenario())


def test_a_frontend_that_is_gone_has_no_requests_left():
    async def scenario():
        async with rig(step_ms=5.0) as one:
            one.client.submit(PROMPT, 100_000)
            await until(lambda: len(one.worker.engine) == 1)
            await one.client.close()
            await until(lambda: len(one.worker.engine) == 0)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "message",
    [
        Generate(1, PROMPT, None, True, Handoff("w", 1, 2)),
        Generate(2, b"", 5),
        Cancel(3),
        Ping(),
    ],
)
def test_messages_to_a_worker_come_through(message):
    assert decode_from_frontend(encode(message)) == message


@pytest.mark.parametrize(
    "message", [Outputs([Output(1, [5, 6], "stop", 16), Output(2, [], error="no")]), Beat(1, 2, 0.5)]
)
def test_messages_to_a_frontend_come_through(message):
    assert decode_from_worker(encode(message)) == message


@pytest.mark.parametrize("data", [b"", b"\x02\x91\x03", b"GET / HTTP/1.1", b"\x01\x91\x63", b"\x01"])
def test_another_protocol_is_recognised(data):
    for decode in (decode_from_frontend, decode_from_worker):
        with pytest.raises(ProtocolMismatch):
            decode(data)
