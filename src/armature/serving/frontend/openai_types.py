"""What a client may ask of the OpenAI endpoints, checked while it is decoded.

Fields that shape the output of a real model (`temperature`, `top_p`, `seed`, ...) are passed over: they need no
field here. Fields that would change the form of the answer and are not served are refused, each with its reason.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from armature.serving.frontend.errors import invalid
from armature.serving.transport.messages import pack_tokens

__all__ = [
    "ChatRequest",
    "CompletionRequest",
    "StreamOptions",
    "packed",
    "parse_chat",
    "parse_completion",
    "stop_strings",
]

_MOST_STOPS = 16
_AT = re.compile(r"^(?P<rule>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>\w+)`")


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Common(msgspec.Struct, kw_only=True):
    """Fields of both endpoints. ignore_eos, min_tokens: as vLLM takes them."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    ignore_eos: bool = False
    min_tokens: int | None = None
    logprobs: bool | int | None = None


class ChatRequest(_Common, kw_only=True):
    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class CompletionRequest(_Common, kw_only=True):
    prompt: str | list[Any]
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None


_Request = TypeVar("_Request", bound=_Common)
_chat = msgspec.json.Decoder(ChatRequest)
_completion = msgspec.json.Decoder(CompletionRequest)


def parse_chat(body: bytes) -> ChatRequest:
    """Raises ApiError 400 naming the field."""
    request = _decode(_chat, body)
    _check_common(request)
    if not request.messages:
        raise invalid("messages must hold at least one message.", param="messages")
    request.messages = [_message(message, index) for index, message in enumerate(request.messages)]
    if request.max_completion_tokens is not None:
        _at_least(request.max_completion_tokens, 1, "max_completion_tokens")
        request.max_tokens = request.max_completion_tokens
    if request.tool_choice not in (None, "none", "auto"):
        raise invalid(
            "tool_choice may be 'none' or 'auto': calls cannot be forced here.", param="tool_choice"
        )
    if request.response_format is not None and request.response_format.get("type", "text") != "text":
        raise invalid("response_format may only be {'type': 'text'} here.", param="response_format")
    return request


def parse_completion(body: bytes) -> CompletionRequest:
    """Raises ApiError 400 naming the field; token ids are checked by `packed`."""
    request = _decode(_completion, body)
    _check_common(request)
    if request.echo:
        raise invalid("echo is not served here.", param="echo")
    if request.suffix:
        raise invalid("suffix is not served here.", param="suffix")
    if request.best_of not in (None, 1):
        raise invalid("best_of may only be 1.", param="best_of")
    prompt: Any = request.prompt
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        request.prompt = prompt[0]
    if not request.prompt:
        raise invalid("prompt must not be empty.", param="prompt")
    return request


def packed(tokens: list[Any]) -> bytes:
    """A prompt given as token ids, packed for the transport. Raises ApiError 400 for anything else."""
    try:
        return pack_tokens(tokens)
    except (TypeError, OverflowError):
        several = any(isinstance(item, str | list) for item in tokens)
        message = (
            "Several prompts in one request are not served; send one each."
            if several
            else "prompt must be text or a list of token ids, each from 0 to 2**32 - 1."
        )
        raise invalid(message, param="prompt") from None


def stop_strings(stop: str | list[str] | None) -> tuple[str, ...]:
    """The stop strings; empty ones stop nothing. Raises ApiError 400 for too many."""
    stops = tuple(text for text in ([stop] if isinstance(stop, str) else stop or []) if text)
    if len(stops) > _MOST_STOPS:
        raise invalid(f"stop may hold at most {_MOST_STOPS} strings, got {len(stops)}.", param="stop")
    return stops


def _decode(decoder: msgspec.json.Decoder[_Request], body: bytes) -> _Request:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        match = _AT.match(str(error))
        rule, path = (match["rule"], match["path"] or None) if match else (str(error), None)
        missing = _MISSING.search(rule)
        if missing:
            path = f"{path}.{missing['field']}" if path else missing["field"]
            raise invalid(f"The field '{path}' is required.", param=path, code="missing_field") from None
        where = f"'{path}': " if path else "The body: "
        raise invalid(f"{where}{rule[:1].lower()}{rule[1:]}.", param=path) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"The body is not valid JSON: {error}.", code="invalid_json") from None


def _check_common(request: _Common) -> None:
    if not request.model:
        raise invalid("model must not be empty.", param="model")
    if request.n not in (None, 1):
        raise invalid(f"n may only be 1 here, got {request.n}; send one request per choice.", param="n")
    if request.logprobs not in (None, False):
        raise invalid("logprobs are not served here.", param="logprobs")
    if request.stream_options is not None and not request.stream:
        raise invalid("stream_options needs stream: true.", param="stream_options")
    if request.max_tokens is not None:
        _at_least(request.max_tokens, 1, "max_tokens")
    if request.min_tokens is not None:
        _at_least(request.min_tokens, 0, "min_tokens")
        if request.max_tokens is not None and request.min_tokens > request.max_tokens:
            raise invalid(
                f"min_tokens ({request.min_tokens}) is above max_tokens ({request.max_tokens}).",
                param="min_tokens",
            )


def _at_least(value: int, least: int, param: str) -> None:
    if value < least:
        raise invalid(f"{param} must be at least {least}, got {value}.", param=param)


_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def _message(message: dict[str, Any], index: int) -> dict[str, Any]:
    """The message with its content as one string, as chat templates expect."""
    at = f"messages[{index}]"
    if message.get("role") not in _ROLES:
        raise invalid(
            f"{at}.role must be one of {', '.join(_ROLES)}, got {message.get('role')!r}.", param=f"{at}.role"
        )
    content = message.get("content")
    if content is None and message["role"] == "assistant":
        return {**message, "content": ""}
    if isinstance(content, str):
        return message
    if not isinstance(content, list):
        raise invalid(f"{at}.content must be text or a list of parts.", param=f"{at}.content")
    texts = []
    for part_index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise invalid(
                f"{at}.content[{part_index}] must be a part of type text, got {kind!r}; other kinds are not served.",
                param=f"{at}.content[{part_index}]",
            )
        texts.append(part["text"])
    return {**message, "content": "".join(texts)}
