"""`minegnk backfill`: past earnings, from a source or from a file."""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from aiokafka.errors import KafkaError
from rich.console import Console

from services.cli.backfill_state import Span, State
from services.cli.earnings_file import count_lines, opened, read_reports
from services.cli.epoch_backfill import EpochBackfill, silent_after, status_feed
from services.cli.letter_views import readable
from services.cli.progress import ProgressDisplay, rate
from services.cli.publish import Read, connected, hand_on
from services.cli.snapshot import TopicReader
from services.cli.terminal import until_told_to_stop
from services.ingest.sources import Source, load_sources
from services.ingest.trackers.adapters import knows_epochs
from services.kernel.errors import ConfigurationError, UserError
from services.kernel.events import EARNINGS_TOPIC, REFRESH_TOPIC, SOURCE_STATUS_TOPIC, EarningsReport, Event
from services.kernel.kafka import unavailable
from services.kernel.refresh import ask_for_epochs
from services.kernel.settings import KafkaSettings, ServiceSettings, load

_SHOWN = 20
_FROM_SOURCE = ("--from-epoch", "--to-epoch", "--state", "--again")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def backfill(
        *,
        source: Annotated[
            str | None, typer.Option(help="Ask this source of MINEGNK_SOURCES_FILE, through ingest.")
        ] = None,
        from_epoch: Annotated[int | None, typer.Option(min=0, help="The first epoch.")] = None,
        to_epoch: Annotated[int | None, typer.Option(min=0, help="The last epoch, included.")] = None,
        state: Annotated[
            Path | None,
            typer.Option(help="Remembers what is published. Default: .minegnk/backfill-SOURCE.json.", dir_okay=False),
        ] = None,
        again: Annotated[bool, typer.Option("--again", help="Also what was published before.")] = False,
        file: Annotated[
            Path | None, typer.Option(help="Earnings as CSV or JSON lines, also gzipped, instead of a source.")
        ] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file.")] = False,
    ) -> None:
        """Publish past earnings: the epochs of a source, asked for through ingest, or the rows of a file.

        Safe to interrupt, to repeat, to run twice at once and beside live polling. Exit code 1 when an epoch could not
        be published in full, or a row is invalid.
        """
        if (source is None) == (file is None):
            raise ConfigurationError("Give either --source, with --from-epoch and --to-epoch, or --file.")
        if file is not None:
            given = dict(zip(_FROM_SOURCE, (from_epoch, to_epoch, state, again or None), strict=True))
            _refuse(next((name for name, value in given.items() if value is not None), None), "--source")
            _from_file(file, dry_run=dry_run)
        elif source is not None:
            _refuse("--dry-run" if dry_run else None, "--file")
            if from_epoch is None or to_epoch is None:
                raise ConfigurationError("Give --from-epoch and --to-epoch: the first and the last epoch.")
            if from_epoch > to_epoch:
                raise ConfigurationError(f"--from-epoch {from_epoch} is after --to-epoch {to_epoch}: swap them.")
            wanted = Span(from_epoch, to_epoch)
            path = state or Path(".minegnk") / f"backfill-{source}.json"
            until_told_to_stop(_from_source(load(KafkaSettings), _source(source), wanted, path, again=again))


def _refuse(option: str | None, belongs_to: str) -> None:
    if option is not None:
        raise ConfigurationError(f"{option} goes with {belongs_to}: leave it out.")


# From a source.


def _source(name: str) -> Source:
    """The source of that name that knows epochs. Raises ConfigurationError."""
    path = load(ServiceSettings).sources_file
    sources = load_sources(path)
    found = next((source for source in sources if source.name == name), None)
    if found is None:
        raise ConfigurationError(
            f"{path} lists no source {name!r}: use one of {', '.join(source.name for source in sources)}."
        )
    if not knows_epochs(found.kind):
        others = ", ".join(source.name for source in sources if knows_epochs(source.kind))
        use = f"use {others}" if others else f"no source in {path} does; add one of kind gonka_api"
        raise ConfigurationError(f"{name} does not know what epochs paid: {use}.")
    return found


