"""Whatever the order in which events arrive, and however often: the same rows, through Kafka and the real processes."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.kernel.events import (
    EARNINGS_TOPIC,
    READINGS_TOPIC,
    SOURCE_STATUS_TOPIC,
    EarningsReport,
    Event,
    NodeReading,
    SourceStatus,
)
from tests.integration.pipeline import Pipeline

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC).replace(microsecond=123456)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)
SOURCES = ("hyperfusion", "gonka_api")

READING_TABLES = (
    "SELECT identifier, identifier_type, display_name, gpu_type, region FROM nodes",
    "SELECT identifier, status, jobs_day, active_model, voting_weight, source, fetched_at, tokens_per_sec"
    " FROM node_stats_cache JOIN nodes ON id = node_id",
    "SELECT identifier, field, value, source, observed_at FROM node_facts JOIN nodes ON id = node_id",
    "SELECT identifier, date, healthy::text, seen::text FROM node_uptime JOIN nodes ON id = node_id",
)
EARNINGS_TABLES = (
    "SELECT identifier, identifier_type FROM nodes",
    "SELECT identifier, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed, observed_at"
    " FROM earnings_ledger JOIN nodes ON id = node_id",
    "SELECT identifier, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed, observed_at"
    " FROM earnings_version JOIN nodes ON id = node_id",
    "SELECT epoch, settled_at, exact, observed_at, source FROM epoch_settlement",
    "SELECT identifier, date, earnings_gnk, source FROM earnings_history JOIN nodes ON nodes.id = node_id",
    "SELECT identifier, basis FROM earnings_node JOIN nodes ON id = node_id",
    "SELECT identifier, earnings_day, earnings_total FROM node_stats_cache JOIN nodes ON id = node_id",
)


@pytest.fixture(scope="module", autouse=True)
def services(pipeline: Pipeline) -> Iterator[None]:
    # Small batches, so that the merges of PostgreSQL decide and not only those in memory.
    pipeline.start("cache", MINEGNK_CONSUMER_MAX_BATCH="97")
    pipeline.start("earnings", MINEGNK_CONSUMER_MAX_BATCH="97")
    yield
    pipeline.stop_all()


@pytest.fixture
def chance() -> random.Random:
    return random.Random(20251208)


async def rows_after(pipeline: Pipeline, events: Sequence[Event], tables: Sequence[str]) -> list[list[tuple[Any, ...]]]:
    """The rows of these tables after the events, published in this order to empty tables."""
    await pipeline.empty_tables()
    await pipeline.publish([status_of(source) for source in SOURCES])
    await pipeline.drained(SOURCE_STATUS_TOPIC)
    await pipeline.publish(events)
    await pipeline.drained(READINGS_TOPIC, EARNINGS_TOPIC)
    return [sorted(await pipeline.rows(table), key=repr) for table in tables]


def status_of(source: str) -> SourceStatus:
    preferred = source == "hyperfusion"
    return SourceStatus(
        source=source,
        kind=source,
        reported_at=NOW,
        preference_seconds=600 if preferred else 0,
        earnings_order=20 if preferred else 0,
        probes_health=preferred,
        poll_interval_seconds=60,
    )


def shuffled_thrice(events: Sequence[Event], chance: random.Random) -> list[Event]:
    repeated = [*events, *events, *events]
    chance.shuffle(repeated)
    return repeated


def thousand_readings(chance: random.Random) -> list[NodeReading]:
    """Five readings of each of 200 nodes, oldest first."""
    moments = chance.sample(range(2 * 86_400), 1000)
    readings = []
    for number, seconds_ago in enumerate(moments):
        source = chance.choice(SOURCES)
        with_status, measured = chance.random() < 0.8, chance.random() < 0.3
        readings.append(
            NodeReading(
                identifier=f"gonka1node{number % 200}",
                identifier_type="wallet",
                source=source,
                observed_at=NOW - timedelta(seconds=seconds_ago),
                status=chance.choice(("healthy", "unhealthy", "jailed", "offline")) if with_status else None,
                health_probed=source == "hyperfusion" and with_status,
                jobs_day=chance.choice((None, chance.randrange(2000))),
                active_model=chance.choice((None, "Qwen/QwQ-32B", "Qwen/Qwen3-32B-FP8")),
                voting_weight=Decimal(chance.randrange(10**12)).scaleb(-8) if with_status else None,
                tokens_per_sec=Decimal(chance.randrange(10**5)).scaleb(-2) if measured else None,
                display_name=f"name {chance.randrange(50)}" if chance.random() < 0.3 else None,
                gpu_type=chance.choice(("H100 80GB", "RTX 3090 24GB")) if measured else None,
                region=chance.choice((None, "Finland", "Texas")),
            )
        )
    return sorted(readings, key=lambda reading: reading.observed_at)


async def test_1000_readings_in_random_order_each_three_times_end_as_sorted_and_once(
    pipeline: Pipeline, chance: random.Random
) -> None:
    readings = thousand_readings(chance)
    expected = await rows_after(pipeline, readings, READING_TABLES)
    assert [len(rows) for rows in expected[:1]] == [200]
    assert await rows_after(pipeline, shuffled_thrice(readings, chance), READING_TABLES) == expected
    # And those rows are the winners: newest first, the preferred source's readings ten minutes ahead.
    winners: dict[str, NodeReading] = {}
    for reading in readings:
        held = winners.get(reading.identifier)
        if reading.status is not None and (held is None or rank(reading) > rank(held)):
            winners[reading.identifier] = reading
    assert {row[0]: (row[1], row[5], row[6]) for row in expected[1] if row[1] is not None} == {
        identifier: (reading.status, reading.source, reading.observed_at) for identifier, reading in winners.items()
    }


def rank(reading: NodeReading) -> tuple[datetime, str]:
    ahead = timedelta(seconds=600 if reading.source == "hyperfusion" else 0)
    return reading.observed_at + ahead, reading.source


def a_thousand_reports(chance: random.Random) -> list[EarningsReport]:
    """Reports of 40 nodes, oldest first: epochs that are restated and move to other dates, day and total counters."""
    seen = iter(sorted(chance.sample(range(86_400), 2000), reverse=True))

    def report(node: int, kind: str, period: int | str, **more: Any) -> EarningsReport:
        work, reward = chance.randrange(10**10), chance.randrange(10**14)
        split: dict[str, Any] = {"work_ngonka": work, "reward_ngonka": reward} if chance.random() < 0.5 else {}
        return EarningsReport(
            identifier=f"gonka1earner{node}",
            identifier_type="wallet",
            kind=kind,  # type: ignore[arg-type]
            period=period,
            amount_ngonka=work + reward,
            observed_at=NOW - timedelta(seconds=next(seen)),
            claimed=chance.choice((None, True, False)),
            **split,
            **{"source": chance.choice(SOURCES), **more},
        )

    def epoch_of(node: int) -> EarningsReport:
        epoch = chance.randrange(100, 112)
        # A bit more than one epoch a date; interpolated times are up to half a day off: often on another date.
        exact = chance.random() < 0.3
        settled = MIDNIGHT - timedelta(days=14) + timedelta(hours=20 * (epoch - 100), minutes=7)
        off = timedelta() if exact else timedelta(seconds=chance.randrange(-43_200, 43_200))
        final = chance.random() < 0.9
        return report(node, "epoch", epoch, settled_at=settled + off, settled_exact=exact, final=final)

    def day() -> str:
        return (MIDNIGHT - timedelta(days=chance.randrange(2, 14))).date().isoformat()

    reports = [epoch_of(chance.randrange(30)) for _ in range(600)]
    reports += [report(chance.randrange(20, 35), "day", day(), final=chance.random() < 0.7) for _ in range(200)]
    reports += [report(chance.randrange(25, 40), "total", day(), final=False) for _ in range(200)]
    return sorted(reports, key=lambda each: each.observed_at)


async def test_1000_reports_in_random_order_each_three_times_end_as_sorted_and_once(
    pipeline: Pipeline, chance: random.Random
) -> None:
    reports = a_thousand_reports(chance)
    expected = await rows_after(pipeline, reports, EARNINGS_TABLES)
    assert {row[1] for row in expected[5]} == {"epoch", "day", "total"}
    assert await rows_after(pipeline, shuffled_thrice(reports, chance), EARNINGS_TABLES) == expected


async def test_the_history_is_the_ledgers_sum_for_each_node_and_date_rounded_once(
    pipeline: Pipeline, chance: random.Random
) -> None:
    reports = a_thousand_reports(chance)
    await rows_after(pipeline, shuffled_thrice(reports, chance), ())
    # The order of sources in earnings_order: gonka_api (0) before hyperfusion (20).
    expected = await pipeline.rows(
        "SELECT node_id, (settled_at AT TIME ZONE 'UTC')::date, round(sum(amount_ngonka) / 1000000000.000000000, 8)"
        " FROM (SELECT DISTINCT ON (node_id, period) node_id, period, amount_ngonka FROM earnings_ledger"
        "       WHERE kind = 'epoch' AND final ORDER BY node_id, period, source) AS won"
        " JOIN epoch_settlement ON epoch = period GROUP BY 1, 2"
    )
    assert len(expected) > 100
    assert set(expected) == set(
        await pipeline.rows(
            "SELECT node_id, date, earnings_gnk FROM earnings_history JOIN earnings_node USING (node_id)"
            " WHERE basis = 'epoch'"
        )
    )
