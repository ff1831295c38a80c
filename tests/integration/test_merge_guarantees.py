"""What the merges of PostgreSQL promise, each promise by itself: the services' own statements on a real database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from services.cache.store import apply_readings, apply_source_status
from services.earnings.store import apply_reports
from services.kernel.database import Database, OwnConnection, connect_arguments
from services.kernel.errors import ProjectionError
from services.kernel.events import EarningsReport, NodeReading, SourceStatus
from services.kernel.money import gnk
from services.kernel.settings import DatabaseSettings
from tests.integration.conftest import NewDatabase
from tests.integration.pipeline import until

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = START + timedelta(days=1)


@pytest.fixture
def settings(new_database: NewDatabase) -> DatabaseSettings:
    return new_database()


@pytest.fixture
async def cache(settings: DatabaseSettings) -> AsyncIterator[Database]:
    database = Database(settings, application="cache", role="minegnk_cache")
    async with database:
        yield database


@pytest.fixture
async def earnings(settings: DatabaseSettings) -> AsyncIterator[Database]:
    database = Database(settings, application="earnings", role="minegnk_earnings")
    async with database:
        yield database


@pytest.fixture
async def admin(settings: DatabaseSettings) -> AsyncIterator[OwnConnection]:
    connection = await asyncpg.connect(**connect_arguments(settings))
    yield connection
    await connection.close()


def reading(at: int, source: str = "hyperfusion", **changes: Any) -> NodeReading:
    return NodeReading(
        identifier="gonka1alice",
        identifier_type="wallet",
        source=source,
        observed_at=START + timedelta(seconds=at),
        **{"status": "healthy", "jobs_day": at, **changes},
    )


def preference(source: str, seconds: int, at: int = 0) -> SourceStatus:
    return SourceStatus(
        source=source,
        kind=source,
        reported_at=START + timedelta(seconds=at),
        preference_seconds=seconds,
        earnings_order=0,
        probes_health=False,
        poll_interval_seconds=60,
    )


def report(amount: int, epoch: int = 7, at: int = 0, **changes: Any) -> EarningsReport:
    settled = {} if changes.get("final") is False else {"settled_at": START}
    fields: dict[str, Any] = {
        "identifier": "gonka1alice",
        "identifier_type": "wallet",
        "source": "gonka_api",
        "kind": "epoch",
        "period": epoch,
        "amount_ngonka": amount,
        "observed_at": START + timedelta(hours=1, seconds=at),
        "final": True,
    }
    return EarningsReport(**fields | settled | changes)


async def history(admin: OwnConnection) -> dict[date, Decimal]:
    return {row["date"]: row["earnings_gnk"] for row in await admin.fetch("SELECT * FROM earnings_history")}


# Readings.


async def test_many_readings_of_a_node_are_one_row_of_one_merge(cache: Database, admin: OwnConnection) -> None:
    await apply_readings(
        cache,
        [
            reading(1, gpu_type="A100"),
            reading(3, gpu_type="H100"),
            reading(2, gpu_type="H200"),
            reading(4, source="gonka_api"),
            reading(0, source="gonka_api", gpu_type="B200"),
        ],
    )
    assert await admin.fetchval("SELECT gpu_type FROM nodes") == "H100"
    assert await admin.fetchval("SELECT jobs_day FROM node_stats_cache") == 4


async def test_a_reading_that_arrives_late_replaces_nothing(cache: Database, admin: OwnConnection) -> None:
    for at in (3, 1):
        await apply_readings(cache, [reading(at, gpu_type=f"H{at}00")])
    assert await admin.fetchval("SELECT jobs_day FROM node_stats_cache") == 3
    assert await admin.fetchval("SELECT gpu_type FROM nodes") == "H300"


@pytest.mark.parametrize("batches", [[[0, 1]], [[0], [1]], [[1], [0]]])
async def test_the_one_preference_is_that_of_tracker_sources_in_one_batch_and_in_two(
    batches: list[list[int]], cache: Database, admin: OwnConnection
) -> None:
    await apply_source_status(cache, [preference("gonka_api", 900), preference("hyperfusion", 0)])
    readings = [reading(0, source="gonka_api"), reading(800)]
    for batch in batches:
        await apply_readings(cache, [readings[at] for at in batch])
    assert await admin.fetchval("SELECT source FROM node_stats_cache") == "gonka_api"


async def test_an_older_status_does_not_bring_a_sources_old_preference_back(
    cache: Database, admin: OwnConnection
) -> None:
    for seconds, at in ((900, 60), (0, 0)):
        await apply_source_status(cache, [preference("gonka_api", seconds, at)])
    assert await admin.fetchval("SELECT preference_seconds FROM tracker_sources") == 900


async def test_of_a_sources_totals_of_an_epoch_the_last_told_stays_in_any_order(
    settings: DatabaseSettings, admin: OwnConnection
) -> None:
    """Of two told at one time the larger, in one batch and in several."""
    said = [(5, 7, 3 * 10**9), (9, 7, 2 * 10**9), (9, 7, 1 * 10**9), (1, 8, 4 * 10**9)]
    told = [replace(preference("s", 0, at), total_epoch=epoch, total_ngonka=total) for at, epoch, total in said]
    database = Database(settings, application="cache", role="minegnk_cache")
    async with database:
        for batches in ([told], [told[::-1]], [[each] for each in told], [[each] for each in told[::-1]]):
            await admin.execute("TRUNCATE source_epoch_total")
            for batch in [*batches, *batches]:
                await apply_source_status(database, batch)
            rows = await admin.fetch("SELECT epoch, total_ngonka, reported_at FROM source_epoch_total ORDER BY epoch")
            assert [tuple(row) for row in rows] == [
                (7, 2 * 10**9, START + timedelta(seconds=9)),
                (8, 4 * 10**9, START + timedelta(seconds=1)),
            ]


@asynccontextmanager
async def in_between(admin: OwnConnection, settings: DatabaseSettings, work: Any) -> AsyncIterator[None]:
    """Run the block in the admin's transaction, start `work`, and commit when `work` waits for the block's rows."""
    watch = await asyncpg.connect(**connect_arguments(settings))

    async def waits() -> bool:
        return bool(
            await watch.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'cache'"
                " AND wait_event_type = 'Lock' AND datname = current_database())"
            )
        )

    try:
        async with asyncio.TaskGroup() as tasks, admin.transaction():
            yield
            tasks.create_task(work)
            await until(waits, "the other transaction waits")
    finally:
        await watch.close()


async def test_a_newer_reading_that_commits_in_between_is_not_overwritten_by_an_older_one(
    cache: Database, admin: OwnConnection, settings: DatabaseSettings
) -> None:
    await apply_readings(cache, [reading(1)])
    async with in_between(admin, settings, apply_readings(cache, [reading(2)])):
        await admin.execute("UPDATE node_stats_cache SET fetched_at = $1, jobs_day = 9", START + timedelta(seconds=9))
    assert await admin.fetchval("SELECT jobs_day FROM node_stats_cache") == 9


async def test_a_newer_fact_that_commits_in_between_is_not_overwritten_by_an_older_one(
    cache: Database, admin: OwnConnection, settings: DatabaseSettings
) -> None:
    await apply_readings(cache, [reading(1, status=None, gpu_type="A100")])
    async with in_between(admin, settings, apply_readings(cache, [reading(2, status=None, gpu_type="H100")])):
        await admin.execute("UPDATE node_facts SET observed_at = $1, value = 'H200'", START + timedelta(seconds=9))
    assert await admin.fetchval("SELECT value FROM node_facts") == "H200"


async def test_a_replay_of_old_readings_locks_and_writes_no_row(cache: Database, admin: OwnConnection) -> None:
    old = [reading(at, gpu_type="H100", health_probed=True) for at in (1, 2, 3)]
    tables = ("nodes", "node_stats_cache", "node_facts", "node_uptime")

    async def versions() -> list[Any]:
        return [await admin.fetch(f"SELECT ctid, xmin, xmax FROM {table}") for table in tables]

    await apply_readings(cache, old)
    before = await versions()
    await apply_readings(cache, old)
    assert await versions() == before


async def test_five_minute_slots_of_two_batches_are_both_kept(cache: Database, admin: OwnConnection) -> None:
    for at in (0, 300):
        await apply_readings(cache, [reading(at, health_probed=True)])
        cache.forget()  # as another worker, which does not know what this one has written
    assert await admin.fetchval("SELECT bit_count(healthy) FROM node_uptime") == 2
    assert await admin.fetchval("SELECT bit_count(seen) FROM node_uptime") == 2


async def test_an_operators_value_stays_whatever_trackers_say_later(cache: Database, admin: OwnConnection) -> None:
    await apply_readings(cache, [reading(1, source="operator", status=None, gpu_type="B200")])
    await apply_readings(cache, [reading(9, gpu_type="H100")])
    assert await admin.fetchval("SELECT gpu_type FROM nodes") == "B200"


# Earnings.


async def test_many_reports_of_a_period_are_one_row_of_one_merge(earnings: Database, admin: OwnConnection) -> None:
    await apply_reports(earnings, [report(10, at=1), report(30, at=3), report(20, at=2)])
    assert await admin.fetchval("SELECT amount_ngonka FROM earnings_ledger") == 30


async def test_a_report_that_arrives_late_replaces_nothing_and_is_remembered(
    earnings: Database, admin: OwnConnection
) -> None:
    await apply_reports(earnings, [report(30, at=3)])
    await apply_reports(earnings, [report(10, at=1)])
    assert await admin.fetchval("SELECT amount_ngonka FROM earnings_ledger") == 30
    versions = await admin.fetch("SELECT amount_ngonka FROM earnings_version ORDER BY 1")
    assert [row["amount_ngonka"] for row in versions] == [10, 30]


async def test_what_a_report_said_stays_known_with_the_time_of_its_first_saying_when_it_is_restated(
    earnings: Database, admin: OwnConnection
) -> None:
    for amount, at in ((10, 1), (10, 2), (12, 3), (12, 5)):
        await apply_reports(earnings, [report(amount, at=at)])
    await apply_reports(earnings, [report(12, at=4), report(10, at=0)])  # late, and the one of them said it earlier
    versions = await admin.fetch("SELECT amount_ngonka, observed_at FROM earnings_version ORDER BY 1")
    assert [tuple(row) for row in versions] == [
        (10, START + timedelta(hours=1)),
        (12, START + timedelta(hours=1, seconds=3)),
    ]


async def test_a_report_that_is_told_once_is_a_version_without_a_row_of_its_own(
    earnings: Database, admin: OwnConnection
) -> None:
    await apply_reports(earnings, [report(10, at=1)])
    await apply_reports(earnings, [report(10, at=1)])
    assert await admin.fetchval("SELECT count(*) FROM earnings_ledger_version") == 0
    assert await admin.fetchval("SELECT amount_ngonka FROM earnings_version") == 10


async def test_an_amount_belongs_to_the_utc_date_on_which_its_epoch_settled(
    earnings: Database, admin: OwnConnection
) -> None:
    """Not to the date where the answering node stood, nor where the database stands, nor when it was seen."""
    in_helsinki = datetime.fromisoformat("2026-03-02T01:30:00+02:00")
    # The first batch projects the whole node, the second one the date that it touches.
    for epoch in (7, 8):
        await apply_reports(
            earnings, [report(10**9, epoch, settled_at=in_helsinki, observed_at=START + timedelta(days=2))]
        )
    assert await history(admin) == {date(2026, 3, 1): Decimal(2)}


async def test_an_epoch_moves_to_the_utc_date_of_its_better_settlement(
    earnings: Database, admin: OwnConnection
) -> None:
    """Told in a time zone in which that is the date it already had."""
    west = datetime.fromisoformat("2026-03-01T23:30:00-02:00")
    await apply_reports(earnings, [report(10**9, at=0)])
    await apply_reports(earnings, [report(10**9, at=1, settled_at=west, settled_exact=True)])
    assert await history(admin) == {date(2026, 3, 2): Decimal(1)}


async def test_a_report_that_says_the_same_later_moves_its_time_and_projects_nothing(
    earnings: Database, admin: OwnConnection
) -> None:
    """Whether it projects shows where history was spoilt: an amount that is another one puts it right."""
    await apply_reports(earnings, [report(10 * 10**9, 7, at=0), report(10 * 10**9, 8, at=0, settled_at=LATER)])
    spoilt = {date(2026, 3, 1): Decimal(99), date(2026, 3, 2): Decimal(99)}
    await admin.execute("UPDATE earnings_history SET earnings_gnk = 99")
    applied = await apply_reports(earnings, [report(10 * 10**9, 7, at=5, claimed=True)])
    assert applied.changed == 1
    row = await admin.fetchrow("SELECT observed_at, claimed FROM earnings_ledger WHERE period = 7")
    assert tuple(row or ()) == (START + timedelta(hours=1, seconds=5), True)
    assert await history(admin) == spoilt
    await apply_reports(earnings, [report(10 * 10**9, 7, at=6), report(11 * 10**9, 8, at=6, settled_at=LATER)])
    assert await history(admin) == spoilt | {date(2026, 3, 2): Decimal(11)}, "the date that changed, and no other"


async def test_the_first_final_report_of_an_amount_that_was_estimated_is_projected(
    earnings: Database, admin: OwnConnection
) -> None:
    await apply_reports(earnings, [report(10**9, 7), report(5 * 10**9, 8, final=False)])
    await apply_reports(earnings, [report(5 * 10**9, 8, at=1)])
    assert await history(admin) == {date(2026, 3, 1): Decimal(6)}


async def test_a_settlement_that_moves_is_projected_although_every_amount_stays(
    earnings: Database, admin: OwnConnection
) -> None:
    await apply_reports(earnings, [report(10**9, at=0), report(2 * 10**9, at=0, identifier="gonka1bob")])
    await apply_reports(earnings, [report(10**9, at=1, settled_at=LATER)])
    moved = await admin.fetch("SELECT date, earnings_gnk FROM earnings_history ORDER BY 2")
    assert [tuple(row) for row in moved] == [(date(2026, 3, 2), Decimal(1)), (date(2026, 3, 2), Decimal(2))]


async def test_a_node_without_a_basis_is_projected_whatever_the_report_says(
    earnings: Database, admin: OwnConnection
) -> None:
    await apply_reports(earnings, [report(10**9, at=0)])
    await admin.execute("DELETE FROM earnings_history; UPDATE earnings_node SET basis = NULL")
    await apply_reports(earnings, [report(10**9, at=0)])
    assert await history(admin) == {date(2026, 3, 1): Decimal(1)}


async def test_a_negative_amount_is_taken_off(earnings: Database, admin: OwnConnection) -> None:
    await apply_reports(earnings, [report(10 * 10**9, 7)])
    await apply_reports(earnings, [report(-3 * 10**9, 8)])
    assert await history(admin) == {date(2026, 3, 1): Decimal(7)}
    assert await admin.fetchval("SELECT earnings_total FROM node_stats_cache") == 7


async def test_days_are_rounded_once_after_adding_up(earnings: Database, admin: OwnConnection) -> None:
    """Two halves of the ninth place: rounded one by one they would be 0.00000002."""
    await apply_reports(earnings, [report(5, 7), report(5, 8)])
    assert await history(admin) == {date(2026, 3, 1): Decimal("0.00000001")}


async def test_an_amount_that_is_not_final_is_no_history(earnings: Database, admin: OwnConnection) -> None:
    """Also when the epoch's date is known from another node."""
    await apply_reports(earnings, [report(10**9, 8, identifier="gonka1bob")])
    await apply_reports(earnings, [report(10**9, 7), report(5 * 10**9, 8, final=False)])
    rows = await admin.fetch("SELECT earnings_gnk FROM earnings_history")
    totals = await admin.fetch("SELECT earnings_total FROM node_stats_cache")
    assert [row[0] for row in rows + totals] == [1, 1, 1, 1]


async def test_history_that_cannot_be_derived_is_no_records_fault(earnings: Database, admin: OwnConnection) -> None:
    await admin.execute("ALTER TABLE earnings_history ADD CONSTRAINT refused CHECK (earnings_gnk <> 6)")
    with pytest.raises(ProjectionError):
        await apply_reports(earnings, [report(6 * 10**9)])
    assert await admin.fetch("SELECT FROM earnings_ledger") == []


@pytest.mark.parametrize("ngonka", [4, 5, 15, 25, -5, -15, 3805, 48552031736565, 10**17 + 5])
async def test_the_database_rounds_as_money_does_half_away_from_zero(ngonka: int, admin: OwnConnection) -> None:
    assert await admin.fetchval("SELECT gnk_of_ngonka($1)", Decimal(ngonka)) == gnk(ngonka)
