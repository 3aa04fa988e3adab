"""YAML text to plain values and back, safe against hostile files, with scalars read as kubectl reads them.

The tree is built from parser events on an explicit stack: the composer of libyaml's binding recurses in C and
kills the interpreter on deep nesting. Duplicate keys, keys that are not strings and runaway aliases are problems,
all reported, not the first one.

Scalars follow the YAML of kubectl (go-yaml 2): `yes`/`on` are booleans, `1e3` is a number; dates and `12:30`
stay strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from armature.api.problems import join
from armature.errors import Problem

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "Document", "dump_yaml", "parse_yaml"]

MAX_BYTES = 3_000_000
"""Largest file read. An API server stores objects of at most 1.5 MB; a file may hold a few."""
MAX_DEPTH = 100
"""Deepest nesting read; the deepest pod template is under 20."""
MAX_VALUES = 500_000
"""Most values a document may hold with its aliases written out."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"}
_FALSE = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"}
_INT = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_STR_TAGS = {"tag:yaml.org,2002:str", "!"}
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}
_CONTAINER_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("map", "seq")}


@dataclass(slots=True)
class Document:
    """One YAML document: its value, the line it starts on (from 1), and what is wrong with its text."""

    value: Any
    line: int
    problems: list[Problem] = field(default_factory=list)


@dataclass(slots=True)
class _Frame:
    """A mapping or sequence under construction; `size` counts its values with aliases written out."""

    value: dict[str, Any] | list[Any]
    path: str
    anchor: str | None
    key: str | None = None
    keep: bool = True  # False: the value of a refused key is read and dropped
    merging: bool = False  # the key is an unquoted `<<`
    merges: list[dict[str, Any]] = field(default_factory=list)
    size: int = 1

    @property
    def child_path(self) -> str:
        return (
            join(self.path, self.key or "?")
            if isinstance(self.value, dict)
            else f"{self.path}[{len(self.value)}]"
        )


