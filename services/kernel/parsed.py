"""Records as they stand in a fetch, without the ConsumerRecord that aiokafka copies each into.

Of plain records (`plain`) only the values are taken. Others are handed out as the library parses them, but not copied:
that copy, and the way of each record through a generator and two loops, would be a third of the time that reading takes
(docs/performance.md), and only dead letters need what it adds, the topic and the partition.

There is no public switch for any of it, so `FetchResult.getall` of the pinned version is replaced here, for each fetch
as it arrives. Of a fetch that is left to the library ConsumerRecords come, and serve as well.
"""

import sys
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import GEN_CREATED, getgeneratorstate
from itertools import chain, dropwhile, islice
from typing import Any, Protocol, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, FetchResult
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import _MemoryRecordsPy
from google_crc32c import value as crc32c

from services.kernel.plain import PlainHeaders
from services.kernel.wire import WireRecord

_CRC_COVERS, _COUNT, _RECORDS = 21, 57, 61  # where these begin in a batch
_APPEND_TIME = 1  # the type of a batch's timestamp: the broker's, one for all of its records
_MOST_BYTES = 16 * 1024 * 1024  # of a batch's records: the library takes one by one out of what was compressed
_DECOMPRESS: dict[int, Callable[[bytes], bytes]] = {
    DefaultRecordBatch.CODEC_NONE: bytes,
    DefaultRecordBatch.CODEC_GZIP: gzip_decode,
    DefaultRecordBatch.CODEC_SNAPPY: snappy_decode,
    DefaultRecordBatch.CODEC_LZ4: lz4_decode,
    DefaultRecordBatch.CODEC_ZSTD: zstd_decode,
}

fetcher.MemoryRecords = _MemoryRecordsPy  # it tells a batch's bytes; the batches themselves are parsed as ever


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


@dataclass(slots=True)
class Plain:
    """Plain records of one batch: their values, in order."""

    values: Sequence[bytes]
    offsets: Sequence[int]
    timestamp: int
    batch: bytes

    def __len__(self) -> int:
        return len(self.values)

    def records(self) -> list[Record]:
        """The same, as the library parses them."""
        first, last = self.offsets[0], self.offsets[-1]
        return [record for record in DefaultRecordBatch(self.batch) if first <= record.offset <= last]


Part: TypeAlias = Plain | Sequence[Record]


