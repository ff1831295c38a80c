"""Events as records of Kafka: their encoding, and the decoder that gives every record its verdict.

Events are JSON objects, keyed by the node's identifier (readings, earnings) or the source's name (control events).
Unknown fields are ignored. CloudEvents 1.0: binary mode is emitted, binary and structured mode are accepted.
"""

import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Generic, NamedTuple, Protocol

import msgspec

from services.kernel.errors import InvalidRecordError, Reason
from services.kernel.events import (
    EARNINGS_TOPIC,
    READINGS_TOPIC,
    REFRESH_TOPIC,
    SOURCE_STATUS_TOPIC,
    E,
    EarningsReport,
    Event,
    NodeReading,
    RefreshRequest,
    SourceStatus,
)
from services.kernel.memo import Memo
from services.kernel.plain import PlainHeaders

FUTURE_TOLERANCE = timedelta(minutes=5)
"""A time further ahead of its record's own Kafka timestamp would win every merge for ever."""

Headers = Sequence[tuple[str, bytes]]


class WireRecord(Protocol):
    """What decoding needs of a Kafka record; aiokafka's ConsumerRecord has it."""

    @property
    def value(self) -> bytes | None:
        """The record's bytes; None for a tombstone."""
        ...

    @property
    def headers(self) -> Headers:
        """The record's headers, in order."""
        ...

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970 at which the broker appended the record."""
        ...


class OutgoingRecord(NamedTuple):
    """An encoded event, ready for a producer."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class EventType(NamedTuple):
    """Where an event type lives and what its CloudEvents `type` is (without the version at its end)."""

    topic: str
    name: str

    @property
    def versioned(self) -> str:
        """Its CloudEvents `type`, whole."""
        return f"{self.name}.v{EVENT_VERSION}"


EVENT_TYPES: dict[type, EventType] = {
    NodeReading: EventType(READINGS_TOPIC, "minegnk.node.reading"),
    EarningsReport: EventType(EARNINGS_TOPIC, "minegnk.node.earnings"),
    RefreshRequest: EventType(REFRESH_TOPIC, "minegnk.node.refresh"),
    SourceStatus: EventType(SOURCE_STATUS_TOPIC, "minegnk.source.status"),
}
EVENT_VERSION = 1

_PLAIN = b"application/json"
_STRUCTURED = b"application/cloudevents+json"
_OWN_HEADERS = ("ce_source", "ce_id")
"""Of each event's own value; nothing in them is looked at."""

_PROCESS = uuid.uuid4().hex.encode()
_events = itertools.count(1)
"""Ids of events: the process's own, and a number. A random id for each would take longer than its JSON."""

encode_json = msgspec.json.Encoder(decimal_format="string").encode
"""JSON as every event has it: exact numbers as strings."""


def _same_headers(event_type: EventType) -> list[tuple[str, bytes]]:
    return [("content-type", _PLAIN), ("ce_specversion", b"1.0"), ("ce_type", event_type.versioned.encode())]


def encode(event: Event) -> OutgoingRecord:
    """The event as a Kafka record in CloudEvents binary mode."""
    event_type = EVENT_TYPES[type(event)]
    identifier = getattr(event, "identifier", None)
    own = (f"/minegnk/{event.source}".encode(), b"%b-%d" % (_PROCESS, next(_events)))
    headers = [*_same_headers(event_type), *zip(_OWN_HEADERS, own, strict=True)]
    return OutgoingRecord(event_type.topic, (identifier or event.source).encode(), encode_json(event), headers)


class PlainDecoder(NamedTuple, Generic[E]):
    """Decodes values that came with the headers of `encode`, or with none: many at a time."""

    headers: PlainHeaders
    decode: Callable[[Sequence[bytes], int], list[E] | None]
    """The events of values that were all appended at this time (milliseconds since 1970).

    None if there is none of one of them; `Decoding.any` says of which, and why.
    """


class Decoding(NamedTuple, Generic[E]):
    """How the records of an event type become events."""

    any: Callable[[WireRecord], E]
    """A function as `decoder_for` gives."""
    plain: PlainDecoder[E] | None = None
    """The same verdicts, sooner."""


