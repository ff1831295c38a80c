"""`minegnk replay`: apply a range of a topic again."""

import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import asyncpg
import typer
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from rich.console import Console

from services.cli.letter_views import by_reason
from services.cli.progress import ProgressDisplay
from services.cli.replaying import KINDS, Kind, Replay, Tally
from services.cli.snapshot import TopicReader
from services.cli.terminal import until_told_to_stop
from services.cli.times import moment
from services.cli.topic_names import topic_named
from services.cli.topic_range import TimeRange, find_range, range_consumer
from services.kernel import database
from services.kernel.database import Database
from services.kernel.errors import ConfigurationError, UserError
from services.kernel.kafka import unavailable
from services.kernel.settings import ConsumerSettings, DatabaseSettings, KafkaSettings, load
from services.kernel.spans import Spans

_REFUSED_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def replay(
        *,
        topic: Annotated[str, typer.Option(help="readings, earnings, sources, or the topic's full name.")],
        since: Annotated[
            str | None,
            typer.Option(
                "--from",
                help="Records appended then or later: 2026-03-01T12:00:00Z, or how long ago: 2h, 3d. "
                "Without it, from the topic's beginning.",
            ),
        ] = None,
        until: Annotated[
            str | None,
            typer.Option("--to", help="Records appended before then; written like --from. Without it, all up to now."),
        ] = None,
        partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only decode and count; uses no database.")] = False,
    ) -> None:
        """Apply a range of a topic to the database again, beside running workers, without touching their offsets.

        Every write is a merge: what is applied already stays as it is, and a replay may be repeated. To fill empty
        tables, replay sources first, since their preferences decide which reading wins. Exit code 1 when the database
        refused a record.
        """
        kind = KINDS[topic_named(topic, f"No topic {topic!r} can be replayed")]
        now = datetime.now(UTC)
        begin, end = (None if text is None else moment(text, now) for text in (since, until))
        if begin is not None and end is not None and begin >= end:
            raise ConfigurationError(f"--from ({_iso(begin)}) must be before --to ({_iso(end)}).")
        asked = _Asked(kind, begin, end, partition)
        tables = None if dry_run else load(DatabaseSettings)
        until_told_to_stop(_replay(asked, load(KafkaSettings), load(ConsumerSettings), tables))


class _Asked(NamedTuple):
    """Which records: times and partition are None where nothing was said of them."""

    kind: Kind
    since: datetime | None
    until: datetime | None
    partition: int | None

    def __str__(self) -> str:
        begin = "from its beginning" if self.since is None else f"from {_iso(self.since)}"
        place = "" if self.partition is None else f" in partition {self.partition}"
        return f"{self.kind.topic} {begin}" + (" on" if self.until is None else f" to {_iso(self.until)}") + place


async def _replay(
    asked: _Asked, kafka: KafkaSettings, settings: ConsumerSettings, database_settings: DatabaseSettings | None
) -> None:
    kind = asked.kind
    async with _consumer(kafka) as consumer:
        try:
            held = await _held(kafka, kind.topic, asked.partition)
            found = await find_range(consumer, held, asked.since, asked.until)
        except KafkaError as error:
            raise await unavailable(kafka, error) from None
        for sentence in shortened(found, len(held)):
            sys.stderr.write(f"{sentence}\n")
        if not found.spans:
            sys.stdout.write(f"Nothing to replay: there is no record of {asked}.\n")
            return
        async with _tables(kind, database_settings) as tables:
            work = Replay(kind, found, settings, tables)
            begun = time.monotonic()
            with _saying_how_far(work), ProgressDisplay(work.total, Console(stderr=True)) as display:
                await work.run(consumer, display.show)
            sys.stdout.write(summary(work.tally, time.monotonic() - begun, applied=tables is not None) + "\n")
    if refused := work.tally.refused:
        sys.stderr.write("".join(f"{place}\n" for place in refused[:_REFUSED_SHOWN]))
        raise UserError(
            f"The database refused {_records(len(refused))}; all others are applied. "
            "Mend what it says, then replay again."
        )


