"""`minegnk dlq`: dead letters as an operator uses them."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Annotated, NamedTuple, TypeVar

import typer
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from services.cli import letter_views as views
from services.cli.letter_filter import (
    OffsetOption,
    PartitionOption,
    ReasonOption,
    SinceOption,
    TopicOption,
    UntilOption,
    Wanted,
    letters_topic,
    wanted_by,
)
from services.cli.snapshot import TopicReader
from services.kernel.errors import InvalidRecordError, UserError
from services.kernel.events import Event
from services.kernel.kafka import unavailable
from services.kernel.letters import (
    Letter,
    Place,
    Returned,
    State,
    mark_letters,
    originals,
    read_letters,
    return_letters,
)
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import KafkaSettings, load
from services.kernel.topics import dead_letter_topic
from services.kernel.wire import EVENT_TYPES, Headers, decoder_for

_TABLE_ROWS = 100

dlq_app = typer.Typer(
    name="dlq",
    no_args_is_help=True,
    help="Dead letters: records that could not be applied, and why.",
)

_AllLetters = Annotated[
    bool, typer.Option("--all-letters", "--yes", help="Without a filter: every open letter, and no question asked.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(dlq_app)


T = TypeVar("T")


def _run(kafka: KafkaSettings, work: Coroutine[None, None, T]) -> T:
    """Run to the end; Kafka's errors become sentences."""

    async def told() -> T:
        try:
            return await work
        except KafkaError as error:
            raise await unavailable(kafka, error) from None

    return asyncio.run(told())


async def _find(kafka: KafkaSettings, wanted: Wanted) -> list[Letter]:
    """The letters, done ones too, the newest last."""
    spans: dict[TopicPartition, tuple[int, int]] = {}
    async with TopicReader(kafka) as reader:
        for topic in wanted.topics:
            spans |= await reader.span(dead_letter_topic(topic))
    return [letter for letter in await read_letters(kafka, spans) if wanted.includes(letter)]


def _open(kafka: KafkaSettings, wanted: Wanted) -> list[Letter]:
    """The open letters, the newest last; where there is none, says so."""
    letters = _run(kafka, _find(kafka, wanted))
    found = [letter for letter in letters if letter.state is State.OPEN]
    if not found:
        done = f" ({views.letters_of(len(letters))} done already)" if letters else ""
        sys.stdout.write(f"No open dead letter matches{done}.\n")
    return found


