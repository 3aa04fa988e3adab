"""Matches a weight against the name lists of quantisation configs.

Tools write the same matrix as `model.layers.3.mlp.experts.7.up_proj`, `layers.3.ffn.experts`, `*.mlp.experts*` or
`re:.*experts.*`. Names are brought to one form first: `layers.<n>.` and Hugging Face's usual component names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

__all__ = ["NameList", "layer_and_name"]

_LAYER = re.compile(r"(?:^|.*\.)layers\.(\d+|\*)(?:\.(.*)|(\*))?$")
_EXPERTS = re.compile(r"(^|\.)experts(\..*)?$")
_SYNONYMS = (
    (re.compile(r"\b(block_sparse_moe|feed_forward|ffn)\b"), "mlp"),
    (re.compile(r"\battn\b"), "self_attn"),
    (re.compile(r"\bshared_expert(?=\b|\*)"), "shared_experts"),
    (re.compile(r"\bshare_expert(?=\b|\*)"), "shared_experts"),
    (re.compile(r"^head$"), "lm_head"),
    (re.compile(r"\brouter\b"), "gate"),
)


def layer_and_name(full: str) -> tuple[str, str]:
    """The layer (a number as text, `*` for any, empty outside the layers) and the name within it."""
    match = _LAYER.match(full)
    layer, rest = (match[1], match[2] or "") if match else ("", full)
    for pattern, usual in _SYNONYMS:
        rest = pattern.sub(usual, rest)
    return layer, _EXPERTS.sub(r"\1experts", rest)


class NameList:
    """Names, globs and `re:` expressions of one exclude list."""

    def __init__(self, patterns: Iterable[object]) -> None:
        self._exact: set[tuple[str, str]] = set()
        self._globs: dict[str, list[str]] = {}
        self._anywhere: list[str] = []
        self._expressions: list[re.Pattern[str]] = []
        for pattern in patterns:
            if isinstance(pattern, str) and pattern:
                self._add(pattern)

    def _add(self, pattern: str) -> None:
        if pattern.startswith("re:"):
            try:
                self._expressions.append(re.compile(pattern[3:]))
            except re.error:
                self._anywhere.append(pattern[3:])
            return
        layer, name = layer_and_name(pattern)
        if not layer:
            self._anywhere.append(name)
        elif "*" in name or "?" in name or not name:
            self._globs.setdefault(layer, []).append(name)
        else:
            self._exact.add((layer, name))

    def match(self, layer: int, name: str) -> bool:
        """Whether the weight, or a module that contains it, is in the list. layer is -1 outside the layers."""
        for key in (str(layer), "*"):
            if any((key, part) in self._exact for part in _ancestors(name)):
                return True
            if any(not glob or _within(name, glob) for glob in self._globs.get(key, ())):
                return layer >= 0
        full = f"model.layers.{layer}.{name}" if layer >= 0 else name
        member = (
            f"{full}.0.gate_proj" if name.endswith("experts") and "shared" not in name else f"{full}.weight"
        )
        if any(
            fnmatchcase(full, glob) or fnmatchcase(member, glob) for glob in self._anywhere if "*" in glob
        ):
            return True
        components = full.split(".")
        if any(_contains(components, plain.split(".")) for plain in self._anywhere if "*" not in plain):
            return True
        return any(expression.match(full) or expression.match(member) for expression in self._expressions)


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _within(name: str, glob: str) -> bool:
    return fnmatchcase(name, glob) or fnmatchcase(f"{name}.weight", glob)


def _contains(components: list[str], wanted: list[str]) -> bool:
    size = len(wanted)
    return any(components[start : start + size] == wanted for start in range(len(components) - size + 1))
