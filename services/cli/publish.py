"""`minegnk publish`: events from a file or standard input to Kafka."""

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple

import typer
from aiokafka.errors import KafkaError
from rich.console import Console

from services.kernel.errors import ConfigurationError, InvalidRecordError
from services.kernel.events import EarningsReport, Event, NodeReading
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import KafkaSettings, load
from services.kernel.topics import unavailable
from services.kernel.wire import EVENT_TYPES, Headers, decoder_for

_CHUNK = 1000
_EVENT_CLASSES: dict[str, type[NodeReading] | type[EarningsReport]] = {
    "readings": NodeReading,
    "earnings": EarningsReport,
}


class _Line(NamedTuple):
    """A line, as decoding sees a record that the broker appended now."""

    value: bytes
    timestamp: int
    headers: Headers = ()


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def publish(
        kind: Annotated[str, typer.Argument(help="readings or earnings")],
        file: Annotated[
            Path | None, typer.Argument(help="JSON lines, an event a line; standard input when left out")
        ] = None,
    ) -> None:
        """Publish events, one JSON object a line; invalid lines are named and skipped (exit code 1)."""
        if kind not in _EVENT_CLASSES:
            raise ConfigurationError(f"Events are 'readings' or 'earnings', not {kind!r}.")
        kafka = load(KafkaSettings)
        try:
            with sys.stdin.buffer if file is None else file.open("rb") as lines:
                published, invalid = asyncio.run(_publish(kafka, _EVENT_CLASSES[kind], lines))
        except OSError as error:
            if isinstance(error, KafkaError):
                raise
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from None
        Console().print(f"{published} published to {EVENT_TYPES[_EVENT_CLASSES[kind]].topic}, {invalid} invalid")
        if invalid:
            raise typer.Exit(1)


async def _publish(
    kafka: KafkaSettings, event_class: type[NodeReading] | type[EarningsReport], lines: BinaryIO
) -> tuple[int, int]:
    """Publish the valid lines; returns how many were published and how many were invalid."""
    published = invalid = 0
    publisher = KafkaPublisher(kafka)
    try:
        await publisher.start()
        events = _events(event_class, lines)
        while chunk := list(islice(events, _CHUNK)):
            valid = [event for event in chunk if not isinstance(event, str)]
            for problem in chunk:
                if isinstance(problem, str):
                    sys.stderr.write(problem + "\n")
            await publisher.publish(valid)
            published += len(valid)
            invalid += len(chunk) - len(valid)
    except KafkaError as error:
        raise unavailable(kafka, error) from None
    finally:
        await publisher.stop()
    return published, invalid


def _events(event_class: type[NodeReading] | type[EarningsReport], lines: BinaryIO) -> Iterator[Event | str]:
    """Each line's event, or the sentence that says what is wrong with it."""
    decode = decoder_for(event_class)
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield decode(_Line(line, int(time.time() * 1000)))
            except InvalidRecordError as error:
                yield f"line {number}: {error}"
