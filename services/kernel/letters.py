"""Dead letters as they are read, returned to their topic and dropped.

A letter that is done gets a mark: a record of the same dead-letter topic with neither key nor value, in each partition
where the letter stands and behind it, so that it is kept longer than the letter. Letter and mark are matched by the
place their record had in its topic. So a letter that was sent twice, or that comes again after its mark because the
record was read again, is one letter, and stays done.
"""

import sys
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError

from services.kernel.dead_letters import PREFIX
from services.kernel.settings import KafkaSettings
from services.kernel.spans import Spans, record_at, records_in
from services.kernel.topics import dead_letter_topic
from services.kernel.wire import Headers, OutgoingRecord

_KEY_BYTES = 64
_BATCH_RECORDS = 500
_BATCH_BYTES = 8 * 1024 * 1024


class State(StrEnum):
    """What became of a letter."""

    OPEN = "open"
    RETRIED = "retried"
    DROPPED = "dropped"


class Place(NamedTuple):
    """Where a record stands. A letter's identity is the place of the record it was made of."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}, partition {self.partition}, offset {self.offset}"


class Mark(NamedTuple):
    """That a letter is done, and when it was, in milliseconds since 1970."""

    identity: Place
    state: State
    marked_ms: int


@dataclass(slots=True)
class Letter:
    """A dead letter without its value; times are the broker's, in milliseconds since 1970."""

    identity: Place
    rejected_ms: int
    recorded_ms: int | None
    reason: str
    error: str
    key: bytes | None  # its first bytes
    omitted: bool  # whether the value was left out
    copies: list[Place]  # where it stands in the dead-letter topic, the oldest first
    mark: Mark | None = None

    @property
    def state(self) -> State:
        """What became of it."""
        return State.OPEN if self.mark is None else self.mark.state


def letter_or_mark(record: ConsumerRecord) -> Letter | Mark | None:
    """What a record of a dead-letter topic says; None when it is neither letter nor mark."""
    place = Place(record.topic, record.partition, record.offset)
    added = record.headers[len(own_headers(record.headers)) :]
    try:
        said = {name.removeprefix(PREFIX): value.decode() for name, value in added or record.headers}
        identity = Place(sys.intern(said["topic"]), int(said["partition"]), int(said["offset"]))
        if dead_letter_topic(identity.topic) != place.topic:
            return None
        if not added:
            return Mark(identity, State(said["mark"]), record.timestamp)
        return Letter(
            identity,
            record.timestamp,
            int(said["timestamp"]) if "timestamp" in said else None,
            sys.intern(said["reason"]),
            sys.intern(said.get("error", "")),
            record.key if record.key is None else record.key[:_KEY_BYTES],
            "value" in said,
            [place],
        )
    except (AttributeError, KeyError, ValueError):  # a header that is missing, empty or not what it should be
        return None


def own_headers(headers: Headers) -> list[tuple[str, bytes]]:
    """The headers that the record itself had: all before the last `reason`, with which the added ones begin.

    Whatever a producer writes into headers named like ours, its record is a letter, and gets them back.
    """
    for place in range(len(headers) - 1, -1, -1):
        if headers[place][0] == PREFIX + "reason":
            return list(headers[:place])
    return list(headers)


def mark_of(identity: Place, state: State) -> OutgoingRecord:
    """The mark as a record of the dead-letter topic."""
    said = {"mark": state.value, "topic": identity.topic, "partition": identity.partition, "offset": identity.offset}
    headers = [(PREFIX + name, str(value).encode()) for name, value in said.items()]
    return OutgoingRecord(dead_letter_topic(identity.topic), None, None, headers)


async def read_letters(kafka: KafkaSettings, spans: Spans) -> list[Letter]:
    """Every letter that stands in these spans of dead-letter topics, once, with its state; the newest last.

    Some 600 bytes of memory a letter, whatever its size. Raises KafkaError.
    """
    letters: dict[Place, Letter] = {}
    marks: dict[Place, Mark] = {}
    async with aclosing(records_in(kafka, spans)) as records:
        async for record in records:
            found = letter_or_mark(record)
            if isinstance(found, Mark):
                marks[found.identity] = found
            elif found is not None and letters.setdefault(found.identity, found) is not found:
                letters[found.identity].copies += found.copies
    for identity, letter in letters.items():
        letter.mark = marks.get(identity)
    return sorted(letters.values(), key=lambda letter: letter.rejected_ms)


