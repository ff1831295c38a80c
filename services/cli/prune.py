"""`minegnk prune`: what every night deletes, now."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import typer
from rich.table import Table

from services.cache.retention import prune_uptime
from services.cli.terminal import console
from services.earnings.retention import prune_versions
from services.kernel import database
from services.kernel.database import Database
from services.kernel.errors import ConfigurationError, UserError
from services.kernel.pruning import Pruned
from services.kernel.settings import DatabaseSettings, load


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("prune")
    def prune_command(
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")] = False,
    ) -> None:
        """Delete what has outlived its limit: uptime, and superseded versions of earnings reports.

        The services do this every night. Ledger and history are kept for ever; Kafka drops dead letters by itself.
        """
        pruned = asyncio.run(_prune(load(DatabaseSettings), dry_run=dry_run))
        table = Table("table", "limit (UTC)", "rows that would go" if dry_run else "rows deleted")
        for each in pruned:
            table.add_row(each.table, f"before {each.since}", f"{each.rows:,}")
        console().print(table)


async def _prune(settings: DatabaseSettings, *, dry_run: bool) -> Sequence[Pruned]:
    await (await database.connect(settings)).close()  # fails with a sentence
    now = datetime.now(UTC)
    pruned: list[Pruned] = []
    with _sentences():
        for role, prune in (("minegnk_cache", prune_uptime), ("minegnk_earnings", prune_versions)):
            pool = Database(settings, application="minegnk prune", role=role)
            async with pool:
                found = await prune(pool, now, dry_run=dry_run)
            if found is None:
                raise UserError("Another worker is pruning: wait until it is done.")
            pruned += found
    return pruned


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        raise ConfigurationError("The database is not up to date: run `minegnk migrate`.") from None
