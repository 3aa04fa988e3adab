"""The rows of a log as batches of columns, whatever its format, and what is wrong with which line.

A file is read once, in pieces, and never held. JSON lines go through one typed decoder in bulk; only a piece in which
something is wrong is read again line by line, for its line numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from armature.errors import Problem
from armature.workload.columns import MAX_TOKENS, BadField, Columns, columns_of

__all__ = ["MOST_SHOWN", "Batch", "Findings", "csv_batches", "jsonl_batches"]

MOST_SHOWN = 20
_PIECE = 1 << 19
_MAX_LINE = 1 << 24  # a prompt of a million tokens in 16-token blocks has lines of about a megabyte
_CSV_ROWS = 8192
_HEAD_LINES = 1000
_EXAMPLE = '{"timestamp": 0, "input_length": 6758, "output_length": 500}'
_ONE_OBJECT = f"write one object per line, such as {_EXAMPLE}, or remove the line"

Hashes = Sequence[int | str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that follow one another. time_s, isl, osl: shape (n,); hashes: of each row, None without such a column."""

    time_s: npt.NDArray[np.float64]
    isl: npt.NDArray[np.int64]
    osl: npt.NDArray[np.int64]
    hashes: list[Hashes] | None = None


@dataclass(slots=True)
class Findings:
    """Broken lines: the first MOST_SHOWN as problems, and how many there are."""

    shown: list[Problem] = field(default_factory=list)
    count: int = 0

    def add(self, problem: Problem) -> None:
        self.count += 1
        if len(self.shown) < MOST_SHOWN:
            self.shown.append(problem)

    @property
    def problems(self) -> list[Problem]:
        rest = self.count - len(self.shown)
        more = Problem("file", f"{rest:,} more lines are broken", "mend those above first")
        return [*self.shown, more] if rest else self.shown


def jsonl_batches(file: BinaryIO, findings: Findings) -> Iterator[Batch]:
    """Batches of a file of one JSON object per line; blank lines are skipped. Problems go to `findings`."""
    columns: Columns | None = None
    decoder: msgspec.json.Decoder[Any] | None = None
    line = 1
    for piece in _pieces(file, findings):
        if columns is None:
            found = _first_columns(piece, line, findings)
            if found is None:
                line += piece.count(b"\n")
                if findings.count >= MOST_SHOWN:
                    return  # not one object yet: this is no such file
                continue
            if isinstance(found, list):
                for problem in found:
                    findings.add(problem)
                return
            columns, decoder = found, msgspec.json.Decoder(_row_type(found))
            batch = _line_by_line(piece, line, columns, findings)
        else:
            assert decoder is not None
            batch = _in_bulk(piece, columns, decoder) or _line_by_line(piece, line, columns, findings)
        yield batch
        line += piece.count(b"\n")


