"""Events that fill every table, and the rows that they leave: for tests that compare two runs."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from services.cache.store import apply_readings, apply_source_status
from services.earnings.store import apply_reports
from services.kernel.database import Database
from services.kernel.events import EarningsReport, Event, NodeReading, SourceStatus
from tests.integration.pipeline import Pipeline

NOW = datetime.now(UTC).replace(microsecond=123456)
TABLES = (
    "SELECT identifier, identifier_type, display_name, gpu_type, region FROM nodes",
    "SELECT identifier, status, jobs_day, source, fetched_at, tokens_per_sec, earnings_day, earnings_total"
    " FROM node_stats_cache JOIN nodes ON id = node_id",
    "SELECT identifier, field, value, source, observed_at FROM node_facts JOIN nodes ON id = node_id",
    "SELECT identifier, date, healthy::text, seen::text FROM node_uptime JOIN nodes ON id = node_id",
    "SELECT source, date, reachable::text FROM source_uptime",
    "SELECT name, kind, preference_seconds, earnings_order, reported_at, data_at FROM tracker_sources",
    "SELECT identifier, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, observed_at"
    " FROM earnings_ledger JOIN nodes ON id = node_id",
    "SELECT identifier, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, observed_at"
    " FROM earnings_version JOIN nodes ON id = node_id",
    "SELECT epoch, settled_at, exact, observed_at, source FROM epoch_settlement",
    "SELECT identifier, date, earnings_gnk, source FROM earnings_history JOIN nodes ON nodes.id = node_id",
)


async def rows(pipeline: Pipeline) -> list[list[tuple[Any, ...]]]:
    """What the tables hold, in an order of its own: what two runs over the same events have in common."""
    return [sorted(await pipeline.rows(table), key=repr) for table in TABLES]


def statuses() -> list[SourceStatus]:
    """Two sources, one of them preferred."""
    return [
        SourceStatus(
            source=source,
            kind=source,
            reported_at=NOW,
            preference_seconds=600 if source == "hyperfusion" else 0,
            earnings_order=20 if source == "hyperfusion" else 0,
            probes_health=source == "hyperfusion",
            poll_interval_seconds=60,
            data_at=NOW - timedelta(minutes=1),
        )
        for source in ("hyperfusion", "gonka_api")
    ]


def readings(count: int, nodes: int) -> list[NodeReading]:
    """The last hour of these nodes by both sources, in any order, no two of one time."""
    chance = random.Random(count)
    return [
        NodeReading(
            identifier=f"gonka1node{number % nodes}",
            identifier_type="wallet",
            source=chance.choice(("hyperfusion", "gonka_api")),
            observed_at=NOW - timedelta(milliseconds=milliseconds_ago),
            status=chance.choice(("healthy", "unhealthy")),
            health_probed=True,
            jobs_day=milliseconds_ago % 5000,
            tokens_per_sec=Decimal(number) / 100 if number % 3 == 0 else None,
            gpu_type="H100 80GB" if number % 5 == 0 else None,
        )
        for number, milliseconds_ago in enumerate(chance.sample(range(3_600_000), count))
    ]


def reports(nodes: int, epochs: int) -> list[EarningsReport]:
    """Each node's epochs, reported by two sources, some restated."""
    begin = datetime(2025, 12, 1, 23, 50, tzinfo=UTC)
    return [
        EarningsReport(
            identifier=f"gonka1node{node}",
            identifier_type="wallet",
            source=source,
            kind="epoch",
            period=epoch,
            amount_ngonka=(node + 1) * 10**9 + epoch + version,
            settled_at=begin + timedelta(hours=20 * epoch),
            final=version > 0,
            observed_at=begin + timedelta(days=epoch, hours=version),
        )
        for version in range(2)
        for epoch in range(epochs)
        for node in range(nodes)
        for source in ("hyperfusion", "gonka_api")
    ]


def in_parts(number: int) -> list[list[Event]]:
    """Readings and reports in so many parts: of each node, and of each epoch of it, some are in every part."""
    parts: list[list[Event]] = [[] for _ in range(number)]
    everything: list[Event] = [*readings(2000, nodes=100), *reports(nodes=20, epochs=10)]
    for at, event in enumerate(everything):
        parts[at % 7 % number].append(event)
    return parts


async def apply_here(pipeline: Pipeline, events: Sequence[Event]) -> None:
    """Apply the sources' statuses and these events in this process: what no fault and no version comes in between."""
    cache = Database(pipeline.database, application="test", role="minegnk_cache")
    async with cache:
        await apply_source_status(cache, statuses())
        await apply_readings(cache, [event for event in events if isinstance(event, NodeReading)])
    earnings = Database(pipeline.database, application="test", role="minegnk_earnings")
    async with earnings:
        await apply_reports(earnings, [event for event in events if isinstance(event, EarningsReport)])
