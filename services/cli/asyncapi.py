"""The AsyncAPI 3 document: the topics, who reads them, and what may stand in them."""

from typing import Any

from services.cli.snapshot import GROUPS
from services.kernel.dead_letters import PREFIX
from services.kernel.errors import Reason
from services.kernel.events import REFRESH_TOPIC, Event, RefreshRequest
from services.kernel.schemas import EXAMPLES, schema_of
from services.kernel.topics import DATA_TOPICS, TOPICS, Topic, dead_letter_topic
from services.kernel.wire import EVENT_TYPES, EVENT_VERSION

Document = dict[str, Any]

_BINDING = "0.5.0"
_DESCRIPTION = """\
What the services of MineGNK read from Kafka, and what they write there. Whoever may write to a topic can be a producer.

A record's value is the event as a JSON object: alone, in a CloudEvent of binary mode (attributes in the headers), or in
one of structured mode (content type application/cloudevents+json). Its key is the node's identifier or the source's
name, so that all that concerns one node stands in one partition. Unknown fields are ignored; unknown versions refused.

Repeating a record, or sending records in another order, changes nothing. A record that can never be applied goes to
`<topic>.dlq` with the reason, untouched.
"""
_ACTIONS = {
    "NodeReading": "Keep each node's newest reading.",
    "EarningsReport": "Keep the ledger, and derive each node's daily earnings from it.",
    "RefreshRequest": "Poll a source now, or publish one of its epochs again.",
    "SourceStatus": "Keep how each source does, and the preferences by which its readings are merged.",
}


def document() -> Document:
    """The whole document; it refers to nothing outside."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "MineGNK events", "version": f"{EVENT_VERSION}.0.0", "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "Wherever MINEGNK_KAFKA_BOOTSTRAP_SERVERS says.",
                "variables": {"bootstrap": {"default": "localhost:9092", "description": "A broker's host:port."}},
            }
        },
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": _operations(),
        "components": {
            "schemas": {event_class.__name__: _payload(event_class) for event_class in EVENT_TYPES},
            "messages": {
                **{name: message for event_class in EVENT_TYPES for name, message in _messages(event_class).items()},
                "DeadLetter": _dead_letter(),
            },
        },
    }


def _class_of(topic: Topic) -> type[Event] | None:
    return next((c for c, event_type in EVENT_TYPES.items() if event_type.topic == topic.name), None)


def _channel(topic: Topic) -> Document:
    event_class = _class_of(topic)
    names = ["DeadLetter"] if event_class is None else list(_messages(event_class))
    settings = topic.settings()
    return {
        "address": topic.name,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [settings["cleanup.policy"]],
                    "retention.ms": int(settings["retention.ms"]),
                    "max.message.bytes": int(settings["max.message.bytes"]),
                    "message.timestamp.type": settings["message.timestamp.type"],
                },
                "bindingVersion": _BINDING,
            }
        },
    }


def _operations() -> Document:
    """`receive`: what the services read, and others may write. `send`: what only they write."""
    found = {}
    for event_class, event_type in EVENT_TYPES.items():
        name = event_class.__name__
        found[f"receive{name}"] = _operation("receive", event_type.topic, _ACTIONS[name]) | {
            "bindings": {
                "kafka": {
                    "groupId": {"type": "string", "const": _group(event_type.topic)},
                    "bindingVersion": _BINDING,
                }
            }
        }
    for topic in DATA_TOPICS:
        event_class_of_topic = _class_of(topic)
        assert event_class_of_topic is not None, "data topics hold events"
        found[f"send{event_class_of_topic.__name__}DeadLetter"] = _operation(
            "send", dead_letter_topic(topic.name), f"Keep what can never be applied of {topic.name}."
        )
    return found


def _operation(action: str, topic: str, summary: str) -> Document:
    return {"action": action, "channel": {"$ref": f"#/channels/{topic}"}, "summary": summary}


def _group(topic: str) -> str:
    return "minegnk.ingest" if topic == REFRESH_TOPIC else GROUPS[topic]


def _payload(event_class: type[Event]) -> Document:
    """The event's schema without what only a document of its own has."""
    return {name: value for name, value in schema_of(event_class).items() if not name.startswith("$")}


