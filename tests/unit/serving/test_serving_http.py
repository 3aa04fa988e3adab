"""TCP_NODELAY on every accepted socket, on re-used connections too; a port in use is one clear line."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from armature.errors import StartFailed
from armature.serving.frontend.http import HttpServer, http_protocol, new_event_loop
from armature.serving.mocker.system_server import SystemServer
from armature.serving.transport.listen import listen_tcp


def nodelay(transport: asyncio.BaseTransport) -> int:
    return transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, new_event_loop])
def test_nodelay_is_set_on_the_server_side_of_every_connection(new_loop):
    async def scenario():
        transports: list[asyncio.BaseTransport] = []

        class Watched(http_protocol()):
            def connection_made(self, transport):
                super().connection_made(transport)
                transports.append(transport)

        seen: list[list[int]] = []

        async def hello(request):
            seen.append([nodelay(transport) for transport in transports])
            return PlainTextResponse("hello")

        listener = listen_tcp("127.0.0.1", 0, "--port")
        ready = asyncio.Event()
        app = Starlette(routes=[Route("/", hello)])
        server = HttpServer(app, listener, grace_s=1, ready=ready.set, protocol=Watched)
        serving = asyncio.create_task(server.run_until_stopped())
        await ready.wait()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with httpx.AsyncClient() as client:
            for _ in range(3):  # one connection, re-used
                assert (await client.get(url)).text == "hello"
            assert len(transports) == 1
            async with httpx.AsyncClient() as other:
                await other.get(url)
        server.stop()
        await serving
        assert len(transports) == 2
        assert seen == [[1], [1], [1], [1, 1]]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario())


def test_a_port_in_use_names_the_port_and_the_flag():
    listener = listen_tcp("127.0.0.1", 0, "--port")
    port = listener.getsockname()[1]
    with (
        listener,
        pytest.raises(StartFailed, match=rf"Port {port} on 127\.0\.0\.1 is in use.*--port 0") as caught,
    ):
        listen_tcp("127.0.0.1", port, "--port")
    assert caught.value.exit_code == 7
    assert "\n" not in str(caught.value)


def test_an_address_that_is_not_ours_is_a_clear_error():
    with pytest.raises(StartFailed, match=r"Cannot listen on 203\.0\.113\.1"):
        listen_tcp("203.0.113.1", 0, "--port")


def test_the_system_server_answers_what_it_knows_and_survives_rubbish():
    async def scenario():
        listener = listen_tcp("127.0.0.1", 0, "--system-port")
        port = listener.getsockname()[1]
        server = SystemServer(listener, {"/live": lambda: (200, "text/plain", b"yes")})
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"nonsense\r\n\r\n")
        assert b"400 Bad Request" in await reader.read()
        writer.close()
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        silent.close()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answers = [await client.get("/live?x=1"), await client.get("/other"), await client.post("/live")]
        await server.close()
        assert [answer.status_code for answer in answers] == [200, 404, 405]
        assert answers[0].text == "yes"
        assert "/live" in answers[1].text

    asyncio.run(scenario())
