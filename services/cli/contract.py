"""`minegnk contract`: the published contract, written out from the event types."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import asyncapi
from services.cli.topics import kept
from services.kernel.errors import ConfigurationError
from services.kernel.events import REFRESH_TOPIC, Event
from services.kernel.schemas import LIMITS, described_fields, required_fields, schema_of
from services.kernel.topics import TOPICS
from services.kernel.wire import EVENT_TYPES

GUIDE = Path("docs/events.md")
_GENERATED = re.compile(r"(<!-- minegnk contract: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def contract(
        directory: Annotated[Path, typer.Argument(help="The repository's folder.")] = Path(),
    ) -> None:
        """Write the JSON Schemas, the AsyncAPI document and the tables of docs/events.md from the event types."""
        try:
            guide = (directory / GUIDE).read_text()
        except FileNotFoundError:
            raise ConfigurationError(f"{directory / GUIDE} is not there: name the repository's folder.") from None
        for name, content in {**documents(), str(GUIDE): with_tables(guide)}.items():
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
            typer.echo(path)


def documents() -> dict[str, str]:
    """The documents of the contract: each file's name and what stands in it."""
    schemas = {f"contract/{name.versioned}.schema.json": schema_of(event) for event, name in EVENT_TYPES.items()}
    return {
        name: _json(content) for name, content in {**schemas, "contract/asyncapi.json": asyncapi.document()}.items()
    }


def with_tables(guide: str) -> str:
    """The guide with the tables that stand between its marks written anew."""
    tables = {"topics": _topics, "fields": _fields, "limits": _limits}

    def renewed(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        return "\n".join([begin, *tables[name](), "", end])

    return _GENERATED.sub(renewed, guide)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _limits() -> Iterator[str]:
    return (f"- {limit}" for limit in LIMITS)


def _topics() -> Iterator[str]:
    yield "| topic | event | CloudEvents `type` | key | partitions | kept |"
    yield "|---|---|---|---|---|---|"
    events = {name.topic: (event, name.versioned) for event, name in EVENT_TYPES.items()}
    for topic in TOPICS:
        if topic.name not in events:
            continue
        event, ce_type = events[topic.name]
        key = "the node's identifier" if "identifier" in required_fields(event) else "the source's name"
        partitions = f"{topic.partitions}" + (", by crc32(source)" if topic.name == REFRESH_TOPIC else "")
        yield f"| `{topic.name}` | {event.__name__} | `{ce_type}` | {key} | {partitions} | {kept(topic)} |"


def _fields() -> Iterator[str]:
    for number, event in enumerate(EVENT_TYPES):
        if number:
            yield ""
        yield f"### {event.__name__}"
        yield ""
        yield from _field_table(event)


def _field_table(event: type[Event]) -> Iterator[str]:
    """A line for each field; those that every event has are bold."""
    required = required_fields(event)
    yield "| field | value | |"
    yield "|---|---|---|"
    for name, meta in described_fields(event).items():
        shown = f"**`{name}`**" if name in required else f"`{name}`"
        yield f"| {shown} | {(meta.extra or {})['value']} | {meta.description} |"
