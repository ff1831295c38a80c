"""Phase 2: user_nodes becomes a join table, and back, with the portal's data."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from services.kernel import migrations
from services.kernel.errors import UserError
from services.kernel.events import type_of
from services.kernel.settings import DatabaseSettings
from tests.schema import legacy
from tests.schema.legacy import ANNA, BORIS
from tests.schema.sessions import session, value

pytestmark = pytest.mark.integration

ROWS = "SELECT to_jsonb(t) FROM user_nodes AS t ORDER BY node_address"


class Portal:
    """A database with the portal's rows, before and after Phase 2."""

    def __init__(self, settings: DatabaseSettings, connection: psycopg.Connection, before: Path, after: Path) -> None:
        self.connection = connection
        self._settings, self._before, self._after = settings, before, after
        migrations.apply(settings, folder=before)

    def up(self) -> None:
        assert migrations.apply(self._settings, folder=self._after) == ["0009.user-nodes-join-table"]

    def down(self) -> None:
        assert migrations.rollback_last(self._settings, folder=self._after) == "0009.user-nodes-join-table"

    def legacy_row(self, user: str, address: str, **columns: object) -> None:
        names = ", ".join(columns)
        holes = ", ".join(["%s"] * (len(columns) + 2))
        self.connection.execute(
            f"INSERT INTO user_nodes (user_id, node_address{', ' + names if names else ''}) VALUES ({holes})".encode(),
            (user, address, *columns.values()),
        )

    def node(self, identifier: str) -> str:
        """The node's id; made where there is none."""
        self.connection.execute(
            "INSERT INTO nodes (identifier, identifier_type) VALUES (%s, 'wallet') ON CONFLICT DO NOTHING",
            (identifier,),
        )
        return str(value(self.connection, "SELECT id FROM nodes WHERE identifier = %s", (identifier,)))

    def assign(self, user: str, identifier: str, by: str | None = None) -> None:
        self.connection.execute(
            "INSERT INTO user_nodes (user_id, node_id, assigned_by, assigned_at) VALUES (%s, %s, %s, '2026-01-02+00')",
            (user, self.node(identifier), by),
        )

    def take_away(self, user: str, identifier: str) -> None:
        taken = self.connection.execute(
            "DELETE FROM user_nodes WHERE user_id = %s AND node_id = %s", (user, self.node(identifier))
        )
        assert taken.rowcount == 1

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.connection.execute(query.encode()).fetchall()


@pytest.fixture
def portal(legacy_database: DatabaseSettings, up_to: Callable[[int], Path]) -> Iterator[Portal]:
    with session(legacy_database) as connection:
        yield Portal(legacy_database, connection, up_to(8), up_to(9))


def test_every_address_becomes_a_node_with_the_type_of_its_form(portal: Portal) -> None:
    portal.up()
    types = {str(node): form for node, form in portal.rows("SELECT identifier, identifier_type FROM nodes")}
    assert types == {
        "gonka1anna": "wallet",
        "gonkavaloper1anna": "operator",
        "gonkavalcons1boris": "validator",
        "gonka1boris/node-1": "node_id",
        "host-17.example.org": "node_id",
    }
    assert all(type_of(identifier) in (None, form) for identifier, form in types.items())


def test_labels_gpu_types_and_instances_move_to_the_nodes_cut_to_their_columns(portal: Portal) -> None:
    portal.up()
    assert portal.rows(
        'SELECT identifier, display_name, gpu_type, gcore_instance_id FROM nodes ORDER BY identifier COLLATE "C"'
    ) == [
        ("gonka1anna", "Anna's first", "H100", "gc-1"),
        ("gonka1boris/node-1", None, "A100", None),
        ("gonkavalcons1boris", None, None, None),
        ("gonkavaloper1anna", legacy.LONG_LABEL[:100].strip(), None, None),
        ("host-17.example.org", "Host 17", "H200", None),
    ]


def test_assignments_become_pairs_that_keep_their_time(portal: Portal) -> None:
    portal.up()
    assert portal.rows("""
        SELECT user_id::text, identifier, (assigned_at AT TIME ZONE 'UTC')::text, assigned_by
        FROM user_nodes JOIN nodes ON nodes.id = node_id ORDER BY assigned_at
    """) == [
        (ANNA, "gonka1anna", "2025-05-01 08:00:00.123456", None),
        (ANNA, "gonkavaloper1anna", "2025-05-03 00:00:00", None),
        (BORIS, "gonkavalcons1boris", "2025-05-05 00:00:00", None),
        (BORIS, "gonka1boris/node-1", "2025-05-07 00:00:00", None),
        (BORIS, "host-17.example.org", "2025-05-09 00:00:00", None),
    ]


def test_the_portals_view_shows_the_same_rows_as_its_table_did(portal: Portal) -> None:
    before = portal.rows(ROWS)
    portal.up()
    assert portal.rows("SELECT to_jsonb(t) FROM user_nodes_portal AS t ORDER BY node_address") == before


