"""Values that are taken out of a batch's bytes are those that the client library finds there; otherwise none are."""

import struct
from typing import NamedTuple

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel.events import NodeReading
from services.kernel.wire import decoding_of, encode
from tests.unit.test_cache_merge import reading

_RECORDS = 61  # where they begin in a batch
_OWN = encode(reading()).headers
_plain = decoding_of(NodeReading).plain
assert _plain
HEADERS = _plain.headers


class Record(NamedTuple):
    key: bytes | None = b"key"
    value: bytes | None = b"{}"
    headers: list[tuple[str, bytes | None]] = list(_OWN)  # noqa: RUF012 - never changed
    timestamp: int = 1_000
    offset: int = 0


def batch_of(*records: Record) -> bytes:
    builder = DefaultRecordBatchBuilder(2, DefaultRecordBatch.CODEC_NONE, 0, -1, -1, -1, 10_000_000)
    for place, record in enumerate(records):
        offset = record.offset or place
        assert builder.append(offset, record.timestamp, record.key, record.value, record.headers)
    return bytes(builder.build())


def values_of(batch: bytes) -> list[tuple[bytes, int]] | None:
    found = HEADERS.values(batch[_RECORDS:])
    return found and list(zip(*found, strict=True))


def headers(source: bytes, event: bytes) -> list[tuple[str, bytes | None]]:
    return [*_OWN[:3], ("ce_source", source), ("ce_id", event)]


plain_records = st.builds(
    Record,
    st.none() | st.binary(max_size=63),
    st.binary(max_size=200),
    st.just([]) | st.builds(headers, st.sampled_from([b"", b"/minegnk/a", b"x" * 63]), st.binary(max_size=63)),
    st.sampled_from([1_000, 999, 1_063, 1_064, 9_000_000, -(2**40), 2**40]),
    st.just(0),
)


@given(st.lists(plain_records, min_size=1, max_size=20))
def test_of_plain_records_all_values_are_found(records: list[Record]) -> None:
    assert values_of(batch_of(*records)) == [(record.value, place) for place, record in enumerate(records)]


@pytest.mark.parametrize("size", [63, 64, 8_000])
def test_a_value_may_be_as_long_as_readings_are(size: int) -> None:
    assert values_of(batch_of(Record(value=b"x" * size))) == [(b"x" * size, 0)]


@pytest.mark.parametrize("offset", [63, 64, 8_191])
def test_offsets_may_be_as_far_apart_as_in_a_compacted_topic(offset: int) -> None:
    assert values_of(batch_of(Record(), Record(offset=offset))) == [(b"{}", 0), (b"{}", offset)]


NOT_PLAIN = {
    "no value": Record(value=None),
    "a long value": Record(value=b"x" * 8_200),
    "a far offset": Record(offset=8_192),
    "a long key": Record(key=b"k" * 64),
    "another header": Record(headers=[("a", b"1")]),
    "one header more": Record(headers=[*_OWN, ("traceparent", b"00-1-1-01")]),
    "one header less": Record(headers=list(_OWN[:4])),
    "another order": Record(headers=list(reversed(_OWN))),
    "another type": Record(headers=[*_OWN[:2], ("ce_type", b"minegnk.node.reading.v2"), *_OWN[3:]]),
    "another name ahead of the last": Record(headers=[*_OWN[:3], ("ce_time", b"now"), ("ce_id", b"1")]),
    "another last name": Record(headers=[*_OWN[:4], ("ce_time", b"now")]),
    "a long source": Record(headers=headers(b"x" * 64, b"1")),
    "a long id": Record(headers=headers(b"a", b"1" * 64)),
    "a source of none": Record(headers=[*_OWN[:3], ("ce_source", None), ("ce_id", b"1")]),
    "an id of none": Record(headers=[*_OWN[:4], ("ce_id", None)]),
}


@pytest.mark.parametrize("record", NOT_PLAIN.values(), ids=NOT_PLAIN.keys())
def test_one_record_that_is_not_plain_leaves_all_to_the_library(record: Record) -> None:
    for before in [Record()], []:
        assert values_of(batch_of(*before, record, Record(offset=9_000))) is None
    assert values_of(batch_of(Record())), "what was seen before makes no difference"


def test_a_record_that_is_cut_off_leaves_all_to_the_library() -> None:
    batch = batch_of(Record())
    cut = [values_of(batch[:size]) for size in range(_RECORDS + 1, len(batch))]
    assert cut == [None] * len(cut)


@pytest.mark.parametrize("more", [-1, 1])
def test_a_record_of_another_length_than_it_says_leaves_all_to_the_library(more: int) -> None:
    batch = bytearray(batch_of(Record(headers=[])))
    batch[_RECORDS] += 2 * more  # a zigzag varint
    assert values_of(bytes(batch)) is None


changes = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3)


@settings(max_examples=500)
@given(st.lists(plain_records, min_size=1, max_size=3), changes, st.integers(-3, 3))
def test_of_bytes_that_are_no_records_never_another_value_is_found(
    records: list[Record], changed: list[tuple[int, int]], more: int
) -> None:
    batch = bytearray(batch_of(*records))
    for place, byte in changed:
        batch[_RECORDS + place % (len(batch) - _RECORDS)] = byte
    batch = batch[:more] if more < 0 else batch + bytes(more)
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    found = values_of(bytes(batch))
    if found is not None and len(found) == len(records):  # the number that the batch tells is compared elsewhere
        assert found == [(record.value, record.offset) for record in DefaultRecordBatch(bytes(batch))]
