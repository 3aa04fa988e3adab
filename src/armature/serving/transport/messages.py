"""What frontends and workers say to each other: msgpack of small tagged arrays.

A frontend numbers its requests; a number means something only on its own connection. A worker sends one
`Outputs` per engine step and frontend, whatever the number of streams. `VERSION` is the first byte of every
message, so that a mismatch is a clear error and not a garbled stream.
"""

from __future__ import annotations

import array
import sys
from typing import Literal

import msgspec

__all__ = [
    "VERSION",
    "Beat",
    "Cancel",
    "FromFrontend",
    "FromWorker",
    "Generate",
    "Handoff",
    "Output",
    "Outputs",
    "Ping",
    "ProtocolMismatch",
    "decode_from_frontend",
    "decode_from_worker",
    "encode",
    "pack_tokens",
    "unpack_tokens",
]

VERSION = 1
_PREFIX = bytes([VERSION])

Finish = Literal["length", "stop"]


class ProtocolMismatch(ValueError):
    """The other side speaks another version, or not this protocol at all."""


class Handoff(msgspec.Struct, array_like=True, frozen=True):
    """What a prefill worker leaves for a decode worker: whose cache holds the prompt, and the first token."""

    prefill_worker: str
    first_token: int
    prompt_tokens: int


class Generate(msgspec.Struct, tag=1, array_like=True, frozen=True):
    """A request. prompt: token ids, packed. max_tokens: None lets the model end by itself. prefill_only: compute
    the prompt and one token, and keep nothing. handoff: the prompt and first token were computed elsewhere."""

    id: int
    prompt: bytes
    max_tokens: int | None
    prefill_only: bool = False
    handoff: Handoff | None = None


class Cancel(msgspec.Struct, tag=2, array_like=True, frozen=True):
    """The client of this request is gone."""

    id: int


class Ping(msgspec.Struct, tag=3, array_like=True, frozen=True):
    """The frontend lives; the worker answers the first with a `Beat` at once."""


class Output(msgspec.Struct, array_like=True, frozen=True):
    """New tokens of one request. finish: why it ended, with its last tokens. cached_tokens: prompt tokens found
    in the prefix cache. error: the request failed and is over. handoff: from a prefill worker, with its token."""

    id: int
    tokens: list[int]
    finish: Finish | None = None
    cached_tokens: int = 0
    error: str | None = None
    handoff: Handoff | None = None


class Outputs(msgspec.Struct, tag=4, array_like=True, frozen=True):
    """The outcome of one step for one frontend."""

    outputs: list[Output]


class Beat(msgspec.Struct, tag=5, array_like=True, frozen=True):
    """The worker lives. kv_usage: 0 to 1."""

    running: int
    waiting: int
    kv_usage: float


FromFrontend = Generate | Cancel | Ping
FromWorker = Outputs | Beat

_encoder = msgspec.msgpack.Encoder()
_from_frontend: msgspec.msgpack.Decoder[FromFrontend] = msgspec.msgpack.Decoder(FromFrontend)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def encode(message: FromFrontend | FromWorker) -> bytes:
    return _PREFIX + _encoder.encode(message)


def decode_from_frontend(data: bytes) -> FromFrontend:
    """Raises ProtocolMismatch."""
    try:
        return _from_frontend.decode(_body(data))
    except msgspec.MsgspecError as error:
        raise ProtocolMismatch(str(error)) from None


def decode_from_worker(data: bytes) -> FromWorker:
    """Raises ProtocolMismatch."""
    try:
        return _from_worker.decode(_body(data))
    except msgspec.MsgspecError as error:
        raise ProtocolMismatch(str(error)) from None


def pack_tokens(tokens: list[int]) -> bytes:
    """Token ids as little-endian 32-bit integers. Raises OverflowError outside 0 to 2**32 - 1."""
    packed = array.array("I", tokens)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack_tokens(data: bytes) -> array.array[int]:
    """Inverse of `pack_tokens`."""
    tokens = array.array("I")
    tokens.frombytes(data)
    if sys.byteorder == "big":
        tokens.byteswap()
    return tokens


def _body(data: bytes) -> memoryview:
    if data[:1] != _PREFIX:
        raise ProtocolMismatch(f"expected messages of version {VERSION}, got {data[:1]!r}")
    return memoryview(data)[1:]
