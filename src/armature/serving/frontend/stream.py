"""Tokens to text to JSON, one object per request: stop strings, usage, and the exact bytes of each answer.

Everything of a chunk that does not change between chunks is encoded once per request; what remains per token is
one string escape and a concatenation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from armature.serving.frontend.errors import ApiError
from armature.serving.frontend.tokens import Detokeniser

__all__ = ["DONE", "Endpoint", "Reply", "StopFilter", "TextStream", "Usage", "sse", "sse_error"]

Endpoint = Literal["chat_completions", "completions"]
DONE = b"data: [DONE]\n\n"

_json = msgspec.json.Encoder()


def sse(data: bytes) -> bytes:
    """One server-sent event."""
    return b"data: " + data + b"\n\n"


def sse_error(error: ApiError) -> bytes:
    """How a stream that has begun fails: OpenAI's clients raise on an event with an `error` key."""
    return sse(error.body()) + DONE


class StopFilter:
    """Cuts the text at the first stop string, holding back an end that may yet become one."""

    __slots__ = ("_held", "_stops", "stopped")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """What may be given out now."""
        if not self._stops:
            return text
        text = self._held + text
        cuts = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if cuts:
            self.stopped = True
            self._held = ""
            return text[: min(cuts)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def end(self) -> str:
        """What was held back and became no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


class TextStream:
    """Tokens in, text out, cut at stop strings."""

    __slots__ = ("_detokeniser", "_filter", "count")

    def __init__(self, detokeniser: Detokeniser, stops: tuple[str, ...]) -> None:
        self._detokeniser = detokeniser
        self._filter = StopFilter(stops)
        self.count = 0

    @property
    def stopped(self) -> bool:
        return self._filter.stopped

    def feed(self, tokens: list[int]) -> list[str]:
        """The new texts, one per token where a token makes text; none after a stop string."""
        texts = []
        for token in tokens:
            if self._filter.stopped:
                break
            self.count += 1
            text = self._filter.feed(self._detokeniser.feed((token,)))
            if text:
                texts.append(text)
        return texts

    def end(self) -> str:
        """The rest, when no stop string was met."""
        if self._filter.stopped:
            return ""
        return self._filter.feed(self._detokeniser.end()) + self._filter.end()


@dataclass(frozen=True, slots=True)
class Usage:
    prompt: int
    completion: int
    cached: int

    def as_dict(self) -> dict[str, object]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


class Reply:
    """Bodies and chunks of one answer. created: seconds since the epoch."""

    def __init__(
        self, endpoint: Endpoint, id: str, model: str, created: int, *, usage_in_chunks: bool
    ) -> None:
        self._chat = endpoint == "chat_completions"
        self._id = f"chatcmpl-{id}" if self._chat else f"cmpl-{id}"
        self._model = model
        self._created = created
        self._usage_in_chunks = usage_in_chunks
        if self._chat:
            head, foot = (
                b'"choices":[{"index":0,"delta":{"content":',
                b'},"logprobs":null,"finish_reason":null}]',
            )
        else:
            head, foot = b'"choices":[{"index":0,"text":', b',"logprobs":null,"finish_reason":null}]'
        self._frame = _json.encode(self._head("chat.completion.chunk" if self._chat else "text_completion"))[
            :-1
        ]
        self._before = b"data: " + self._frame + b"," + head
        self._after = foot + (b',"usage":null' if usage_in_chunks else b"") + b"}\n\n"

    def begin(self) -> bytes:
        """The first event of a chat stream names the role; completions have none."""
        if not self._chat:
            return b""
        return self._event([{"index": 0, "delta": {"role": "assistant", "content": ""}} | _OPEN])

    def chunk(self, text: str) -> bytes:
        """One event with new text."""
        return self._before + _json.encode(text) + self._after

    def finish(self, reason: str, usage: Usage) -> bytes:
        """The last events: why it ended, usage where asked for, and the end of the stream."""
        closed = {"logprobs": None, "finish_reason": reason}
        delta: dict[str, object] = {"delta": {}} if self._chat else {"text": ""}
        events = self._event([{"index": 0} | delta | closed])
        if self._usage_in_chunks:
            events += self._event([], usage)
        return events + DONE

    def body(self, text: str, reason: str, usage: Usage) -> bytes:
        """The whole answer at once."""
        content: dict[str, object] = (
            {"message": {"role": "assistant", "content": text, "refusal": None}}
            if self._chat
            else {"text": text}
        )
        choice = {"index": 0} | content | {"logprobs": None, "finish_reason": reason}
        head = self._head("chat.completion" if self._chat else "text_completion")
        return _json.encode(head | {"choices": [choice], "usage": usage.as_dict()})

    def _head(self, kind: str) -> dict[str, object]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _event(self, choices: list[dict[str, object]], usage: Usage | None = None) -> bytes:
        tail: dict[str, object] = {"choices": choices}
        if self._usage_in_chunks:
            tail["usage"] = usage.as_dict() if usage else None
        return sse(self._frame + b"," + _json.encode(tail)[1:])


_OPEN: dict[str, object] = {"logprobs": None, "finish_reason": None}
