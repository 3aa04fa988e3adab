"""Which columns of a log are arrival, prompt and answer, and what their values mean.

Names are compared in lower case without spaces and signs, so `Request tokens`, `request_tokens` and `requestTokens` are
one. Known are Mooncake's, those of the Azure LLM inference traces (`TIMESTAMP`, `ContextTokens`, `GeneratedTokens`), of
BurstGPT (`Timestamp`, `Request tokens`, `Response tokens`), of OpenAI's usage records and of common logs.

A time is ISO 8601 (UTC where it names no zone) or a number. Its unit is in the column's name (`arrival_ms`), else
milliseconds in Mooncake's format, else told by the first value's size: seconds, or milliseconds, microseconds or
nanoseconds of the Unix epoch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from armature.errors import Problem

__all__ = ["ANSWER", "ARRIVAL", "MAX_TOKENS", "PROMPT", "BadField", "Columns", "columns_of"]

MAX_TOKENS = 1 << 20
"""Of a prompt or an answer; the API's own limit of isl and osl."""

ARRIVAL = (
    "timestamp", "arrival_time", "arrived_at", "arrival_timestamp", "arrival", "request_time", "start_time",
    "created_at", "created", "time", "ts",
)  # fmt: skip
PROMPT = (
    "input_length", "input_tokens", "prompt_tokens", "context_tokens", "request_tokens", "num_prompt_tokens",
    "prompt_length", "prompt_len", "isl",
)  # fmt: skip
ANSWER = (
    "output_length", "output_tokens", "completion_tokens", "generated_tokens", "response_tokens", "num_output_tokens",
    "output_len", "osl",
)  # fmt: skip
_HASHES = "hash_ids"
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0}


class BadField(Exception):
    """A value that no request can have."""

    def __init__(self, rule: str, value: object, mend: str) -> None:
        super().__init__(rule)
        self.rule, self.value, self.mend = rule, value, mend


@dataclass(frozen=True, slots=True)
class Columns:
    """Names as the file writes them. scale: seconds per unit of a numeric time; hashes: the column of prefix block
    numbers, when there is one."""

    arrival: str
    prompt: str
    answer: str
    hashes: str | None = None
    scale: float = 1.0

    def request(self, arrival: object, prompt: object, answer: object) -> tuple[float, int, int]:
        """(arrival in seconds, prompt tokens, answer tokens). Raises BadField."""
        return self.seconds(arrival), _tokens(self.prompt, prompt), _tokens(self.answer, answer)

    def seconds(self, value: object) -> float:
        """One arrival in seconds. Raises BadField."""
        if isinstance(value, float) and -1e300 < value < 1e300:
            return value * self.scale
        if isinstance(value, str):
            try:
                number = float(value)
            except ValueError:
                return _iso(self.arrival, value)
        else:
            number = float(value) if isinstance(value, int) and not isinstance(value, bool) else math.nan
        if not -1e300 < number < 1e300:
            raise BadField(f"{self.arrival} must be a time", value, "write seconds, milliseconds or ISO 8601")
        return number * self.scale


def columns_of(names: Iterable[str], first: dict[str, object]) -> Columns | list[Problem]:
    """The columns of a file by its names and its first row's values, or what is missing and what would do."""
    written: dict[str, str] = {}
    for name in names:
        written.setdefault(_plain(name), name)
    found: dict[str, str] = {}
    problems = []
    wanted = {"arrival times": ARRIVAL, "prompt tokens": PROMPT, "answer tokens": ANSWER}
    for what, known in wanted.items():
        plain = [_plain(name) for name in known]
        if what == "arrival times":
            plain += [_plain(f"{name}_{unit}") for name in known for unit in _UNITS]
        match = next((written[name] for name in plain if name in written), None)
        if match is not None:
            found[what] = match
            continue
        has = ", ".join(name[:40] for name in list(written.values())[:12]) or "none"
        mend = f"name one of its columns ({has}) {_listed(known)}"
        problems.append(Problem("columns", f"none has {what}", mend))
    if problems:
        return problems
    arrival, prompt, answer = (found[what] for what in wanted)
    hashes = written.get(_plain(_HASHES))
    return Columns(arrival, prompt, answer, hashes, _scale(arrival, prompt, first.get(arrival)))


def _scale(arrival: str, prompt: str, value: object) -> float:
    for unit, scale in _UNITS.items():
        if re.search(rf"[_ ]{unit}$", arrival.lower()) or arrival.endswith(unit.capitalize()):
            return scale
    if (_plain(arrival), _plain(prompt)) == ("timestamp", "inputlength"):
        return 1e-3
    try:
        size = abs(float(str(value)))
    except ValueError:
        return 1.0
    for least, scale in ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3)):
        if math.isfinite(size) and size >= least:
            return scale
    return 1.0


def _iso(name: str, value: str) -> float:
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        mend = "write seconds, milliseconds or ISO 8601 (2026-01-31T08:15:00Z)"
        raise BadField(f"{name} must be a time", value, mend) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _tokens(name: str, value: object) -> int:
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = None
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool):
        raise BadField(
            f"{name} must be a whole number of tokens", value, "write the number, or remove the line"
        )
    if number < 0:
        raise BadField(f"{name} must not be negative", value, "write the tokens, or remove the line")
    if number > MAX_TOKENS:
        raise BadField(f"{name} must be at most {MAX_TOKENS:,} tokens", value, "remove the line")
    return number


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"