async def _from_source(kafka: KafkaSettings, source: Source, wanted: Span, path: Path, *, again: bool) -> None:
    began = time.monotonic()
    try:
        async with TopicReader(kafka) as reader:
            statuses = await reader.span(SOURCE_STATUS_TOPIC)
            partitions = len(await reader.span(REFRESH_TOPIC))
            state = State(path, source.name, await reader.cluster_id())
        if again:
            state.forget(wanted)
        work = EpochBackfill(source.name, source.poll_interval, wanted, state)
        if work.before:
            sys.stdout.write(f"{_epochs(work.before)} were published before (--again asks for them too).\n")
        if not work.total:
            return
        lookback = silent_after(source.poll_interval)
        with _saying_how_far(work), ProgressDisplay(work.total, Console(stderr=True), unit="epochs") as display:
            async with connected(kafka) as publisher, status_feed(kafka, source.name, statuses, lookback) as feed:

                async def ask(epochs: list[int]) -> None:
                    await ask_for_epochs(
                        publisher,
                        source.name,
                        epochs,
                        requested_by="minegnk backfill",
                        refresh_partitions=partitions,
                    )

                await work.run(feed, ask, display.show)
    except KafkaError as error:
        raise await unavailable(kafka, error) from None
    _tell_outcome(work, source.name, time.monotonic() - began)


@contextmanager
def _saying_how_far(work: EpochBackfill) -> Iterator[None]:
    """Say how to go on with a backfill that does not come to its end."""
    try:
        yield
    except BaseException:
        if done := len(work.asking.published):
            sys.stderr.write(f"{done:,} of {_epochs(work.total)} are published: the same command does the others.\n")
        raise


def _tell_outcome(work: EpochBackfill, source: str, seconds: float) -> None:
    published, given_up = len(work.asking.published), sorted(work.asking.given_up.items())
    sys.stdout.write(f"{_epochs(published)} of {source} published in {seconds:.1f} s ({rate(published / seconds)}).\n")
    for epoch, problem in given_up[:_SHOWN]:
        sys.stderr.write(f"epoch {epoch}: {readable(problem)}\n")
    if len(given_up) > _SHOWN:
        sys.stderr.write(f"and {len(given_up) - _SHOWN:,} more\n")
    if given_up:
        raise UserError(
            f"{_epochs(len(given_up))} of {source} could not be published in full: see to the source, "
            "then run this again."
        )


def _epochs(count: int) -> str:
    return f"{count:,} epoch{'' if count == 1 else 's'}"


# From a file.


def _from_file(file: Path, *, dry_run: bool) -> None:
    with opened(file) as content:
        lines = count_lines(content)
    if not lines:
        raise ConfigurationError(f"{file} is empty: give a file with earnings.")
    with opened(file) as content:
        tally = _Tally(read_reports(content))
        with ProgressDisplay(lines, Console(stderr=True), unit="lines") as display:
            valid, invalid = asyncio.run(
                hand_on(tally, _nowhere, display.show) if dry_run else _publish(tally, display)
            )
    outcome = "valid, nothing was published" if dry_run else f"published to {EARNINGS_TOPIC}"
    sys.stdout.write(f"{valid:,} {outcome}; {invalid:,} invalid.\n")
    if tally.not_final:
        sys.stdout.write(f"{tally.not_final:,} are not final: they stand in the ledger and make no history.\n")
    if invalid:
        raise typer.Exit(1)


class _Tally:
    """Rows on their way, and how many of them are not final."""

    def __init__(self, rows: Iterator[Read]) -> None:
        self._rows = rows
        self.not_final = 0

    def __iter__(self) -> Iterator[Read]:
        for row in self._rows:
            event = row.event
            self.not_final += isinstance(event, EarningsReport) and event.kind != "total" and not event.final
            yield row


async def _publish(rows: _Tally, display: ProgressDisplay) -> tuple[int, int]:
    async with connected(load(KafkaSettings)) as publisher:
        return await hand_on(rows, publisher.publish, display.show)


async def _nowhere(_: Sequence[Event]) -> None:
    """Publish nothing."""
