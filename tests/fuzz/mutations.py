"""Records that were valid events before something happened to their structure, headers, bytes or framing."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

import msgspec

from services.kernel.events import Event
from services.kernel.wire import EVENT_TYPES, encode
from tests.fuzz import values
from tests.fuzz.samples import EVENT_CLASSES, sample

Fields = list[tuple[bytes, bytes]]
"""A JSON object as names and raw values: it can hold what no dictionary can, such as a name twice."""

HEADER_NAMES = ("content-type", "ce_specversion", "ce_type", "ce_source", "ce_id", "traceparent", "CE_TYPE", "", "é")
HEADER_VALUES = (
    None, b"", b"\x00", b"\xff\xfe", b"1.0", b"0.3", b"2.0", b"1.0 ", b"x" * 2000, b"application/json",
    b"application/cloudevents", b"application/cloudevents+json", b"APPLICATION/CLOUDEVENTS+JSON", b"text/plain",
    b"minegnk.node.reading.v1", b"minegnk.node.earnings.v1", b"minegnk.node.refresh.v1", b"minegnk.source.status.v1",
    b"minegnk.node.reading.v2", b"minegnk.node.reading", b"minegnk.node.reading.v1 ", b"MINEGNK.NODE.READING.V1",
)  # fmt: skip
TIMESTAMPS = (-1, 0, 1, -(2**63), 2**31, 2**63 - 1, 10**15, 10**18)


@dataclass(slots=True)
class Mutant:
    """A mutated record, as a decoder takes it; `mutations` are their names in the order in which they happened."""

    event_class: type[Event]
    value: bytes | None
    headers: Any  # names with bytes or None; the protocol's type knows no None
    key: bytes | None
    timestamp: int
    mutations: list[str] = field(default_factory=list)


def mutants(random: Random, now: datetime, classes: tuple[type[Event], ...] = EVENT_CLASSES) -> Iterator[Mutant]:
    """Mutated records appended at `now`, without end; the same for the same seed and moment."""
    timestamp = int(now.timestamp() * 1000)
    while True:
        event_class = random.choice(classes)
        yield _mutate(random, now, _valid(random, sample(random, event_class, now), timestamp))


def _valid(random: Random, event: Event, timestamp: int) -> Mutant:
    record = encode(event)
    headers = [(name, f"{random.getrandbits(64):x}".encode() if name == "ce_id" else v) for name, v in record.headers]
    return Mutant(type(event), record.value, headers, record.key, timestamp)


def _mutate(random: Random, now: datetime, mutant: Mutant) -> Mutant:
    """Let one to three things happen, the structure's first: bytes that were torn have no structure."""
    families = sorted(random.choices(range(4), weights=(55, 18, 22, 5), k=random.choice((1, 1, 1, 1, 2, 2, 3))))
    for family in families:
        change = random.choice(_FAMILIES[family])
        mutant.mutations.append(change.__name__)
        change(random, now, mutant)
    return mutant


# Structure.


def _fields(mutant: Mutant) -> Fields:
    fields = msgspec.json.decode(mutant.value or b"{}", type=dict[str, msgspec.Raw])
    return [(json.dumps(name)[1:-1].encode(), bytes(raw)) for name, raw in fields.items()]


def _set(mutant: Mutant, fields: Fields) -> None:
    mutant.value = b"{" + b",".join([b'"' + name + b'":' + raw for name, raw in fields]) + b"}"


def _structural(change: Callable[[Random, datetime, Fields], None]) -> Callable[[Random, datetime, Mutant], None]:
    """A mutation of the record out of one of its fields; what is no object any more is left as it is."""

    def mutation(random: Random, now: datetime, mutant: Mutant) -> None:
        try:
            fields = _fields(mutant)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if fields:
            change(random, now, fields)
            _set(mutant, fields)

    mutation.__name__ = change.__name__
    return mutation


def _suitable(random: Random, now: datetime, name: bytes) -> bytes:
    return values.POOLS.get(name, values.texts)(random, now)


