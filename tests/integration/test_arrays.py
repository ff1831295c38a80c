"""Columns that are sent as one text, as PostgreSQL takes them apart."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.arrays import column, joined, joined_numbers, joined_times, moment
from services.kernel.database import Database
from services.kernel.events import clean_text

pytestmark = pytest.mark.integration

_LINE = timezone(timedelta(hours=-11, minutes=-30))


async def _taken_apart(database: Database, type_name: str, sent: str, value: str = "value") -> list[object]:
    statement = f"SELECT {value} AS value FROM unnest({column(1, type_name)}) AS sent (value)"
    async with database.connection() as connection:
        return [row["value"] for row in await connection.fetch(statement, sent)]


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [None],
        [None, None],
        ["one"],
        ["one", None, "two"],
        ['"', "{", "}", ",", "\\", "NULL", "null", "'", "é", "모델", "🙂", "E'\\x1f'"],
    ],
)
async def test_texts_arrive_as_they_were(cache: Database, texts: list[str | None]) -> None:
    assert await _taken_apart(cache, "text", joined(texts)) == texts


async def test_numbers_arrive_exactly(cache: Database) -> None:
    whole = [0, None, 10**18, -(10**18), 2**63 - 1]
    assert await _taken_apart(cache, "bigint", joined_numbers(whole)) == whole
    exact = [Decimal("0.00000001"), None, Decimal("1E+20"), Decimal(10**40), Decimal("999999999999.99999999")]
    assert await _taken_apart(cache, "numeric", joined_numbers(exact)) == exact


async def test_times_arrive_to_the_microsecond_whatever_their_year_and_zone(cache: Database) -> None:
    times = [
        datetime(2000, 1, 1, tzinfo=UTC),
        datetime(2026, 11, 26, 12, 0, 0, 999_999, tzinfo=UTC),
        datetime(2026, 11, 26, 12, 0, 0, 1, tzinfo=_LINE),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ]
    assert await _taken_apart(cache, "bigint", joined_times(times), moment("value")) == times


@pytest.mark.parametrize("texts", [["a\x1fb"], ["a", "b\x1f"], [""]])
def test_what_would_arrive_as_something_else_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="separates values"):
        joined(texts)


@given(st.text())
def test_a_cleaned_text_can_always_be_sent(text: str) -> None:
    cleaned = clean_text(text, 100)
    assert joined([cleaned, cleaned]).split("\x1f") == [cleaned or "\x1e"] * 2
    assert cleaned != "\x1e"
