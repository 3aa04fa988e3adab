"""Reads a Hugging Face config.json by meaning: aliases, nested text parts, and every bad key reported at once.

Configs name one thing in several ways (`num_experts`, `num_local_experts`, `n_routed_experts`) and put a language
model's keys under `text_config` when it also sees. The rest of the room asks this reader and never the raw mapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from armature.errors import InvalidInput, Problem

__all__ = ["ConfigKeys"]

_TEXT_PARTS = ("text_config", "llm_config", "language_config", "language_model_config")
_LIMIT = 10**9  # no count or width of a real model is near it; beyond it the file is broken


class ConfigKeys:
    """One config.json, the text part first and the top level behind it. `problems` gathers what is wrong."""

    def __init__(self, config: Mapping[str, object]) -> None:
        part = next((config[name] for name in _TEXT_PARTS if isinstance(config.get(name), Mapping)), None)
        self.top = config
        self.text: Mapping[str, object] = part if isinstance(part, Mapping) else config
        self.problems: list[Problem] = []

    @property
    def nested(self) -> bool:
        """Whether the language model is a part of a larger (multimodal) one."""
        return self.text is not self.top

    @property
    def architecture(self) -> str:
        """The first of `architectures` at the top level, else `model_type`, else empty."""
        names = self.top.get("architectures") or self.text.get("architectures")
        if isinstance(names, Sequence) and not isinstance(names, str) and names:
            return str(names[0])
        return self.model_type

    @property
    def model_type(self) -> str:
        return str(self.text.get("model_type") or self.top.get("model_type") or "")

    def get(self, *names: str) -> object:
        """The first value that is present and not null, in the text part, then at the top level; else None."""
        for source in (self.text, self.top):
            for name in names:
                value = source.get(name)
                if value is not None:
                    return value
        return None

    def flag(self, *names: str, default: bool = False) -> bool:
        value = self.get(*names)
        return default if value is None else bool(value)

    def mapping(self, *names: str) -> Mapping[str, object]:
        value = self.get(*names)
        return value if isinstance(value, Mapping) else {}

    def items(self, *names: str) -> tuple[object, ...]:
        """A list under one of the names, as a tuple; empty when there is none."""
        value = self.get(*names)
        return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()

    def number(self, *names: str, default: int = 0, least: int = 0) -> int:
        """An integer of at least `least`; `default` when absent. A value of another kind is a problem."""
        value = self.get(*names)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LIMIT:
            rule = f"must be a whole number from {least} to {_LIMIT}"
            self._add(Problem(self._found(names), rule, value=value))
            return max(default, least)
        return value

    def needed(self, *names: str) -> int:
        """A positive integer that the model cannot do without; a missing one is a problem (1 is returned then)."""
        if self.get(*names) is None:
            mend = f"or one of its other names: {', '.join(names[1:])}" if len(names) > 1 else ""
            self._add(Problem(names[0], "missing from config.json", mend))
            return 1
        return self.number(*names, default=1, least=1)

    def refuse(self, subject: str) -> None:
        """Raises InvalidInput with every problem so far, if there is one."""
        if self.problems:
            raise InvalidInput(subject, self.problems)

    def _found(self, names: tuple[str, ...]) -> str:
        return next((name for name in names if self.get(name) is not None), names[0])

    def _add(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
