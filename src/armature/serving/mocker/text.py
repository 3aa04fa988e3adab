"""What a mocker says: words, drawn the same for the same prompt, seed and tokeniser, on whichever worker."""

from __future__ import annotations

import zlib
from random import Random

from armature.serving.frontend.tokens import Tokeniser

__all__ = ["OutputTokens", "Speaker"]

_TEXT = (
    "the model reads a prompt and writes one token after another while its cache keeps what it has seen so far "
    "every worker serves many requests at once because a step costs almost the same for one as for ten and so "
    "the time to the first token and the time between tokens tell how busy it is"
)

_POOL_WORDS = 4096
_NATURAL_WORDS = (16, 64)
"""Words after which an answer without `max_tokens` ends, at least and at most."""


class OutputTokens:
    """The tokens of one answer, by index."""

    __slots__ = ("_pool", "_start", "natural_length")

    def __init__(self, pool: list[int], start: int, natural_length: int) -> None:
        self._pool = pool
        self._start = start
        self.natural_length = natural_length

    def __getitem__(self, index: int) -> int:
        return self._pool[(self._start + index) % len(self._pool)]


class Speaker:
    """Draws answers from a pool of words, tokenised once. seed: another one, other words."""

    def __init__(self, tokeniser: Tokeniser, seed: int) -> None:
        rng = Random(seed)
        self._seed = seed
        self._pool: list[int] = []
        self._starts: list[int] = []
        vocabulary = _TEXT.split()
        words = {word: tokeniser.encode(f" {word}", add_special=False) for word in vocabulary}
        for word in rng.choices(vocabulary, k=_POOL_WORDS + 1):
            self._starts.append(len(self._pool))
            self._pool += words[word]

    def answer(self, prompt: bytes) -> OutputTokens:
        """The answer to a prompt of packed token ids."""
        draw = zlib.crc32(prompt, self._seed & 0xFFFFFFFF)
        least, most = _NATURAL_WORDS
        first = draw % (_POOL_WORDS - most)
        start, end = self._starts[first], self._starts[first + least + (draw >> 16) % (most - least + 1)]
        return OutputTokens(self._pool, start, end - start)
