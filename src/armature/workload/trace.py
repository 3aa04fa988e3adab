"""Reads a trace: a recorded load that stands in for mean lengths and a rate. The one module here that opens files.

Formats (docs/workloads.md): Mooncake's JSON lines, any other log as JSON lines, and CSV with a header; each plain or
compressed with gzip, xz or bzip2, told by content, not by name. The file is streamed; what of it is kept, and why it
keeps arrivals and prefixes true, is in `collect`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from armature.errors import InvalidInput, Problem
from armature.workload.collect import Collector
from armature.workload.requests import Requests
from armature.workload.rows import Findings, csv_batches, jsonl_batches
from armature.workload.summary import TraceSummary

__all__ = ["Trace", "mooncake_lines", "read_trace", "trace_of"]

_OPENERS: tuple[tuple[bytes, Callable[[BinaryIO], object]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
    (b"BZh", bz2.BZ2File),
)
_LINES = "give JSON lines or CSV with a header line; docs/workloads.md names the columns"
_OTHER = {
    b"PAR1": ("is a Parquet file", "write it as CSV: pandas.read_parquet(FILE).to_csv(NEW, index=False)"),
    b"PK\x03\x04": ("is a zip archive", "unpack it and give the file inside"),
    b"\x28\xb5\x2f\xfd": ("is compressed with zstd", "unpack it: zstd -d FILE"),
    b"[": ("is one JSON array", "write one object per line: jq -c '.[]' FILE"),
}


@dataclass(frozen=True, slots=True)
class Trace:
    """The requests that the search computes with, what the file contained, and what the user should know."""

    requests: Requests
    summary: TraceSummary
    notes: tuple[str, ...] = ()

    def within(self, max_context: int) -> Trace:
        """Without the requests that a model of this context refuses; says so. Raises InvalidInput when none is left."""
        r = self.requests
        if r.longest_tokens <= max_context:
            return self
        fits = r.isl + r.osl <= max_context
        if not fits.any():
            rule = f"none of its requests fits the model's context of {max_context:,} tokens"
            mend = "choose a model with a longer context, or another trace"
            raise InvalidInput(self.summary.source, [Problem("file", rule, mend)])
        left_out = int(len(r) - fits.sum())
        kept = _taken(r, fits)
        whole = self.summary.kept == self.summary.requests
        longest = int((kept.isl + kept.osl).max()) if whole else max_context
        kept = replace(
            kept,
            longest_isl=int(kept.isl.max()) if whole else min(r.longest_isl, max_context - 1),
            longest_tokens=longest,
        )
        note = (
            f"{left_out:,} of {len(r):,} requests of the trace are longer than the model's context of "
            f"{max_context:,} tokens, which refuses them; they are left out."
        )
        return replace(self, requests=kept, notes=(*self.notes, note) if left_out else self.notes)


def read_trace(path: Path) -> Trace:
    """The trace of a file. Raises InvalidInput with what is wrong in it: the first lines, and how many there are."""
    try:
        with path.open("rb") as file:
            return trace_of(file, path.name, subject=str(path))
    except FileNotFoundError:
        raise InvalidInput(str(path), [Problem("file", "not found", "check the path")]) from None
    except IsADirectoryError:
        raise InvalidInput(str(path), [Problem("file", "is a directory", "name a file in it")]) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInput(
            str(path), [Problem("file", f"cannot be read: {reason}", "check the path")]
        ) from None


def trace_of(file: BinaryIO, source: str, *, subject: str | None = None) -> Trace:
    """The trace in an open file; `source` names it for the user, `subject` in errors. Raises InvalidInput."""
    collector, findings = Collector(), Findings()
    subject = subject or source
    try:
        stream, head = _unpacked(file)
        for magic, (rule, mend) in _OTHER.items():
            if head.startswith(magic):
                raise InvalidInput(subject, [Problem("file", rule, mend)])
        if b"\x00" in head:
            raise InvalidInput(subject, [Problem("file", "is no text", _LINES)])
        if not head.strip() and not stream.peek(1).strip():
            raise InvalidInput(subject, [Problem("file", "is empty", _LINES)])
        batches = (jsonl_batches if head.lstrip()[:1] == b"{" else csv_batches)(
            cast(BinaryIO, stream), findings
        )
        for batch in batches:
            collector.add(batch)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        rule = f"is damaged or cut short: {error}"
        raise InvalidInput(subject, [Problem("file", rule, "get it again")]) from None
    if findings.count:
        raise InvalidInput(subject, findings.problems)
    if not collector.requests_read:
        rule = "holds no request with a prompt and an answer"
        raise InvalidInput(subject, [Problem("file", rule, _LINES)])
    requests = collector.requests()
    summary = collector.summary(source, requests)
    return Trace(requests, summary, (*_notes(collector, summary), *_clock_notes(requests)))


def mooncake_lines(requests: Requests, *, start_s: float = 0.0) -> Iterator[bytes]:
    """The requests as Mooncake's JSON lines, one with its newline at a time; times in whole milliseconds."""
    times = np.rint(1000.0 * (start_s + np.cumsum(requests.gap_s))).astype(np.int64)
    ends = requests.block_ends if requests.has_prefixes else np.zeros(len(requests), dtype=np.int64)
    ids, begin = requests.block_ids.tolist(), 0
    rows = zip(times.tolist(), requests.isl.tolist(), requests.osl.tolist(), ends.tolist(), strict=True)
    for time, isl, osl, end in rows:
        hashes = f', "hash_ids": {ids[begin:end]}' if requests.has_prefixes else ""
        yield f'{{"timestamp": {time}, "input_length": {isl}, "output_length": {osl}{hashes}}}\n'.encode()
        begin = end


