"""Migrations go up, down one by one, and up again; legacy data survives; interrupted runs are completed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.kernel import migrations
from services.kernel.errors import ConfigurationError, UserError
from services.kernel.schema_version import FOLDER
from services.kernel.settings import DatabaseSettings
from tests.schema import legacy
from tests.schema.catalogue import snapshot
from tests.schema.sessions import environment, session, value
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

NAMES = sorted(path.stem for path in FOLDER.glob("*.sql") if not path.stem.endswith(".rollback"))


def _migrate(database: DatabaseSettings) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "services", "migrate"],
        env={**os.environ, **environment(database)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_migrations_are_applied_in_order_and_only_once(database: DatabaseSettings) -> None:
    assert migrations.apply(database) == NAMES
    assert migrations.apply(database) == []
    assert migrations.state(database) == [(name, True) for name in NAMES]


def test_each_rollback_takes_back_exactly_what_its_migration_made_and_it_can_be_made_again(
    legacy_database: DatabaseSettings, up_to: Callable[[int], Path]
) -> None:
    with session(legacy_database) as connection:
        before = [snapshot(connection)]
        for number in range(1, len(NAMES) + 1):
            migrations.apply(legacy_database, folder=up_to(number))
            before.append(snapshot(connection))
        for number in range(len(NAMES), 0, -1):
            assert migrations.rollback_last(legacy_database) == NAMES[number - 1]
            assert snapshot(connection) == before[number - 1], NAMES[number - 1]
        assert migrations.rollback_last(legacy_database) is None
        assert migrations.apply(legacy_database) == NAMES
        assert snapshot(connection) == before[-1]


def test_a_fresh_database_is_empty_again_after_all_rollbacks(database: DatabaseSettings) -> None:
    with session(database) as connection:
        before = snapshot(connection)
        migrations.apply(database)
        assert migrations.rollback_all(database) == NAMES[::-1]
        assert snapshot(connection) == before
        assert migrations.apply(database) == NAMES


def test_legacy_rows_are_identical_after_going_up_and_all_the_way_down(legacy_database: DatabaseSettings) -> None:
    with session(legacy_database) as connection:
        schema, rows = snapshot(connection), connection.execute(legacy.CONTENT).fetchall()
        migrations.apply(legacy_database)
        migrations.rollback_all(legacy_database)
        assert connection.execute(legacy.CONTENT).fetchall() == rows
        assert snapshot(connection) == schema


def test_the_baseline_creates_only_the_table_that_is_missing_and_takes_only_it_back(
    legacy_database: DatabaseSettings, up_to: Callable[[int], Path]
) -> None:
    with session(legacy_database) as connection:
        connection.execute("DROP TABLE node_requests")
        connection.execute("DROP TYPE node_requests_status_enum")
        before = snapshot(connection)
        migrations.apply(legacy_database, folder=up_to(1))
        connection.execute(f"INSERT INTO node_requests (user_id) VALUES ('{legacy.ANNA}')".encode())
        migrations.rollback_all(legacy_database)
        assert snapshot(connection) == before
        assert value(connection, "SELECT count(*) FROM user_nodes") == 5


def test_a_migration_that_was_killed_before_its_bookkeeping_is_completed_by_the_next_run(
    legacy_database: DatabaseSettings, up_to: Callable[[int], Path]
) -> None:
    with session(legacy_database) as connection:
        for number, name in enumerate(NAMES, start=1):
            migrations.apply(legacy_database, folder=up_to(number))
            before = snapshot(connection)
            connection.execute("DELETE FROM _yoyo_migration WHERE migration_id = %s", (name,))
            assert migrations.apply(legacy_database, folder=up_to(number)) == [name]
            assert snapshot(connection) == before, name


def test_a_rollback_that_was_killed_before_its_bookkeeping_is_completed_by_the_next_run(
    legacy_database: DatabaseSettings,
) -> None:
    with session(legacy_database) as connection:
        rows = connection.execute(legacy.CONTENT).fetchall()
        migrations.apply(legacy_database)
        for name in NAMES[::-1]:
            connection.execute("CREATE TEMP TABLE kept AS SELECT * FROM _yoyo_migration")
            assert migrations.rollback_last(legacy_database) == name
            before = snapshot(connection)
            connection.execute("DELETE FROM _yoyo_migration")
            connection.execute("INSERT INTO _yoyo_migration SELECT * FROM kept")
            connection.execute("DROP TABLE kept")
            assert migrations.rollback_last(legacy_database) == name
            assert snapshot(connection) == before, name
        assert connection.execute(legacy.CONTENT).fetchall() == rows


def test_a_migration_that_fails_leaves_nothing_and_says_which_and_why(
    database: DatabaseSettings, up_to: Callable[[int], Path]
) -> None:
    folder = up_to(2)
    (folder / "0003.broken.sql").write_text(
        "-- depends: 0002.create-nodes-table\nCREATE TABLE half (a int);\nSELECT no_such_column FROM half;\n"
    )
    (folder / "0003.broken.rollback.sql").write_text("DROP TABLE half;\n")
    with pytest.raises(UserError, match=r"0003\.broken was not applied, nothing .*no_such_column"):
        migrations.apply(database, folder=folder)
    with session(database) as connection:
        assert value(connection, "SELECT to_regclass('half')") is None
    assert [applied for _, applied in migrations.state(database, folder=folder)] == [True, True, False]


def test_two_migrates_at_the_same_moment_apply_everything_once(database: DatabaseSettings) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: migrations.apply(database), range(4)))
    assert sorted(runs, key=len) == [[], [], [], NAMES]


def test_a_migrate_killed_in_the_middle_while_it_holds_the_lock_is_completed_by_the_next(
    legacy_database: DatabaseSettings,
) -> None:
    with session(legacy_database) as watcher, session(legacy_database) as blocker:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with blocker.transaction():
            blocker.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")  # the fifth migration builds indexes on it
            killed = _migrate(legacy_database)
            wait_until(lambda: value(watcher, waiting) == 1)
            killed.send_signal(signal.SIGKILL)
            killed.communicate()
            assert value(watcher, "SELECT count(*) FROM yoyo_lock") == 1
            following = _migrate(legacy_database)
            # While the dead one's session still waits for the table, the next one waits for that session to end.
            wait_until(lambda: value(watcher, "SELECT max(pid) FROM yoyo_lock") == following.pid)
            wait_until(lambda: value(watcher, waiting) == 1)
        output, errors = following.communicate(timeout=30)
        assert following.returncode == 0, errors
        assert "0004.create-earnings-history-table" not in output
        assert "[X] 0005.add-performance-indexes" in output
        assert value(watcher, "SELECT count(*) FROM yoyo_lock") == 0
    assert migrations.state(legacy_database) == [(name, True) for name in NAMES]


def test_a_rollback_stops_at_a_migration_that_this_version_does_not_know(
    database: DatabaseSettings, up_to: Callable[[int], Path]
) -> None:
    migrations.apply(database, folder=up_to(3))
    with pytest.raises(UserError, match=r"has 0003\.create-node-stats-cache-table, which this version does not"):
        migrations.rollback_last(database, folder=up_to(2))


def test_every_migration_has_a_rollback_and_a_number_without_gaps() -> None:
    files = sorted(path.name for path in FOLDER.glob("*.sql"))
    assert files == sorted(f"{name}{ending}" for name in NAMES for ending in (".sql", ".rollback.sql"))
    assert [int(name[:4]) for name in NAMES] == list(range(1, len(NAMES) + 1))


def test_a_new_migration_is_a_numbered_pair_that_depends_on_the_last(
    database: DatabaseSettings, up_to: Callable[[int], Path]
) -> None:
    folder = up_to(6)
    up, down = migrations.create("Add API keys!", folder=folder)
    assert (up.name, down.name) == ("0007.add-api-keys.sql", "0007.add-api-keys.rollback.sql")
    assert "-- depends: 0006.add-missing-user-columns" in up.read_text()
    assert migrations.apply(database, folder=folder)[-1] == "0007.add-api-keys"
    assert migrations.rollback_last(database, folder=folder) == "0007.add-api-keys"


def test_a_migration_needs_a_name_with_letters(up_to: Callable[[int], Path]) -> None:
    with pytest.raises(ConfigurationError, match="name the migration after what it does"):
        migrations.create("?!", folder=up_to(1))


def test_a_missing_folder_is_not_mistaken_for_nothing_to_do(database: DatabaseSettings, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There are no migrations in"):
        migrations.apply(database, folder=tmp_path / "none")


def test_a_migration_without_a_rollback_is_not_applied(
    database: DatabaseSettings, up_to: Callable[[int], Path]
) -> None:
    folder = up_to(2)
    (folder / "0002.create-nodes-table.rollback.sql").unlink()
    with pytest.raises(ConfigurationError, match="has no rollback"):
        migrations.apply(database, folder=folder)
