"""The two completion endpoints: read, check, tokenise, generate, answer.

They are plain ASGI applications, because a token's way out is the hot path: each batch of tokens becomes one
write. The response starts with the first token, so that everything which fails before it is an HTTP status and
not a broken stream. A client that goes away cancels its request on the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope, Send

from armature.serving.discovery.base import ModelCard
from armature.serving.frontend.errors import ApiError, invalid
from armature.serving.frontend.generation import Generation
from armature.serving.frontend.metrics import FrontendMetrics, RequestMetrics
from armature.serving.frontend.openai_types import (
    ChatRequest,
    CompletionRequest,
    packed,
    parse_chat,
    parse_completion,
    stop_strings,
)
from armature.serving.frontend.pool import Model, WorkerPool
from armature.serving.frontend.stream import Endpoint, Reply, TextStream, Usage, sse_error
from armature.serving.frontend.template import TemplateRefused
from armature.serving.transport.messages import pack_tokens

__all__ = ["CompletionsApp", "send_error"]

_INLINE_CHARACTERS = 2000
"""Longer prompts are tokenised in a thread, so that they delay nobody else's tokens."""

_HEADERS = {
    True: [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")],
    False: [(b"content-type", b"application/json")],
}


@dataclass(frozen=True, slots=True)
class _Prompt:
    packed: bytes
    tokens: int


class _ClientGone(Exception):
    """The client closed its connection before it had sent its request."""


class CompletionsApp:
    """`/v1/chat/completions` or `/v1/completions`. max_body: bytes a request may have."""

    def __init__(self, pool: WorkerPool, metrics: FrontendMetrics, endpoint: Endpoint, max_body: int) -> None:
        self._pool = pool
        self._metrics = metrics
        self._endpoint: Endpoint = endpoint
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = self._metrics.clock()
        try:
            body = await _read(receive, self._max_body)
            request = parse_chat(body) if self._endpoint == "chat_completions" else parse_completion(body)
            model = self._pool.model(request.model)
        except _ClientGone:
            return
        except ApiError as error:
            await send_error(send, error)
            return
        metrics = self._metrics.request(
            model.card.name, self._endpoint, stream=bool(request.stream), began=began
        )
        answer = _Answer(self._endpoint, request, model, metrics, send)
        gone = asyncio.create_task(_disconnected(receive))
        serve = asyncio.create_task(answer.run())
        try:
            await asyncio.wait((gone, serve), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, serve):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serve
            metrics.end(answer.status)


class _Answer:
    """One request from its parsed body to the last byte of its answer. status: how it ended."""

    def __init__(
        self,
        endpoint: Endpoint,
        request: ChatRequest | CompletionRequest,
        model: Model,
        metrics: RequestMetrics,
        send: Send,
    ) -> None:
        self._request = request
        self._model = model
        self._metrics = metrics
        self._send = send
        self._started = False
        self._reply = Reply(
            endpoint,
            uuid.uuid4().hex,
            request.model,
            int(time.time()),
            usage_in_chunks=request.stream_options is not None and request.stream_options.include_usage,
        )
        self.status = "cancelled"

    async def run(self) -> None:
        """Serves the request; every failure becomes one error to the client."""
        try:
            await self._generate()
            self.status = "success"
        except ApiError as error:
            self.status = "error"
            if self._started:
                await self._body(sse_error(error), more=False)
            else:
                await send_error(self._send, error)

    async def _generate(self) -> None:
        self._metrics.stage("preprocess")
        request, model = self._request, self._model
        stops = stop_strings(request.stop)
        prompt = await _prompt(request, model)
        _check_length(model.card, prompt.tokens, request.max_tokens)
        self._metrics.prompt(prompt.tokens)
        generation = Generation(model, prompt.packed, prompt.tokens, request.max_tokens, self._metrics)
        text = TextStream(model.tokeniser.detokeniser(), stops)
        try:
            parts = self._texts(generation, text)
            if request.stream:
                await self._stream(parts, generation, text, prompt.tokens)
            else:
                await self._whole(parts, generation, text, prompt.tokens)
        finally:
            generation.close()

    async def _texts(self, generation: Generation, text: TextStream) -> AsyncIterator[list[str]]:
        """New texts as tokens arrive, until the end or a stop string."""
        async with contextlib.aclosing(generation.tokens()) as arriving:
            async for tokens in arriving:
                if tokens:
                    self._metrics.tokens(len(tokens))
                    yield text.feed(tokens)
                if text.stopped:
                    return
        rest = text.end()
        if rest:
            yield [rest]

    async def _stream(
        self, parts: AsyncIterator[list[str]], generation: Generation, text: TextStream, prompt_tokens: int
    ) -> None:
        reply = self._reply
        async for texts in parts:
            data = b"".join([reply.chunk(part) for part in texts])
            if not self._started:
                await self._start(stream=True)
                data = reply.begin() + data
            if data:
                await self._body(data, more=True)
        reason, usage = _outcome(generation, text, prompt_tokens)
        await self._body(reply.finish(reason, usage), more=False)

    async def _whole(
        self, parts: AsyncIterator[list[str]], generation: Generation, text: TextStream, prompt_tokens: int
    ) -> None:
        pieces = [piece async for texts in parts for piece in texts]
        reason, usage = _outcome(generation, text, prompt_tokens)
        body = self._reply.body("".join(pieces), reason, usage)
        await self._start(stream=False, length=len(body))
        await self._body(body, more=False)

    async def _start(self, *, stream: bool, length: int | None = None) -> None:
        headers = list(_HEADERS[stream])
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        self._started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _body(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


async def send_error(send: Send, error: ApiError) -> None:
    """A whole HTTP answer that is an error."""
    body = error.body()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _read(receive: Receive, most: int) -> bytes:
    """The request's body. Raises ApiError 413 above `most` bytes."""
    parts: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            raise ApiError(
                413,
                f"The request body is larger than {most} bytes.",
                type="invalid_request_error",
                code="too_large",
            )
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _disconnected(receive: Receive) -> None:
    """Returns when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _outcome(generation: Generation, text: TextStream, prompt_tokens: int) -> tuple[str, Usage]:
    """The finish reason and the usage."""
    reason = "stop" if text.stopped else generation.finish or "stop"
    return reason, Usage(prompt_tokens, text.count, generation.cached_tokens)


async def _prompt(request: ChatRequest | CompletionRequest, model: Model) -> _Prompt:
    special = isinstance(request, CompletionRequest)
    if isinstance(request, CompletionRequest):
        if isinstance(request.prompt, list):
            return _Prompt(packed(request.prompt), len(request.prompt))
        text = request.prompt
    else:
        try:
            text = model.template.render(
                request.messages, tools=request.tools, **(request.chat_template_kwargs or {})
            )
        except TemplateRefused as error:
            raise invalid(
                f"The model's chat template refused the messages: {error}.", param="messages"
            ) from None

    def encode() -> _Prompt:
        tokens = model.tokeniser.encode(text, add_special=special)
        return _Prompt(pack_tokens(tokens), len(tokens))

    prompt = encode() if len(text) <= _INLINE_CHARACTERS else await asyncio.to_thread(encode)
    if not prompt.tokens:
        raise invalid(
            "The prompt has no tokens.", param="messages" if isinstance(request, ChatRequest) else "prompt"
        )
    return prompt


def _check_length(card: ModelCard, prompt: int, output: int | None) -> None:
    """Raises ApiError 400 with the numbers when prompt and output cannot both fit the model's context."""
    longest = card.longest_sequence
    asked = prompt + (output or 1)
    if asked <= longest:
        return
    parts = f"{prompt} in the prompt and {output} of output" if output else f"{prompt} in the prompt"
    raise ApiError(
        400,
        f"The context of '{card.name}' here is {longest} tokens; {asked} are needed ({parts}). Shorten them.",
        type="invalid_request_error",
        code="context_length_exceeded",
        param="max_tokens" if output and prompt < longest else "messages",
    )
