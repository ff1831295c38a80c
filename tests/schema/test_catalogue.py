"""The catalogue of a migrated database equals the specification."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from services.kernel import migrations
from services.kernel.settings import DatabaseSettings
from tests.schema import catalogue, expected
from tests.schema.sessions import session

pytestmark = pytest.mark.integration


def _named_indexes(connection: psycopg.Connection) -> dict[str, str]:
    """The indexes that are not a constraint's own."""
    return {
        name: definition.split(" ON ", 1)[1]
        for name, definition in catalogue.indexes(connection).items()
        if name.startswith("idx_")
    }


@pytest.mark.parametrize("kind", ["database", "legacy_database"])
def test_after_the_specifications_five_migrations_the_catalogue_is_the_specification(
    kind: str, request: pytest.FixtureRequest, up_to: Callable[[int], Path]
) -> None:
    database: DatabaseSettings = request.getfixturevalue(kind)
    migrations.apply(database, folder=up_to(6))
    with session(database) as connection:
        assert catalogue.columns(connection) == expected.SPECIFIED_COLUMNS
        assert catalogue.constraints(connection) == {
            table: sorted(definitions) for table, definitions in expected.SPECIFIED_CONSTRAINTS.items()
        }
        assert _named_indexes(connection) == expected.SPECIFIED_INDEXES


@pytest.mark.parametrize("kind", ["database", "legacy_database"])
def test_after_all_migrations_it_is_the_specification_with_the_projects_own_tables_and_phase_two(
    kind: str, request: pytest.FixtureRequest
) -> None:
    database: DatabaseSettings = request.getfixturevalue(kind)
    migrations.apply(database)
    indexes = {**expected.SPECIFIED_INDEXES, **expected.OWN_INDEXES}
    del indexes["idx_user_nodes_active"]  # it goes with its column
    with session(database) as connection:
        assert catalogue.columns(connection) == {**expected.SPECIFIED_COLUMNS, **expected.OWN_COLUMNS}
        assert catalogue.constraints(connection) == {
            table: sorted(definitions)
            for table, definitions in {**expected.SPECIFIED_CONSTRAINTS, **expected.OWN_CONSTRAINTS}.items()
        }
        assert _named_indexes(connection) == indexes


def test_the_identifier_types_check_has_the_specified_name(migrated: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        migrated.execute("INSERT INTO nodes (identifier, identifier_type) VALUES ('x', 'pool')")
    assert refused.value.diag.constraint_name == "chk_identifier_type"


def test_deleting_a_node_deletes_everything_about_it(migrated: psycopg.Connection) -> None:
    migrated.execute("""
        WITH node AS (INSERT INTO nodes (identifier, identifier_type) VALUES ('gonka1a', 'wallet') RETURNING id),
        a AS (INSERT INTO node_stats_cache (node_id) SELECT id FROM node),
        b AS (INSERT INTO earnings_history (node_id, date, earnings_gnk) SELECT id, '2026-01-01', 1 FROM node),
        c AS (INSERT INTO earnings_node (node_id) SELECT id FROM node),
        d AS (INSERT INTO earnings_ledger (node_id, source, kind, period, amount_ngonka, final, observed_at)
              SELECT id, 's', 'epoch', 1, 1, true, now() FROM node),
        e AS (INSERT INTO earnings_ledger_version (node_id, source, kind, period, amount_ngonka, final, observed_at)
              SELECT id, 's', 'epoch', 1, 1, true, now() FROM node),
        f AS (INSERT INTO node_facts (node_id, field, value, source, observed_at)
              SELECT id, 'region', 'eu', 's', now() FROM node)
        INSERT INTO node_uptime (node_id, date) SELECT id, '2026-01-01' FROM node
    """)
    migrated.execute("SELECT earnings_refresh()")
    migrated.execute("DELETE FROM nodes")
    migrated.execute("SELECT earnings_refresh()")
    for table in expected.OWN_COLUMNS | expected.SPECIFIED_COLUMNS:
        assert migrated.execute(f"SELECT FROM {table}".encode()).rowcount == 0, table


def test_a_ledger_version_seen_again_is_no_new_row_even_with_unknown_parts(migrated: psycopg.Connection) -> None:
    migrated.execute("INSERT INTO nodes (identifier, identifier_type) VALUES ('gonka1a', 'wallet')")
    for moment in ("2026-01-02", "2026-01-01", "2026-01-03"):
        migrated.execute(
            """
            INSERT INTO earnings_ledger_version AS held
                (node_id, source, kind, period, amount_ngonka, final, observed_at)
            SELECT id, 's', 'epoch', 7, 123, true, %s FROM nodes
            ON CONFLICT ON CONSTRAINT earnings_ledger_version_key
            DO UPDATE SET observed_at = excluded.observed_at WHERE excluded.observed_at < held.observed_at
            """,
            (moment,),
        )
    assert migrated.execute("SELECT observed_at::date::text FROM earnings_ledger_version").fetchall() == [
        ("2026-01-01",)
    ]


def test_a_status_update_that_changes_only_its_time_stays_heap_only(migrated: psycopg.Connection) -> None:
    migrated.execute("INSERT INTO nodes (identifier, identifier_type) VALUES ('gonka1a', 'wallet')")
    migrated.execute("INSERT INTO node_stats_cache (node_id, status) SELECT id, 'healthy' FROM nodes")
    counts = """
        SELECT pg_stat_get_xact_tuples_updated(oid), pg_stat_get_xact_tuples_hot_updated(oid)
        FROM pg_class WHERE relname = 'node_stats_cache'
    """
    with migrated.transaction():
        migrated.execute("UPDATE node_stats_cache SET fetched_at = now() + interval '1 minute', jobs_day = 5")
        assert migrated.execute(counts).fetchall() == [(1, 1)]
