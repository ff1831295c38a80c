"""`minegnk explain NODE DATE`: why a number is what it is."""

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Annotated

import asyncpg
import typer
from rich.table import Table
from rich.text import Text

from services.cli.letter_views import readable
from services.cli.terminal import console, plain
from services.cli.times import utc_day
from services.earnings.explanation import Entry, Explanation, explain, period_name
from services.kernel import database
from services.kernel.errors import ConfigurationError, UserError
from services.kernel.money import NGONKA_PER_GNK, gnk
from services.kernel.settings import DatabaseSettings, load


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("explain")
    def explain_command(
        node: Annotated[str, typer.Argument(help="The node's identifier, in full.")],
        day: Annotated[str, typer.Argument(help="The UTC date, like 2026-03-01.", metavar="DATE")],
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
    ) -> None:
        """Show what stands behind a node's earnings of a date: reports, sources, rounding and restatements."""
        found = asyncio.run(_explain(load(DatabaseSettings), node, utc_day(day)))
        if as_json:
            sys.stdout.write(json.dumps(asdict(found), default=plain) + "\n")
        else:
            _show(found)


async def _explain(settings: DatabaseSettings, node: str, day: date) -> Explanation:
    connection = await database.connect(settings)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await explain(connection, node, day)
    except asyncpg.UndefinedTableError:
        raise ConfigurationError("The database has no tables yet: run `minegnk migrate`.") from None
    finally:
        await connection.close()
    if found is None:
        raise UserError(f"No node {readable(node)} is known: give its identifier in full, as the API lists it.")
    return found


def _show(found: Explanation) -> None:
    out = console()
    row = "no row" if found.held is None else f"{plain(found.held)} GNK (source {readable(found.held_source)})"
    out.print(Text(f"{found.identifier} on {found.day} (UTC): {row} in earnings_history"), soft_wrap=True)
    for settled in found.settled:
        how = "read from the block" if settled.exact else "interpolated between known blocks"
        out.print(
            f"Epoch {settled.epoch} settled {_time(settled.settled_at)}, {how} (said {settled.source} "
            f"{_time(settled.observed_at)})."
        )
    if not found.settled and found.basis in (None, "epoch"):
        out.print("No epoch that is known settled on this date: such a date has no row.")
    if found.entries:
        out.print(_entries(found.entries))
    for entry in found.entries:
        if len(entry.versions) > 1:
            out.print(_versions(entry))
    out.print(Text(_sum(found)), soft_wrap=True)


def _sum(found: Explanation) -> str:
    """The arithmetic, in words: what is added, what is rounded, and whether the table agrees."""
    if found.expected is None:
        return "The ledger gives no amount for this date." + (
            " The row should not be there: run `minegnk reconcile --fix`." if found.held is not None else ""
        )
    counted = [entry for entry in found.entries if entry.counts]
    exact, remainder = found.expected.amount, found.expected.amount % (NGONKA_PER_GNK // 10**8)
    if found.basis == "total":
        terms = "growth of the lifetime counter"
    else:
        terms = " + ".join(f"{entry.amount:,}" for entry in counted) or "nothing"
    rounding = f", rounded once, half away from zero (last digit {remainder})" if remainder else ", exact"
    sentence = f"{terms} = {exact:,} ngonka = {plain(gnk(exact))} GNK{rounding}."
    if found.held != gnk(exact):
        sentence += " The row differs from this: run `minegnk reconcile --fix`."
    return sentence


def _entries(entries: tuple[Entry, ...]) -> Table:
    table = Table("counts", "period", "source", "ngonka", "work", "reward", "claimed", "observed (UTC)", "because")
    for entry in entries:
        cells = (
            "yes" if entry.counts else "no",
            period_name(entry.kind, entry.period) + (" (counter)" if entry.kind == "total" else ""),
            entry.source,
            f"{entry.amount:,}",
            _number(entry.work),
            _number(entry.reward),
            _said(entry.claimed),
            _time(entry.observed_at),
            entry.why,
        )
        table.add_row(*map(Text, cells))
    return table


def _versions(entry: Entry) -> Table:
    title = f"What {entry.source} said of {period_name(entry.kind, entry.period)}"
    table = Table(
        "first seen (UTC)",
        "written (UTC)",
        "ngonka",
        "work",
        "reward",
        "final",
        "claimed",
        title=title,
        title_justify="left",
    )
    for said in entry.versions:
        table.add_row(
            _time(said.observed_at),
            _time(said.recorded_at),
            f"{said.amount:,}",
            _number(said.work),
            _number(said.reward),
            _said(said.final),
            _said(said.claimed),
        )
    return table


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _said(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