class _Abort(Exception):
    """The text cannot be read any further."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def parse_yaml(text: str) -> tuple[list[Document], list[Problem]]:
    """The documents of `text`, and the problem that stopped the reading, if one did. Never raises."""
    if len(text) > MAX_BYTES:
        size = f"{len(text) / 1e6:.1f} MB"
        return [], [Problem("file", f"larger than {MAX_BYTES / 1e6:.0f} MB ({size})", "split the file")]
    documents: list[Document] = []
    try:
        events = yaml.parse(text, Loader=_LOADER)
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents.append(_document(events, _line(event)))
    except _Abort as stop:
        return documents, [stop.problem]
    except yaml.MarkedYAMLError as error:
        return documents, [_syntax_problem(error)]
    except (
        yaml.YAMLError,
        RecursionError,
    ) as error:  # a control character, or too deep for the pure-Python parser
        reason = " ".join(str(error).split())
        return documents, [Problem("file", f"not YAML: {reason}", "save it as plain UTF-8 text")]
    return documents, []


def _document(events: Iterator[Event], line: int) -> Document:
    problems: list[Problem] = []
    anchors: dict[str, tuple[Any, int]] = {}
    root = _Frame(value=[], path="", anchor=None)
    stack = [root]
    for event in events:
        if isinstance(event, DocumentEndEvent):
            break
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            _open(event, stack, problems)
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            done = stack.pop()
            if isinstance(done.value, dict):
                _merge(done)
            if done.anchor:
                anchors[done.anchor] = (done.value, done.size)
            _put(stack[-1], done.value, done.size)
        elif isinstance(event, AliasEvent):
            if event.anchor not in anchors:
                where = f"line {_line(event)}"
                raise _Abort(
                    Problem(where, f"alias *{event.anchor} has no anchor before it", "define &anchor first")
                )
            value, size = anchors[event.anchor]
            if _awaits_key(stack[-1]):
                _take_key(stack[-1], value, problems, _line(event))
            else:
                _put(stack[-1], value, size)
        elif isinstance(event, ScalarEvent):
            value = _scalar(event, problems)
            if event.anchor:
                anchors[event.anchor] = (value, 1)
            if _awaits_key(stack[-1]):
                merge = event.value == "<<" and event.implicit[0]
                _take_key(stack[-1], "<<" if merge else value, problems, _line(event), merge=merge)
            else:
                _put(stack[-1], value, 1)
        if stack[-1].size > MAX_VALUES:
            mend = "write the values out instead of nesting aliases"
            raise _Abort(Problem(f"line {_line(event)}", f"more than {MAX_VALUES} values", mend))
    assert isinstance(root.value, list)
    return Document(root.value[0] if root.value else None, line, problems)


def _open(
    event: MappingStartEvent | SequenceStartEvent, stack: list[_Frame], problems: list[Problem]
) -> None:
    parent = stack[-1]
    if len(stack) > MAX_DEPTH:
        raise _Abort(
            Problem(f"line {_line(event)}", f"nested deeper than {MAX_DEPTH} levels", "flatten the file")
        )
    if _awaits_key(parent):
        where = f"line {_line(event)}"
        mend = f"keys are strings; a template such as {{{{ name }}}} needs quotes (under {parent.path or 'the top'})"
        raise _Abort(Problem(where, "a mapping or list stands where a key is expected", mend))
    if event.tag and event.tag not in _CONTAINER_TAGS:
        problems.append(
            Problem(f"line {_line(event)}", f"tag {event.tag} is not supported", "remove the tag")
        )
    value: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
    path = "" if len(stack) == 1 else parent.child_path
    stack.append(_Frame(value=value, path=path, anchor=event.anchor))


def _awaits_key(frame: _Frame) -> bool:
    return isinstance(frame.value, dict) and frame.key is None


def _take_key(frame: _Frame, key: Any, problems: list[Problem], line: int, *, merge: bool = False) -> None:
    assert isinstance(frame.value, dict)
    frame.keep, frame.merging = True, merge
    if not isinstance(key, str):
        shown = "null" if key is None else str(key).lower() if isinstance(key, bool) else str(key)
        mend = f'write "{shown}" in quotes'
        problems.append(Problem(join(frame.path, shown), f"key on line {line} is not a string", mend, key))
        key, frame.keep = shown, False
    elif not merge and key in frame.value:
        rule = f"key appears twice (again on line {line})"
        problems.append(Problem(join(frame.path, key), rule, "keep one of them"))
        frame.keep = False
    frame.key = key


def _put(frame: _Frame, value: Any, size: int) -> None:
    frame.size += size
    if isinstance(frame.value, list):
        frame.value.append(value)
        return
    key, frame.key = frame.key, None
    assert key is not None
    if frame.merging:
        frame.merges.extend(
            part for part in (value if isinstance(value, list) else [value]) if isinstance(part, dict)
        )
    elif frame.keep:
        frame.value[key] = value


def _merge(frame: _Frame) -> None:
    """`<<: *base`: keys of the mapping win over merged ones, earlier merges over later ones."""
    assert isinstance(frame.value, dict)
    for part in frame.merges:
        for key, value in part.items():
            frame.value.setdefault(key, value)


def _scalar(event: ScalarEvent, problems: list[Problem]) -> Any:
    text = str(event.value)
    if event.tag in _STR_TAGS or (event.tag is None and not event.implicit[0]):
        return text
    if event.tag and event.tag not in _PLAIN_TAGS:
        problems.append(
            Problem(f"line {_line(event)}", f"tag {event.tag} is not supported", "remove the tag")
        )
        return text
    return resolve_scalar(text)


def resolve_scalar(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar, as kubectl reads it."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if len(text) > 100 or text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text


def _integer(text: str) -> int | str:
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-").replace("_", "")
    base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2], 8 if len(digits) > 1 and digits[0] == "0" else 10)
    body = digits[2:] if digits[:2] in ("0b", "0o", "0x") else digits
    try:
        return sign * int(body, base)
    except ValueError:  # "0x_" and the like
        return text


def _line(event: Event) -> int:
    mark = event.start_mark
    return int(mark.line) + 1 if mark is not None else 1


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "file"
    reason = ", ".join(part for part in (error.context, error.problem) if part)
    tab = "\\t" in reason or "cannot start any token" in reason
    mend = (
        "indent with spaces, not tabs, and quote a value that starts with @, % or `"
        if tab
        else "check the line and the one above"
    )
    return Problem(where, f"not YAML: {reason}", mend)


class _Dumper(_DUMPER):  # type: ignore[misc]
    """Writes literal blocks for text of several lines, no aliases, and quotes what kubectl would misread."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_str(dumper: Any, text: str) -> Any:
    style = "|" if "\n" in text else None  # the emitter falls back to quotes where a block cannot hold it
    if style is None and not isinstance(resolve_scalar(text), str):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_str)


def dump_yaml(value: object) -> str:
    """`value` (plain dicts, lists and scalars) as YAML that this module and kubectl read back as the same value."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=110
    )
    return text
