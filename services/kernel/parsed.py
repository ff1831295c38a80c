"""Records as aiokafka parses them, many at a time, without the ConsumerRecord that it copies each into.

That copy, and the way of each record through a generator and two loops, is a third of the time that reading takes
(docs/performance.md); only dead letters need what the copy adds, the topic and the partition. There is no public switch
for it, so `FetchResult.getall` of the pinned version is replaced here, for each fetch as it arrives. Of a fetch that
is left to the library ConsumerRecords come, and serve as well.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from inspect import GEN_CREATED, getgeneratorstate
from itertools import chain, dropwhile, islice
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, FetchResult
from aiokafka.errors import CorruptRecordException

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


class _Parsed:
    """Hands out one fetch's records of a partition as they are parsed: the library's getall and generator in one."""

    def __init__(self, fetched: FetchResult) -> None:
        self._fetched = fetched
        self._source: Any = fetched._partition_records
        self._source._records_iterator = None  # it refers back: what was fetched would stay until garbage is collected
        self._batch: Any = None  # the one that is being parsed
        self._records: Iterator[Record] = iter(())  # what is left of it

    def getall(self, max_records: int | None = None) -> list[Record]:
        """The next records; none where the position is elsewhere by now, or nothing is left.

        Raises CorruptRecordException, or what parsing raises, and leaves the position: all of it is fetched again.
        """
        fetched = self._fetched
        if not fetched.has_more() or not fetched.check_assignment(fetched._topic_partition):
            return []
        limit = sys.maxsize if max_records is None else max_records
        taken: list[Record] = []
        try:
            while len(taken) < limit:
                taken.extend(islice(self._records, limit - len(taken)))
                if len(taken) == limit:
                    self._source.next_fetch_offset = taken[-1].offset + 1
                elif not self._next_batch():
                    break
            fetched._update_position()
        except BaseException:
            fetched._partition_records = None
            raise
        if len(taken) < limit:
            fetched._partition_records = None
            del fetched.getall  # it refers back, too
        return taken

    def _next_batch(self) -> bool:
        """Go on to the next batch; False when there is none."""
        source = self._source
        if self._batch is not None:
            source.next_fetch_offset = self._batch.next_offset  # its last records may have been compacted away
        if not source._records.has_next():
            return False
        self._batch = batch = source._records.next_batch()
        if not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {self._fetched._topic_partition}")
        # What a control batch holds are marks of transactions, no records. A batch lets nobody iterate it twice.
        self._records = chain(() if batch.is_control_batch else batch)
        # A fetch begins with a whole batch, of which the first records may be behind the position. Batches of the
        # format before Kafka 0.11 do not say where they begin.
        if getattr(batch, "base_offset", -1) < (position := source.next_fetch_offset):
            self._records = dropwhile(lambda record: record.offset < position, self._records)
        return True


class _Arrivals(OrderedDict[TopicPartition, Any]):
    """What has been fetched, by partition: a FetchResult, or the error to be raised by the poll."""

    def __setitem__(self, partition: TopicPartition, fetched: Any) -> None:
        if type(fetched) is FetchResult and fetched.has_more():
            source = fetched._partition_records
            untouched = getgeneratorstate(source._records_iterator) == GEN_CREATED
            if untouched and source._isolation_level == READ_UNCOMMITTED:
                fetched.getall = _Parsed(fetched).getall
        super().__setitem__(partition, fetched)


def leave_parsed(consumer: AIOKafkaConsumer) -> None:
    """Let the polls of a consumer that has started return what is fetched from now on as it was parsed."""
    fetcher = consumer._fetcher
    fetcher._records = _Arrivals(fetcher._records)


def without_content(partition: TopicPartition, offset: int) -> ConsumerRecord:
    """What is left of a record that cannot be read: where it stands. Its timestamp is now."""
    now_ms = int(time.time() * 1000)
    return ConsumerRecord(partition.topic, partition.partition, offset, now_ms, 1, None, None, None, 0, 0, ())


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
