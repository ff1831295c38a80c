"""Cursors: where a page ended, as text that only this API reads."""

import base64
import binascii
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from services.api.problems import ProblemError, invalid

_LIMIT = 1024
_PLACES = 40


class Cursor(NamedTuple):
    """The last row of a page: what it was sorted by (None where it had no value), and its name."""

    order: str
    value: str | None
    name: str


def write(cursor: Cursor) -> str:
    """The cursor as text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def read(text: str, order: str) -> Cursor:
    """The cursor of this text. Raises ProblemError where it is none, or one of another order."""
    try:
        if len(text) > _LIMIT:
            raise ValueError
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.json.decode(raw, type=tuple[str, str | None, str])
        f"{cursor[1]}{cursor[2]}".encode()  # no lone surrogates
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise _unusable() from None
    if "\x00" in cursor[2] or "\x00" in (cursor[1] or ""):
        raise _unusable()
    if cursor[0] != order:
        raise invalid("cursor", f"This cursor belongs to another order ({cursor[0]!r}): begin without one.")
    return Cursor(*cursor)


def value_of(cursor: Cursor, kind: type) -> Any:
    """The value as its column's type. Raises ProblemError where it is none."""
    if cursor.value is None:
        return None
    try:
        if kind is Decimal:
            number = Decimal(text := cursor.value)
            if not number.is_finite() or not -_PLACES <= number.adjusted() < _PLACES or len(text) > 2 * _PLACES:
                raise ValueError
            return number
        if kind is int:
            whole = int(cursor.value)
            if not -(2**31) <= whole < 2**31:
                raise ValueError
            return whole
        if kind is date:
            return date.fromisoformat(cursor.value)
        return kind(cursor.value)
    except (ValueError, InvalidOperation, OverflowError):
        raise _unusable() from None


def _unusable() -> ProblemError:
    return invalid("cursor", "This is no cursor of ours: give `next_cursor` of the page before as it was, or none.")