def csv_batches(file: BinaryIO, findings: Findings) -> Iterator[Batch]:
    """Batches of a file with a header line and comma, semicolon or tab between values."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
    header = text.readline(_MAX_LINE)
    names = next(csv.reader([header], delimiter=_delimiter(header)), [])
    reader = csv.reader(_lines(text, findings), delimiter=_delimiter(header))
    columns: Columns | None = None
    rows: list[tuple[float, int, int]] = []
    at: tuple[int, ...] = ()
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            findings.add(Problem(f"line {reader.line_num + 1}", f"is no CSV: {error}", "remove the line"))
            continue
        if row is None:
            break
        if not row:
            continue
        if columns is None:
            found = columns_of(names, dict(zip(names, row, strict=False)))
            if isinstance(found, list):
                for problem in found:
                    findings.add(problem)
                return
            columns = found
            at = tuple(names.index(name) for name in (found.arrival, found.prompt, found.answer))
        try:
            rows.append(columns.request(*(row[index] for index in at)))
        except IndexError:
            rule = f"has {len(row)} values for {len(names)} columns"
            findings.add(Problem(f"line {reader.line_num + 1}", rule, "write them all, or remove the line"))
        except BadField as error:
            findings.add(Problem(f"line {reader.line_num + 1}", error.rule, error.mend, error.value))
        if len(rows) >= _CSV_ROWS:
            yield _batch(rows)
            rows = []
    if columns is None:
        found = columns_of(names, {})
        for problem in found if isinstance(found, list) else []:
            findings.add(problem)
    if rows:
        yield _batch(rows)


def _pieces(file: BinaryIO, findings: Findings) -> Iterator[bytes]:
    """The file in pieces that end with a line."""
    rest = b""
    while read := file.read(_PIECE):
        head, newline, tail = read.rpartition(b"\n")
        if newline:
            yield rest + head + newline
            rest = tail
        else:
            rest += read
        if len(rest) > _MAX_LINE:
            rule = f"has a line of more than {_MAX_LINE >> 20} MiB"
            findings.add(Problem("file", rule, "write one request per line"))
            return
    if rest.strip():
        yield rest


def _lines(text: io.TextIOWrapper, findings: Findings) -> Iterator[str]:
    while line := text.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            rule = f"has a line of more than {_MAX_LINE >> 20} MiB"
            findings.add(Problem("file", rule, "write one request per line"))
            return
        yield line


def _first_columns(piece: bytes, line: int, findings: Findings) -> Columns | list[Problem] | None:
    """Columns by the first object of the piece. None, with its lines found broken, when there is none near its head."""
    lines = [(number, text) for number, text in enumerate(piece.split(b"\n"), line) if text.strip()]
    for _, text in lines[:_HEAD_LINES]:
        try:
            row = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if isinstance(row, dict):
            return columns_of(row, row)
    for number, text in lines[:_HEAD_LINES]:
        findings.add(_broken(number, text))
    return None


def _row_type(columns: Columns) -> type[msgspec.Struct]:
    tokens = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]
    fields: list[Any] = [("time", float | str), ("isl", tokens), ("osl", tokens)]
    names = {"time": columns.arrival, "isl": columns.prompt, "osl": columns.answer}
    if columns.hashes is not None:
        fields.append(("hashes", list[int | str] | None, None))
        names["hashes"] = columns.hashes
    return msgspec.defstruct("Row", fields, rename=names.get, gc=False)


def _in_bulk(piece: bytes, columns: Columns, decoder: msgspec.json.Decoder[Any]) -> Batch | None:
    """The piece at once; None when anything about it is unusual."""
    try:
        rows = decoder.decode_lines(piece)
        if len(rows) != piece.count(b"\n"):
            return None
        seconds = columns.seconds
        return Batch(
            np.fromiter((seconds(row.time) for row in rows), np.float64, len(rows)),
            np.fromiter((row.isl for row in rows), np.int64, len(rows)),
            np.fromiter((row.osl for row in rows), np.int64, len(rows)),
            None if columns.hashes is None else [row.hashes or () for row in rows],
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, BadField):
        return None


def _line_by_line(piece: bytes, line: int, columns: Columns, findings: Findings) -> Batch:
    rows: list[tuple[float, int, int]] = []
    hashes: list[Hashes] = []
    for number, text in enumerate(piece.split(b"\n"), line):
        if not text.strip():
            continue
        try:
            row = msgspec.json.decode(text)
            values = [row[name] for name in (columns.arrival, columns.prompt, columns.answer)]
            ids = _hashes(row.get(columns.hashes) if columns.hashes is not None else None)
            rows.append(columns.request(*values))
            hashes.append(ids)
        except BadField as error:
            findings.add(Problem(f"line {number}", error.rule, error.mend, error.value))
        except KeyError as error:
            mend = "every line needs it; add it, or remove the line"
            findings.add(Problem(f"line {number}", f"has no {error.args[0]}", mend))
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, AttributeError):
            findings.add(_broken(number, text))
    return _batch(rows, None if columns.hashes is None else hashes)


def _hashes(value: object) -> Hashes:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(
        isinstance(item, int | str) and not isinstance(item, bool) for item in value
    ):
        raise BadField("hash_ids must be a list of numbers", value, "write [1, 2, 3], or remove the line")
    return value


def _broken(number: int, text: bytes) -> Problem:
    shown = text.strip()[:40].decode("utf-8", "replace")
    return Problem(f"line {number}", "is not a JSON object", _ONE_OBJECT, shown)


def _batch(rows: list[tuple[float, int, int]], hashes: list[Hashes] | None = None) -> Batch:
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return Batch(table[:, 0], table[:, 1].astype(np.int64), table[:, 2].astype(np.int64), hashes)


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)
