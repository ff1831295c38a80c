"""What is handed out of a fetch as it was parsed is what the client library would hand out of the same bytes."""

import gc
import struct
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.events import NodeReading
from services.kernel.parsed import Plain, Polled, leave_parsed, whole
from services.kernel.wire import decoding_of, encode
from tests.unit.test_cache_merge import reading

_PARTITION = TopicPartition("node.readings.v1", 3)
_CONTROL, _APPEND_TIME = 0x20, 0x08  # of a batch's attributes
_BASE_OFFSET, _CRC, _ATTRIBUTES, _LAST_OFFSET_DELTA = 0, 17, 21, 23  # where they stand in a batch


PLAIN, OTHER = "plain", "other"
CODECS = [
    DefaultRecordBatch.CODEC_NONE,
    DefaultRecordBatch.CODEC_GZIP,
    DefaultRecordBatch.CODEC_SNAPPY,
    DefaultRecordBatch.CODEC_LZ4,
    DefaultRecordBatch.CODEC_ZSTD,
]


class Batch(NamedTuple):
    """`kept` are the records that a compaction left, of so many; the batch's last offset stays.

    `other` are those of them that are not plain.
    """

    records: int
    kept: Sequence[int]
    compression: int = DefaultRecordBatch.CODEC_NONE
    other: Sequence[int] = ()
    append_time: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether its values are to be taken without parsing the rest."""
        return self.append_time and not set(self.other) & set(self.kept)


batches = st.integers(1, 6).flatmap(
    lambda records: st.builds(
        Batch,
        st.just(records),
        st.sets(st.integers(0, records - 1), min_size=1).map(sorted),
        st.sampled_from(CODECS),
        st.sets(st.integers(0, records - 1), max_size=1).map(sorted),
        st.sampled_from([True, True, True, False]),
    )
)


def fetch(of: Sequence[Batch]) -> bytes:
    """The bytes of consecutive batches, from offset 100 on."""
    fetched, base = b"", 100
    for batch in of:
        builder = DefaultRecordBatchBuilder(2, batch.compression, 0, -1, -1, -1, 100_000)
        for place in batch.kept:
            headers = _headers(base + place) if place not in batch.other else [("place", str(base + place).encode())]
            value = b"value %d" % (base + place) * (1 + 40 * place)
            builder.append(place, 1_000 + place * 1_000, None if place % 3 == 2 else b"key", value, headers)
        encoded = bytearray(builder.build())
        struct.pack_into(">q", encoded, _BASE_OFFSET, base)
        struct.pack_into(">i", encoded, _LAST_OFFSET_DELTA, batch.records - 1)
        if batch.append_time:
            encoded[_ATTRIBUTES + 1] |= _APPEND_TIME
        fetched += _sealed(encoded)
        base += batch.records
    return fetched


def _headers(number: int) -> list[tuple[str, bytes]]:
    """Plain ones: each of one of two sources, or none."""
    if number % 5 == 4:
        return []
    *same, _, _ = encode(reading()).headers
    return [*same, ("ce_source", b"/minegnk/%d" % (number % 2)), ("ce_id", b"id-%d" % number)]


def _sealed(batch: bytearray) -> bytes:
    """The batch with the checksum of what it holds now: the one that the library itself calculates."""
    struct.pack_into(">I", batch, _CRC, calc_crc32c(bytes(batch[_ATTRIBUTES:])))
    return bytes(batch)


_plain = decoding_of(NodeReading).plain
assert _plain
HEADERS = _plain.headers


class Consumer:
    """The parts of a consumer that a fetch is taken from: its position and what has arrived."""

    def __init__(self, fetched: bytes, position: int, isolation: int = READ_UNCOMMITTED) -> None:
        self.position = position
        self.paused = False
        self.active = True
        records = PartitionRecords(
            _PARTITION, fetcher.MemoryRecords(fetched), [], position, None, None, True, isolation
        )
        self.result: Any = FetchResult(_PARTITION, assignment=self, partition_records=records, backoff=0)
        self._fetcher = SimpleNamespace(_records=OrderedDict({_PARTITION: self.result}))

    def state_value(self, _partition: TopicPartition) -> "Consumer":
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


def parsed(fetched: bytes, position: int) -> Consumer:
    consumer = Consumer(fetched, position)
    leave_parsed(consumer, HEADERS)
    return consumer


def records_of(polled: Polled) -> list[ConsumerRecord]:
    """The records, whole; those that are told as values are what the library makes of them."""
    found = []
    for part in polled.parts:
        records = part.records() if isinstance(part, Plain) else part
        if isinstance(part, Plain):
            assert list(part.values) == [record.value for record in records]
            assert list(part.offsets) == [record.offset for record in records]
            assert {part.timestamp} == {record.timestamp for record in records}
        found += [whole(_PARTITION, record) for record in records]
    return found


def offsets_of(polled: Polled) -> list[int]:
    return [record.offset for record in records_of(polled)]


@given(st.lists(batches, min_size=1, max_size=4), st.integers(0, 25), st.lists(st.integers(1, 9), min_size=30))
def test_every_way_through_a_fetch_gives_the_librarys_records_and_positions(
    of: list[Batch], ahead: int, limits: list[int]
) -> None:
    position = 100 + min(ahead, sum(batch.records for batch in of) - 1)
    library, ours = Consumer(fetch(of), position), parsed(fetch(of), position)
    for limit in limits:
        expected, taken = library.result.getall(limit), ours.result.getall(limit)
        assert records_of(taken) == expected
        if expected:
            ends = taken.timestamp, taken.first_offset, taken.next_offset
            assert ends == (expected[0].timestamp, expected[0].offset, expected[-1].offset + 1)
        assert len(taken) == len(expected)
        assert (ours.position, ours.result.has_more()) == (library.position, library.result.has_more())
        if not library.result.has_more():
            return
    raise AssertionError("thirty polls are more than there are records")


@given(st.lists(batches, min_size=1, max_size=4))
def test_values_alone_are_taken_of_every_batch_whose_records_are_plain(of: list[Batch]) -> None:
    polled = parsed(fetch(of), 100).result.getall()
    parts = [part for part in polled.parts if part]
    assert [(len(part), isinstance(part, Plain)) for part in parts] == [(len(b.kept), b.is_plain) for b in of]


def test_no_values_are_taken_of_a_batch_whose_offsets_are_out_of_order() -> None:
    polled = parsed(fetch([Batch(3, [0, 2, 1])]), 100).result.getall()
    assert not any(isinstance(part, Plain) for part in polled.parts)


def test_a_limit_of_none_takes_all() -> None:
    consumer = parsed(fetch([Batch(3, [0, 1, 2]), Batch(4, [1])]), 101)
    assert offsets_of(consumer.result.getall()) == [101, 102, 104]
    assert (consumer.position, consumer.result.has_more()) == (107, False)


def test_what_was_handed_out_is_freed_without_a_garbage_collection() -> None:
    consumer = parsed(fetch([Batch(3, [0, 1, 2])]), 100)
    fetched = weakref.ref(consumer.result), weakref.ref(consumer.result._partition_records)
    consumer.result.getall(9)
    gc.disable()
    try:
        del consumer.result, consumer._fetcher
        assert [each() for each in fetched] == [None, None]
    finally:
        gc.enable()


def test_marks_of_transactions_are_no_records_and_their_place_is_passed() -> None:
    first, mark = fetch([Batch(2, [0, 1])]), bytearray(fetch([Batch(1, [0])]))
    struct.pack_into(">q", mark, _BASE_OFFSET, 102)
    struct.pack_into(">h", mark, _ATTRIBUTES, _CONTROL)
    consumer = parsed(first + _sealed(mark), 100)
    assert offsets_of(consumer.result.getall(9)) == [100, 101]
    assert consumer.position == 103


def test_a_batch_that_was_damaged_is_no_records_and_is_not_passed() -> None:
    sound, damaged = fetch([Batch(2, [0, 1]), Batch(2, [0, 1])]), bytearray(fetch([Batch(2, [0, 1]), Batch(2, [0, 1])]))
    damaged[-1] ^= 1
    assert len(sound) == len(damaged)
    consumer = parsed(bytes(damaged), 100)
    with pytest.raises(CorruptRecordException):
        consumer.result.getall(9)
    assert consumer.position == 100, "none of it was handed out"
    assert not consumer.result.getall(9)
    assert not consumer.result.has_more(), "it is fetched again"


@pytest.mark.parametrize("change", [{"paused": True}, {"active": False}, {"position": 102}])
def test_nothing_is_handed_out_where_the_position_is_elsewhere(change: dict[str, Any]) -> None:
    consumer = parsed(fetch([Batch(3, [0, 1, 2])]), 100)
    vars(consumer).update(change)
    before = consumer.position
    assert not consumer.result.getall(9)
    assert (consumer.position, consumer.result.has_more()) == (before, False)


def test_batches_of_the_format_before_kafka_0_11_are_read_too() -> None:
    builder = LegacyRecordBatchBuilder(1, DefaultRecordBatch.CODEC_NONE, 10_000)
    builder.append(104, timestamp=1_000, key=b"key", value=b"value")
    consumer = parsed(bytes(builder.build()), 100)
    assert offsets_of(consumer.result.getall(9)) == [104]


def test_a_fetch_that_was_begun_or_hides_aborted_transactions_is_left_to_the_library() -> None:
    begun = Consumer(fetch([Batch(3, [0, 1, 2])]), 100)
    assert [record.offset for record in begun.result.getall(1)] == [100]
    committed = Consumer(fetch([Batch(3, [0, 1, 2])]), 100, READ_COMMITTED)
    for consumer, first in ((begun, 101), (committed, 100)):
        leave_parsed(consumer, HEADERS)
        taken = consumer.result.getall(9)
        assert [record.offset for record in taken] == list(range(first, 103))
        assert all(isinstance(record, ConsumerRecord) for record in taken)
