"""The services' roles: what each may do, and how they come and go in a cluster of several databases."""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from services.kernel import migrations
from services.kernel.settings import DatabaseSettings
from tests.schema.conftest import NewDatabase, NewLogin
from tests.schema.sessions import session, value

pytestmark = pytest.mark.integration

ROLES = ["admin", "api", "cache", "earnings"]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def filled(new_database: NewDatabase) -> Iterator[psycopg.Connection]:
    """A session in a migrated database with a user, two nodes and an epoch."""
    database = new_database()
    migrations.apply(database)
    with session(database) as connection:
        connection.execute("""
            INSERT INTO users (email, password, "googleId") VALUES ('a@example.org', 'hash', 'g');
            INSERT INTO nodes (identifier, identifier_type) VALUES ('gonka1a', 'wallet'), ('gonka1b', 'wallet');
            INSERT INTO node_stats_cache (node_id) SELECT id FROM nodes WHERE identifier = 'gonka1a';
            INSERT INTO earnings_node SELECT id, 'epoch' FROM nodes;
            INSERT INTO epoch_settlement VALUES (1, now(), true, now(), 's');
            INSERT INTO earnings_history (node_id, date, earnings_gnk) SELECT id, '2026-01-01', 1 FROM nodes;
            INSERT INTO node_uptime SELECT id, '2026-01-01' FROM nodes;
            INSERT INTO user_nodes SELECT users.id, nodes.id FROM users, nodes WHERE identifier = 'gonka1a';
        """)
        yield connection