@_structural
def field_at_an_edge(random: Random, now: datetime, fields: Fields) -> None:
    at = random.randrange(len(fields))
    name = fields[at][0]
    fields[at] = name, _suitable(random, now, name)


@_structural
def field_of_any_type(random: Random, now: datetime, fields: Fields) -> None:
    at = random.randrange(len(fields))
    fields[at] = fields[at][0], values.others(random, now)


@_structural
def field_removed(random: Random, _: datetime, fields: Fields) -> None:
    del fields[random.randrange(len(fields))]


@_structural
def field_renamed(random: Random, _: datetime, fields: Fields) -> None:
    at = random.randrange(len(fields))
    name, raw = fields[at]
    others = (name.upper(), name + b" ", name[:-1], name + b"\\u0000", b"", random.choice(list(values.POOLS)))
    fields[at] = random.choice(others), raw


@_structural
def field_twice(random: Random, now: datetime, fields: Fields) -> None:
    name, raw = random.choice(fields)
    twin = name, raw if random.random() < 0.5 else _suitable(random, now, name)
    fields.insert(random.randrange(len(fields) + 1), twin)


@_structural
def field_unknown(random: Random, now: datetime, fields: Fields) -> None:
    fields.insert(random.randrange(len(fields) + 1), (b"colour", values.others(random, now)))


@_structural
def field_added(random: Random, now: datetime, fields: Fields) -> None:
    name = random.choice(list(values.POOLS))
    fields.append((name, _suitable(random, now, name)))


@_structural
def fields_shuffled(random: Random, _: datetime, fields: Fields) -> None:
    random.shuffle(fields)


@_structural
def values_exchanged(random: Random, _: datetime, fields: Fields) -> None:
    one, two = random.randrange(len(fields)), random.randrange(len(fields))
    (name, raw), (other, other_raw) = fields[one], fields[two]
    fields[one], fields[two] = (name, other_raw), (other, raw)


def document_wrapped(random: Random, _: datetime, mutant: Mutant) -> None:
    value = mutant.value or b""
    mutant.value = random.choice(
        (b"[" + value + b"]", value + value, json.dumps(value.decode(errors="replace")).encode(), b"null")
    )


# Headers and envelopes.


def header_replaced(random: Random, _: datetime, mutant: Mutant) -> None:
    at = random.randrange(len(mutant.headers))
    mutant.headers[at] = mutant.headers[at][0], random.choice(HEADER_VALUES)


def header_twice(random: Random, _: datetime, mutant: Mutant) -> None:
    name, value = random.choice(mutant.headers)
    mutant.headers.append((name, value if random.random() < 0.5 else random.choice(HEADER_VALUES)))


def header_removed(random: Random, _: datetime, mutant: Mutant) -> None:
    if len(mutant.headers) > 1:
        del mutant.headers[random.randrange(len(mutant.headers))]


def header_added(random: Random, _: datetime, mutant: Mutant) -> None:
    mutant.headers.insert(0, (random.choice(HEADER_NAMES), random.choice(HEADER_VALUES)))


def headers_gone(_: Random, __: datetime, mutant: Mutant) -> None:
    # One stays, so that the mutations of headers find something.
    mutant.headers = [("traceparent", b"00-" + b"0" * 32 + b"-0000000000000000-00")]


def in_an_envelope(random: Random, _: datetime, mutant: Mutant) -> None:
    mutant.headers = [("content-type", random.choice(_CONTENT_TYPES)), *mutant.headers[1:]]
    mutant.value = _enveloped(mutant)


def in_a_broken_envelope(random: Random, now: datetime, mutant: Mutant) -> None:
    in_an_envelope(random, now, mutant)
    random.choice((field_at_an_edge, field_of_any_type, field_removed, field_renamed, field_twice))(random, now, mutant)


def in_two_envelopes(random: Random, now: datetime, mutant: Mutant) -> None:
    in_an_envelope(random, now, mutant)
    mutant.value = _enveloped(mutant)


_CONTENT_TYPES = (b"application/cloudevents+json", b"application/cloudevents+json; charset=utf-8")