async def originals(
    kafka: KafkaSettings, letters: Iterable[Letter]
) -> AsyncGenerator[tuple[Letter, OutgoingRecord | None], None]:
    """The letters with the records they were made of, untouched; the oldest first.

    None for a record whose value was left out of the letter and that its own topic does not have any more, or that
    cannot be read. Raises KafkaError.
    """
    wanted = {letter.copies[0]: letter for letter in letters}
    async with aclosing(records_in(kafka, _spans_of(wanted))) as records:
        async for record in records:
            letter = wanted.pop(Place(record.topic, record.partition, record.offset), None)
            if letter is None:
                continue
            topic = letter.identity.topic
            if not letter.omitted:
                yield letter, OutgoingRecord(topic, record.key, record.value, own_headers(record.headers))
            elif (source := await _source(kafka, letter.identity)) is not None:
                yield letter, OutgoingRecord(topic, source.key, source.value, list(source.headers))
            else:
                yield letter, None
    for letter in wanted.values():  # deleted since it was found
        yield letter, None


def _spans_of(places: Iterable[Place]) -> Spans:
    spans: dict[TopicPartition, tuple[int, int]] = {}
    for topic, number, offset in places:
        start, end = spans.get(partition := TopicPartition(topic, number), (offset, 0))
        spans[partition] = (min(start, offset), max(end, offset + 1))
    return spans


async def _source(kafka: KafkaSettings, place: Place) -> ConsumerRecord | None:
    """The record that a letter was made of; None when its topic has deleted it."""
    return await record_at(kafka, TopicPartition(place.topic, place.partition), place.offset)


class PlacedSender(Protocol):
    """Sends records, where asked to a given partition, and returns once Kafka has acknowledged every one of them."""

    async def send(self, records: Iterable[OutgoingRecord], *, partition: int | None = None) -> None:
        """Raise KafkaError when one was not acknowledged."""


@dataclass
class Returned:
    """What came of returning letters to their topics."""

    count: int = 0
    missing: list[Letter] = field(default_factory=list)  # neither letter nor topic has the record
    too_large: list[Letter] = field(default_factory=list)  # the topic does not take it


async def return_letters(kafka: KafkaSettings, sender: PlacedSender, letters: Iterable[Letter]) -> Returned:
    """Send the letters' records to their topics and then mark the letters, some at a time.

    When it ends in between, records were sent whose letters are open still: to repeat it sends them again, and every
    write is a merge. Raises KafkaError.
    """
    returned = Returned()
    batch: list[tuple[Letter, OutgoingRecord]] = []
    size = 0
    async with aclosing(originals(kafka, letters)) as pairs:
        async for letter, original in pairs:
            if original is None:
                returned.missing.append(letter)
                continue
            batch.append((letter, original))
            size += len(original.value or b"") + len(original.key or b"")
            if len(batch) >= _BATCH_RECORDS or size >= _BATCH_BYTES:
                await _return_batch(sender, batch, returned)
                batch, size = [], 0
    await _return_batch(sender, batch, returned)
    return returned


async def _return_batch(
    sender: PlacedSender, batch: Sequence[tuple[Letter, OutgoingRecord]], returned: Returned
) -> None:
    sent = [letter for letter, _ in batch]
    try:
        await sender.send([original for _, original in batch])
    except MessageSizeTooLargeError:
        sent = []
        for letter, original in batch:
            try:
                await sender.send([original])
            except MessageSizeTooLargeError:
                returned.too_large.append(letter)
            else:
                sent.append(letter)
    await mark_letters(sender, sent, State.RETRIED)
    returned.count += len(sent)


async def mark_letters(sender: PlacedSender, letters: Collection[Letter], state: State) -> None:
    """Mark letters as done. Raises KafkaError, after which some may be marked."""
    marks: dict[int, list[OutgoingRecord]] = {}
    for letter in letters:
        for partition in {copy.partition for copy in letter.copies}:
            marks.setdefault(partition, []).append(mark_of(letter.identity, state))
    for partition, records in marks.items():
        for first in range(0, len(records), _BATCH_RECORDS):
            await sender.send(records[first : first + _BATCH_RECORDS], partition=partition)
