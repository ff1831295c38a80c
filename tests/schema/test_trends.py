"""Sums, moving averages and trends against values worked out by hand."""

from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from tests.schema.history import add_node, add_user, text_rows
from tests.schema.sessions import value

pytestmark = pytest.mark.integration

MARCH_10 = date(2026, 3, 10)

FORTNIGHT = {
    "2026-02-25": "10", "2026-02-26": "20", "2026-02-28": "30", "2026-03-03": "10",
    "2026-03-04": "40", "2026-03-05": "0", "2026-03-07": "50", "2026-03-10": "15",
}  # fmt: skip


def _trend(connection: psycopg.Connection, as_of: str | date, span: str, key: str = "a") -> Any:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        cursor.execute("SELECT * FROM earnings_trends_at(%s) WHERE key = %s AND span = %s", (as_of, key, span))
        return cursor.fetchone()


def test_a_window_has_its_sum_its_average_its_extremes_and_its_change(history: psycopg.Connection) -> None:
    add_node(history, "a", FORTNIGHT)
    assert text_rows(
        history,
        """
        SELECT span, since, calendar_days, days, earnings_gnk, average_gnk, before_days, before_gnk, change_gnk,
               change_percent, best_date, best_gnk, worst_date, worst_gnk
        FROM earnings_trends_at('2026-03-10') WHERE dimension = 'node' AND key = 'a' ORDER BY calendar_days, span
        """,
    ) == [
        ("1d", "2026-03-10", "1", "1", "15.00000000", "15.00000000", "0", "-", "-", "-",
         "2026-03-10", "15.00000000", "2026-03-10", "15.00000000"),
        ("7d", "2026-03-04", "7", "4", "105.00000000", "15.00000000", "4", "70.00000000", "35.00000000", "50.00",
         "2026-03-07", "50.00000000", "2026-03-05", "0.00000000"),
        ("30d", "2026-02-25", "14", "8", "175.00000000", "12.50000000", "0", "-", "-", "-",
         "2026-03-07", "50.00000000", "2026-03-05", "0.00000000"),
        ("90d", "2026-02-25", "14", "8", "175.00000000", "12.50000000", "0", "-", "-", "-",
         "2026-03-07", "50.00000000", "2026-03-05", "0.00000000"),
        ("all", "2026-02-25", "14", "8", "175.00000000", "12.50000000", "-", "-", "-", "-",
         "2026-03-07", "50.00000000", "2026-03-05", "0.00000000"),
    ]  # fmt: skip


def test_a_window_before_that_reaches_back_beyond_the_first_row_is_not_compared_with(
    history: psycopg.Connection,
) -> None:
    add_node(history, "a", FORTNIGHT)
    trend = _trend(history, "2026-03-09", "7d")
    assert (trend.before_gnk, trend.before_days) == (Decimal(60), 3)
    assert (trend.change_gnk, trend.change_percent) == (None, None)


def test_on_the_first_day_every_window_is_that_day(history: psycopg.Connection) -> None:
    add_node(history, "a", FORTNIGHT)
    rows = text_rows(
        history,
        "SELECT since, until, calendar_days, average_gnk FROM earnings_trends_at('2026-02-25') WHERE key = 'a'",
    )
    assert rows == [("2026-02-25", "2026-02-25", "1", "10.00000000")] * 5
    assert text_rows(history, "SELECT * FROM earnings_trends_at('2026-02-24')") == []


def test_a_window_without_a_row_is_unknown_not_zero(history: psycopg.Connection) -> None:
    add_node(history, "a", FORTNIGHT)
    trend = _trend(history, "2026-03-17", "7d")
    assert (trend.days, trend.before_days, trend.before_gnk) == (0, 4, Decimal(105))
    assert {trend.earnings_gnk, trend.average_gnk, trend.change_gnk, trend.change_percent} == {None}
    assert {trend.best_date, trend.best_gnk, trend.worst_date, trend.worst_gnk} == {None}