def test_a_node_that_trackers_had_found_is_kept_and_the_operators_values_outrank_theirs(portal: Portal) -> None:
    node = portal.node("gonka1anna")
    portal.connection.execute(
        """
        WITH tracked AS (UPDATE nodes SET display_name = 'tracker name', region = 'eu' WHERE id = %(id)s)
        INSERT INTO node_facts VALUES
            (%(id)s, 'display_name', 'tracker name', 'hyperfusion', '2030-01-01+00'),
            (%(id)s, 'region', 'eu', 'hyperfusion', '2030-01-01+00')
        """,
        {"id": node},
    )
    portal.up()
    assert portal.node("gonka1anna") == node
    assert portal.rows("SELECT display_name, gpu_type, region FROM nodes WHERE identifier = 'gonka1anna'") == [
        ("Anna's first", "H100", "eu")
    ]
    assert portal.rows("""
        SELECT field, value, source FROM node_facts JOIN nodes ON id = node_id
        WHERE identifier = 'gonka1anna' ORDER BY field
    """) == [
        ("display_name", "Anna's first", "operator"),
        ("gpu_type", "H100", "operator"),
        ("region", "eu", "hyperfusion"),
    ]


def test_two_spellings_of_one_address_become_one_node_and_come_back_as_two_rows(portal: Portal) -> None:
    portal.legacy_row(ANNA, " gonka1anna", label="with a space", updated_at="2025-01-01+00")
    portal.legacy_row(BORIS, "gonka1anna ", notes="the same, another user", updated_at="2025-01-01+00")
    before = portal.rows(ROWS)
    portal.up()
    assert portal.rows("SELECT identifier, display_name FROM nodes WHERE identifier LIKE '%gonka1anna%'") == [
        ("gonka1anna", "Anna's first")
    ]
    assert value(portal.connection, "SELECT count(*) FROM user_nodes") == 6  # Anna's two are one, Boris' one is new
    portal.down()
    assert portal.rows(ROWS) == before


def test_going_back_restores_every_row_and_keeps_the_nodes(portal: Portal) -> None:
    before = portal.rows(ROWS)
    portal.up()
    portal.down()
    assert portal.rows(ROWS) == before
    assert value(portal.connection, "SELECT count(*) FROM nodes") == 5
    portal.up()
    portal.down()
    assert portal.rows(ROWS) == before


def test_an_assignment_made_since_comes_back_as_the_row_that_the_view_showed(portal: Portal) -> None:
    portal.up()
    portal.assign(BORIS, "gonka1new", by=ANNA)
    portal.connection.execute("UPDATE nodes SET display_name = 'New', gpu_type = 'B200' WHERE identifier = 'gonka1new'")
    shown = portal.rows("SELECT to_jsonb(t) FROM user_nodes_portal AS t ORDER BY node_address")
    portal.down()
    assert portal.rows(ROWS) == shown
    assert portal.rows("SELECT label, gpu_type, is_active FROM user_nodes WHERE node_address = 'gonka1new'") == [
        ("New", "B200", True)
    ]


def test_a_node_of_several_users_is_named_and_going_back_refused_without_any_loss(portal: Portal) -> None:
    portal.up()
    portal.assign(BORIS, "gonka1anna")
    portal.assign(BORIS, "gonka1shared")
    portal.assign(ANNA, "gonka1shared")
    content = "SELECT to_jsonb(t) FROM user_nodes AS t ORDER BY user_id, node_id"
    kept = "SELECT to_jsonb(t) FROM user_nodes_before_join AS t ORDER BY id"
    before = portal.rows(content), portal.rows(kept)
    with pytest.raises(UserError, match=r"0009\.user-nodes-join-table was not .* share gonka1anna, gonka1shared\. Lea"):
        portal.down()
    assert (portal.rows(content), portal.rows(kept)) == before
    portal.take_away(BORIS, "gonka1anna")
    portal.take_away(ANNA, "gonka1shared")
    portal.down()
    assert value(portal.connection, "SELECT count(*) FROM user_nodes") == 6


def test_a_node_taken_from_its_user_comes_back_with_its_notes_but_not_active(portal: Portal) -> None:
    portal.up()
    portal.take_away(ANNA, "gonka1anna")
    portal.down()
    assert portal.rows("SELECT notes, is_active FROM user_nodes WHERE node_address = 'gonka1anna'") == [("paid", False)]


def test_a_node_that_went_to_another_user_comes_back_as_theirs(portal: Portal) -> None:
    portal.up()
    portal.take_away(ANNA, "gonka1anna")
    portal.assign(BORIS, "gonka1anna")
    portal.down()
    assert portal.rows("SELECT user_id::text, notes, is_active FROM user_nodes WHERE node_address = 'gonka1anna'") == [
        (BORIS, "paid", True)
    ]
    assert value(portal.connection, "SELECT count(*) FROM user_nodes") == 5


def test_a_node_that_was_deleted_and_found_again_keeps_its_row(portal: Portal) -> None:
    portal.up()
    portal.connection.execute("DELETE FROM nodes WHERE identifier = 'gonka1anna'")
    portal.assign(ANNA, "gonka1anna")
    portal.down()
    assert portal.rows("SELECT id::text, notes, is_active FROM user_nodes WHERE node_address = 'gonka1anna'") == [
        ("a0000000-0000-4000-8000-000000000001", "paid", True)
    ]


def test_many_users_with_many_nodes_go_up_and_down_unchanged(portal: Portal) -> None:
    portal.connection.execute("INSERT INTO users (email) SELECT 'user' || i FROM generate_series(1, 50) AS i")
    portal.connection.execute("""
        INSERT INTO user_nodes (user_id, node_address, label, notes)
        SELECT id, 'gonka1' || md5(email || '/' || i), repeat('x', i), 'n' || i FROM users, generate_series(1, 40) AS i
    """)
    before = portal.rows(ROWS)
    portal.up()
    assert value(portal.connection, "SELECT count(*) FROM user_nodes") == len(before)
    portal.down()
    assert portal.rows(ROWS) == before
