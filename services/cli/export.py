"""`minegnk export earnings`: what nodes earned, for an accountant."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, Decimal, Inexact
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO, Final
from uuid import UUID

import asyncpg
import typer

from services.cli.export_formats import JsonLinesWriter, ParquetWriter, Writer
from services.cli.letter_views import readable
from services.cli.times import utc_day
from services.earnings import export
from services.earnings.export import Export
from services.kernel import database
from services.kernel.columns import Column, CsvWriter
from services.kernel.database import Connection
from services.kernel.errors import ConfigurationError, UserError
from services.kernel.settings import DatabaseSettings, load

export_app = typer.Typer(name="export", no_args_is_help=True, help="Files for accountants.")


class Format(StrEnum):
    """How rows are written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class Grain(StrEnum):
    """What one row is."""

    DAY = "day"
    PERIOD = "period"


_WRITERS: Final[dict[Format, Callable[[BinaryIO, Sequence[Column]], Writer]]] = {
    Format.CSV: CsvWriter,
    Format.JSONL: JsonLinesWriter,
    Format.PARQUET: ParquetWriter,
}
_EXPORTS: Final = {Grain.DAY: export.BY_DAY, Grain.PERIOD: export.BY_PERIOD}
_LOST: Final = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError)
_EXACTLY: Final = Context(prec=60, traps=[Inexact])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(export_app)


@export_app.command("earnings")
def export_earnings(
    *,
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="The first UTC date, like 2026-01-01.")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="The last UTC date, included.")],
    node: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this node, by its whole identifier; may be repeated.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="EMAIL|ID", help="Only the nodes that are assigned to this user.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to write the rows.")] = Format.CSV,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write: replaced in one step, when all is written.")
    ] = None,
    grain: Annotated[
        Grain, typer.Option("--by", help="A row for each node and date, or for each report that counts.")
    ] = Grain.DAY,
) -> None:
    """Write what nodes earned from one UTC date to another, both included, with exact decimals; the sums go to stderr.

    By day: the rows of earnings_history, and the exact ngonka, epochs and settlement times behind each. By period: the
    reports in the ledger that count (an epoch or a day each).
    """
    begin, end = utc_day(first), utc_day(last)
    if begin > end:
        raise ConfigurationError(f"--from {begin} is after --to {end}: exchange them.")
    if node and user is not None:
        raise ConfigurationError("Give either --node or --user: a user's nodes are found by themselves.")
    if form is Format.PARQUET and output is None:
        raise ConfigurationError("Parquet cannot be streamed: name a file with --output.")
    settings = load(DatabaseSettings)
    sums = asyncio.run(
        _export(settings, _EXPORTS[grain], begin, end, identifiers=node or [], user=user, form=form, output=output)
    )
    sys.stderr.write(f"{sums.sentence()}, from {begin} to {end} (UTC, both included).\n")
    if sums.different:
        sys.stderr.write(f"{_count(sums.different, 'row')} not what the ledger gives: run `minegnk reconcile`.\n")


@dataclass
class _Sums:
    """What was written, exactly."""

    gnk: int  # the places of these columns
    ngonka: int
    rows: int = 0
    total_gnk: Decimal = Decimal(0)
    total_ngonka: int = 0
    different: int = 0
    nodes: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, wanted: Export) -> "_Sums":
        names = [column.name for column in wanted.columns]
        return cls(names.index("amount_gnk"), names.index("amount_ngonka"))

    def add(self, rows: Sequence[asyncpg.Record]) -> None:
        self.rows += len(rows)
        for row in rows:
            self.nodes.add(row["identifier"])
            self.total_gnk = _EXACTLY.add(self.total_gnk, row[self.gnk])
            self.total_ngonka += int(row[self.ngonka] or 0)
            self.different += row["differs"]

    def sentence(self) -> str:
        counted = f"{_count(self.rows, 'row')} of {_count(len(self.nodes), 'node')}"
        return f"{counted}: {self.total_gnk:,f} GNK, {self.total_ngonka:,} ngonka in the ledger"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


async def _export(
    settings: DatabaseSettings,
    wanted: Export,
    first: date,
    last: date,
    *,
    identifiers: Sequence[str],
    user: str | None,
    form: Format,
    output: Path | None,
) -> _Sums:
    connection = await database.connect(settings)
    sums = _Sums.of(wanted)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            nodes = await _nodes(connection, identifiers, user)
            with _opened(output) as out, closing(_WRITERS[form](out, wanted.columns)) as writer:
                async for rows in export.earnings(connection, wanted, nodes, first, last):
                    writer.write(rows)
                    sums.add(rows)
    except asyncpg.UndefinedTableError:
        raise ConfigurationError("The database has no tables yet: run `minegnk migrate`.") from None
    except _LOST as error:
        raise database.unavailable(settings, error) from None
    finally:
        await connection.close()
    return sums


async def _nodes(connection: Connection, identifiers: Sequence[str], user: str | None) -> list[UUID] | None:
    """The ids of the nodes that are asked for; None: all."""
    if user is not None:
        match await export.find_users(connection, user):
            case [found]:
                return await export.nodes_of_user(connection, found)
            case []:
                raise UserError(f"No user {readable(user)} is known: give the e-mail address or the id, in full.")
            case _:
                raise UserError(f"Several users have the address {readable(user)}: give the id of one.")
    if not identifiers:
        return None
    known = await export.find_nodes(connection, identifiers)
    for identifier in identifiers:
        if identifier not in known:
            raise UserError(f"No node {readable(identifier)} is known: give its identifier in full.")
    return sorted(known.values())


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that takes the name `output` when the block has ended well, and else is gone."""
    try:
        if output is None:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        else:
            with _replacing(output) as out:
                yield out
    except OSError as error:
        if output is None:
            # What Python still holds for it has to go somewhere when the process ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(1) from None  # the reader, like `head`, has enough
        place = "Standard output" if output is None else str(output)
        raise UserError(f"{place} cannot be written ({error.strerror}): choose another --output.") from None


@contextmanager
def _replacing(output: Path) -> Iterator[BinaryIO]:
    path = output.resolve()
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"{output} is no file: name one that may be replaced, or leave --output out.")
    incoming = path.with_name(f".{path.name}.{os.getpid()}")
    with incoming.open("wb") as out:
        try:
            yield out
            out.flush()
            os.fsync(out.fileno())
            incoming.replace(path)
        finally:
            incoming.unlink(missing_ok=True)
