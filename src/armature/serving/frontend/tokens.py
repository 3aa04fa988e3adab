"""Text to token ids and back.

With the model's `tokenizer.json` the real tokeniser; without files a byte-level one, in which a token is one
byte of UTF-8, so that everything runs offline. Back to text happens incrementally: `Detokeniser` gives out only
whole characters, however tokens cut them.
"""

from __future__ import annotations

import codecs
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import tokenizers

from armature.errors import ArmatureError

__all__ = ["ByteTokeniser", "Detokeniser", "HfTokeniser", "Tokeniser", "load_tokeniser"]

REPLACEMENT = "\ufffd"
_LONGEST_CHARACTER = 4
"""Bytes of the longest UTF-8 character: of a run of broken bytes, all but the last three stay broken."""
_LONGEST_WAIT = 64
"""Tokens after which broken bytes are given out as they are, so that a stream of them costs no more and more."""

log = logging.getLogger(__name__)


class Detokeniser(Protocol):
    """Turns the tokens of one stream into text."""

    def feed(self, tokens: Sequence[int]) -> str:
        """Text that is complete with these tokens; empty while a character is unfinished."""
        ...

    def end(self) -> str:
        """What is left; unfinished characters become U+FFFD."""
        ...


class Tokeniser(Protocol):
    """A model's tokeniser. `description` tells the user which it is."""

    @property
    def description(self) -> str: ...

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        """Token ids; with `add_special` also the tokens the model wants around a plain prompt."""
        ...

    def detokeniser(self) -> Detokeniser:
        """For one stream."""
        ...


class _ByteDetokeniser:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, tokens: Sequence[int]) -> str:
        return self._decoder.decode(bytes(token for token in tokens if token < 256))

    def end(self) -> str:
        return self._decoder.decode(b"", final=True)


class ByteTokeniser:
    """One token per byte of UTF-8; ids from 256 on have no text."""

    description = "byte-level (the model has no tokenizer.json here): one token per byte of UTF-8"

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        return list(text.encode("utf-8", "surrogatepass"))

    def detokeniser(self) -> Detokeniser:
        return _ByteDetokeniser()


class _HfDetokeniser:
    """Decodes a short window twice, with and without the new tokens, and gives out the difference: the text of a
    token can depend on the one before it, never on more than the last character."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._known = 0  # tokens at the front of the window whose text is out already
        self._out = 0  # characters of the text behind them that are out already

    def feed(self, tokens: Sequence[int]) -> str:
        return "".join(self._one(token) for token in tokens)

    def end(self) -> str:
        text = self._text()[self._out :]
        self._window, self._known, self._out = [], 0, 0
        return text

    def _one(self, token: int) -> str:
        self._window.append(token)
        text = self._text()
        waiting = min(len(text) - len(text.rstrip(REPLACEMENT)), _LONGEST_CHARACTER - 1)
        too_long = len(self._window) - self._known > _LONGEST_WAIT
        if too_long:
            waiting = 0
        ready = text[self._out : len(text) - waiting]
        self._out += len(ready)
        if too_long or (text and waiting == 0):
            self._window = self._window[self._known :]
            self._known, self._out = len(self._window), 0
        return ready

    def _text(self) -> str:
        """Of the tokens behind the known ones."""
        return self._decode(self._window)[len(self._decode(self._window[: self._known])) :]

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True) if tokens else ""


class HfTokeniser:
    """The tokeniser of a `tokenizer.json`."""

    def __init__(self, directory: Path) -> None:
        path = directory / "tokenizer.json"
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for any bad file
            raise ArmatureError(
                f"{path} is not a tokeniser: {error}", "Download the model's files again."
            ) from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.description = f"the model's own ({path})"

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=add_special).ids)

    def detokeniser(self) -> Detokeniser:
        return _HfDetokeniser(self._tokenizer)


def load_tokeniser(directory: Path | None) -> Tokeniser:
    """The tokeniser of a model directory, or the byte-level one where there is none. Raises ArmatureError for a
    file that cannot be read as one."""
    if directory is not None and (directory / "tokenizer.json").is_file():
        return HfTokeniser(directory)
    if directory is not None:
        log.warning("%s has no tokenizer.json: using bytes as tokens", directory)
    return ByteTokeniser()
