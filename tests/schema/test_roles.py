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
from tests.schema.attempts import Deed, columns_of, permitted
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
        "UPDATE earnings_ledger SET amount_ngonka = 2",
        "SELECT * FROM earnings_version",
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
        "SELECT * FROM earnings_ledger, earnings_version, epoch_settlement, earnings_node",
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

READS = {"SELECT": "*"}
WRITES = {"SELECT": "*", "INSERT": "*", "UPDATE": "*"}
PRUNES = {**WRITES, "DELETE": ""}
REPLACES = {"SELECT": "*", "INSERT": "*", "DELETE": ""}

_SUMS = [
    *("earnings_daily", "earnings_weekly", "earnings_monthly", "earnings_moving_averages"),
    *("earnings_first_date", "earnings_trends"),
]
_FACTS = [
    *("nodes", "node_stats_cache", "node_facts", "node_uptime", "source_uptime", "tracker_sources"),
    *("earnings_node", "earnings_ledger", "earnings_ledger_version", "earnings_history", "epoch_settlement"),
    *("source_epoch_total", "node_requests", "user_nodes_portal", "earnings_estimates", "earnings_epochs"),
    "earnings_version",
    *_SUMS,
]
_PERSONS = (  # all but the secrets: password, "googleId", "githubId"
    "id email name role provider avatarUrl isActive createdAt updatedAt telegram discord currency_preference"
)
_STATUS = "status uptime_percent tokens_per_sec jobs_day active_model voting_weight source fetched_at"

MAY: dict[str, dict[str, dict[str, str]]] = {
    "minegnk_cache": {
        "nodes": {"SELECT": "*", "INSERT": "identifier identifier_type", "UPDATE": "display_name gpu_type region"},
        "node_stats_cache": {"SELECT": "*", "INSERT": f"node_id {_STATUS}", "UPDATE": _STATUS},
        **dict.fromkeys(["node_facts", "tracker_sources", "source_epoch_total"], WRITES),
        **dict.fromkeys(["node_uptime", "source_uptime"], PRUNES),
    },
    "minegnk_earnings": {
        "nodes": {"SELECT": "*", "INSERT": "identifier identifier_type"},
        "node_stats_cache": {
            "SELECT": "*",
            "INSERT": "node_id earnings_day earnings_total fetched_at",
            "UPDATE": "earnings_day earnings_total",
        },
        **dict.fromkeys(
            ["earnings_node", "earnings_ledger", "epoch_settlement", "earnings_node_group", "earnings_source_order"],
            WRITES,
        ),
        "earnings_ledger_version": {"SELECT": "*", "INSERT": "*", "UPDATE": "observed_at", "DELETE": ""},
        "earnings_history": PRUNES,
        **dict.fromkeys(["earnings_day_changed", "earnings_day_total"], REPLACES),
        **dict.fromkeys(["tracker_sources", "source_epoch_total", "earnings_member", "earnings_day_sum"], READS),
        "earnings_version": READS,
        **dict.fromkeys(_SUMS, READS),
    },
    "minegnk_api": {
        **dict.fromkeys([*_FACTS, "user_nodes", "earnings_source_order", "api_keys"], READS),
        "users": {"SELECT": _PERSONS},
    },
    "minegnk_admin": {
        **dict.fromkeys(_FACTS, READS),
        "users": {"SELECT": _PERSONS, "UPDATE": "telegram discord currency_preference"},
        "user_nodes": PRUNES,
        "api_keys": {"SELECT": "*", "INSERT": "*", "UPDATE": "revoked_at"},
    },
}
"""What each role may do to the columns of each relation (*: to all of them); whatever is not here is refused."""


def _allowed(connection: psycopg.Connection, role: str) -> set[Deed]:
    columns = columns_of(connection)
    return {
        Deed(relation, action, column)
        for relation, actions in MAY[role].items()
        for action, names in actions.items()
        for column in (columns[relation] if names == "*" else names.split() or [""])
    }


@pytest.mark.parametrize(("role", "statement"), [(role, each) for role, list_ in ALLOWED.items() for each in list_])
def test_a_role_may_do_its_services_work(filled: psycopg.Connection, role: str, statement: str) -> None:
    _as(filled, role, statement)


@pytest.mark.parametrize("role", MAY)
def test_a_role_may_do_that_and_everything_else_is_refused(filled: psycopg.Connection, role: str) -> None:
    done, allowed = permitted(filled, role), _allowed(filled, role)
    assert sorted(done - allowed) == [], "is not refused"
    assert sorted(allowed - done) == [], "is refused"


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE other (a integer)",
        "CREATE VIEW other AS SELECT 1",
        "CREATE FUNCTION other() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA other",
        "CREATE ROLE other",
        "CREATE EXTENSION pageinspect",
        "ALTER ROLE minegnk_cache LOGIN",
        "GRANT pg_read_all_data TO CURRENT_USER",
        "ALTER FUNCTION earnings_refresh() SECURITY DEFINER",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM pg_authid",
    ],
)
def test_a_role_creates_nothing_and_gains_nothing(filled: psycopg.Connection, role: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _as(filled, role, statement)


def test_a_function_does_what_its_caller_may_and_no_more(filled: psycopg.Connection) -> None:
    definers = "SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND prosecdef"
    assert filled.execute(definers.encode()).fetchall() == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _as(filled, "minegnk_api", "SELECT earnings_refresh()")


def test_a_role_hands_nothing_on_and_is_nobody_else(filled: psycopg.Connection) -> None:
    handed_on = """
        SELECT relname FROM pg_class, aclexplode(relacl) AS entry
        WHERE entry.grantee = ANY (%s::regrole[]) AND entry.is_grantable
    """
    assert filled.execute(handed_on.encode(), (list(MAY),)).fetchall() == []
    powers = """
        SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)
        AND (rolsuper OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
             OR EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid))
    """
    assert filled.execute(powers.encode(), (list(MAY),)).fetchall() == []


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