def _unpacked(file: BinaryIO) -> tuple[io.BufferedReader, bytes]:
    """The text of the file, and its first bytes without a byte order mark."""
    stream: io.BufferedReader = io.BufferedReader(cast(io.RawIOBase, file), 1 << 16)
    for magic, opener in _OPENERS:
        if stream.peek(8).startswith(magic):
            stream = io.BufferedReader(cast(io.RawIOBase, opener(cast(BinaryIO, stream))), 1 << 16)
            break
    if stream.peek(3).startswith(b"\xef\xbb\xbf"):
        stream.read(3)
    return stream, stream.peek(1 << 12)


def _notes(collector: Collector, summary: TraceSummary) -> Iterator[str]:
    if collector.without_tokens:
        yield (
            f"{collector.without_tokens:,} requests of the trace have no prompt or no answer, as failed ones do; "
            "they are left out."
        )
    if collector.out_of_order:
        yield f"{collector.out_of_order:,} requests of the trace come before the line above them: sorted by time."
    if summary.rate_per_s == 0:
        yield "The requests of the trace all come at one instant: it states no rate."
    if summary.kept < summary.requests:
        yield (
            f"The search computes with {summary.kept:,} requests of the trace that follow one another, drawn from its "
            f"{summary.requests:,}, at the rate of the whole; lengths are counted over all."
        )


def _clock_notes(requests: Requests) -> Iterator[str]:
    """Whether the clock of the log is so coarse that it makes bursts."""
    gaps = requests.gap_s[1:]
    step = float(gaps[gaps > 0].min()) if (gaps > 0).any() else 0.0
    shared = float((gaps == 0).mean()) if len(gaps) else 0.0
    if step * requests.rate_per_s > 1.0 and shared > 0.5:
        yield (
            f"The trace's times are {step:.3g} s apart or the same: its bursts may be of the log's clock; "
            "they are taken as they stand."
        )


def _taken(r: Requests, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Requests:
    """The requests where `kept`, at their own moments."""
    time = np.cumsum(r.gap_s)[kept]
    columns: dict[str, Any] = {}
    if r.has_prefixes:
        lengths = np.diff(r.block_ends, prepend=0)
        columns = {
            "block_ids": r.block_ids[np.repeat(kept, lengths)],
            "block_ends": np.cumsum(lengths[kept]),
        }
    return Requests(
        r.isl[kept], r.osl[kept], np.diff(time, prepend=time[0]), block_tokens=r.block_tokens, **columns
    )
