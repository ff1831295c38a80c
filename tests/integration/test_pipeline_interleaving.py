"""Two earnings transactions made to overlap: what one writes is never missed by the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from services.cache.store import apply_readings
from services.earnings.store import apply_reports
from services.kernel.database import Database, connect_arguments
from services.kernel.events import EarningsReport, NodeReading
from tests.integration.pipeline import Pipeline, until

pytestmark = pytest.mark.integration

MONDAY = datetime(2025, 12, 1, 23, 50, tzinfo=UTC)
TUESDAY = MONDAY + timedelta(minutes=20)
OBSERVED = datetime(2025, 12, 3, tzinfo=UTC)


@pytest.fixture(autouse=True)
async def no_rows(pipeline: Pipeline) -> None:
    await pipeline.empty_tables()


def report(node: str, epoch: int, amount: int, settled_at: datetime = MONDAY, **more: Any) -> EarningsReport:
    return EarningsReport(
        identifier=f"gonka1{node}",
        identifier_type="wallet",
        source="gonka_api",
        kind="epoch",
        period=epoch,
        amount_ngonka=amount,
        settled_at=settled_at,
        final=True,
        **{"observed_at": OBSERVED, **more},
    )


@asynccontextmanager
async def two_workers(pipeline: Pipeline) -> AsyncIterator[tuple[Database, Database]]:
    first = Database(pipeline.database, application="first", role="minegnk_earnings")
    second = Database(pipeline.database, application="second", role="minegnk_earnings")
    async with first, second:
        yield first, second


async def overlap(pipeline: Pipeline, first: EarningsReport, second: EarningsReport) -> None:
    """Apply both in transactions of two workers; the first is held before it writes history until both wait."""
    async with two_workers(pipeline) as (one, other):
        gate = await asyncpg.connect(**connect_arguments(pipeline.database))
        watch = await asyncpg.connect(**connect_arguments(pipeline.database))
        try:
            transaction = gate.transaction()
            await transaction.start()
            # Lets both read everything and write the ledger, but nobody write history.
            await gate.execute("LOCK TABLE earnings_history IN SHARE ROW EXCLUSIVE MODE")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(apply_reports(one, [first]))
                await until(lambda: waits(watch, "first"), "the first transaction waits")
                tasks.create_task(apply_reports(other, [second]))
                await until(lambda: waits(watch, "second"), "the second transaction waits")
                await transaction.commit()
        finally:
            await gate.close()
            await watch.close()


async def waits(connection: "asyncpg.Connection[asyncpg.Record]", application: str) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'"
            " AND datname = current_database())",
            application,
        )
    )


async def history(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return await pipeline.rows(
        "SELECT identifier, date, earnings_gnk FROM earnings_history JOIN nodes ON nodes.id = node_id ORDER BY 1, 2"
    )


async def test_two_epochs_of_one_node_and_date_written_at_once_add_up(pipeline: Pipeline) -> None:
    await overlap(pipeline, report("alice", 7, 3 * 10**9), report("alice", 8, 4 * 10**9))
    assert await history(pipeline) == [("gonka1alice", date(2025, 12, 1), Decimal(7))]
    assert await pipeline.rows("SELECT earnings_day, earnings_total FROM node_stats_cache") == [(7, 7)]


async def test_the_same_holds_for_a_node_that_has_history_already(pipeline: Pipeline) -> None:
    database = Database(pipeline.database, application="before")
    async with database:
        await apply_reports(database, [report("alice", 6, 10**9)])
    await overlap(pipeline, report("alice", 7, 3 * 10**9), report("alice", 8, 4 * 10**9))
    assert await history(pipeline) == [("gonka1alice", date(2025, 12, 1), Decimal(8))]


async def test_reports_that_differ_only_in_their_split_or_claim_end_alike_in_any_order(pipeline: Pipeline) -> None:
    said = [
        report("alice", 7, 10),
        report("alice", 7, 10, claimed=True),
        report("alice", 7, 10, claimed=False),
        report("alice", 7, 10, work_ngonka=4, reward_ngonka=6),
        report("alice", 7, 10, work_ngonka=0, reward_ngonka=10, claimed=True),
        report("alice", 7, 10, work_ngonka=4, reward_ngonka=6, claimed=True),
    ]
    ends = set()
    database = Database(pipeline.database, application="split")
    async with database:
        for reports in (said, said[::-1], said[3:] + said[:3]):
            await pipeline.empty_tables()
            database.forget()
            for each in reports:
                await apply_reports(database, [each])
            (row,) = await pipeline.rows("SELECT work_ngonka, reward_ngonka, claimed FROM earnings_ledger")
            ends.add(row)
    assert ends == {(4, 6, True)}


async def test_sums_beyond_the_column_become_its_greatest_amount_and_stop_nobody(pipeline: Pipeline) -> None:
    bound = 10**18
    database = Database(pipeline.database, application="absurd")
    async with database:
        await apply_reports(database, [report("mallory", epoch, bound) for epoch in range(1100)])
        await apply_reports(database, [report("alice", 7, 10**9)])
    most = Decimal("999999999999.99999999")
    assert [row[2] for row in await history(pipeline)] == [Decimal(1), most]
    assert await pipeline.rows("SELECT earnings_day, earnings_total FROM node_stats_cache ORDER BY 1") == [
        (1, 1),
        (most, most),
    ]
    assert await pipeline.rows("SELECT sum(amount_ngonka) FROM earnings_ledger") == [(1100 * bound + 10**9,)]


@pytest.mark.parametrize("moved_first", [False, True])
async def test_a_settlement_that_moves_takes_along_a_report_that_is_being_written(
    pipeline: Pipeline, moved_first: bool
) -> None:
    database = Database(pipeline.database, application="before")
    async with database:
        await apply_reports(database, [report("alice", 7, 10**9)])
    written = report("bob", 7, 2 * 10**9)
    better = report("alice", 7, 10**9, TUESDAY, settled_exact=True, observed_at=OBSERVED + timedelta(hours=1))
    await overlap(pipeline, *((better, written) if moved_first else (written, better)))
    assert await history(pipeline) == [
        ("gonka1alice", date(2025, 12, 2), Decimal(1)),
        ("gonka1bob", date(2025, 12, 2), Decimal(2)),
    ]


async def test_two_first_reports_of_an_epoch_that_disagree_about_its_date_end_on_the_exact_one(
    pipeline: Pipeline,
) -> None:
    await overlap(pipeline, report("alice", 7, 10**9), report("bob", 7, 2 * 10**9, TUESDAY, settled_exact=True))
    assert await history(pipeline) == [
        ("gonka1alice", date(2025, 12, 2), Decimal(1)),
        ("gonka1bob", date(2025, 12, 2), Decimal(2)),
    ]


async def test_the_cache_and_earnings_write_the_same_nodes_without_a_deadlock(pipeline: Pipeline) -> None:
    """Earnings wait in the middle of their nodes; the cache has tokens for the last and a status for the first."""
    names = ["alice", "bob", "carol"]
    async with two_workers(pipeline) as (earnings, _):
        await apply_reports(earnings, [report(name, 1, 10**9) for name in names])
        first, middle, last = [
            row[0]
            for row in await pipeline.rows(
                "SELECT identifier FROM nodes JOIN node_stats_cache ON node_id = id ORDER BY id"
            )
        ]
        readings = [
            NodeReading(
                identifier=last,
                identifier_type="wallet",
                source="mine",
                observed_at=OBSERVED,
                tokens_per_sec=Decimal(5),
            ),
            NodeReading(
                identifier=first, identifier_type="wallet", source="mine", observed_at=OBSERVED, status="healthy"
            ),
        ]
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        before = await pipeline.rows(deadlocks)
        gate = await asyncpg.connect(**connect_arguments(pipeline.database))
        watch = await asyncpg.connect(**connect_arguments(pipeline.database))
        cache = Database(pipeline.database, application="cache", role="minegnk_cache")
        try:
            async with cache:
                transaction = gate.transaction()
                await transaction.start()
                await gate.execute(
                    "SELECT FROM node_stats_cache JOIN nodes ON id = node_id WHERE identifier = $1"
                    " FOR UPDATE OF node_stats_cache",
                    middle,
                )
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(apply_reports(earnings, [report(name, 2, 10**9) for name in names]))
                    await until(lambda: waits(watch, "first"), "earnings wait for the node in the middle")
                    tasks.create_task(apply_readings(cache, readings))
                    await until(lambda: waits(watch, "cache"), "the cache waits for earnings")
                    await transaction.commit()
        finally:
            await gate.close()
            await watch.close()
    assert await pipeline.rows(deadlocks) == before
    assert sorted(
        await pipeline.rows(
            "SELECT identifier, earnings_total, status, tokens_per_sec FROM node_stats_cache JOIN nodes ON id = node_id"
        )
    ) == sorted([(first, 2, "healthy", None), (middle, 2, None, None), (last, 2, None, 5)])
