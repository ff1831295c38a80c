"""Times as a person writes them on a command line."""

import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Final

from services.kernel.errors import ConfigurationError

_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE: Final = re.compile(rf"([0-9]+)\s*({'|'.join(sorted(_UNITS, key=len, reverse=True))})")


def moment(text: str, now: datetime) -> datetime:
    """The time, in UTC, that a text names: ISO 8601 (UTC where it names no offset), or how long before `now` it was.

    Raises ConfigurationError.
    """
    with suppress(ValueError, OverflowError):
        if (age := _span(text)) is not None:
            return now - age
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    raise ConfigurationError(
        f"{text!r} is no time: write it like 2026-03-01T12:00:00Z or 2026-03-01 (UTC), "
        "or how long ago it was, like 90s, 2h or 3d."
    )


def span(text: str) -> timedelta:
    """The length of time that a text names, like 90s, 2h or 3d. Raises ConfigurationError."""
    with suppress(OverflowError):
        if (length := _span(text)) is not None:
            return length
    raise ConfigurationError(f"{text!r} is no length of time: write it like 90s, 2h or 3d.")


def _span(text: str) -> timedelta | None:
    match = _AGE.fullmatch(text.strip())
    return None if match is None else timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def utc_day(text: str) -> date:
    """The UTC date that a text names, like 2026-03-01. Raises ConfigurationError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no date: write it like 2026-03-01.") from None
