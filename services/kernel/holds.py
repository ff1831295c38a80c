"""The limit on invalid records, and what an operator says when it was reached.

A partition may send `limit` records to the dead letters in any `window`, by the broker's timestamps: a backlog is
judged like a live stream, and a redelivery gets the same verdict. The count travels in the metadata of the committed
offset, so that it survives restarts and goes with the partition to whichever worker takes it over. At the first record
above the limit the partition is held there, and nothing of it moves until an operator speaks:

- go on: invalid records before an offset go to the dead letters without being counted;
- skip: records before an offset are not handled at all.

What the operator said is a committed offset too, in the groups `<group>.go-on` and `<group>.skip`, which have no
members: every worker that ever holds the partition reads the same word.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from services.kernel.dead_letters import DeadLetter
from services.kernel.kafka import client_arguments
from services.kernel.settings import KafkaSettings

_SLICES = 60
_TEXT_LIMIT = 200


class Hold(NamedTuple):
    """Why a partition is held: its first record above the limit."""

    offset: int
    reason: str
    error: str


class _Note(msgspec.Struct, omit_defaults=True):
    """What stands in the metadata of a committed offset."""

    invalid: dict[str, int] = {}
    hold: Hold | None = None


@dataclass
class InvalidWindow:
    """Counts a partition's invalid records of the last `window`, in slices of a sixtieth of it."""

    limit: int
    window: timedelta
    counts: dict[int, int] = field(default_factory=dict)  # a slice's number since 1970 → records

    def admit(self, timestamp_ms: int) -> bool:
        """Count an invalid record that the broker appended at that time; False, uncounted, if the limit is reached."""
        now = timestamp_ms // self._slice_ms
        self.counts = {number: count for number, count in self.counts.items() if now - _SLICES < number}
        if sum(self.counts.values()) >= self.limit:
            return False
        self.counts[now] = self.counts.get(now, 0) + 1
        return True

    def restart(self) -> None:
        """Begin to count anew."""
        self.counts.clear()

    def note(self, hold: Hold | None = None) -> str:
        """The count, and the hold if there is one, as metadata of a committed offset; empty when there is neither."""
        if not self.counts and hold is None:
            return ""
        begins = {str(number * self._slice_ms): count for number, count in self.counts.items()}
        if hold is not None:
            hold = hold._replace(error=hold.error[:_TEXT_LIMIT])
        return msgspec.json.encode(_Note(begins, hold)).decode()

    def recall(self, note: str) -> None:
        """Take up the count of a committed offset's metadata; what somebody else wrote there counts for nothing."""
        for begins_ms, count in _read(note).invalid.items():
            if begins_ms.isdecimal():
                number = int(begins_ms) // self._slice_ms
                self.counts[number] = self.counts.get(number, 0) + count

    @property
    def _slice_ms(self) -> int:
        return max(1, self.window // timedelta(milliseconds=_SLICES))


class InvalidLimit:
    """Judges the dead letters of the partitions that a consumer has. `limit` 0: none, everything is admitted."""

    def __init__(self, limit: int, window: timedelta) -> None:
        self._limit = limit
        self._window = window
        self._windows: dict[TopicPartition, InvalidWindow] = {}
        self._go_on_until: dict[TopicPartition, int] = {}

    def unknown(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Those whose count has to be recalled before they can be judged."""
        return [] if self._limit == 0 else [partition for partition in partitions if partition not in self._windows]

    def recall(self, partition: TopicPartition, note: str) -> None:
        """Take up the count that stands in the metadata of the partition's committed offset."""
        self._windows[partition] = InvalidWindow(self._limit, self._window)
        self._windows[partition].recall(note)

    def forget(self, partition: TopicPartition) -> None:
        """Drop what is known of a partition that may go to another worker."""
        self._windows.pop(partition, None)
        self._go_on_until.pop(partition, None)

    def go_on(self, partition: TopicPartition, until: int) -> None:
        """Admit invalid records before this offset, uncounted: an operator has said so."""
        self._go_on_until[partition] = until

    def judge(self, letters: Iterable[DeadLetter]) -> tuple[list[DeadLetter], dict[TopicPartition, Hold]]:
        """Those that may be sent, and for each partition that is over the limit its first letter that may not.

        What follows such a letter in its partition is not admitted either.
        """
        admitted: list[DeadLetter] = []
        over: dict[TopicPartition, Hold] = {}
        for dead in sorted(letters, key=lambda each: each.record.offset):
            partition = TopicPartition(dead.record.topic, dead.record.partition)
            if partition in over:
                continue
            if self._admits(partition, dead):
                admitted.append(dead)
            else:
                over[partition] = Hold(dead.record.offset, dead.reason.value, dead.error)
        return admitted, over

    def _admits(self, partition: TopicPartition, dead: DeadLetter) -> bool:
        if self._limit == 0:
            return True
        window = self._windows[partition]
        if dead.record.offset < self._go_on_until.get(partition, 0):
            window.restart()
            return True
        return window.admit(dead.record.timestamp)

    def note(self, partition: TopicPartition, hold: Hold | None) -> str:
        """What is to stand in the metadata of the partition's committed offset."""
        window = self._windows.get(partition)
        return "" if window is None else window.note(hold)


def hold_of(note: str) -> Hold | None:
    """The hold that a committed offset's metadata tells of."""
    return _read(note).hold


def _read(note: str) -> _Note:
    try:
        return msgspec.json.decode(note or "{}", type=_Note)
    except msgspec.DecodeError:
        return _Note()


class Committed(NamedTuple):
    """A committed offset (-1: none) and its metadata."""

    offset: int
    note: str


async def committed(
    kafka: KafkaSettings, group: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Committed]:
    """What the group has committed for these partitions, metadata included. Raises KafkaError."""
    admin = AIOKafkaAdminClient(**client_arguments(kafka), request_timeout_ms=10_000)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(group, partitions=list(partitions))
    finally:
        await admin.close()
    return {partition: Committed(held.offset, held.metadata or "") for partition, held in found.items()}


class Permits(NamedTuple):
    """An operator's word on a partition; -1: none."""

    go_on_until: int = -1
    skip_until: int = -1


def _go_on_group(group: str) -> str:
    return f"{group}.go-on"


def _skip_group(group: str) -> str:
    return f"{group}.skip"


async def permits(
    kafka: KafkaSettings, group: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Permits]:
    """What an operator has said about these partitions. Raises KafkaError."""
    go_on = await committed(kafka, _go_on_group(group), partitions)
    skip = await committed(kafka, _skip_group(group), partitions)
    return {partition: Permits(go_on[partition].offset, skip[partition].offset) for partition in partitions}


async def permit_go_on(kafka: KafkaSettings, group: str, until: Mapping[TopicPartition, int]) -> None:
    """Let invalid records before these offsets go to the dead letters, uncounted. Raises KafkaError."""
    await _commit(kafka, _go_on_group(group), until)


async def permit_skip(kafka: KafkaSettings, group: str, until: Mapping[TopicPartition, int]) -> None:
    """Let records before these offsets be skipped, unhandled. Raises KafkaError."""
    await _commit(kafka, _skip_group(group), until)


async def _commit(kafka: KafkaSettings, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    consumer = AIOKafkaConsumer(**client_arguments(kafka), group_id=group, enable_auto_commit=False)
    consumer.assign(list(offsets))
    await consumer.start()
    try:
        await consumer.commit(dict(offsets))
    finally:
        await consumer.stop()
