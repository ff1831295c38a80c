"""Parameters that several routes take, and their bounds."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query
from pydantic import AfterValidator, BeforeValidator, StringConstraints

from services.api.problems import invalid
from services.api.schemas import TEXT

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIRST, _LAST = date(2000, 1, 1), date(9998, 12, 31)


def _iso_date(value: Any) -> Any:
    if isinstance(value, str) and not _DATE.fullmatch(value):
        raise ValueError("write a date like 2026-03-01")
    return value


def _in_range(value: date) -> date:
    if not _FIRST <= value <= _LAST:
        raise ValueError(f"must be from {_FIRST} to {_LAST}")
    return value


_UtcDate = Annotated[date, BeforeValidator(_iso_date), AfterValidator(_in_range)]
Since = Annotated[_UtcDate | None, Query(description="First UTC date.")]
Until = Annotated[_UtcDate | None, Query(description="Last UTC date, included; today by default.")]

_Word = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=TEXT)]
Words = Annotated[list[_Word] | None, Query(max_length=50)]
"""One of several values: the parameter may be repeated."""

Identifier = Annotated[
    str,
    Path(
        min_length=1,
        max_length=255,
        description="The node's identifier, percent-encoded: an ML node's `address/node_id` as `address%2Fnode_id`.",
    ),
]
UserId = Annotated[UUID, Path(description="The user's id.")]
Cursor = Annotated[str | None, Query(min_length=1, max_length=1024, description="`next_cursor` of the page before.")]
Wait = Annotated[
    str | None,
    Query(
        pattern=r"^([0-9]|10)(\.[0-9]{1,3})?s?$",
        description="Wait so many seconds at most (10) for a stale reading's refresh, like 2s.",
    ),
]
Csv = Annotated[str | None, Query(alias="format", pattern="^(json|csv)$", description="json or csv, before Accept.")]


def seconds(wait: str | None) -> float:
    """How long to wait, in seconds."""
    return 0.0 if wait is None else min(10.0, float(wait.removesuffix("s")))


def days_between(since: date | None, until: date | None, *, default: int, most: int) -> tuple[date, date]:
    """The dates from `since` to `until`: by default the last so many days. Raises ProblemError."""
    last = until or datetime.now(UTC).date()
    first = since or max(_FIRST, last - timedelta(days=default - 1))
    if first > last:
        raise invalid("since", f"since ({first}) is after until ({last}).")
    if (last - first).days >= most:
        raise invalid("since", f"At most {most:,} days at once: {first} to {last} is more.")
    return first, last