def _messages(event_class: type[Event]) -> dict[str, Document]:
    """The event alone or in binary mode, and in structured mode, by name."""
    name, ce_type = event_class.__name__, EVENT_TYPES[event_class].versioned
    example = EXAMPLES[event_class]
    key = example.get("identifier", example["source"])
    of_key = "The node's identifier." if "identifier" in example else "The source's name."
    if event_class is RefreshRequest:
        of_key += " The partition is crc32(source) modulo the number of partitions: that of the source's poller."
    bindings = {
        "kafka": {"key": {"type": "string", "description": of_key, "examples": [key]}, "bindingVersion": _BINDING}
    }
    schema = {"$ref": f"#/components/schemas/{name}"}
    attributes = {"specversion": "1.0", "type": ce_type, "source": f"/producers/{example['source']}", "id": "1"}
    return {
        name: {
            "name": ce_type,
            "title": name,
            "summary": "The event, alone or as a CloudEvent in binary mode.",
            "contentType": "application/json",
            "headers": _binary_headers(ce_type),
            "payload": schema,
            "bindings": bindings,
            "examples": [
                {"name": "alone", "payload": example},
                {
                    "name": "binary",
                    "headers": {
                        "content-type": "application/json",
                        **{f"ce_{attribute}": value for attribute, value in attributes.items()},
                    },
                    "payload": example,
                },
            ],
        },
        f"{name}CloudEvent": {
            "name": f"{ce_type}.structured",
            "title": f"{name} in an envelope",
            "summary": "The event in a CloudEvent in structured mode.",
            "contentType": "application/cloudevents+json",
            "headers": {
                "type": "object",
                "required": ["content-type"],
                "properties": {
                    "content-type": {"type": "string", "pattern": "^application/cloudevents[+]json"},
                },
            },
            "payload": _envelope(ce_type, schema),
            "bindings": bindings,
            "examples": [
                {
                    "name": "structured",
                    "headers": {"content-type": "application/cloudevents+json"},
                    "payload": attributes | {"datacontenttype": "application/json", "data": example},
                }
            ],
        },
    }


def _binary_headers(ce_type: str) -> Document:
    """Headers of binary mode: none is needed, but what is there must be known."""
    return {
        "type": "object",
        "properties": {
            "content-type": {"type": "string", "description": "application/json, or left out."},
            "ce_specversion": {"const": "1.0"},
            "ce_type": {"const": ce_type},
            "ce_source": {"type": "string", "format": "uri-reference", "description": "Any; not used."},
            "ce_id": {"type": "string", "description": "Any; not used: repeats are known by the event's own fields."},
        },
    }


def _envelope(ce_type: str, data: Document) -> Document:
    return {
        "type": "object",
        "required": ["specversion", "type", "source", "id"],
        "properties": {
            "specversion": {"const": "1.0"},
            "type": {"const": ce_type},
            "source": {"type": "string", "format": "uri-reference", "minLength": 1},
            "id": {"type": "string", "minLength": 1},
            "data": data,
            "data_base64": {"type": "string", "description": "The event's bytes in Base64, in the place of data."},
        },
        "oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
    }


def _dead_letter() -> Document:
    """A record that can never be applied."""
    added = {
        "reason": {"enum": [reason.value for reason in Reason]},
        "error": {"type": "string", "description": "What is wrong, in words."},
        "topic": {"type": "string"},
        "partition": {"type": "string", "pattern": "^[0-9]+$"},
        "offset": {"type": "string", "pattern": "^[0-9]+$"},
        "timestamp": {
            "type": "string",
            "description": "Milliseconds since 1970 at which the broker appended the record.",
        },
    }
    return {
        "name": "dead-letter",
        "title": "Dead letter",
        "summary": "A record that can never be applied: key, value and headers untouched, and headers that say why.",
        "description": f"(topic, partition, offset) identifies it. `{PREFIX}value` is there if the value was left out.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "required": [PREFIX + name for name in added],
            "properties": {
                **{PREFIX + name: schema for name, schema in added.items()},
                f"{PREFIX}value": {"const": "omitted"},
            },
        },
        "payload": {"description": "The record's own bytes, whatever they are."},
    }