def _write(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


# Looking at letters.


@dlq_app.command("list")
def list_letters(
    *,
    topic: TopicOption = None,
    reason: ReasonOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    partition: PartitionOption = None,
    offset: OffsetOption = None,
    done: Annotated[bool, typer.Option("--all", help="Those that were retried or dropped, too.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"Only the newest; {_TABLE_ROWS} in the table, else all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with value and headers.")] = False,
) -> None:
    """Show dead letters that are open, the newest last."""
    kafka = load(KafkaSettings)
    wanted = wanted_by(topic=topic, reason=reason, since=since, until=until, partition=partition, offset=offset)
    found = [each for each in _run(kafka, _find(kafka, wanted)) if done or each.state is State.OPEN]
    if not found:
        (sys.stderr if as_json else sys.stdout).write("No dead letter matches.\n")
    elif as_json:
        _run(kafka, _write_json(kafka, found[-(limit or 0) :]))
    else:
        shown = found[-(limit or _TABLE_ROWS) :]
        _write([*views.table(shown, with_state=done), views.summary(found)])
        if len(shown) < len(found):
            _write([f"Shown are the {len(shown):,} newest; --limit shows more."])


@dlq_app.command()
def show(topic: str, partition: int, offset: int) -> None:
    """Show one letter whole: the record that TOPIC had at PARTITION and OFFSET, and why it was rejected."""
    kafka = load(KafkaSettings)
    place = Place(letters_topic(topic), partition, offset)
    wanted = Wanted((place.topic,), None, None, None, partition, offset)
    _write(_run(kafka, _show(kafka, wanted)))


async def _show(kafka: KafkaSettings, wanted: Wanted) -> list[str]:
    letters = await _find(kafka, wanted)
    async with aclosing(originals(kafka, letters)) as pairs:
        async for letter, original in pairs:
            return list(views.whole(letter, original))
    (topic,) = wanted.topics
    raise UserError(
        f"There is no dead letter of {Place(topic, wanted.partition or 0, wanted.offset or 0)}: "
        "`minegnk dlq list --all` shows which there are."
    )


async def _write_json(kafka: KafkaSettings, letters: Sequence[Letter]) -> None:
    async with aclosing(originals(kafka, letters)) as pairs:
        async for letter, original in pairs:
            sys.stdout.write(json.dumps(views.as_object(letter, original)) + "\n")


# Settling letters.


@dlq_app.command()
def retry(
    *,
    topic: TopicOption = None,
    reason: ReasonOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    partition: PartitionOption = None,
    offset: OffsetOption = None,
    all_letters: _AllLetters = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many, and how many this version would reject again.")
    ] = False,
) -> None:
    """Return letters to their topics, untouched, and mark them as done; safe to repeat.

    A record that is still invalid becomes a new letter. Many of them at once hold their partition, as they would have
    at first: try --dry-run.
    """
    kafka = load(KafkaSettings)
    wanted = wanted_by(topic=topic, reason=reason, since=since, until=until, partition=partition, offset=offset)
    letters = _open(kafka, wanted)
    if not letters:
        return
    if dry_run:
        _run(kafka, _foresee(kafka, letters))
        return
    if wanted.everything and not all_letters:
        typer.confirm(f"Return all {views.letters_of(len(letters))} to their topics?", abort=True, err=True)
    returned = _run(kafka, _return(kafka, letters))
    sys.stdout.write(f"{views.letters_of(returned.count)} returned to their topics.\n")
    for letter in returned.missing:
        sys.stderr.write(f"{letter.identity}: neither its letter nor its topic has the record in a readable form.\n")
    for letter in returned.too_large:
        sys.stderr.write(f"{letter.identity}: its topic does not take a record of that size.\n")
    if lost := len(returned.missing) + len(returned.too_large):
        raise UserError(
            f"{views.letters_of(lost)} could not be returned and stay open: `minegnk dlq drop` settles them."
        )


async def _return(kafka: KafkaSettings, letters: Sequence[Letter]) -> Returned:
    # The best compression that Kafka knows: a record may have fitted into its topic only because it was compressed.
    publisher = KafkaPublisher(kafka, compression="zstd")
    try:
        await publisher.start()
        return await return_letters(kafka, publisher, letters)
    finally:
        await publisher.stop()


class _Now(NamedTuple):
    """A record as if the broker appended it now."""

    value: bytes | None
    headers: Headers
    timestamp: int


async def _foresee(kafka: KafkaSettings, letters: Sequence[Letter]) -> None:
    """Say what a retry would do."""
    decoders: dict[str, Callable[[_Now], Event]] = {
        event_type.topic: decoder_for(event_class) for event_class, event_type in EVENT_TYPES.items()
    }
    missing = 0
    rejected: Counter[str] = Counter()
    async with aclosing(originals(kafka, letters)) as pairs:
        async for _, original in pairs:
            if original is None:
                missing += 1
                continue
            try:
                decoders[original.topic](_Now(original.value, original.headers, int(time.time() * 1000)))
            except InvalidRecordError as error:
                rejected[error.reason] += 1
    sentence = f"{views.letters_of(len(letters) - missing)} would be returned to their topics"
    if rejected:
        sentence += f", and of these {rejected.total():,} rejected again ({views.by_reason(rejected)})"
    if missing:
        sentence += f"; {missing:,} cannot be returned, since their record is gone or cannot be read"
    sys.stdout.write(f"{sentence}.\n")


@dlq_app.command()
def drop(
    *,
    topic: TopicOption = None,
    reason: ReasonOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    partition: PartitionOption = None,
    offset: OffsetOption = None,
    all_letters: _AllLetters = False,
) -> None:
    """Mark letters as done without returning them; `minegnk dlq list --all` shows them until they expire."""
    kafka = load(KafkaSettings)
    wanted = wanted_by(topic=topic, reason=reason, since=since, until=until, partition=partition, offset=offset)
    letters = _open(kafka, wanted)
    if not letters:
        return
    if wanted.everything and not all_letters:
        typer.confirm(f"Drop all {views.letters_of(len(letters))}?", abort=True, err=True)
    _run(kafka, _drop(kafka, letters))
    sys.stdout.write(f"{views.letters_of(len(letters))} dropped.\n")


async def _drop(kafka: KafkaSettings, letters: Sequence[Letter]) -> None:
    publisher = KafkaPublisher(kafka)
    try:
        await publisher.start()
        await mark_letters(publisher, letters, State.DROPPED)
    finally:
        await publisher.stop()
