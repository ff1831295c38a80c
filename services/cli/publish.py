"""`minegnk publish`: events from a file or standard input to Kafka."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from aiokafka.errors import KafkaError
from rich.console import Console

from services.cli.following import grown_lines
from services.cli.letter_views import readable
from services.kernel.backoff import pauses
from services.kernel.errors import ConfigurationError, InvalidRecordError
from services.kernel.events import E, EarningsReport, Event, NodeReading
from services.kernel.judging import judge_of
from services.kernel.kafka import unavailable
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import ConsumerSettings, KafkaSettings, load
from services.kernel.wire import EVENT_TYPES

_CHUNK = 1000
_EVENT_CLASSES: dict[str, type[NodeReading] | type[EarningsReport]] = {
    "readings": NodeReading,
    "earnings": EarningsReport,
}


class Read(NamedTuple):
    """What a file holds at a line: an event, or what is wrong with it."""

    line: int
    event: Event | InvalidRecordError


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def publish(
        kind: Annotated[str, typer.Argument(help="readings or earnings")],
        file: Annotated[
            Path | None, typer.Argument(help="JSON lines, an event a line; standard input when left out")
        ] = None,
        follow: Annotated[
            bool, typer.Option(help="Go on as the file grows (until Ctrl-C), or each time a line comes through a pipe.")
        ] = False,
    ) -> None:
        """Publish events, one JSON object a line; invalid lines are named and skipped (exit code 1)."""
        if kind not in _EVENT_CLASSES:
            raise ConfigurationError(f"Events are 'readings' or 'earnings', not {kind!r}.")
        event_class = _EVENT_CLASSES[kind]
        try:
            work = _follow if follow else _publish
            valid, invalid = asyncio.run(work(load(KafkaSettings), event_class, file))
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from None
        Console().print(f"{valid} published to {EVENT_TYPES[event_class].topic}, {invalid} invalid")
        if invalid:
            raise typer.Exit(1)


async def _publish(kafka: KafkaSettings, event_class: type[Event], path: Path | None) -> tuple[int, int]:
    with sys.stdin.buffer if path is None else path.open("rb") as lines:
        async with connected(kafka) as publisher:
            return await hand_on(read_lines(event_class, lines), publisher.publish)


async def _follow(kafka: KafkaSettings, event_class: type[Event], path: Path | None) -> tuple[int, int]:
    """Publish what comes as it comes, until Ctrl-C or the end; while Kafka is away, wait for it."""
    valid = invalid = 0
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    judge = judge_of(event_class)
    async with connected(kafka) as publisher, aclosing(grown_lines(path)) as grown:

        async def go_on() -> None:
            nonlocal valid, invalid
            async for lines in grown:
                found = [Read(number, judge(line, ())) for number, line in lines if line.strip()]
                good, bad = await hand_on(found, partial(_patiently, publisher))
                valid, invalid = valid + good, invalid + bad

        work, stop = asyncio.create_task(go_on()), asyncio.create_task(stopped.wait())
        await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if work.done():
            work.result()
        else:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
    return valid, invalid


async def _patiently(publisher: KafkaPublisher, events: list[Event]) -> None:
    """Publish them, again and again while Kafka is away: those that it has already will not count twice."""
    for pause in pauses(load(ConsumerSettings)):
        try:
            await publisher.publish(events)
            return
        except KafkaError as error:
            sys.stderr.write(f"Kafka is away ({type(error).__name__}): {len(events)} events wait for it.\n")
            await asyncio.sleep(pause)


@asynccontextmanager
async def connected(kafka: KafkaSettings) -> AsyncIterator[KafkaPublisher]:
    """A publisher for the length of the block. Kafka's errors become UnavailableError."""
    publisher = KafkaPublisher(kafka)
    try:
        await publisher.start()
        yield publisher
    except KafkaError as error:
        raise await unavailable(kafka, error) from None
    finally:
        await publisher.stop()


async def hand_on(
    found: Iterable[Read],
    publish: Callable[[list[Event]], Awaitable[None]],
    show: Callable[[int], None] = lambda _: None,
) -> tuple[int, int]:
    """Hand on the valid events, a thousand at a time, and name the invalid lines on standard error.

    `show` is told the line that is reached. Returns how many events were valid and how many were not.
    """
    valid = invalid = 0
    rest = iter(found)
    while chunk := list(islice(rest, _CHUNK)):
        events: list[Event] = []
        for line, event in chunk:
            if isinstance(event, InvalidRecordError):
                sys.stderr.write(f"line {line}: {readable(str(event))}\n")
            else:
                events.append(event)
        await publish(events)
        valid += len(events)
        invalid += len(chunk) - len(events)
        show(chunk[-1].line)
    return valid, invalid


def read_lines(event_class: type[E], lines: Iterable[bytes]) -> Iterator[Read]:
    """The event of each line that is not empty, or why it has none."""
    judge = judge_of(event_class)
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield Read(number, judge(line, ()))
