"""What a record of a dead-letter topic says, and that a letter gives its record back untouched."""

from typing import Any

from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.dead_letters import DeadLetter, letter
from services.kernel.errors import Reason
from services.kernel.letters import Letter, Mark, Place, State, letter_or_mark, mark_of, own_headers
from services.kernel.wire import Headers, OutgoingRecord

IDENTITY = Place("node.readings.v1", 3, 7)
OURS = ("reason", "error", "topic", "partition", "offset", "timestamp", "value", "mark")

names = st.one_of(st.text(max_size=5), st.sampled_from([f"minegnk_dlq_{name}" for name in OURS]))
headers_of_producers = st.lists(st.tuples(names, st.one_of(st.none(), st.binary(max_size=5))), max_size=8)


def record(
    place: Place, key: bytes | None = None, value: bytes | None = None, headers: Headers = (), timestamp: int = 1_000
) -> ConsumerRecord:
    return ConsumerRecord(*place, timestamp, 1, key, value, None, 0, 0, tuple(headers))


def stored(sent: OutgoingRecord, timestamp: int = 5_000) -> ConsumerRecord:
    """The record as the dead-letter topic has it."""
    return record(Place(sent.topic, 1, 9), sent.key, sent.value, sent.headers, timestamp)


def dead(headers: Headers = (), key: bytes | None = b"k") -> DeadLetter:
    return DeadLetter(record(IDENTITY, key, b"{", headers), Reason.UNDECODABLE, "not JSON")


@given(headers_of_producers)
def test_whatever_headers_a_record_had_it_is_a_letter_and_gets_them_back(headers: list[tuple[str, bytes]]) -> None:
    found = stored(letter(dead(headers)))
    assert own_headers(found.headers) == headers
    assert letter_or_mark(found) == Letter(
        IDENTITY, 5_000, 1_000, "undecodable", "not JSON", b"k", omitted=False, copies=[Place(found.topic, 1, 9)]
    )


def test_a_letter_says_whether_its_value_was_left_out() -> None:
    found = letter_or_mark(stored(letter(dead(), with_value=False)))
    assert isinstance(found, Letter)
    assert found.omitted


def test_of_a_large_key_only_the_beginning_is_held() -> None:
    found = letter_or_mark(stored(letter(dead(key=b"k" * 1_000_000))))
    assert isinstance(found, Letter)
    assert found.key == b"k" * 64


def test_a_mark_names_its_letter_and_carries_nothing() -> None:
    sent = mark_of(IDENTITY, State.DROPPED)
    assert (sent.topic, sent.key, sent.value) == ("node.readings.v1.dlq", None, None)
    assert letter_or_mark(stored(sent)) == Mark(IDENTITY, State.DROPPED, 5_000)


def test_what_others_write_into_the_topic_is_neither_letter_nor_mark() -> None:
    whole = letter(dead())
    assert letter_or_mark(record(Place(whole.topic, 0, 0), b"k", b"hello")) is None
    assert letter_or_mark(stored(whole._replace(topic="node.earnings.v1.dlq"))) is None, "not this topic's letter"
    for name, bad in [("partition", b"three"), ("offset", None), ("topic", b"\xff")]:
        headers: list[Any] = [(each, bad if each == f"minegnk_dlq_{name}" else value) for each, value in whole.headers]
        assert letter_or_mark(stored(whole._replace(headers=headers))) is None, name
    unknown = mark_of(IDENTITY, State.DROPPED)
    headers = [(name, b"burnt" if value == b"dropped" else value) for name, value in unknown.headers]
    assert letter_or_mark(stored(unknown._replace(headers=headers))) is None
