"""Producers choose how they compress: every codec of Kafka is read."""

from datetime import UTC, datetime

import pytest

from services.kernel.events import READINGS_TOPIC, NodeReading
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import KafkaSettings
from tests.integration.pipeline import Pipeline

pytestmark = pytest.mark.integration

CODECS = ("gzip", "lz4", "snappy", "zstd")


async def test_readings_are_read_whatever_their_compression(pipeline: Pipeline, kafka: KafkaSettings) -> None:
    pipeline.start("cache")
    for codec in CODECS:
        publisher = KafkaPublisher(kafka, compression=codec)
        await publisher.start()
        try:
            await publisher.publish(
                [
                    NodeReading(
                        identifier=f"rig-{codec}-{number}",
                        identifier_type="node_id",
                        source="mine",
                        observed_at=datetime(2026, 3, 1, tzinfo=UTC),
                        status="healthy",
                    )
                    for number in range(50)
                ]
            )
        finally:
            await publisher.stop()
    await pipeline.drained(READINGS_TOPIC)
    found = await pipeline.rows("SELECT split_part(identifier, '-', 2), count(*) FROM nodes GROUP BY 1 ORDER BY 1")
    assert found == [(codec, 50) for codec in CODECS]
