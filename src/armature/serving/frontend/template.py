"""Chat messages to one prompt: the model's own Jinja template, or a plain one where there is none."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from armature.errors import ArmatureError

__all__ = ["PLAIN", "ChatTemplate", "TemplateRefused", "load_template"]

PLAIN = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


class TemplateRefused(ValueError):
    """The template cannot render these messages; its own words say why."""


class ChatTemplate:
    """A compiled template. `special`: the special tokens it may name."""

    def __init__(self, source: str, special: Mapping[str, str], description: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise ArmatureError(
                f"The chat template of {description} is broken: {error}", "Download the model's files again."
            ) from None
        self._special = dict(special)
        self.description = description

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str:
        """The prompt, special tokens included. Raises TemplateRefused."""
        try:
            return self._template.render(
                **{
                    **self._special,
                    **variables,
                    "messages": messages,
                    "tools": tools,
                    "add_generation_prompt": add_generation_prompt,
                }
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise TemplateRefused(str(error)) from None


def load_template(directory: Path | None) -> ChatTemplate:
    """The template of a model directory (`chat_template.jinja`, or `chat_template` in `tokenizer_config.json`), or
    the plain one. Raises ArmatureError when the files are broken."""
    if directory is None:
        return ChatTemplate(PLAIN, {}, "plain (role: content)")
    config = _config(directory / "tokenizer_config.json")
    source = config.get("chat_template")
    if isinstance(source, list):  # several, by name
        named = {entry["name"]: entry["template"] for entry in source}
        source = named.get("default")
    own = directory / "chat_template.jinja"
    if own.is_file():
        source = own.read_text()
    if not isinstance(source, str):
        return ChatTemplate(PLAIN, {}, "plain (role: content)")
    special = {name: _token(config.get(name)) for name in _SPECIAL}
    return ChatTemplate(source, special, str(directory))


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ArmatureError(f"Cannot read {path}: {error}", "Download the model's files again.") from None
    return config if isinstance(config, dict) else {}


def _token(value: object) -> str:
    """A special token is text, or an object with its text under `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _to_json(value: object, indent: int | None = None, **_: object) -> str:
    """Unlike Jinja's own filter, without HTML escapes: prompts are not web pages."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateRefused(message)
