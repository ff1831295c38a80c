"""Earnings in a file of CSV or JSON lines, compressed with gzip or not: each row's event, or what is wrong with it.

A CSV file has a header and a column for each field of EarningsReport that it gives; an empty cell gives none.
`amount_gnk` may stand for `amount_ngonka`: a decimal number with at most 9 places, converted exactly. Without
`observed_at` a row counts as observed when its epoch settled, so that what a source itself said later outranks it.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import msgspec

from services.cli.publish import Read, read_lines
from services.kernel.errors import ConfigurationError, InvalidRecordError, Reason
from services.kernel.events import EarningsReport
from services.kernel.judging import Judge, judge_of
from services.kernel.money import ngonka_of_gnk

AMOUNTS: Final = ("amount_ngonka", "amount_gnk")
REQUIRED: Final = ("identifier", "identifier_type", "source", "kind", "period")
OPTIONAL: Final = (
    "work_ngonka",
    "reward_ngonka",
    "settled_at",
    "settled_exact",
    "final",
    "claimed",
    "observed_at",
)

_File: TypeAlias = "io.BufferedReader[Any]"
_Row: TypeAlias = list[str] | csv.Error

_FLAGS: Final = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_BLOCK = 2**20


@contextmanager
def opened(path: Path) -> Iterator[_File]:
    """The file's content, decompressed where it is gzip. What is wrong with the file is a ConfigurationError."""
    try:
        with path.open("rb") as file:
            if file.peek(2)[:2] != _GZIP_MAGIC:
                yield file
                return
            with gzip.GzipFile(fileobj=file) as inner, io.BufferedReader(inner) as content:
                yield content
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ConfigurationError(f"{path} is damaged or cut short: compress it again, then run this again.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}.") from None


def count_lines(file: BinaryIO) -> int:
    """The lines from here to the end; the last one needs no end of line."""
    lines, last = 0, b"\n"
    while block := file.read(_BLOCK):
        lines, last = lines + block.count(b"\n"), block[-1:]
    return lines + (last != b"\n")


def read_reports(file: _File) -> Iterator[Read]:
    """Every row of the file. Raises ConfigurationError for a CSV header that does not say what its columns are."""
    if file.peek(3)[:3] == _BOM:
        file.read(3)
    if file.peek(_BLOCK).lstrip()[:1] == b"{":
        return read_lines(EarningsReport, file)
    return _read_csv(file)


def _read_csv(file: _File) -> Iterator[Read]:
    # Bytes that are not UTF-8 spoil their row, not the file.
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        rows = csv.reader(text, strict=True)
        columns = _columns(next((row for row in _each(rows) if row), []))
        judge = judge_of(EarningsReport)
        begin = rows.line_num + 1
        for row in _each(rows):
            end = rows.line_num
            if row:
                yield Read(begin, _verdict(columns, row, judge, f" (up to line {end})" if end > begin else ""))
            begin = end + 1
    finally:
        text.detach()  # whoever opened the file closes it


def _each(rows: Iterator[list[str]]) -> Iterator[_Row]:
    """Every row, or why it is none."""
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield error


def _columns(header: _Row) -> list[str]:
    """The header's names. Raises ConfigurationError."""
    names = [] if isinstance(header, csv.Error) else [name.strip() for name in header]
    known = (*REQUIRED, *AMOUNTS, *OPTIONAL)
    missing = [name for name in REQUIRED if name not in names]
    unknown = [name for name in names if name not in known]
    twice = [name for name in names if names.count(name) > 1]
    if missing:
        raise ConfigurationError(
            f"The first line names no column {missing[0]!r}: it must be the header of a CSV file "
            f"({','.join(REQUIRED)}, then amount_ngonka or amount_gnk), or the file must hold JSON lines."
        )
    if unknown:
        raise ConfigurationError(f"The header has an unknown column {unknown[0]!r}: use {', '.join(known)}.")
    if twice:
        raise ConfigurationError(f"The header has the column {twice[0]!r} twice: remove one.")
    if len(set(AMOUNTS).intersection(names)) != 1:
        raise ConfigurationError("The header needs either amount_ngonka or amount_gnk: name one of them, and only one.")
    return names


def _verdict(
    columns: Sequence[str], row: _Row, judge: Judge[EarningsReport], where: str
) -> EarningsReport | InvalidRecordError:
    """The row's event, or what is wrong with it, and where: a quote that is not closed swallows lines."""
    verdict: EarningsReport | InvalidRecordError
    try:
        if isinstance(row, csv.Error):
            raise InvalidRecordError(Reason.UNDECODABLE, f"not CSV: {row}")
        if len(row) != len(columns):
            raise InvalidRecordError(Reason.UNDECODABLE, f"{len(row)} cells, but {len(columns)} columns")
        verdict = judge(_as_json(dict(zip(columns, row, strict=True))), ())
    except InvalidRecordError as error:
        verdict = error
    if where and isinstance(verdict, InvalidRecordError):
        return InvalidRecordError(verdict.reason, verdict.detail + where)
    return verdict


def _as_json(cells: dict[str, str]) -> bytes:
    """The event's JSON. Raises InvalidRecordError for a cell that has no place in it."""
    event: dict[str, object] = {}
    for column, cell in cells.items():
        if text := cell.strip():
            name, convert = _CONVERSIONS.get(column, (column, str))
            try:
                event[name] = convert(text)
            except ValueError as error:
                raise InvalidRecordError(Reason.INVALID_FIELD, f"{column}: {error}") from None
    if "settled_at" in event:
        event.setdefault("observed_at", event["settled_at"])
    try:
        return msgspec.json.encode(event)
    except UnicodeEncodeError:
        raise InvalidRecordError(Reason.UNDECODABLE, "not UTF-8") from None


def _flag(text: str) -> bool:
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise ValueError(f"neither true nor false: {text[:40]!r}") from None


_CONVERSIONS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "amount_gnk": ("amount_ngonka", ngonka_of_gnk),
    **{name: (name, _flag) for name in ("settled_exact", "final", "claimed")},
}