def decoding_of(event_class: type[E]) -> Decoding[E]:
    """How the records of this event type become events."""
    decode_json = msgspec.json.Decoder(event_class).decode
    check = _check_for(event_class)
    told_at, *more = _TIMES[event_class]
    moment_of = attrgetter(told_at)

    def decode(values: Sequence[bytes], timestamp: int) -> list[E] | None:
        latest = _latest[timestamp]
        try:
            events = list(map(decode_json, values))
            if more:
                for event in events:
                    check(event, latest)
            elif max(map(moment_of, events), default=latest) > latest:
                return None
        except (InvalidRecordError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return events

    headers = PlainHeaders(_same_headers(EVENT_TYPES[event_class]), _OWN_HEADERS)
    return Decoding(decoder_for(event_class), PlainDecoder(headers, decode))


def decoder_for(event_class: type[E]) -> Callable[[WireRecord], E]:
    """A function that turns a Kafka record into an event of this class or raises InvalidRecordError.

    The verdict belongs to the record, not to the moment: "in the future" is judged by the broker's timestamp.
    """
    event_type = EVENT_TYPES[event_class]
    decode_json = msgspec.json.Decoder(event_class).decode
    check = _check_for(event_class)

    def decode(record: WireRecord) -> E:
        value: bytes | msgspec.Raw | None = record.value
        if value is None:
            raise InvalidRecordError(Reason.TOMBSTONE, "the record has no value")
        try:
            if record.headers:
                value = _payload(event_type, value, dict(record.headers))
            event = decode_json(value)
        except msgspec.ValidationError as error:
            raise InvalidRecordError(Reason.INVALID_FIELD, str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRecordError(Reason.UNDECODABLE, str(error)) from None
        check(event, _latest[record.timestamp])
        return event

    return decode


def _check_for(event_class: type[E]) -> Callable[[E, datetime], None]:
    """A function that raises InvalidRecordError for an event that tells of a later time than this."""
    times = [(field, attrgetter(field)) for field in _TIMES[event_class]]
    dated = event_class is EarningsReport

    def check(event: E, latest: datetime) -> None:
        for field, moment_of in times:
            if (moment := moment_of(event)) is not None and moment > latest:
                detail = f"{field} {moment.isoformat()} is ahead of the record's time"
                raise InvalidRecordError(Reason.IN_THE_FUTURE, detail)
        if dated:
            _check_period(event, latest)

    return check


def _check_period(event: Event, latest: datetime) -> None:
    if not isinstance(event, EarningsReport) or event.kind == "epoch":
        return
    if datetime.fromisoformat(f"{event.period}T00:00:00+00:00") > latest:
        raise InvalidRecordError(Reason.IN_THE_FUTURE, f"period {event.period} is ahead of the record's time")


def _latest_of(timestamp: int) -> datetime:
    """The latest time that a record with this timestamp (milliseconds since 1970) may tell of."""
    try:
        return _EPOCH + timedelta(milliseconds=timestamp) + FUTURE_TOLERANCE
    except OverflowError:
        return _LAST if timestamp > 0 else _FIRST


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_latest = Memo(_latest_of, 10_000)
_TIMES: dict[type, tuple[str, ...]] = {
    NodeReading: ("observed_at",),
    EarningsReport: ("observed_at", "settled_at"),
    RefreshRequest: ("requested_at",),
    SourceStatus: ("reported_at", "last_attempt_at", "last_success_at", "last_error_at", "data_at"),
}


class _Envelope(msgspec.Struct):
    """A structured-mode CloudEvent."""

    specversion: str
    type: str
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data_base64: bytes | msgspec.UnsetType = msgspec.UNSET


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def _payload(event_type: EventType, value: bytes, headers: Mapping[str, bytes | None]) -> bytes | msgspec.Raw:
    """The event's JSON, out of its CloudEvents envelope where there is one; unknown versions are refused."""
    data: bytes | msgspec.Raw = value
    specversion, ce_type = headers.get("ce_specversion"), headers.get("ce_type")
    content_type = headers.get("content-type")
    if content_type and content_type != _PLAIN and content_type.lower().startswith(_STRUCTURED):
        envelope = _decode_envelope(value)
        specversion, ce_type = envelope.specversion.encode(), envelope.type.encode()
        if envelope.data is not msgspec.UNSET:
            data = envelope.data
        elif envelope.data_base64 is not msgspec.UNSET:
            data = envelope.data_base64
        else:
            raise InvalidRecordError(Reason.INVALID_FIELD, "the envelope has no data")
    if specversion is not None and specversion != b"1.0":
        raise InvalidRecordError(Reason.UNSUPPORTED_VERSION, f"CloudEvents specversion {specversion[:40]!r}")
    if ce_type is not None and ce_type != event_type.versioned.encode():
        raise InvalidRecordError(Reason.UNSUPPORTED_VERSION, f"event type {ce_type[:80]!r}, not {event_type.versioned}")
    return data
