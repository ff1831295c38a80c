"""Records left as they stand in a fetch are the records that the client would have made of them."""

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from services.kernel.events import NodeReading
from services.kernel.parsed import Part, Plain, Polled, leave_parsed, whole
from services.kernel.settings import KafkaSettings
from services.kernel.wire import OutgoingRecord, decoding_of
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
    plain = decoding_of(NodeReading).plain
    assert plain
    partition = TopicPartition(stream.topic, 1)
    consumer = AIOKafkaConsumer(bootstrap_servers=stream.kafka.bootstrap_servers, auto_offset_reset="earliest")
    consumer.assign([partition])
    await consumer.start()
    try:
        expected = [record for part in await _read(consumer, partition, 41) for record in _records(part)]
        assert all(isinstance(record, ConsumerRecord) for record in expected)
        leave_parsed(consumer, plain.headers)
        await consumer.seek_to_beginning(partition)
        parsed = await _read(consumer, partition, 41)
    finally:
        await consumer.stop()
    records = [record for part in parsed for record in _records(part)]
    assert not any(isinstance(record, ConsumerRecord) for record in records)
    assert [whole(partition, record) for record in records] == expected
    assert [value for part in parsed if isinstance(part, Plain) for value in part.values] == [
        record.value for record in expected[:40]
    ]


async def _read(consumer: AIOKafkaConsumer, partition: TopicPartition, records: int) -> list[Part]:
    """So many records, the first by itself: a poll that ends amid what was fetched goes on from there."""
    read: list[Part] = []

    async def poll() -> bool:
        polled = await consumer.getmany(partition, timeout_ms=200, max_records=100 if read else 1)
        if found := polled.get(partition):
            read.extend(found.parts if isinstance(found, Polled) else [found])
        return sum(map(len, read)) >= records

    await until(poll, "all read")
    return read


def _records(part: Part) -> list[ConsumerRecord]:
    return list(part.records() if isinstance(part, Plain) else part)