def test_of_equal_days_the_earliest_is_the_best_and_the_worst(history: psycopg.Connection) -> None:
    add_node(history, "a", {"2026-03-06": "5", "2026-03-07": "9", "2026-03-08": "5", "2026-03-09": "9"})
    trend = _trend(history, MARCH_10, "7d")
    assert (trend.best_date, trend.worst_date) == (date(2026, 3, 7), date(2026, 3, 6))


def test_extremes_are_found_on_both_sides_of_the_year_2000(history: psycopg.Connection) -> None:
    add_node(history, "a", {"1999-12-30": "1", "1999-12-31": "9", "2000-01-01": "8", "2000-01-02": "2"})
    trend = _trend(history, "2000-01-02", "all")
    assert (trend.best_date, trend.worst_date) == (date(1999, 12, 31), date(1999, 12, 30))


@pytest.mark.parametrize(
    ("before", "now", "change", "percent"),
    [
        ("0", "5", "5.00000000", "-"),
        ("800", "801", "1.00000000", "0.13"),  # 0.125: half away from zero
        ("800", "799", "-1.00000000", "-0.13"),
        ("3", "2", "-1.00000000", "-33.33"),
        ("3", "0", "-3.00000000", "-100.00"),
        ("-3", "2", "5.00000000", "-"),
        # 0.00499999999999999999975: twenty places of it are 0.005
        ("200000000000.00000001", "200010000000.00000001", "10000000.00000000", "0.00"),
    ],
)
def test_a_change_is_absolute_and_in_percent_of_what_was_before(
    history: psycopg.Connection, before: str, now: str, change: str, percent: str
) -> None:
    add_node(history, "a", {"2026-03-09": before, "2026-03-10": now})
    query = "SELECT change_gnk, change_percent FROM earnings_trends_at(%s) WHERE key = 'a' AND span = '1d'"
    assert text_rows(history, query, MARCH_10) == [(change, percent)]


def test_averages_are_rounded_half_away_from_zero(history: psycopg.Connection) -> None:
    add_node(history, "a", {"2026-03-09": "0.00000001", "2026-03-10": "0"})
    assert _trend(history, MARCH_10, "7d").average_gnk == Decimal("0.00000001")
    add_node(history, "b", {"2026-03-08": "0.00000001", "2026-03-10": "0"})
    assert _trend(history, MARCH_10, "7d", "b").average_gnk == 0


def test_moving_averages_are_over_calendar_days_since_the_first_row(history: psycopg.Connection) -> None:
    add_node(
        history,
        "a",
        {"2028-02-20": "7", "2028-02-21": "3", "2028-02-26": "4", "2028-02-27": "1", "2028-02-29": "8",
         "2028-03-20": "30", "2028-03-21": "15"},
    )  # fmt: skip
    assert text_rows(
        history, "SELECT date, average_7d_gnk, average_30d_gnk FROM earnings_moving_averages WHERE dimension = 'node'"
    ) == [
        ("2028-02-20", "7.00000000", "7.00000000"),
        ("2028-02-21", "5.00000000", "5.00000000"),
        ("2028-02-26", "2.00000000", "2.00000000"),  # (7 + 3 + 4) ÷ 7 days
        ("2028-02-27", "1.14285714", "1.87500000"),  # the 20th is out of the seven: 8 ÷ 7, 15 ÷ 8
        ("2028-02-29", "1.85714286", "2.30000000"),  # a day of its own: 13 ÷ 7, 23 ÷ 10
        ("2028-03-20", "4.28571429", "1.76666667"),  # 30 ÷ 7, 53 ÷ 30
        ("2028-03-21", "6.42857143", "2.03333333"),  # 45 ÷ 7; the 20th of February is out: 61 ÷ 30
    ]


def test_weeks_are_iso_weeks_also_over_new_year(history: psycopg.Connection) -> None:
    add_node(
        history, "a", {"2026-12-27": "1", "2026-12-28": "2", "2026-12-31": "4", "2027-01-03": "8", "2027-01-04": "16"}
    )
    assert text_rows(history, "SELECT week, earnings_gnk, days FROM earnings_weekly WHERE key = 'a' ORDER BY week") == [
        ("2026-12-21", "1.00000000", "1"),
        ("2026-12-28", "14.00000000", "3"),
        ("2027-01-04", "16.00000000", "1"),
    ]