def _as(connection: psycopg.Connection, role: str, statement: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        connection.execute(statement.encode())


A_NODE = "(SELECT id FROM nodes WHERE identifier = 'gonka1b')"
CREATE_NODE = """
    INSERT INTO nodes (identifier, identifier_type) SELECT 'gonka1c', 'wallet' ON CONFLICT (identifier) DO NOTHING
"""

ALLOWED = {
    "minegnk_cache": [
        CREATE_NODE,
        "UPDATE nodes SET display_name = 'x', gpu_type = 'y', region = 'z'",
        "SELECT FROM nodes ORDER BY id FOR UPDATE",
        f"""
        INSERT INTO node_stats_cache AS held
            (node_id, status, jobs_day, active_model, voting_weight, source, fetched_at)
        VALUES ({A_NODE}, 'healthy', 1, 'm', 1, 's', now())
        ON CONFLICT (node_id) DO UPDATE SET status = excluded.status, fetched_at = excluded.fetched_at
        WHERE held.fetched_at < excluded.fetched_at
        """,
        "UPDATE node_stats_cache SET uptime_percent = 99, tokens_per_sec = 1",
        f"INSERT INTO node_facts VALUES ({A_NODE}, 'region', 'eu', 's', now()) "
        "ON CONFLICT (node_id, field) DO UPDATE SET value = excluded.value",
        f"INSERT INTO node_uptime VALUES ({A_NODE}, '2026-01-01') "
        "ON CONFLICT (node_id, date) DO UPDATE SET healthy = node_uptime.healthy | excluded.healthy",
        "INSERT INTO source_uptime VALUES ('s', '2026-01-01')",
        "DELETE FROM node_uptime",
        "DELETE FROM source_uptime",
        "INSERT INTO tracker_sources (name) VALUES ('s') ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch",
        "INSERT INTO source_epoch_total VALUES ('s', 1, 1, now()) "
        "ON CONFLICT (source, epoch) DO UPDATE SET total_ngonka = excluded.total_ngonka",
        "SELECT FROM node_uptime_percent(now(), '1 day')",
        "CREATE TEMPORARY TABLE batch (node_id uuid) ON COMMIT DROP",
    ],
    "minegnk_earnings": [
        CREATE_NODE,
        "SELECT FROM epoch_settlement WHERE epoch = 1 FOR SHARE",
        "SELECT FROM epoch_settlement WHERE epoch = 1 FOR UPDATE",
        "INSERT INTO epoch_settlement VALUES (1, now(), true, now(), 's') "
        "ON CONFLICT (epoch) DO UPDATE SET settled_at = excluded.settled_at",
        f"INSERT INTO earnings_node (node_id) VALUES ({A_NODE}) ON CONFLICT (node_id) DO NOTHING",
        "SELECT FROM earnings_node ORDER BY node_id FOR UPDATE",
        "UPDATE earnings_node SET basis = 'epoch'",
        f"INSERT INTO earnings_ledger VALUES ({A_NODE}, 's', 'epoch', 1, 1, NULL, NULL, true, NULL, now()) "
        "ON CONFLICT (node_id, source, kind, period) DO UPDATE SET amount_ngonka = excluded.amount_ngonka",
        "INSERT INTO earnings_ledger_version AS held "
        f"VALUES ({A_NODE}, 's', 'epoch', 1, 1, NULL, NULL, true, NULL, now()) "
        "ON CONFLICT ON CONSTRAINT earnings_ledger_version_key "
        "DO UPDATE SET observed_at = least(held.observed_at, excluded.observed_at)",
        f"INSERT INTO earnings_history (node_id, date, earnings_gnk, source) VALUES ({A_NODE}, '2026-01-01', 2, 's') "
        "ON CONFLICT (node_id, date) DO UPDATE SET earnings_gnk = excluded.earnings_gnk",
        "DELETE FROM earnings_history WHERE date = '2026-01-01'",
        "DELETE FROM earnings_ledger_version",
        "SELECT FROM node_stats_cache ORDER BY node_id FOR UPDATE",
        f"""
        INSERT INTO node_stats_cache AS held (node_id, earnings_day, earnings_total, fetched_at)
        VALUES ({A_NODE}, 1, 2, NULL)
        ON CONFLICT (node_id) DO UPDATE
        SET earnings_day = excluded.earnings_day, earnings_total = excluded.earnings_total
        WHERE (held.earnings_day, held.earnings_total) IS DISTINCT FROM (excluded.earnings_day, excluded.earnings_total)
        """,
        "SELECT name, earnings_order FROM tracker_sources",
        "SELECT * FROM source_epoch_total",
        "SELECT earnings_refresh()",
    ],
    "minegnk_api": [
        "SELECT * FROM nodes JOIN node_stats_cache ON node_id = id JOIN earnings_history USING (node_id)",
        "SELECT * FROM earnings_ledger, earnings_ledger_version, epoch_settlement, earnings_node",
        "SELECT * FROM tracker_sources, node_facts, node_uptime, source_uptime, source_epoch_total, node_requests",
        "SELECT * FROM user_nodes_portal, user_nodes",
        'SELECT id, email, name, role, "isActive", telegram, discord, currency_preference FROM users',
        "SELECT * FROM node_uptime_percent(now(), '30 days')",
        "SELECT * FROM earnings_daily, earnings_weekly, earnings_monthly, earnings_moving_averages, earnings_trends",
        "SELECT * FROM earnings_sums('day', '2026-01-01', '2026-01-31'), earnings_trends_at('2026-01-31')",
    ],
    "minegnk_admin": [
        f"INSERT INTO user_nodes (user_id, node_id, assigned_by) SELECT id, {A_NODE}, id FROM users",
        "UPDATE user_nodes SET assigned_by = NULL",
        "DELETE FROM user_nodes",
        "UPDATE users SET telegram = '@a', discord = 'a', currency_preference = 'EUR' WHERE email = 'a@example.org'",
        "SELECT * FROM nodes, user_nodes_portal",
        "SELECT * FROM earnings_trends",
    ],
}

FORBIDDEN = {
    "minegnk_cache": [
        "UPDATE node_stats_cache SET earnings_day = 1",
        "UPDATE node_stats_cache SET earnings_total = 1",
        f"INSERT INTO node_stats_cache (node_id, earnings_total) VALUES ({A_NODE}, 1)",
        "UPDATE nodes SET identifier = 'other'",
        "DELETE FROM nodes",
        "DELETE FROM node_stats_cache",
        "DELETE FROM node_facts",
        "DELETE FROM tracker_sources",
        "DELETE FROM source_epoch_total",
        "DELETE FROM earnings_history",
        "SELECT FROM earnings_ledger",
        "SELECT FROM users",
        "INSERT INTO user_nodes SELECT users.id, nodes.id FROM users, nodes",
        "CREATE TABLE other (a integer)",
    ],
    "minegnk_earnings": [
        "UPDATE node_stats_cache SET status = 'healthy'",
        "UPDATE node_stats_cache SET fetched_at = now()",
        f"INSERT INTO node_stats_cache (node_id, status) VALUES ({A_NODE}, 'healthy')",
        "UPDATE nodes SET display_name = 'x'",
        "DELETE FROM earnings_ledger",
        "DELETE FROM node_uptime",
        "UPDATE earnings_ledger_version SET amount_ngonka = 1",
        "DELETE FROM epoch_settlement",
        "UPDATE tracker_sources SET earnings_order = 1",
        "INSERT INTO source_epoch_total VALUES ('s', 1, 1, now())",
        "INSERT INTO node_facts SELECT id, 'region', 'eu', 's', now() FROM nodes",
        "SELECT FROM users",
    ],
    "minegnk_api": [
        "SELECT password FROM users",
        'SELECT "googleId" FROM users',
        'SELECT "githubId" FROM users',
        "SELECT * FROM users",
        "INSERT INTO nodes (identifier, identifier_type) VALUES ('x', 'wallet')",
        "UPDATE node_stats_cache SET status = 'healthy'",
        "DELETE FROM earnings_history",
        "UPDATE users SET telegram = '@b'",
        "DELETE FROM user_nodes",
        "SELECT earnings_refresh()",
    ],
    "minegnk_admin": [
        "SELECT password FROM users",
        "UPDATE users SET password = 'x'",
        "UPDATE users SET role = 'admin'",
        "DELETE FROM users",
        "UPDATE nodes SET display_name = 'x'",
        "UPDATE earnings_history SET earnings_gnk = 5",
    ],
}


@pytest.mark.parametrize(("role", "statement"), [(role, each) for role, list_ in ALLOWED.items() for each in list_])
def test_a_role_may_do_its_services_work(filled: psycopg.Connection, role: str, statement: str) -> None:
    _as(filled, role, statement)


@pytest.mark.parametrize(("role", "statement"), [(role, each) for role, list_ in FORBIDDEN.items() for each in list_])
def test_a_role_may_do_nothing_else(filled: psycopg.Connection, role: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _as(filled, role, statement)


@pytest.fixture
def own_roles(up_to: Callable[[int], Path], server: DatabaseSettings) -> Iterator[tuple[Path, str]]:
    """The migrations up to that of the roles, with role names that no other test uses, and the names' prefix.

    Roles belong to the cluster.
    """
    prefix = f"role{os.getpid()}_{next(_numbers)}"
    folder = up_to(10)
    for path in folder.glob("0010.*.sql"):
        path.write_text(path.read_text().replace("minegnk_", f"{prefix}_"))
    yield folder, prefix
    with session(server) as connection:
        for role in _roles(connection, prefix):
            name = sql.Identifier(f"{prefix}_{role}")
            connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
            connection.execute(sql.SQL("DROP ROLE {}").format(name))


def _roles(connection: psycopg.Connection, prefix: str) -> list[str]:
    found = connection.execute("SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", (f"{prefix}_",))
    return sorted(name.removeprefix(f"{prefix}_") for (name,) in found)


def test_a_user_who_may_create_roles_gets_them_and_can_take_them_on(
    new_login: NewLogin, new_database: NewDatabase, own_roles: tuple[Path, str]
) -> None:
    folder, prefix = own_roles
    database = new_database(new_login("CREATEROLE"))
    warnings: list[str] = []
    migrations.apply(database, folder=folder, notify=warnings.append)
    assert warnings == []
    with session(database) as connection:
        for role in ROLES:
            _as(connection, f"{prefix}_{role}", "SELECT FROM nodes")
        assert not value(connection, "SELECT pg_has_role(current_user, %s, 'USAGE')", (f"{prefix}_api",))
        migrations.rollback_last(database, folder=folder, notify=warnings.append)
        assert warnings == []
        assert _roles(connection, prefix) == []


def test_a_user_who_may_not_create_roles_migrates_without_them_and_is_told(
    new_login: NewLogin, new_database: NewDatabase, own_roles: tuple[Path, str]
) -> None:
    folder, prefix = own_roles
    database = new_database(new_login("NOCREATEROLE"))
    warnings: list[str] = []
    assert len(migrations.apply(database, folder=folder, notify=warnings.append)) == 10
    assert [warning.split(":")[0] for warning in warnings] == [
        f"role {prefix}_{role} is not created" for role in ("cache", "earnings", "api", "admin")
    ]
    assert len(migrations.rollback_all(database, folder=folder)) == 10


def test_roles_that_an_administrator_created_get_their_privileges_and_stay_after_the_rollback(
    new_login: NewLogin, new_database: NewDatabase, own_roles: tuple[Path, str], server: DatabaseSettings
) -> None:
    folder, prefix = own_roles
    database = new_database(new_login("NOCREATEROLE"))
    with session(server) as administrator:
        for role in ROLES:
            administrator.execute(f"CREATE ROLE {prefix}_{role}".encode())
            administrator.execute(f"GRANT {prefix}_{role} TO {database.username}".encode())
        warnings: list[str] = []
        migrations.apply(database, folder=folder, notify=warnings.append)
        assert warnings == []
        with session(database) as connection:
            _as(connection, f"{prefix}_api", "SELECT FROM nodes")
        migrations.rollback_last(database, folder=folder)
        assert _roles(administrator, prefix) == ROLES
        with session(database) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            _as(connection, f"{prefix}_api", "SELECT FROM nodes")


def test_two_databases_share_the_roles_and_the_last_rollback_drops_them(
    new_database: NewDatabase, own_roles: tuple[Path, str], server: DatabaseSettings
) -> None:
    folder, prefix = own_roles
    first, second = new_database(), new_database()
    for database in (first, second):
        migrations.apply(database, folder=folder)
    with session(server) as connection:
        migrations.rollback_last(first, folder=folder)
        assert _roles(connection, prefix) == ROLES
        with session(second) as inside:
            _as(inside, f"{prefix}_api", "SELECT FROM nodes")
        migrations.rollback_last(second, folder=folder)
        assert _roles(connection, prefix) == []


def test_databases_that_migrate_at_the_same_moment_create_the_roles_once(
    new_login: NewLogin, new_database: NewDatabase, own_roles: tuple[Path, str]
) -> None:
    folder, prefix = own_roles
    login = new_login("CREATEROLE")
    databases = [new_database(login) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda database: migrations.apply(database, folder=folder), databases))
    assert [len(names) for names in applied] == [10] * 4
    for database in databases:
        with session(database) as connection:
            for role in ROLES:
                _as(connection, f"{prefix}_{role}", "SELECT FROM nodes")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda database: migrations.rollback_last(database, folder=folder), databases))
    for database in databases:
        assert migrations.state(database, folder=folder)[-1] == ("0010.create-roles", False)


def test_a_role_that_another_login_user_works_with_stays(
    new_login: NewLogin, new_database: NewDatabase, own_roles: tuple[Path, str], server: DatabaseSettings
) -> None:
    folder, prefix = own_roles
    database, service = new_database(), new_login("")
    migrations.apply(database, folder=folder)
    with session(server) as connection:
        connection.execute(f"GRANT {prefix}_cache TO {service.username}".encode())
        migrations.rollback_last(database, folder=folder)
        assert _roles(connection, prefix) == ["cache"]