def _enveloped(mutant: Mutant) -> bytes:
    name = f"{EVENT_TYPES[mutant.event_class].name}.v1".encode()
    head = b'{"specversion":"1.0","id":"1","source":"/fuzz","type":"' + name + b'","data":'
    return head + (mutant.value or b"null") + b"}"


# Bytes.


def _torn(change: Callable[[Random, bytearray], None]) -> Callable[[Random, datetime, Mutant], None]:
    """A mutation of the record out of one of its bytes."""

    def mutation(random: Random, _: datetime, mutant: Mutant) -> None:
        value = bytearray(mutant.value or b"")
        if value:
            change(random, value)
            mutant.value = bytes(value)

    mutation.__name__ = change.__name__
    return mutation


@_torn
def bits_flipped(random: Random, value: bytearray) -> None:
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        value[random.randrange(len(value))] ^= 1 << random.randrange(8)


@_torn
def character_replaced(random: Random, value: bytearray) -> None:
    value[random.randrange(len(value))] = random.choice(b'0123456789abcxyz -+.eE"{}[]:,\\/_')


@_torn
def digit_replaced(random: Random, value: bytearray) -> None:
    digits = [at for at, byte in enumerate(value) if 48 <= byte < 58]
    if digits:
        value[random.choice(digits)] = random.choice(b"0123456789")


@_torn
def cut_off(random: Random, value: bytearray) -> None:
    del value[random.randrange(len(value)) :]


@_torn
def slice_removed(random: Random, value: bytearray) -> None:
    begin = random.randrange(len(value))
    del value[begin : begin + random.randrange(1, 20)]


@_torn
def slice_twice(random: Random, value: bytearray) -> None:
    begin = random.randrange(len(value))
    value[begin:begin] = value[begin : begin + random.randrange(1, 200)]


@_torn
def bytes_inserted(random: Random, value: bytearray) -> None:
    at = random.randrange(len(value) + 1)
    value[at:at] = random.choice(
        (b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", random.randbytes(random.randrange(9)))
    )


@_torn
def white_space_around(random: Random, value: bytearray) -> None:
    value[:] = random.choice((b" ", b"\r\n", b"\t\t")) + value + random.choice((b" ", b"\n", b"\x0b", b"\x00"))


@_torn
def byte_order_mark(random: Random, value: bytearray) -> None:
    value[:] = random.choice(
        (b"\xef\xbb\xbf" + value, value.decode(errors="replace").encode("utf-16"), b"\x00\x00\x00\x00\x01" + value)
    )


@_torn
def emptied(random: Random, value: bytearray) -> None:
    value[:] = random.choice((b"", b" ", b"\x00", b"0", b"{}", b"[]", b"null", b'""', b"{", b"[" * 20_000))


# What Kafka adds.


def without_key(_: Random, __: datetime, mutant: Mutant) -> None:
    mutant.key = None


def key_of_another(random: Random, _: datetime, mutant: Mutant) -> None:
    mutant.key = random.choice((b"", b"\x00", b"\xff" * 300, b"gonka1somebody"))


def tombstone(random: Random, _: datetime, mutant: Mutant) -> None:
    mutant.value = None
    if random.random() < 0.5:
        mutant.key = None


def timestamp_odd(random: Random, _: datetime, mutant: Mutant) -> None:
    mutant.timestamp = random.choice(TIMESTAMPS)


_FAMILIES: tuple[tuple[Callable[[Random, datetime, Mutant], None], ...], ...] = (
    (
        *((field_at_an_edge,) * 8),
        *((field_of_any_type, field_removed, field_renamed, field_twice, field_unknown, field_added) * 2),
        *(fields_shuffled, values_exchanged, document_wrapped),
    ),
    (
        *(header_replaced, header_twice, header_removed, header_added, headers_gone),
        *(in_an_envelope, in_a_broken_envelope, in_two_envelopes),
    ),
    (
        *(bits_flipped, character_replaced, digit_replaced, cut_off, slice_removed, slice_twice, bytes_inserted),
        *(white_space_around, byte_order_mark, emptied),
    ),
    (without_key, key_of_another, tombstone, timestamp_odd),
)
