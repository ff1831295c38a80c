"""node_uptime_percent against a plain count of slots."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import psycopg
import pytest

from services.kernel import migrations
from services.kernel.settings import DatabaseSettings
from tests.schema.conftest import NewDatabase
from tests.schema.sessions import session

pytestmark = pytest.mark.integration

FIRST_DAY = date(2026, 2, 26)
DAYS = 6
SLOT = timedelta(minutes=5)

Bits = dict[date, str]
Row = tuple[int, int, Decimal | None]


def _bits(chance: random.Random, share: float) -> str:
    return "".join("1" if chance.random() < share else "0" for _ in range(288))


def _days(chance: random.Random, share: float, kept: float) -> Bits:
    dates = [FIRST_DAY + timedelta(days=number) for number in range(DAYS)]
    return {day: _bits(chance, share) for day in dates if chance.random() < kept}


def _is_set(bits: Bits, slot: datetime) -> bool:
    since_midnight = slot - slot.replace(hour=0, minute=0)
    return slot.date() in bits and bits[slot.date()][since_midnight // SLOT] == "1"


class World:
    """Random bits of sources and nodes, and what the uptime is by counting slot after slot."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.sources = {f"source-{number}": _days(chance, 0.6, 0.8) for number in range(2)}
        self.healthy = {f"node-{number}": _days(chance, 0.7, 0.7) for number in range(8)}
        self.seen = {name: {day: _bits(chance, 0.02) for day in days} for name, days in self.healthy.items()}

    def store(self, connection: psycopg.Connection) -> None:
        for source, days in self.sources.items():
            for day, bits in days.items():
                connection.execute("INSERT INTO source_uptime VALUES (%s, %s, %s::bit(288))", (source, day, bits))
        for name, days in self.healthy.items():
            connection.execute("INSERT INTO nodes (identifier, identifier_type) VALUES (%s, 'node_id')", (name,))
            for day, bits in days.items():
                connection.execute(
                    "INSERT INTO node_uptime SELECT id, %s, %s::bit(288), %s::bit(288) FROM nodes "
                    "WHERE identifier = %s",
                    (day, bits, self.seen[name][day], name),
                )

    def uptime(self, until: datetime, span: timedelta) -> dict[str, Row]:
        midnight = until.replace(hour=0, minute=0, second=0, microsecond=0)
        stop = midnight + (until - midnight) // SLOT * SLOT
        slots = [stop - SLOT * number for number in range(1, span // SLOT + 1)]
        reachable = [slot for slot in slots if any(_is_set(days, slot) for days in self.sources.values())]
        rows: dict[str, Row] = {}
        for name, days in self.healthy.items():
            if not any(_is_set(self.seen[name], slot) for slot in slots):
                continue
            healthy = sum(_is_set(days, slot) for slot in reachable)
            percent = None
            if reachable:
                share = Decimal(100 * healthy) / len(reachable)
                percent = share.quantize(Decimal("0.01"), ROUND_HALF_UP)
            rows[name] = (healthy, len(reachable), percent)
        return rows


@pytest.fixture(scope="module")
def uptime_database(new_database: NewDatabase) -> DatabaseSettings:
    database = new_database()
    migrations.apply(database)
    return database


def _uptime(connection: psycopg.Connection, until: datetime, span: timedelta) -> dict[str, Row]:
    rows = connection.execute(
        """
        SELECT identifier, healthy_slots, reachable_slots, uptime_percent
        FROM node_uptime_percent(%s, %s) JOIN nodes ON nodes.id = node_id
        """,
        (until, span),
    )
    return {name: (healthy, reachable, percent) for name, healthy, reachable, percent in rows}


@pytest.mark.parametrize("seed", range(3))
def test_uptime_is_what_counting_slot_after_slot_gives(uptime_database: DatabaseSettings, seed: int) -> None:
    chance, world = random.Random(seed + 100), World(seed)
    start = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC)
    with session(uptime_database) as connection, connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL timezone = 'Pacific/Chatham'")  # slots are UTC, whatever the session's zone
        world.store(connection)
        windows = [
            (start + timedelta(seconds=chance.uniform(0, 86_400 * (DAYS + 1))), timedelta(minutes=minutes))
            for minutes in (5, 60, 24 * 60, 30 * 60 + 35, 3 * 24 * 60, 30 * 24 * 60)
            for _ in range(4)
        ]
        edges = [
            (start + timedelta(days=2), timedelta(days=1)),
            (start + timedelta(days=2, minutes=5), timedelta(minutes=5)),
            (start + timedelta(days=2), timedelta(minutes=5)),
            (start + timedelta(days=1, hours=5, minutes=4, seconds=59), timedelta(days=1)),
        ]
        for until, span in windows + edges:
            assert _uptime(connection, until, span) == world.uptime(until, span), (until, span)


def _one_node(connection: psycopg.Connection, healthy: str, seen: str, reachable: str) -> None:
    connection.execute("INSERT INTO nodes (identifier, identifier_type) VALUES ('node', 'node_id')")
    bits = [text.ljust(288, "0") for text in (healthy, seen, reachable)]
    connection.execute(
        "INSERT INTO node_uptime SELECT id, '2026-03-01', %s::bit(288), %s::bit(288) FROM nodes", bits[:2]
    )
    connection.execute("INSERT INTO source_uptime VALUES ('s', '2026-03-01', %s::bit(288))", bits[2:])


def test_a_running_slot_does_not_count_yet(migrated: psycopg.Connection) -> None:
    _one_node(migrated, healthy="110", seen="111", reachable="111")
    hour = timedelta(hours=1)
    assert _uptime(migrated, datetime(2026, 3, 1, 0, 14, 59, tzinfo=UTC), hour)["node"] == (2, 2, Decimal("100.00"))
    assert _uptime(migrated, datetime(2026, 3, 1, 0, 15, tzinfo=UTC), hour)["node"] == (2, 3, Decimal("66.67"))


def test_without_a_reachable_source_the_percentage_is_unknown(migrated: psycopg.Connection) -> None:
    _one_node(migrated, healthy="111", seen="111", reachable="000")
    assert _uptime(migrated, datetime(2026, 3, 1, 1, tzinfo=UTC), timedelta(hours=1)) == {"node": (0, 0, None)}


def test_a_node_that_was_not_seen_in_the_window_has_no_row(migrated: psycopg.Connection) -> None:
    _one_node(migrated, healthy="111", seen="111", reachable="1" * 288)
    assert _uptime(migrated, datetime(2026, 3, 1, 2, tzinfo=UTC), timedelta(hours=1)) == {}


def test_an_empty_window_has_no_rows(migrated: psycopg.Connection) -> None:
    _one_node(migrated, healthy="111", seen="111", reachable="111")
    assert _uptime(migrated, datetime(2026, 3, 1, 1, tzinfo=UTC), timedelta(0)) == {}
