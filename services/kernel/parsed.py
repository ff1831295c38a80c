"""Records as aiokafka parses them, without the ConsumerRecord that it copies each into.

That copy is a quarter of the time that reading takes (docs/performance.md), and only dead letters need what it adds:
the topic and the partition. There is no public switch for it, so the pinned version's `PartitionRecords` is specialised
here. Where that does not take effect (records that arrive while a poll waits), ConsumerRecords come, and serve as well.
"""

from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords

from services.kernel.wire import WireRecord


class Record(WireRecord, Protocol):
    """A polled record: ConsumerRecord has all of it, and so has what aiokafka parses."""

    @property
    def offset(self) -> int:
        """Its place in its partition."""
        ...

    @property
    def timestamp_type(self) -> int:
        """0: the producer's time, 1: the broker's."""
        ...

    @property
    def key(self) -> bytes | None:
        """The record's key."""
        ...


class _Parsed(PartitionRecords):  # type: ignore[misc]
    """One fetch's records of a partition, handed out as they are."""

    def __iter__(self) -> Any:
        return self._records_iterator

    def _consumer_record(self, _partition: TopicPartition, record: Record) -> Record:
        return record


def leave_parsed(consumer: AIOKafkaConsumer) -> None:
    """Let the consumer's next poll return what has been fetched as it was parsed."""
    for fetched in consumer._fetcher._records.values():
        records = getattr(fetched, "_partition_records", None)  # none: an error, to be raised by the poll
        if type(records) is PartitionRecords:
            records.__class__ = _Parsed


def whole(partition: TopicPartition, record: Record) -> ConsumerRecord:
    """The record with its topic and partition."""
    if isinstance(record, ConsumerRecord):
        return record
    key, value = record.key, record.value
    return ConsumerRecord(
        partition.topic,
        partition.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        key,
        value,
        None,
        -1 if key is None else len(key),
        -1 if value is None else len(value),
        tuple(record.headers),
    )
