"""Reading a bounded part of topics, outside of any group: what stands there now, then the end."""

import asyncio
import heapq
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from services.kernel.kafka import client_arguments
from services.kernel.settings import KafkaSettings

Spans = Mapping[TopicPartition, tuple[int, int]]
"""The first offset to read of each partition, and the first not to read."""

_POLL_MS = 500
_POLL_RECORDS = 10  # a compressed batch is small until its records are taken out of it
_SILENCE_SECONDS = 20


async def records_in(kafka: KafkaSettings, spans: Spans) -> AsyncGenerator[ConsumerRecord, None]:
    """The records of the spans by their time, oldest first, a few in memory at once.

    Records that the topic has deleted, and those that the client library cannot read, are left out. Raises KafkaError,
    also when Kafka falls silent.
    """
    async with AsyncExitStack() as stack:
        heads: list[tuple[int, TopicPartition, ConsumerRecord, AsyncGenerator[ConsumerRecord, None]]] = []
        for partition, (start, end) in spans.items():
            if start < end:
                records = await stack.enter_async_context(aclosing(_partition(kafka, partition, start, end)))
                async for first in records:
                    heads.append((first.timestamp, partition, first, records))
                    break
        heapq.heapify(heads)
        while heads:
            _, partition, record, records = heads[0]
            yield record
            async for following in records:
                heapq.heapreplace(heads, (following.timestamp, partition, following, records))
                break
            else:
                heapq.heappop(heads)


async def record_at(kafka: KafkaSettings, partition: TopicPartition, offset: int) -> ConsumerRecord | None:
    """The record that stands there; None when the topic has deleted it. Raises KafkaError."""
    async with aclosing(records_in(kafka, {partition: (offset, offset + 1)})) as records:
        async for record in records:
            return record
    return None


async def _partition(
    kafka: KafkaSettings, partition: TopicPartition, start: int, end: int
) -> AsyncGenerator[ConsumerRecord, None]:
    # A consumer for each partition: within one, what is fetched but not yet taken of one partition delays the others.
    consumer = AIOKafkaConsumer(**client_arguments(kafka), enable_auto_commit=False, auto_offset_reset="earliest")
    clock = asyncio.get_running_loop().time
    try:
        consumer.assign([partition])
        await consumer.start()
        next_offset = max(start, (await consumer.beginning_offsets([partition]))[partition])
        end = min(end, (await consumer.end_offsets([partition]))[partition])
        consumer.seek(partition, next_offset)
        max_records, silence = _POLL_RECORDS, 0.0
        while await consumer.position(partition) < end:
            asked = clock()
            try:
                polled = await consumer.getmany(partition, timeout_ms=_POLL_MS, max_records=max_records)
            except UnicodeDecodeError:  # in one of the records: take them one by one, and step over it
                next_offset += max_records == 1
                max_records = 1
                consumer.seek(partition, next_offset)
                continue
            silence = 0.0 if polled else silence + clock() - asked
            if silence > _SILENCE_SECONDS:  # the client itself goes on trying to connect, for ever
                raise KafkaTimeoutError(f"no record of {partition} for {_SILENCE_SECONDS} s")
            for record in polled.get(partition, ()):
                if record.offset < end:
                    yield record
                next_offset = record.offset + 1
                max_records = _POLL_RECORDS
    finally:
        # In a task of its own: while Kafka is away, the client lets the cancellation of its own requests out of here.
        await asyncio.wait([asyncio.create_task(consumer.stop())])