@asynccontextmanager
async def _consumer(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = range_consumer(kafka)
    try:
        try:
            await consumer.start()
        except KafkaError as error:
            raise await unavailable(kafka, error) from None
        yield consumer
    finally:
        await consumer.stop()


async def _held(kafka: KafkaSettings, topic: str, partition: int | None) -> Spans:
    """What the topic holds now, or one partition of it. Raises KafkaError, ConfigurationError."""
    async with TopicReader(kafka) as reader:
        held = await reader.span(topic)
    if partition is None:
        return held
    wanted = {at: span for at, span in held.items() if at.partition == partition}
    if not wanted:
        raise ConfigurationError(f"{topic} has the partitions 0 to {len(held) - 1}, and no {partition}.")
    return wanted


@asynccontextmanager
async def _tables(kind: Kind, settings: DatabaseSettings | None) -> AsyncIterator[Database | None]:
    """The database, as the topic's service uses it; what a person has to mend is said."""
    if settings is None:
        yield None
        return
    await (await database.connect(settings)).close()  # fails with a sentence; later outages are waited out
    try:
        tables = Database(settings, application="minegnk replay", role=kind.role)
        async with tables:
            yield tables
    except asyncpg.UndefinedTableError:
        raise ConfigurationError("The database has no tables yet: run `minegnk migrate`.") from None
    except asyncpg.InsufficientPrivilegeError:
        raise ConfigurationError(
            f"PostgreSQL's user {settings.username!r} may not write what {kind.topic} is applied to: "
            f"grant it the role {kind.role}, or set DB_USERNAME."
        ) from None


@contextmanager
def _saying_how_far(work: Replay) -> Iterator[None]:
    """Say where a replay stands that does not come to its end."""
    try:
        yield
    except BaseException as error:
        if work.done or not isinstance(error, Exception):
            sys.stderr.write(f"{reached(work)}\n")
        raise


# Sentences.


def summary(tally: Tally, seconds: float, *, applied: bool) -> str:
    """What became of the records, and how quickly."""
    invalid = f"{tally.invalid.total():,} invalid" + (f" ({by_reason(tally.invalid)})" if tally.invalid else "")
    if applied:
        outcome = (
            f"{tally.applied:,} applied, {tally.stale:,} stale, {tally.duplicates:,} duplicate, "
            f"{invalid}, {len(tally.refused):,} refused"
        )
    else:
        outcome = f"{tally.read - tally.invalid.total():,} valid, {invalid}; nothing was applied"
    deleted = f" {_records(tally.deleted)} expired before they were read." if tally.deleted else ""
    rate = tally.read / seconds if seconds > 0 else 0
    return f"{_records(tally.read)} read in {seconds:.1f} s ({rate:,.0f}/s): {outcome}.{deleted}"


def reached(work: Replay) -> str:
    """How far a replay got, and how to go on."""
    goes_on_at = work.goes_on_at()
    places = ", ".join(
        f"{at.partition} at offset {work.places[at].offset:,} of {end:,}" for at, (_, end) in sorted(work.spans.items())
    )
    go_on = "" if goes_on_at is None else f", whole or from there on (--from {_iso(goes_on_at)}),"
    return (
        f"Stopped after {work.done:,} of {_records(work.total)} (partitions: {places}). "
        f"What was done stays; running it again{go_on} is safe."
    )


def shortened(found: TimeRange, partitions: int) -> Iterator[str]:
    """Which part of a range was deleted before."""
    begins = [time for time in found.shortened.values() if time is not None]
    if begins:
        begin = _iso(min(begins))
        what = f"begins at {begin}" if len(begins) == 1 else f"begin at {begin} or later"
        yield f"{len(begins)} of {partitions} partitions {what} because older records were deleted."
    if emptied := len(found.shortened) - len(begins):
        what = "holds nothing because all its" if emptied == 1 else "hold nothing because all their"
        yield f"{emptied} of {partitions} partitions {what} records were deleted."


def _records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}"


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
