"""Records left as the client parsed them are the records that it would have made of them."""

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from services.kernel.parsed import Record, leave_parsed, whole
from services.kernel.settings import KafkaSettings
from services.kernel.wire import OutgoingRecord
from tests.integration.pipeline import until
from tests.integration.streams import Stream, new_stream

pytestmark = pytest.mark.integration


@pytest.fixture
async def stream(kafka: KafkaSettings) -> AsyncIterator[Stream]:
    async with new_stream(kafka) as stream:
        yield stream


async def test_whatever_a_poll_returns_comes_parsed_and_is_whole_again(stream: Stream) -> None:
    await stream.publish(range(40), partition=1)
    await stream.publisher.send([OutgoingRecord(stream.topic, None, None, [("a", b"1")])], partition=1)
    partition = TopicPartition(stream.topic, 1)
    consumer = AIOKafkaConsumer(bootstrap_servers=stream.kafka.bootstrap_servers, auto_offset_reset="earliest")
    consumer.assign([partition])
    await consumer.start()
    try:
        expected = await _read(consumer, partition)
        assert len(expected) == 41
        assert all(isinstance(record, ConsumerRecord) for record in expected)
        leave_parsed(consumer)
        await consumer.seek_to_beginning(partition)
        parsed = await _read(consumer, partition)
    finally:
        await consumer.stop()
    assert not any(isinstance(record, ConsumerRecord) for record in parsed)
    assert [whole(partition, record) for record in parsed] == expected


async def _read(consumer: AIOKafkaConsumer, partition: TopicPartition) -> list[Record]:
    """All records, the first by itself: a poll that ends amid what was fetched goes on from there."""
    read: list[Record] = []

    async def poll() -> bool:
        polled = await consumer.getmany(partition, timeout_ms=200, max_records=100 if read else 1)
        read.extend(polled.get(partition, []))
        return len(read) > 40

    await until(poll, "all read")
    return read