class Polled:
    """Records of one partition and poll, in order."""

    def __init__(self, *parts: Part) -> None:
        self.parts = list(parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def timestamp(self) -> int:
        """The first one's, milliseconds since 1970."""
        first = self.parts[0]
        return first.timestamp if isinstance(first, Plain) else first[0].timestamp

    @property
    def first_offset(self) -> int:
        """The first one's."""
        first = self.parts[0]
        return first.offsets[0] if isinstance(first, Plain) else first[0].offset

    @property
    def next_offset(self) -> int:
        """That behind the last one."""
        last = self.parts[-1]
        return 1 + (last.offsets[-1] if isinstance(last, Plain) else last[-1].offset)


class _Parsed:
    """Hands out one fetch's records of a partition: the library's getall and generator in one."""

    def __init__(self, fetched: FetchResult, plain: PlainHeaders | None) -> None:
        self._fetched = fetched
        self._headers = plain
        self._source: Any = fetched._partition_records
        self._source._records_iterator = None  # it refers back: what was fetched would stay until garbage is collected
        self._batch: Any = None  # the one that is being handed out, of which are left
        self._plain: Plain | None = None  # either these
        self._records: Iterator[Record] = iter(())  # or those

    def getall(self, max_records: int | None = None) -> Polled:
        """The next records; none where the position is elsewhere by now, or nothing is left.

        Raises CorruptRecordException, or what parsing raises, and leaves the position: all of it is fetched again.
        """
        fetched, polled = self._fetched, Polled()
        if not fetched.has_more() or not fetched.check_assignment(fetched._topic_partition):
            return polled
        room = sys.maxsize if max_records is None else max_records
        try:
            while True:
                if part := self._next_part(room):
                    polled.parts.append(part)
                    room -= len(part)
                if not room:
                    self._source.next_fetch_offset = polled.next_offset
                    break
                if not self._next_batch():
                    break
            fetched._update_position()
        except BaseException:
            fetched._partition_records = None
            raise
        if room:
            fetched._partition_records = None
            del fetched.getall  # it refers back, too
        return polled

    def _next_part(self, most: int) -> Part:
        """What is left of the batch, so much at most."""
        left = self._plain
        if left is None:
            return list(islice(self._records, most))
        if len(left) <= most:
            self._plain = None
            return left
        self._plain = Plain(left.values[most:], left.offsets[most:], left.timestamp, left.batch)
        return Plain(left.values[:most], left.offsets[:most], left.timestamp, left.batch)

    def _next_batch(self) -> bool:
        """Go on to the next batch; False when there is none."""
        source = self._source
        if self._batch is not None:
            source.next_fetch_offset = self._batch.next_offset  # its last records may have been compacted away
        if not source._records.has_next():
            return False
        content = bytes(source._records._next_slice)
        self._batch = batch = source._records.next_batch()
        # A fetch begins with a whole batch, of which the first records may be behind the position.
        position = source.next_fetch_offset
        if isinstance(batch, DefaultRecordBatch):
            sound, base_offset = crc32c(content[_CRC_COVERS:]) == batch.crc, batch.base_offset
            self._plain = self._plain_of(batch, content, position) if sound else None
        else:  # of the format before Kafka 0.11, which does not say where it begins
            sound, base_offset = batch.validate_crc(), -1
        if not sound:
            raise CorruptRecordException(f"Invalid CRC - {self._fetched._topic_partition}")
        # What a control batch holds are marks of transactions, no records. A batch lets nobody iterate it twice.
        self._records = chain(() if self._plain is not None or batch.is_control_batch else batch)
        if base_offset < position:
            self._records = dropwhile(lambda record: record.offset < position, self._records)
        return True

    def _plain_of(self, batch: DefaultRecordBatch, content: bytes, position: int) -> Plain | None:
        """The batch's records from the position on, if all are plain, and of one time."""
        if self._headers is None or batch.is_control_batch or batch.timestamp_type != _APPEND_TIME:
            return None
        if (decompress := _DECOMPRESS.get(batch.compression_type)) is None:
            return None
        records = decompress(content[_RECORDS:])
        found = self._headers.values(records) if len(records) <= _MOST_BYTES else None
        if found is None or len(found[0]) != int.from_bytes(content[_COUNT:_RECORDS]):
            return None
        values, deltas = found
        offsets = [batch.base_offset + delta for delta in deltas]
        if offsets != sorted(offsets):
            return None
        first = bisect_left(offsets, position)
        return Plain(values[first:], offsets[first:], batch.max_timestamp, content)


class _Arrivals(OrderedDict[TopicPartition, Any]):
    """What has been fetched, by partition: a FetchResult, or the error to be raised by the poll."""

    def __init__(self, arrived: OrderedDict[TopicPartition, Any], plain: PlainHeaders | None) -> None:
        self._plain = plain
        super().__init__(arrived)

    def __setitem__(self, partition: TopicPartition, fetched: Any) -> None:
        if type(fetched) is FetchResult and fetched.has_more():
            source = fetched._partition_records
            untouched = getgeneratorstate(source._records_iterator) == GEN_CREATED
            if untouched and source._isolation_level == READ_UNCOMMITTED:
                fetched.getall = _Parsed(fetched, self._plain).getall
        super().__setitem__(partition, fetched)


def leave_parsed(consumer: AIOKafkaConsumer, plain: PlainHeaders | None) -> None:
    """Let the polls of a consumer that has started return `Polled` of what is fetched from now on."""
    fetcher = consumer._fetcher
    fetcher._records = _Arrivals(fetcher._records, plain)


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
