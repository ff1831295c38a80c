"""`minegnk status`: one screen that tells how the pipeline does."""

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table

from services.cli.snapshot import Tables, TopicReader, TopicState, read_tables
from services.kernel import database
from services.kernel.errors import ConfigurationError
from services.kernel.settings import DatabaseSettings, KafkaSettings, load


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def status(
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    ) -> None:
        """Show lag, dead letters, the freshness of each source, the last settlement and the newest rows."""
        tables, topics = asyncio.run(_read(load(DatabaseSettings), load(KafkaSettings)))
        if as_json:
            document = {"tables": asdict(tables), "topics": [asdict(topic) for topic in topics]}
            sys.stdout.write(json.dumps(document, default=_plain) + "\n")
        else:
            Console().print(screen(tables, topics, datetime.now(UTC)))


async def _read(database_settings: DatabaseSettings, kafka: KafkaSettings) -> tuple[Tables, list[TopicState]]:
    connection = await database.connect(database_settings)
    try:
        async with TopicReader(kafka) as reader:
            return await read_tables(connection), await reader.read()
    except asyncpg.UndefinedTableError:
        raise ConfigurationError("The database has no tables yet: run `minegnk migrate`.") from None
    finally:
        await connection.close()


def screen(tables: Tables, topics: list[TopicState], now: datetime) -> RenderableType:
    """The status as tables for a terminal."""
    flow = Table("topic", "records", "lag", "dead letters", title="Kafka", title_justify="left")
    for topic in topics:
        flow.add_row(topic.topic, f"{topic.records:,}", f"{topic.lag:,}", f"{topic.dead_letters:,}")
    sources = Table("source", "kind", "data", "last success", "last error", title="Sources", title_justify="left")
    for source in tables.sources:
        failing = source.last_error_at is not None and (
            source.last_success_at is None or source.last_error_at > source.last_success_at
        )
        sources.add_row(
            source.name,
            source.kind,
            age(source.data_at, now),
            age(source.last_success_at, now),
            f"[red]{source.last_error} ({age(source.last_error_at, now)})[/]" if failing else "-",
        )
    rows = Table("node", "status", "weight", "jobs", "GNK a day", "source", "age", title="Newest", title_justify="left")
    for row in tables.newest:
        rows.add_row(
            f"{row.identifier[:14]}…{row.identifier[-4:]}",
            row.status,
            _number(row.voting_weight),
            _number(row.jobs_day),
            "-" if row.earnings_day is None else f"{row.earnings_day:,.8f}",
            row.source,
            age(row.fetched_at, now),
        )
    settled = (
        f"last epoch {tables.last_epoch} settled {age(tables.last_settlement, now)}"
        if tables.epochs
        else "no epoch yet"
    )
    counts = (
        f"{tables.nodes:,} nodes ({tables.cached:,} with stats), {tables.ledger:,} ledger rows of {tables.epochs:,} "
        f"epochs, {tables.history:,} daily rows, {settled}"
    )
    return Group(counts, flow, sources, rows)


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago, in the unit a person would use."""
    if moment is None:
        return "never"
    seconds = max(0, round((now - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _number(value: object) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
