"""Layouts by what is wanted of them: `tp=8,backend=sglang`, or `prefill.tp=1,decode.tp=4,p=3`.

    mode=agg|disagg  backend=NAME  sku=NAME
    tp pp dp moe_tp (etp) moe_ep (ep)   degrees of every worker;  tep=N, dep=N as in tables
    replicas=N                          aggregated workers
    prefill.KEY decode.KEY              of one side: degrees, sku, replicas;  p=N, d=N: replicas of the sides

What is not said may be anything; `prefill.KEY` goes over KEY.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from armature.api.problems import closest
from armature.errors import InvalidInput, Problem
from armature.hardware.catalog import closest_sku, find
from armature.model.parallelism import Parallelism
from armature.perf.estimate import Backend
from armature.search.profile import Candidate, Mode
from armature.search.space import BACKENDS

__all__ = ["OPTION", "Selector", "Side", "parse_selectors"]

OPTION = "--why-not"
_EXAMPLE = "write it as tp=8,backend=sglang or prefill.tp=1,decode.tp=4,p=3"
_DEGREES = ("tp", "pp", "dp", "moe_tp", "moe_ep")
_ALIASES = {"etp": "moe_tp", "ep": "moe_ep", "p": "prefill.replicas", "d": "decode.replicas"}
_TOGETHER = {"tep": ("tp", "moe_ep", "dp"), "dep": ("dp", "moe_ep", "tp")}
"""Names of parallelisms as in tables; the last of each is 1."""
_SIDES = ("agg", "prefill", "decode")
_MODES: dict[str, Mode] = {"agg": "agg", "aggregated": "agg", "disagg": "disagg", "disaggregated": "disagg"}
_LARGEST = 100_000


@dataclass(frozen=True, slots=True)
class Side:
    """What is wanted of the workers of one role; None leaves it open. Degrees as in `Parallelism`."""

    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    moe_tp: int | None = None
    moe_ep: int | None = None
    sku: str | None = None
    replicas: int | None = None

    @property
    def degrees(self) -> dict[str, int]:
        """The degrees that are said, by name."""
        values = {name: getattr(self, name) for name in _DEGREES}
        return {name: value for name, value in values.items() if value is not None}

    def admits(self, p: Parallelism, sku: str) -> bool:
        return self.sku in (None, sku) and all(getattr(p, name) == n for name, n in self.degrees.items())

    def over(self, general: Side) -> Side:
        """This, and where it says nothing what `general` says; replicas are never general."""
        said = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return replace(general, replicas=self.replicas, **{k: v for k, v in said.items() if k != "replicas"})


@dataclass(frozen=True, slots=True)
class Selector:
    """Wanted layouts. text: as the user wrote it. A side is None where the mode has no such workers."""

    text: str
    backend: Backend | None
    agg: Side | None
    prefill: Side | None
    decode: Side | None

    def admits(self, candidate: Candidate) -> bool:
        """Whether a layout is one of these."""
        if self.backend not in (None, candidate.backend):
            return False
        for group in candidate.groups:
            side: Side | None = getattr(self, group.role)
            if side is None or not side.admits(group.parallelism, group.sku):
                return False
            if side.replicas not in (None, group.replicas):
                return False
        return True


def parse_selectors(texts: Sequence[str]) -> tuple[Selector, ...]:
    """One Selector a text. Raises InvalidInput with every problem of all of them."""
    problems: list[Problem] = []
    found = [_parse(text, problems) for text in texts]
    if problems:
        raise InvalidInput(OPTION, problems)
    return tuple(found)


def _parse(text: str, problems: list[Problem]) -> Selector:
    before = len(problems)
    said: dict[str, str | int] = {}
    pairs = [pair for pair in re.split(r"[,;\s]+", text.strip()) if pair]
    if not pairs:
        problems.append(Problem(OPTION, "names no layout", _EXAMPLE, text))
    for pair in pairs:
        for key, value in _pair(pair, problems):
            if said.setdefault(key, value) != value:
                problems.append(Problem(OPTION, f"says {key} twice", "keep one", text))
    if len(problems) > before:
        return Selector(text, None, None, None, None)
    mode = _mode(said, text, problems)
    general = _side(said, "")
    agg = _side(said, "agg.").over(general)
    return Selector(
        text=text,
        backend=said.get("backend"),  # type: ignore[arg-type]
        agg=None if mode == "disagg" else replace(agg, replicas=agg.replicas or general.replicas),
        prefill=None if mode == "agg" else _side(said, "prefill.").over(general),
        decode=None if mode == "agg" else _side(said, "decode.").over(general),
    )


def _pair(pair: str, problems: list[Problem]) -> list[tuple[str, str | int]]:
    """The (key, value)s that `key=value` stands for; none, with a problem, when it is malformed."""
    name, equals, text = (part.strip() for part in pair.partition("="))
    if not equals or not name or not text:
        problems.append(Problem(OPTION, "is not KEY=VALUE", _EXAMPLE, pair))
        return []
    name = name.lower().replace("-", "_")
    name = _ALIASES.get(name, name)
    side, dot, key = name.rpartition(".")
    key = _ALIASES.get(key, key)
    keys = {*_DEGREES, *_TOGETHER, "replicas", "sku", *(() if dot else ("mode", "backend"))}
    if key not in keys or "." in key or (dot and side not in _SIDES):
        known = [*_DEGREES, *_TOGETHER, *_ALIASES, "replicas", "sku", "mode", "backend"]
        known += [f"{s}.{k}" for s in _SIDES for k in (*_DEGREES, *_TOGETHER, "replicas", "sku")]
        close = closest(name, known)
        mend = f"did you mean {close}?" if close else f"keys are {', '.join(known[:12])}"
        problems.append(Problem(OPTION, f"{name} is not a key", mend, pair))
        return []
    value = _value(key, text, pair, problems)
    if value is None:
        return []
    if key in _TOGETHER:
        *own, alone = _TOGETHER[key]
        return [*((f"{side}{dot}{each}", value) for each in own), (f"{side}{dot}{alone}", 1)]
    return [(f"{side}{dot}{key}", value)]


def _value(key: str, text: str, pair: str, problems: list[Problem]) -> str | int | None:
    lower = text.lower()
    if key == "mode" and lower in _MODES:
        return _MODES[lower]
    if key == "backend" and lower in BACKENDS:
        return lower
    if key == "sku" and (gpu := find(text)) is not None:
        return gpu.sku
    if key in ("mode", "backend", "sku"):
        what, close, other = {
            "mode": ("mode", closest(lower, _MODES), "write agg or disagg"),
            "backend": ("backend", closest(lower, BACKENDS), f"write one of {', '.join(BACKENDS)}"),
            "sku": ("GPU SKU", closest_sku(text), "`armature hardware --catalog` lists them"),
        }[key]
        mend = f"did you mean {close}?" if close else other
        problems.append(Problem(OPTION, f"is not a {what}", mend, pair))
        return None
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= _LARGEST and len(text) < 9:
        return int(text)
    problems.append(Problem(OPTION, f"{key} must be a whole number from 1 to {_LARGEST:,}", "", pair))
    return None


def _mode(said: Mapping[str, str | int], text: str, problems: list[Problem]) -> str | None:
    """The mode that is said or follows from the keys; None leaves it open."""
    agg = [key for key in said if key.startswith("agg.") or key == "replicas"]
    disagg = [key for key in said if key.startswith(("prefill.", "decode."))]
    mode = said.get("mode")
    against = (agg[:1] if mode == "disagg" or disagg else []) + (disagg[:1] if mode == "agg" or agg else [])
    if against:
        rule = f"{' and '.join(against)} cannot be in {f'mode={mode}' if mode else 'one layout'}"
        mend = "replicas counts aggregated workers; p and d count prefill and decode workers"
        problems.append(Problem(OPTION, rule, mend, text))
    return str(mode) if mode else "agg" if agg else "disagg" if disagg else None


def _side(said: Mapping[str, str | int], prefix: str) -> Side:
    names = {f.name for f in fields(Side)}
    return Side(**{n: said[f"{prefix}{n}"] for n in names if f"{prefix}{n}" in said})  # type: ignore[arg-type]
