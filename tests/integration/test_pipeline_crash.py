"""A cache worker that is killed in the middle of its work loses nothing."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from services.kernel.events import READINGS_TOPIC, NodeReading
from tests.integration.pipeline import Pipeline, until

pytestmark = pytest.mark.integration

RECORDS = 20_000
NODES = 400


def readings(chance: random.Random) -> list[NodeReading]:
    now = datetime.now(UTC)
    return [
        NodeReading(
            identifier=f"gonka1node{chance.randrange(NODES)}",
            identifier_type="wallet",
            source="hyperfusion",
            observed_at=now - timedelta(milliseconds=milliseconds_ago),
            status="healthy",
            jobs_day=milliseconds_ago % 5000,
        )
        for milliseconds_ago in chance.sample(range(3_600_000), RECORDS)
    ]


async def test_a_cache_worker_killed_amid_20000_readings_loses_none(pipeline: Pipeline) -> None:
    published = readings(random.Random(7))
    await pipeline.publish(published)
    doomed = pipeline.start("cache", MINEGNK_CONSUMER_MAX_BATCH="100")

    async def some_rows() -> bool:
        return await pipeline.rows("SELECT FROM node_stats_cache LIMIT 1") != []

    await until(some_rows, "the first rows")
    doomed.kill()
    assert 0 < (await pipeline.state(READINGS_TOPIC)).lag <= RECORDS, "it was killed in the middle"

    pipeline.start("cache", MINEGNK_CONSUMER_MAX_BATCH="1000")
    await pipeline.drained(READINGS_TOPIC)
    state = await pipeline.state(READINGS_TOPIC)
    assert (state.records, state.lag, state.dead_letters) == (RECORDS, 0, 0)
    newest = {reading.identifier: reading for reading in sorted(published, key=lambda each: each.observed_at)}
    assert {
        row[0]: row[1:]
        for row in await pipeline.rows(
            "SELECT identifier, fetched_at, jobs_day FROM node_stats_cache JOIN nodes ON id = node_id"
        )
    } == {identifier: (reading.observed_at, reading.jobs_day) for identifier, reading in newest.items()}
