"""Columns of tables that leave the system, and such tables as CSV. Money is written digit by digit, never as 1E-8."""

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, BinaryIO, Final, NamedTuple

from services.kernel.money import digits

_FORMULA: Final = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""What makes a spreadsheet take a cell for a formula when it stands first, full-width forms too (OWASP)."""


class Kind(Enum):
    """What a column holds, which decides how each format writes it."""

    FREE_TEXT = "text that somebody chose"
    TEXT = "text of ours"
    TEXTS = "several texts of ours"
    DATE = "a UTC date"
    TIME = "a moment"
    TIMES = "several moments"
    YES_NO = "a boolean"
    NGONKA = "whole ngonka"
    GNK_8 = "GNK with 8 places"
    GNK_9 = "GNK with 9 places: exact"


class Column(NamedTuple):
    """A column's name and kind. Any value may be absent (NULL): it is not known."""

    name: str
    kind: Kind


class CsvWriter:
    """RFC 4180 in UTF-8: a header, CRLF, quotes where needed. An absent value is an empty cell."""

    def __init__(self, out: BinaryIO, columns: Sequence[Column]) -> None:
        # Not a TextIOWrapper: that one closes the file below when it is forgotten.
        self._out = codecs.getwriter("utf-8")(out)
        self._writer = csv.writer(self._out)
        self._formats = [_CSV[column.kind] for column in columns]
        self._writer.writerow(column.name for column in columns)

    def write(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write rows; a row may be longer than the columns."""
        self._writer.writerows(
            ["" if value is None else form(value) for form, value in zip(self._formats, row, strict=False)]
            for row in rows
        )

    def close(self) -> None:
        """Write what is left."""
        self._out.flush()


def spreadsheet_safe(text: str) -> str:
    """The text, behind an apostrophe where a spreadsheet would take it for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def rfc3339(moment: datetime) -> str:
    """The moment in UTC, like 2026-03-01T01:00:00Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


_CSV: Final[Mapping[Kind, Callable[[Any], str]]] = {
    Kind.FREE_TEXT: spreadsheet_safe,
    Kind.TEXT: str,
    Kind.TEXTS: " ".join,
    Kind.DATE: date.isoformat,
    Kind.TIME: rfc3339,
    Kind.TIMES: lambda moments: " ".join(map(rfc3339, moments)),
    Kind.YES_NO: lambda value: "true" if value else "false",
    Kind.NGONKA: digits,
    Kind.GNK_8: digits,
    Kind.GNK_9: digits,
}
