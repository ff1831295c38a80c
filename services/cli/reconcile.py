"""`minegnk reconcile`: does the history say what the ledger says?"""

import asyncio
import json
import sys
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated

import asyncpg
import typer
from rich.table import Table
from rich.text import Text

from services.cli.letter_views import readable
from services.cli.terminal import console, plain
from services.earnings.epoch_totals import TotalDifference
from services.earnings.nightly import ask_for_missing
from services.earnings.reconciliation import Difference, Reconciliation, reconcile
from services.kernel import database
from services.kernel.errors import ConfigurationError, UserError
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import DatabaseSettings, KafkaSettings, load

DIFFERENT_EXIT_CODE = 1


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("reconcile")
    def reconcile_command(
        fix: Annotated[
            bool, typer.Option("--fix", help="Derive again what differs, and ask for what is missing.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
        limit: Annotated[int, typer.Option(min=1, help="Rows of each table.")] = 20,
    ) -> None:
        """Compare history with the ledger, and the ledger with what sources say; look for epochs nobody reported.

        Exit code 1 when history or totals are not what the ledger gives (and --fix did not mend them), or when the
        ledger has less of an epoch than a source's own total and nothing explains it: a host may be missing. Sources
        that disagree, other totals and missing epochs are shown, and are no error.
        """
        found, asked = asyncio.run(_reconcile(load(DatabaseSettings), load(KafkaSettings), fix=fix))
        if as_json:
            sys.stdout.write(json.dumps(asdict(found) | {"short_epochs": found.short_epochs}, default=plain) + "\n")
        else:
            _show(found, asked, limit)
        if found.open:
            raise typer.Exit(DIFFERENT_EXIT_CODE)


async def _reconcile(
    settings: DatabaseSettings, kafka: KafkaSettings, *, fix: bool
) -> tuple[Reconciliation, list[int]]:
    await (await database.connect(settings)).close()  # fails with a sentence
    pool = database.Database(settings, application="minegnk reconcile", role="minegnk_earnings")
    try:
        async with pool:
            found = await reconcile(pool, fix=fix)
    except asyncpg.UndefinedTableError:
        raise ConfigurationError("The database has no tables yet: run `minegnk migrate`.") from None
    if found is None:
        raise UserError("Another reconciliation is running: wait until it is done.")
    if not fix or not (found.missing_epochs or found.totals or found.unstated):
        return found, []
    publisher = KafkaPublisher(kafka)
    async with publisher:
        return found, await ask_for_missing(publisher, found)


def _show(found: Reconciliation, asked: list[int], limit: int) -> None:
    out = console()
    if found.differences:
        out.print(_differences("History and totals that are not what the ledger gives", found.differences, limit))
    if found.sums:
        out.print(_differences("Totals that are not the sum of their history", found.sums, limit))
    if found.disagreements:
        table = _table("Sources that disagree (ngonka)", "node", "kind", "period", "amounts")
        for each in found.disagreements[:limit]:
            amounts = ", ".join(f"{source} {amount:,}" for source, amount in each.amounts.items())
            table.add_row(*map(Text, (readable(each.identifier), each.kind, str(each.period), amounts)))
        out.print(_counted(table, len(found.disagreements), limit))
    if found.totals:
        out.print(_totals(found.totals, limit))
    if found.short_epochs:
        out.print(_asked_for("epochs of which the ledger lacks rewards", found.short_epochs, asked, limit))
    if found.missing_epochs:
        out.print(_asked_for("epochs nobody reported", found.missing_epochs, asked, limit))
    mended = " Mended." if found.fixed and found.differences else ""
    out.print(
        f"{found.nodes:,} nodes compared: {len(found.differences):,} values differ, {len(found.sums):,} sums, "
        f"{len(found.disagreements):,} disagreements of sources, {len(found.totals):,} totals of epochs, "
        f"{len(found.missing_epochs):,} epochs missing.{mended}"
    )
    if found.different:
        out.print("Run `minegnk reconcile --fix` to derive them again from the ledger.")


def _asked_for(what: str, epochs: list[int], asked: list[int], limit: int) -> str:
    taken = len({*epochs} & {*asked})
    doing = f"asked ingest for {taken}" if taken else "run with --fix to ask ingest for them"
    return f"{len(epochs):,} {what} ({doing}), the newest: {', '.join(map(str, epochs[-limit:]))}"


def _differences(title: str, differences: list[Difference], limit: int) -> Table:
    table = _table(title, "node", "value", "date", "held, GNK", "expected, GNK")
    for each in differences[:limit]:
        cells = (readable(each.identifier), each.what, each.day, each.held, each.expected)
        table.add_row(*(Text("-" if cell is None else plain(cell)) for cell in cells))
    return _counted(table, len(differences), limit)


def _totals(totals: list[TotalDifference], limit: int) -> Table:
    columns = ("epoch", "source", "its total, GNK", "ledger's sum, GNK", "difference, GNK", "hosts", "")
    table = _table("Sources' own totals of rewards that are not the ledger's", *columns)
    for each in totals[:limit]:
        amounts = (f"{Decimal(amount).scaleb(-9):,f}" for amount in (each.total, each.ledger, each.difference))
        table.add_row(*map(Text, (str(each.epoch), each.source, *amounts, f"{each.hosts:,}", each.finding)))
    return _counted(table, len(totals), limit)


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left")


def _counted(table: Table, total: int, limit: int) -> Table:
    if total > limit:
        table.caption = f"{limit:,} of {total:,}"
    return table