def test_months_begin_on_the_first_and_february_may_have_a_29th(history: psycopg.Connection) -> None:
    add_node(history, "a", {"2028-01-31": "1", "2028-02-01": "2", "2028-02-29": "4", "2028-03-01": "8"})
    assert text_rows(
        history, "SELECT month, earnings_gnk, days FROM earnings_monthly WHERE key = 'a' ORDER BY month"
    ) == [
        ("2028-01-01", "1.00000000", "1"),
        ("2028-02-01", "6.00000000", "2"),
        ("2028-03-01", "8.00000000", "1"),
    ]


def test_sums_between_two_dates_have_both_dates_and_nothing_beyond(history: psycopg.Connection) -> None:
    add_node(
        history, "a", {"2026-01-30": "1", "2026-01-31": "2", "2026-02-01": "4", "2026-02-02": "8", "2026-02-03": "16"}
    )
    query = "SELECT starts, earnings_gnk FROM earnings_sums(%s, '2026-01-31', '2026-02-02') WHERE key = 'a' ORDER BY 1"
    assert text_rows(history, query, "month") == [("2026-01-01", "2.00000000"), ("2026-02-01", "12.00000000")]
    assert text_rows(history, query, "week") == [("2026-01-26", "6.00000000"), ("2026-02-02", "8.00000000")]
    assert len(text_rows(history, query, "day")) == 3


def test_a_node_of_two_users_counts_for_each_in_full_and_once_for_the_fleet(history: psycopg.Connection) -> None:
    add_node(history, "a", {"2026-03-10": "1"}, gpu_type="H100", region="eu")
    add_node(history, "b", {"2026-03-10": "2"}, gpu_type="H100")
    add_node(history, "c", {"2026-03-09": "4"}, region="eu")
    add_node(history, "idle", {}, gpu_type="A100", region="us")
    anna, otto = add_user(history, "anna@example.org", "a", "b"), add_user(history, "otto@example.org", "a", "idle")
    add_user(history, "nobody@example.org", "idle")
    expected = {
        ("node", "a", "2026-03-10", "1.00000000", "1"),
        ("node", "b", "2026-03-10", "2.00000000", "1"),
        ("node", "c", "2026-03-09", "4.00000000", "1"),
        ("user", anna, "2026-03-10", "3.00000000", "2"),
        ("user", otto, "2026-03-10", "1.00000000", "1"),
        ("gpu_type", "H100", "2026-03-10", "3.00000000", "2"),
        ("gpu_type", "unknown", "2026-03-09", "4.00000000", "1"),
        ("region", "eu", "2026-03-10", "1.00000000", "1"),
        ("region", "eu", "2026-03-09", "4.00000000", "1"),
        ("region", "unknown", "2026-03-10", "2.00000000", "1"),
        ("fleet", "fleet", "2026-03-10", "3.00000000", "2"),
        ("fleet", "fleet", "2026-03-09", "4.00000000", "1"),
    }
    everything = "SELECT dimension, key, date, earnings_gnk, nodes FROM earnings_daily"
    assert set(text_rows(history, everything)) == expected
    assert value(history, "SELECT earnings_refresh()") == 2
    assert set(text_rows(history, everything)) == expected


def test_the_view_of_trends_ends_with_yesterday_in_utc(history: psycopg.Connection) -> None:
    add_node(history, "a", {"2026-01-01": "1"})
    yesterday = value(history, "SELECT (now() AT TIME ZONE 'UTC')::date - 1")
    for zone in ("Etc/GMT+12", "Etc/GMT-14"):  # in one of them it is always another date
        history.execute(f"SET LOCAL timezone = '{zone}'".encode())
        assert text_rows(history, "SELECT DISTINCT until FROM earnings_trends") == [(str(yesterday),)]
