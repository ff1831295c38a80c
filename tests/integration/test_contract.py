"""Producers who know nothing but the contract, on a real Kafka: what they publish ends in the tables."""

import asyncio
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from services.kernel.events import READINGS_TOPIC, NodeReading
from services.kernel.wire import EVENT_TYPES
from tests.integration.pipeline import REPOSITORY, Pipeline, records_of, recreate_topics

pytestmark = pytest.mark.integration

CACHED = "SELECT identifier, status, source FROM node_stats_cache JOIN nodes ON nodes.id = node_id ORDER BY identifier"
EXAMPLE = REPOSITORY / "examples/publish_reading.py"
WALLET = "gonka1qzmhx83xnamk0uqup3lxpf2te9karrwjm9cjh7"


@pytest.fixture(autouse=True)
async def clean(pipeline: Pipeline) -> None:
    await recreate_topics(pipeline.kafka)
    await pipeline.empty_tables()


@pytest.fixture(autouse=True)
def stopped_at_the_end(pipeline: Pipeline, clean: None) -> Iterator[None]:
    yield
    pipeline.stop_all()


async def test_the_reading_of_the_example_ends_in_the_cache(pipeline: Pipeline) -> None:
    pipeline.start("cache")
    environment = {**os.environ, "MINEGNK_KAFKA_BOOTSTRAP_SERVERS": pipeline.kafka.bootstrap_servers}
    process = await asyncio.create_subprocess_exec(sys.executable, str(EXAMPLE), env=environment)
    assert await process.wait() == 0
    await pipeline.drained(READINGS_TOPIC)
    assert await pipeline.rows(CACHED) == [(WALLET, "healthy", "my-tracker")]


async def test_cloudevents_of_their_own_package_end_in_the_cache(pipeline: Pipeline) -> None:
    pipeline.start("cache")
    async with AIOKafkaProducer(bootstrap_servers=pipeline.kafka.bootstrap_servers) as producer:
        for mode, write in {"binary": to_binary_event, "structured": to_structured_event}.items():
            message = write(cloud_event(f"gonka1{mode}"))
            assert isinstance(message.key, str)
            await producer.send_and_wait(
                READINGS_TOPIC, message.value, key=message.key.encode(), headers=list(message.headers.items())
            )
    await pipeline.drained(READINGS_TOPIC)
    assert await pipeline.rows(CACHED) == [
        ("gonka1binary", "healthy", "their-tracker"),
        ("gonka1structured", "healthy", "their-tracker"),
    ]
    assert (await pipeline.state(READINGS_TOPIC)).dead_letters == 0


async def test_what_is_published_here_is_a_cloudevent_to_their_own_package(pipeline: Pipeline) -> None:
    reading = NodeReading(
        identifier=WALLET, identifier_type="wallet", source="hyperfusion", observed_at=datetime.now(UTC), jobs_day=3
    )
    await pipeline.publish([reading])
    (record,) = await records_of(pipeline.kafka, READINGS_TOPIC)
    read = from_binary_event(KafkaMessage(dict(record.headers), record.key, record.value))
    assert read.get_type() == EVENT_TYPES[NodeReading].versioned
    assert read.get_extension("partitionkey") == WALLET
    data: Any = read.get_data()
    assert (data["identifier"], data["jobs_day"]) == (WALLET, 3)


def cloud_event(identifier: str) -> CloudEvent:
    return CloudEvent(
        {
            "type": EVENT_TYPES[NodeReading].versioned,
            "source": "https://tracker.example/nodes",
            "id": identifier,
            "specversion": "1.0",
            "datacontenttype": "application/json",
            "partitionkey": identifier,
        },
        {
            "identifier": identifier,
            "identifier_type": "wallet",
            "source": "their-tracker",
            "observed_at": datetime.now(UTC).isoformat(),
            "status": "healthy",
        },
    )
