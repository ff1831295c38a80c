"""`minegnk topics`: make the topics."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.kernel.settings import KafkaSettings, load
from services.kernel.topics import TOPICS, Topic, ensure_topics


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def topics(
        replication_factor: Annotated[
            int, typer.Option(min=1, help="Copies of each partition; at most the brokers.")
        ] = 1,
    ) -> None:
        """Make the topics that are missing; safe to run again."""
        outcome = dict(asyncio.run(ensure_topics(load(KafkaSettings), replication_factor=replication_factor)))
        table = Table("topic", "partitions", "kept", "state")
        for topic in TOPICS:
            table.add_row(topic.name, str(topic.partitions), kept(topic), outcome[topic.name])
        Console().print(table)


def kept(topic: Topic) -> str:
    """How long the topic keeps a record, in words."""
    days = topic.retention.days
    return "for ever" if days < 0 else f"{days} day" + "s" * (days != 1)
