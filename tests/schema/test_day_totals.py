"""Daily totals: exact while history changes, before and after they are refreshed, whoever writes meanwhile."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from services.kernel import migrations
from services.kernel.settings import DatabaseSettings
from tests.schema.history import add_node, text_rows
from tests.schema.sessions import session, value

pytestmark = pytest.mark.integration


def _fleet(connection: psycopg.Connection) -> list[tuple[str, ...]]:
    """Date and GNK."""
    return text_rows(
        connection, "SELECT date, trim_scale(earnings_gnk) FROM earnings_daily WHERE dimension = 'fleet' ORDER BY date"
    )


def _noted(connection: psycopg.Connection) -> set[str]:
    return {day for (day,) in text_rows(connection, "SELECT date FROM earnings_day_changed")}


@pytest.mark.parametrize(
    ("change", "fleet", "noted"),
    [
        ("UPDATE earnings_history SET earnings_gnk = 8 WHERE date = '2026-03-02'",
         [("2026-03-01", "1"), ("2026-03-02", "16")], {"2026-03-02"}),
        ("UPDATE earnings_history SET date = '2026-03-03' WHERE date = '2026-03-02'",
         [("2026-03-01", "1"), ("2026-03-03", "6")], {"2026-03-02", "2026-03-03"}),
        ("INSERT INTO earnings_history (node_id, date, earnings_gnk) SELECT id, '2026-03-01', 8 FROM nodes "
         "ON CONFLICT (node_id, date) DO UPDATE SET earnings_gnk = excluded.earnings_gnk",
         [("2026-03-01", "16"), ("2026-03-02", "6")], {"2026-03-01"}),
        ("DELETE FROM earnings_history WHERE date = '2026-03-01'", [("2026-03-02", "6")], {"2026-03-01"}),
        ("DELETE FROM nodes WHERE identifier = 'a'", [("2026-03-02", "4")], {"2026-03-01", "2026-03-02"}),
        ("TRUNCATE earnings_history", [], {"2026-03-01", "2026-03-02"}),
        ("TRUNCATE nodes CASCADE", [], {"2026-03-01", "2026-03-02"}),
    ],
)  # fmt: skip
def test_every_change_of_history_is_read_at_once_and_after_the_refresh(
    history: psycopg.Connection, change: str, fleet: list[tuple[str, ...]], noted: set[str]
) -> None:
    add_node(history, "a", {"2026-03-01": "1", "2026-03-02": "2"})
    add_node(history, "b", {"2026-03-02": "4"})
    history.execute("SELECT earnings_refresh()")
    assert _noted(history) == set()
    history.execute(change.encode())
    assert (_fleet(history), _noted(history)) == (fleet, noted)
    assert value(history, "SELECT earnings_refresh()") == len(noted)
    assert (_fleet(history), _noted(history)) == (fleet, set())
    assert value(history, "SELECT earnings_refresh()") == 0


def test_a_new_gpu_type_counts_from_the_next_refresh_on_for_all_dates_at_once(history: psycopg.Connection) -> None:
    add_node(history, "a", {"2026-03-01": "1", "2026-03-02": "2"}, gpu_type="A100")
    history.execute("SELECT earnings_refresh()")
    history.execute("UPDATE nodes SET gpu_type = 'H100'")
    history.execute("UPDATE earnings_history SET earnings_gnk = 5 WHERE date = '2026-03-02'")
    by_type = (
        "SELECT key, date, trim_scale(earnings_gnk) FROM earnings_daily WHERE dimension = 'gpu_type' ORDER BY date"
    )
    assert text_rows(history, by_type) == [("A100", "2026-03-01", "1"), ("A100", "2026-03-02", "5")]
    assert value(history, "SELECT earnings_refresh()") == 2
    assert text_rows(history, by_type) == [("H100", "2026-03-01", "1"), ("H100", "2026-03-02", "5")]


def test_what_commits_while_totals_are_refreshed_is_neither_lost_nor_made_to_wait(
    migrated: psycopg.Connection, database: DatabaseSettings
) -> None:
    add = "INSERT INTO earnings_history (node_id, date, earnings_gnk) SELECT id, '2026-03-02', 4 FROM nodes WHERE {}"
    add_node(migrated, "a", {"2026-03-01": "1", "2026-03-02": "2"})
    add_node(migrated, "b", {})
    add_node(migrated, "c", {})
    with session(database) as early, session(database) as late:
        late.execute("SET lock_timeout = '5s'")
        with early.transaction():
            early.execute(add.format("identifier = 'b'").encode())
            with migrated.transaction():
                assert value(migrated, "SELECT earnings_refresh()") == 2
                late.execute(add.format("identifier = 'c'").encode())  # while the refresh is not committed
        assert _fleet(migrated) == [("2026-03-01", "1"), ("2026-03-02", "10")]
        assert value(migrated, "SELECT earnings_refresh()") == 1
        assert _fleet(migrated) == [("2026-03-01", "1"), ("2026-03-02", "10")]


def test_one_refresh_works_at_a_time_and_the_next_finds_nothing_left(
    migrated: psycopg.Connection, database: DatabaseSettings
) -> None:
    add_node(migrated, "a", {"2026-03-01": "1"})
    with session(database) as other:
        with other.transaction():
            assert value(other, "SELECT earnings_refresh()") == 1
            migrated.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                migrated.execute("SELECT earnings_refresh()")
        assert value(migrated, "SELECT earnings_refresh()") == 0
    assert _fleet(migrated) == [("2026-03-01", "1")]


def test_history_from_before_the_totals_is_added_up_by_their_migration(
    database: DatabaseSettings, up_to: Callable[[int], Path]
) -> None:
    migrations.apply(database, folder=up_to(10))
    with session(database) as connection:
        add_node(connection, "a", {"2026-03-01": "1"})
        migrations.apply(database)
        assert _noted(connection) == set()
        assert _fleet(connection) == [("2026-03-01", "1")]
