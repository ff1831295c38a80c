"""What a topic holds between two times, read outside of any group: nobody's offsets change."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from services.kernel.errors import UnavailableError
from services.kernel.kafka import client_arguments
from services.kernel.settings import KafkaSettings
from services.kernel.spans import Spans
from services.kernel.transient import classify

_POLL_MS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TimeRange:
    """The offsets between two times, of the partitions that have any, and when each one's first record was appended.

    `shortened` are the partitions whose records from before some time within the range were deleted: that time, None
    where the partition holds nothing any more.
    """

    spans: Spans
    first: Mapping[TopicPartition, datetime]
    shortened: Mapping[TopicPartition, datetime | None]


def range_consumer(kafka: KafkaSettings) -> AIOKafkaConsumer:
    """A consumer without a group, for `find_range` and `portions`."""
    return AIOKafkaConsumer(
        **client_arguments(kafka),
        enable_auto_commit=False,
        auto_offset_reset="none",  # records that were deleted are counted, not skipped in silence
        max_partition_fetch_bytes=4 * 1024 * 1024,
        fetch_max_wait_ms=100,
    )


async def find_range(
    consumer: AIOKafkaConsumer, held: Spans, since: datetime | None, until: datetime | None
) -> TimeRange:
    """The records appended at `since` or later and before `until`, of those that `held` spans. Raises KafkaError.

    None is the beginning, or the end, of `held`.
    """
    since_ms = 0 if since is None else milliseconds(since)
    begins = await consumer.offsets_for_times(dict.fromkeys(held, since_ms))
    ends = {} if until is None else await consumer.offsets_for_times(dict.fromkeys(held, milliseconds(until)))
    spans: dict[TopicPartition, tuple[int, int]] = {}
    first: dict[TopicPartition, datetime] = {}
    shortened: dict[TopicPartition, datetime | None] = {}
    for partition, (oldest, next_offset) in held.items():
        begin, end = begins[partition], ends.get(partition)
        stop = next_offset if end is None else min(next_offset, end.offset)
        if begin is not None and begin.offset < stop:
            spans[partition] = begin.offset, stop
            first[partition] = appended_at(begin.timestamp)
        if oldest == next_offset > 0:
            shortened[partition] = None
        elif begin is not None and 0 < oldest == begin.offset and begin.timestamp > since_ms:
            shortened[partition] = appended_at(begin.timestamp)
    return TimeRange(spans, first, shortened)


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970 as Kafka counts them: the first one that is not before the moment; not below 0."""
    return max(0, -((_EPOCH - moment) // timedelta(milliseconds=1)))


def appended_at(since_1970_ms: int) -> datetime:
    """A record's timestamp as a time."""
    return _EPOCH + timedelta(milliseconds=since_1970_ms)


class Portion(NamedTuple):
    """Records of one partition that follow each other, and where the partition goes on."""

    partition: TopicPartition
    records: Sequence[ConsumerRecord]
    next_offset: int
    unreadable: int = 0  # records passed over because the client library cannot read them
    deleted: int = 0  # records passed over because the topic deleted them before they were read
    trouble: str = ""  # why there is nothing just now


async def portions(consumer: AIOKafkaConsumer, spans: Spans, max_records: int) -> AsyncGenerator[Portion, None]:
    """The records of the spans, each partition's in their order; the partitions take turns.

    An empty portion says that Kafka has given nothing for half a second; it is asked again, for ever. Raises
    UnavailableError where asking again is of no use.
    """
    consumer.assign(list(spans))
    unread = [_Cursor(consumer, partition, span, max_records) for partition, span in spans.items()]
    while unread:
        for cursor in tuple(unread):
            yield await cursor.read()
            if cursor.at_end:
                unread.remove(cursor)


class _Cursor:
    """Reads one partition's span."""

    def __init__(
        self, consumer: AIOKafkaConsumer, partition: TopicPartition, span: tuple[int, int], max_records: int
    ) -> None:
        self._consumer = consumer
        self._partition = partition
        self._offset, self._end = span
        self._max_records = max_records
        self._step = max_records  # records of one poll at most; fewer near a record that cannot be read
        self._go_to(self._offset)

    @property
    def at_end(self) -> bool:
        return self._offset >= self._end

    async def read(self) -> Portion:
        try:
            portion = await self._poll()
        except KafkaError as error:
            if not classify(error).passes:
                raise UnavailableError(
                    f"{self._partition.topic}, partition {self._partition.partition} cannot be read on from offset "
                    f"{self._offset} ({error!r}): see to Kafka, then replay again."
                ) from None
            self._go_to(self._offset)
            await asyncio.sleep(_POLL_MS / 1000)
            portion = Portion(self._partition, (), self._offset, trouble=repr(error))
        if self.at_end:
            self._consumer.pause(self._partition)  # nothing more of it is fetched
        return portion

    async def _poll(self) -> Portion:
        try:
            polled = await self._consumer.getmany(self._partition, timeout_ms=_POLL_MS, max_records=self._step)
        except OffsetOutOfRangeError:
            return await self._after_deletion()
        except UnicodeDecodeError:  # in one of these records: take fewer, in the end one by one, and step over it
            unreadable = int(self._step == 1)
            self._step = max(1, self._step // 8)
            self._go_to(self._offset + unreadable)
            return Portion(self._partition, (), self._offset, unreadable=unreadable)
        self._step = min(self._max_records, 2 * self._step)
        # Not the last record's: transactions leave marks in the log that are no records.
        self._offset = min(self._end, await self._consumer.position(self._partition))
        records = [record for record in polled.get(self._partition, ()) if record.offset < self._end]
        return Portion(self._partition, records, self._offset, trouble="" if polled else "Kafka sends nothing")

    async def _after_deletion(self) -> Portion:
        oldest = (await self._consumer.beginning_offsets([self._partition]))[self._partition]
        deleted = min(oldest, self._end) - self._offset
        if deleted <= 0:  # the offset is not below what the log holds but above: other records have these offsets now
            raise UnavailableError(
                f"{self._partition.topic} was made anew, or lost its end, while it was read: replay again."
            )
        self._go_to(self._offset + deleted)
        return Portion(self._partition, (), self._offset, deleted=deleted)

    def _go_to(self, offset: int) -> None:
        self._offset = offset
        self._consumer.seek(self._partition, offset)
