"""What is checked in is what the event types say, and valid for those who did not write it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from typer.testing import CliRunner

from services.cli.contract import GUIDE, documents, with_tables
from services.cli.main import create_app
from services.kernel.events import Event
from services.kernel.schemas import EXAMPLES, described_fields, schema_of
from services.kernel.topics import TOPICS
from services.kernel.wire import EVENT_TYPES, decoder_for
from tests.contract.records import Record

REPOSITORY = Path(__file__).parents[2]
VENDOR = Path(__file__).parent / "vendor"
PUBLISHED = documents()
MODES = {"alone", "binary", "structured"}


def asyncapi() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((REPOSITORY / "contract/asyncapi.json").read_text())
    return document


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_checked_in_document_is_what_the_event_types_say(name: str) -> None:
    assert (REPOSITORY / name).read_text() == PUBLISHED[name], "run make contract"


def test_nothing_else_is_published() -> None:
    assert {f"contract/{path.name}" for path in (REPOSITORY / "contract").iterdir()} == set(PUBLISHED)


def test_the_tables_of_the_guide_are_what_the_event_types_say() -> None:
    guide = (REPOSITORY / GUIDE).read_text()
    assert with_tables(guide) == guide, "run make contract"
    for event_class in EVENT_TYPES:
        for field in described_fields(event_class):
            assert f"`{field}`" in guide


def test_the_command_writes_what_is_missing_or_old(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / GUIDE).write_text("<!-- minegnk contract: topics -->\nold\n<!-- end -->\nkept\n")
    outcome = CliRunner().invoke(create_app(), ["contract", str(tmp_path)])
    assert outcome.exit_code == 0
    assert {name: (tmp_path / name).read_text() for name in PUBLISHED} == PUBLISHED
    guide = (tmp_path / GUIDE).read_text()
    assert "old" not in guide
    assert "node.readings.v1" in guide
    assert guide.endswith("<!-- end -->\nkept\n")


@pytest.mark.parametrize("event_class", EVENT_TYPES)
def test_a_schema_is_one_by_the_standards_own_schema(event_class: type[Event]) -> None:
    schema = schema_of(event_class)
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(EXAMPLES[event_class])


@pytest.mark.parametrize("event_class", EVENT_TYPES)
def test_a_schema_says_of_every_field_what_it_is(event_class: type[Event]) -> None:
    properties = schema_of(event_class)["properties"]
    assert list(properties) == list(event_class.__struct_fields__)
    assert all(schema["description"].endswith(".") for schema in properties.values())


def test_the_asyncapi_document_is_one_by_its_own_schema() -> None:
    schema = json.loads((VENDOR / "asyncapi/3.0.0.json").read_text())
    Draft7Validator(schema).validate(asyncapi())
    broken = asyncapi()
    broken["operations"]["receiveNodeReading"]["action"] = "write"
    assert not Draft7Validator(schema).is_valid(broken)


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()

    def references(part: Any) -> list[str]:
        if isinstance(part, list):
            return [found for each in part for found in references(each)]
        if not isinstance(part, dict):
            return []
        return [part["$ref"]] if "$ref" in part else references(list(part.values()))

    found = references(document)
    assert found
    for reference in found:
        part = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def test_the_asyncapi_document_has_every_topic_as_it_is_made() -> None:
    channels = asyncapi()["channels"]
    assert set(channels) == {topic.name for topic in TOPICS}
    for topic in TOPICS:
        kafka = channels[topic.name]["bindings"]["kafka"]
        assert kafka["partitions"] == topic.partitions
        assert timedelta(milliseconds=kafka["topicConfiguration"]["retention.ms"]) == topic.retention


@pytest.mark.parametrize("event_class", EVENT_TYPES)
def test_the_examples_of_the_messages_decode_in_every_mode(event_class: type[Event]) -> None:
    name = event_class.__name__
    components = asyncapi()["components"]
    modes = set()
    for message in (components["messages"][name], components["messages"][f"{name}CloudEvent"]):
        for example in message["examples"]:
            modes.add(example["name"])
            headers = [(header, value.encode()) for header, value in example.get("headers", {}).items()]
            event = decoder_for(event_class)(Record(json.dumps(example["payload"]).encode(), headers))
            assert event == msgspec.convert(EXAMPLES[event_class], event_class)
            if headers:
                Draft7Validator(message["headers"]).validate(example["headers"])
            whole = {"components": components, **message["payload"]}
            Draft7Validator(whole).validate(example["payload"])
    assert modes == MODES


def test_nothing_of_an_event_is_checked_by_its_annotations_alone() -> None:
    """`Meta` describes; a constraint there would refuse a value without a reason code."""
    for event_class in EVENT_TYPES:
        for meta in described_fields(event_class).values():
            assert (meta.ge, meta.gt, meta.le, meta.lt, meta.pattern, meta.max_length, meta.min_length) == (None,) * 7


def test_the_program_of_the_guide_is_the_example() -> None:
    _, _, program = (REPOSITORY / "examples/publish_reading.py").read_text().partition("\n\n")
    assert program in (REPOSITORY / GUIDE).read_text()
