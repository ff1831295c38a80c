"""The other side is the CloudEvents project's own package: what it writes is read here, and the other way round."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import (
    KafkaMessage,
    from_binary_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent

from services.kernel.errors import InvalidRecordError, Reason
from services.kernel.events import Event, NodeReading
from services.kernel.schemas import EXAMPLES
from services.kernel.wire import EVENT_TYPES, decoder_for, encode
from tests.contract.records import Record

WRITERS = {"binary": to_binary_event, "structured": to_structured_event}

every_event = pytest.mark.parametrize("event_class", EVENT_TYPES)
every_mode = pytest.mark.parametrize("mode", WRITERS)


def cloud_event(event_class: type[Event], data: dict[str, Any] | bytes | None, **attributes: Any) -> CloudEvent:
    example = EXAMPLES[event_class]
    return CloudEvent(
        {
            "type": EVENT_TYPES[event_class].versioned,
            "source": "https://tracker.example/nodes",
            "id": "a1",
            "specversion": "1.0",
            "time": datetime(2026, 3, 1, tzinfo=UTC),
            "datacontenttype": "application/json",
            "partitionkey": example.get("identifier", example["source"]),
            **attributes,
        },
        data,
    )


def record_of(message: KafkaMessage) -> Record:
    return Record(message.value, list(message.headers.items()))


def example_of(event_class: type[Event]) -> Event:
    return decoder_for(event_class)(Record(json.dumps(EXAMPLES[event_class]).encode()))


@every_event
@every_mode
def test_what_the_package_writes_is_read_here(event_class: type[Event], mode: str) -> None:
    message = WRITERS[mode](cloud_event(event_class, EXAMPLES[event_class]))
    event = decoder_for(event_class)(record_of(message))
    assert event == example_of(event_class)
    key = message.key.encode() if isinstance(message.key, str) else message.key
    assert key == encode(event).key


@every_event
def test_what_is_written_here_is_read_by_the_package(event_class: type[Event]) -> None:
    event = example_of(event_class)
    record = encode(event)
    assert record.value is not None
    read = from_binary_event(KafkaMessage(dict(record.headers), record.key, record.value))
    assert read.get_specversion() == "1.0"
    assert read.get_type() == EVENT_TYPES[event_class].versioned
    assert read.get_source() == f"/minegnk/{event.source}"
    assert read.get_datacontenttype() == "application/json"
    assert read.get_id()
    assert read.get_extension("partitionkey") == (record.key or b"").decode()
    assert decoder_for(event_class)(Record(json.dumps(read.get_data()).encode())) == event


def test_two_events_have_two_ids() -> None:
    event = example_of(NodeReading)
    assert dict(encode(event).headers)["ce_id"] != dict(encode(event).headers)["ce_id"]


@every_event
def test_bytes_in_an_envelope_are_read_here(event_class: type[Event]) -> None:
    """The package writes bytes that it does not know for JSON as data_base64."""
    data = json.dumps(EXAMPLES[event_class]).encode()
    message = to_structured_event(cloud_event(event_class, data, datacontenttype="application/octet-stream"))
    assert b"data_base64" in message.value
    assert decoder_for(event_class)(record_of(message)) == example_of(event_class)


@every_mode
def test_a_type_of_another_topic_is_refused(mode: str) -> None:
    message = WRITERS[mode](cloud_event(NodeReading, EXAMPLES[NodeReading], type="minegnk.node.earnings.v1"))
    with pytest.raises(InvalidRecordError) as caught:
        decoder_for(NodeReading)(record_of(message))
    assert caught.value.reason is Reason.UNSUPPORTED_VERSION


def test_an_envelope_without_data_is_refused() -> None:
    message = to_structured_event(cloud_event(NodeReading, None))
    with pytest.raises(InvalidRecordError) as caught:
        decoder_for(NodeReading)(record_of(message))
    assert caught.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize("content_type", ["application/CloudEvents+JSON", "application/cloudevents+json;charset=UTF-8"])
def test_a_media_type_is_known_in_any_case_and_with_parameters(content_type: str) -> None:
    message = to_structured_event(cloud_event(NodeReading, EXAMPLES[NodeReading]))
    record = Record(message.value, [("content-type", content_type.encode())])
    assert decoder_for(NodeReading)(record) == example_of(NodeReading)
