"""A statement's columns, each as one text: what a batch of thousands of rows sends quickest.

asyncpg looks at every element of an array several times before it encodes it. A text is encoded at once, and taken
apart by PostgreSQL: of a batch of readings that is less than half of the time (docs/performance.md).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

_SEPARATOR: Final = "\x1f"
_NULL: Final = "\x1e"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def column(place: int, type_name: str) -> str:
    """The SQL of parameter $place as an array of this type, when `joined` sends it.

    Times are bigint here (`joined_times`); `moment` makes times of them.
    """
    return f"string_to_array(${place}::text, E'\\x{ord(_SEPARATOR):x}', E'\\x{ord(_NULL):x}')::{type_name}[]"


def moment(microseconds: str) -> str:
    """The SQL of a time, given that of its microseconds since 1970: exact, of any year."""
    # An interval times a number is calculated in floating point, which holds all seconds, but not all microseconds.
    return (
        f"timestamptz 'epoch' + {microseconds} / 1000000 * interval '1 second'"
        f" + {microseconds} % 1000000 * interval '1 microsecond'"
    )


def joined(values: Sequence[str | None]) -> str:
    """The values as one text: of events' texts, which hold no control characters and are never empty.

    Raises ValueError where PostgreSQL would not find the same number of values.
    """
    try:
        text = _SEPARATOR.join(values)  # type: ignore[arg-type] # None is what the other way is for
    except TypeError:
        text = _SEPARATOR.join([_NULL if value is None else value for value in values])
    if text.count(_SEPARATOR) != max(0, len(values) - 1) or (values and not text):
        raise ValueError("a value that is empty, or holds the character that separates values")
    return text


def joined_numbers(values: Iterable[int | Decimal | None]) -> str:
    """The numbers as one text, exactly."""
    return _SEPARATOR.join([_NULL if value is None else str(value) for value in values])


def joined_times(values: Iterable[datetime]) -> str:
    """The times as one text, in microseconds since 1970."""
    return _SEPARATOR.join([str((value - _EPOCH) // _MICROSECOND) for value in values])
