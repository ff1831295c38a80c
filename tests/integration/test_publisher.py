"""The publisher on a real Kafka: what one failed delivery does to those after it."""

import asyncio
import os

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from services.kernel.events import READINGS_TOPIC
from services.kernel.publisher import KafkaPublisher
from services.kernel.wire import OutgoingRecord
from tests.integration.pipeline import Pipeline, records_of

pytestmark = pytest.mark.integration


def record(value: bytes) -> OutgoingRecord:
    return OutgoingRecord(READINGS_TOPIC, b"k", value, [])


async def test_records_after_one_that_the_broker_refused_are_taken_each_once(pipeline: Pipeline) -> None:
    publisher = KafkaPublisher(pipeline.kafka, compression="gzip")
    async with publisher:
        await publisher.send([record(b"before")])
        for _ in range(2):
            with pytest.raises(MessageSizeTooLargeError):
                await publisher.send([record(os.urandom(1_500_000))])
        outcomes = await asyncio.gather(
            *(publisher.send([record(b"%d" % number)]) for number in range(20)),
            publisher.send([record(os.urandom(1_500_000))]),
            return_exceptions=True,
        )
        assert isinstance(outcomes[-1], MessageSizeTooLargeError)
        await publisher.send([record(b"after")])
    values = [each.value for each in await records_of(pipeline.kafka, READINGS_TOPIC)]
    taken = [b"%d" % number for number, outcome in enumerate(outcomes[:-1]) if outcome is None]
    assert sorted(values) == sorted([b"before", *taken, b"after"])
