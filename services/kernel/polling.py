"""Polling a topic in a consumer group: what was polled, whose it is, and where to read on."""

import asyncio
import sys
from collections.abc import Collection, Iterable, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError

from services.kernel.kafka import client_arguments
from services.kernel.parsed import Polled, leave_parsed, without_content
from services.kernel.plain import PlainHeaders
from services.kernel.settings import ConsumerSettings, KafkaSettings

Records = dict[TopicPartition, Polled]

_POLL_MS = 500
_POLL_RECORDS = 1_000
"""Of one poll at most: so few are still in the processor's cache when they are decoded (docs/performance.md)."""

_RETRY_SECONDS = 0.2


class Polling:
    """Reads the records of the partitions that the group gives this process.

    Batches are polled ahead of their handling, so each poll has a number, and `disowned` says which partitions of an
    earlier poll were revoked or held since: their records are read again, by whoever has them then.
    """

    def __init__(
        self,
        topic: str,
        group: str,
        kafka: KafkaSettings,
        settings: ConsumerSettings,
        listener: ConsumerRebalanceListener,
        plain: PlainHeaders | None,
    ) -> None:
        session_ms = int(kafka.session_timeout.total_seconds() * 1000)
        self._consumer = AIOKafkaConsumer(
            **client_arguments(kafka),
            group_id=group,
            enable_auto_commit=False,
            # A first start reads from the beginning (see poll); an offset out of range stops with an alarm.
            auto_offset_reset="none",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 4,
            max_poll_interval_ms=int(settings.max_poll_interval.total_seconds() * 1000),
            max_partition_fetch_bytes=4 * 1024 * 1024,
            fetch_max_wait_ms=100,
        )
        self._plain = plain
        self._consumer.subscribe([topic], listener=listener)
        self._max_records = min(_POLL_RECORDS, settings.max_batch)
        self._step = self._max_records  # records of the next poll at most; fewer near a record that cannot be read
        self._next: dict[TopicPartition, int] = {}  # where the next poll reads on, once something was polled
        self._first_poll: dict[TopicPartition, int] = {}  # the first poll whose records of a partition count
        self._held: set[TopicPartition] = set()
        self.number = 0
        """How many polls there were."""
        self.ownership = 0
        """Moves when a partition is disowned, held or released: polls with one number may be handled as one."""

    async def start(self) -> None:
        """Join the group. Raises KafkaError."""
        await self._consumer.start()
        leave_parsed(self._consumer, self._plain)

    async def stop(self) -> None:
        """Leave the group."""
        await self._consumer.stop()

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions that the group has given this process."""
        return frozenset(self._consumer.assignment())

    async def poll(self) -> Records:
        """The next records, none after half a second without any.

        A partition that the group never committed is read from its beginning. Raises OffsetOutOfRangeError where
        records were deleted before they were handled, other KafkaErrors, and UnicodeDecodeError, after which
        `unreadable` must be called.
        """
        records = await self._poll(self._step)
        self._step = min(self._max_records, 2 * self._step)
        self._next.update((partition, found.next_offset) for partition, found in records.items())
        return records

    async def poll_nothing(self) -> None:
        """Poll with paused partitions, which only tells the group that this process lives."""
        self._consumer.pause(*self._consumer.assignment())
        try:
            for partition, records in (await self._poll(1)).items():
                # Assigned after the pause: give the records back by moving the position to them again.
                self._consumer.seek(partition, records.first_offset)
        except UnicodeDecodeError:
            await self._go_back()

    def read_on(self) -> None:
        """End the pause of `poll_nothing`."""
        self._consumer.resume(*(self._consumer.paused() - self._held))

    async def _poll(self, max_records: int, *partitions: TopicPartition) -> Records:
        try:
            polled = await self._consumer.getmany(*partitions, timeout_ms=_POLL_MS, max_records=max_records)
            # A fetch that the library had begun to hand out comes as a list of ConsumerRecords.
            records = {tp: found if isinstance(found, Polled) else Polled(found) for tp, found in polled.items()}
        except NoOffsetForPartitionError as error:
            await self._consumer.seek_to_beginning(*error.args)
            records = {}
        finally:
            # Counted after the poll: getmany returns what it drains without a pause in between, so these records
            # belong to the assignment that holds now. Each new assignment starts at the committed offsets again.
            self.number += 1
        return records

    # Records that the client library cannot read (the name of a header is not UTF-8).

    async def unreadable(self) -> ConsumerRecord | None:
        """After a UnicodeDecodeError: the record it came from, without its content, and reading goes on behind it.

        None until it is found: polls get smaller first, so that the good records before it are polled.
        """
        await self._go_back()
        if self._step > 1:
            self._step = max(1, self._step // 8)
            return None
        for partition in self.assignment - self._held:
            try:
                await self._poll(1, partition)
            except UnicodeDecodeError:
                offset = await self._position(partition)
                self._consumer.seek(partition, offset + 1)
                self._next[partition] = offset + 1
                return without_content(partition, offset)
            await self._go_back()
        return None

    async def _go_back(self) -> None:
        """Move every position to the first record that no poll has returned."""
        while True:
            try:
                for partition in self.assignment:
                    self._consumer.seek(partition, await self._position(partition))
            except KafkaError:  # none may be left where the failed poll put it
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _position(self, partition: TopicPartition) -> int:
        offset = self._next.get(partition)
        if offset is None:
            offset = await self._consumer.committed(partition)
        if offset is None:
            offset = (await self._consumer.beginning_offsets([partition]))[partition]
        return offset

    # Ownership.

    def disown(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that were revoked: what was polled of them does not count any more."""
        self.ownership += 1
        for partition in partitions:
            # A poll that is under way returns after this, and with records of the assignment that then holds.
            self._first_poll[partition] = self.number + 1
            self._next.pop(partition, None)
            self._held.discard(partition)

    def disowned(self, poll: int, partitions: Iterable[TopicPartition]) -> set[TopicPartition]:
        """Those of the poll's partitions that were revoked or held after it."""
        return {partition for partition in partitions if poll < self._first_poll.get(partition, 0)}

    def hold(self, partition: TopicPartition) -> None:
        """Read nothing of the partition, and count nothing that was read ahead of it, until it is released."""
        self.ownership += 1
        self._held.add(partition)
        self._first_poll[partition] = sys.maxsize
        self._consumer.pause(partition)

    def release(self, partition: TopicPartition, offset: int) -> None:
        """Read a held partition on from this offset."""
        self.ownership += 1
        self._held.discard(partition)
        self._first_poll[partition] = self.number + 1
        self._next[partition] = offset
        self._consumer.seek(partition, offset)
        self._consumer.resume(partition)

    # Offsets.

    async def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Commit offsets with their metadata. Raises KafkaError."""
        await self._consumer.commit(dict(offsets))

    async def lag(self, handled: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Records not yet handled, by partition; `handled` has the next offsets, where known. Raises KafkaError."""
        assignment: Collection[TopicPartition] = self._consumer.assignment()
        ends = await self._consumer.end_offsets(assignment) if assignment else {}
        found = {}
        for partition, end in ends.items():
            next_offset = handled.get(partition)
            if next_offset is None:
                next_offset = await self._consumer.committed(partition)
            if next_offset is None:
                next_offset = (await self._consumer.beginning_offsets([partition]))[partition]
            found[partition] = max(0, end - next_offset)
        return {partition: records for partition, records in found.items() if partition in self.assignment}
