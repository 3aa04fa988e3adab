"""A proxied message ends where HTTP/1.1 says, and arrives as it was sent."""

from __future__ import annotations

import asyncio

import pytest

from armature_testbed.http_message import Head, relay_body


def relayed(head: bytes, body: bytes, *, is_answer_to: str | None = None, closed: bool = False):
    """The body as passed on, whether it ended with the connection, and what was left for the next message."""

    async def run():
        reader = asyncio.StreamReader()
        reader.feed_data(head + body)
        if closed:
            reader.feed_eof()
        blocks: list[bytes] = []

        async def sink(block: bytes) -> None:
            blocks.append(block)

        found = await Head.read(reader)
        ended = await relay_body(reader, sink, found, is_answer_to=is_answer_to)
        reader.feed_eof()
        return b"".join(blocks), ended, await reader.read()

    return asyncio.run(run())


CHUNKS = b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n"


def test_chunks_are_passed_on_as_they_are():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert relayed(head, CHUNKS + b"next", is_answer_to="GET") == (CHUNKS, False, b"next")


def test_length_ends_a_body():
    assert relayed(b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\n", b"abcnext") == (b"abc", False, b"next")


def test_a_request_without_length_has_no_body():
    assert relayed(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", b"next") == (b"", False, b"next")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_some_answers_have_no_body_whatever_they_say(method, status):
    head = f"HTTP/1.1 {status} X\r\nContent-Length: 9\r\n\r\n".encode()
    assert relayed(head, b"next", is_answer_to=method) == (b"", False, b"next")


def test_an_answer_without_length_ends_with_the_connection():
    assert relayed(b"HTTP/1.1 200 OK\r\n\r\n", b"all of it", is_answer_to="GET", closed=True) == (
        b"all of it",
        True,
        b"",
    )


def test_a_body_cut_off_is_not_taken_for_whole():
    with pytest.raises(asyncio.IncompleteReadError):
        relayed(b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n", b"abc", closed=True)


def test_heads_are_passed_on_as_they_came():
    async def run():
        reader = asyncio.StreamReader()
        reader.feed_data(b"GET /a?b HTTP/1.1\r\nX-One: 1\r\nx-one: 2\r\n\r\n")
        reader.feed_eof()
        head = await Head.read(reader)
        return head, await Head.read(reader)

    head, nothing = asyncio.run(run())
    assert nothing is None
    assert head.encoded() == b"GET /a?b HTTP/1.1\r\nX-One: 1\r\nx-one: 2\r\n\r\n"
