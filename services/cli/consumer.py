"""`minegnk consumer`: partitions that a consumer holds for too many invalid records."""

import asyncio
from typing import Annotated

import typer
from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from rich.table import Table
from rich.text import Text

from services.cli.letter_views import readable
from services.cli.snapshot import GROUPS, TopicReader
from services.cli.terminal import console
from services.cli.topic_names import topic_named
from services.kernel import holds
from services.kernel.errors import ConfigurationError
from services.kernel.holds import Hold
from services.kernel.kafka import unavailable
from services.kernel.settings import KafkaSettings, load

_SECONDS_TO_GO_ON = 20

consumer_app = typer.Typer(
    name="consumer",
    no_args_is_help=True,
    help="Partitions that are held for too many invalid records.",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(consumer_app)


@consumer_app.command("list")
def listheld_partitions() -> None:
    """Show the partitions that are held, and the record each of them stands at."""
    found = asyncio.run(held_partitions(load(KafkaSettings)))
    if not found:
        console().print("No partition is held.")
        return
    table = Table("topic", "partition", "offset", "reason", "error")
    for partition, hold in sorted(found.items()):
        cells = [partition.topic, str(partition.partition), str(hold.offset), hold.reason, readable(hold.error)]
        table.add_row(*map(Text, cells))  # what a producer wrote is no markup
    console().print(table)
    console().print("Mend the producer, then let them go on: minegnk consumer resume")


@consumer_app.command()
def resume(
    topic: Annotated[
        str | None, typer.Option(help="Only partitions of this topic: readings, earnings, sources or its full name.")
    ] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition (needs --topic).")] = None,
    skip_until: Annotated[
        int | None,
        typer.Option(min=1, help="Do not handle records before this offset at all (needs --topic and --partition)."),
    ] = None,
) -> None:
    """Let held partitions go on: invalid records published so far go to the dead letters, whatever their number.

    With --skip-until, records before that offset are neither applied nor dead-lettered: they are lost to the tables.
    """
    if topic is not None:
        topic = topic_named(topic, f"No consumer reads a topic {topic!r}")
    if partition is not None and topic is None:
        raise ConfigurationError("--partition needs --topic, since every topic has a partition of that number.")
    if skip_until is not None and partition is None:
        raise ConfigurationError("--skip-until needs --topic and --partition: an offset belongs to one partition.")
    for sentence in asyncio.run(_resume(load(KafkaSettings), topic, partition, skip_until)):
        console().print(sentence)


async def held_partitions(kafka: KafkaSettings) -> dict[TopicPartition, Hold]:
    """The held partitions of every topic."""
    try:
        ends = await _ends(kafka)
        found: dict[TopicPartition, Hold] = {}
        for topic, group in GROUPS.items():
            partitions = [partition for partition in ends if partition.topic == topic]
            for partition, committed in (await holds.committed(kafka, group, partitions)).items():
                hold = holds.hold_of(committed.note)
                if hold is not None and hold.offset == committed.offset:
                    found[partition] = hold
    except GroupCoordinatorNotAvailableError:  # no group has ever committed on this broker
        return {}
    except KafkaError as error:
        raise await unavailable(kafka, error) from None
    return found


async def _resume(kafka: KafkaSettings, topic: str | None, number: int | None, skip_until: int | None) -> list[str]:
    wanted = {
        partition: hold
        for partition, hold in (await held_partitions(kafka)).items()
        if topic in (None, partition.topic) and number in (None, partition.partition)
    }
    if not wanted:
        return ["No such partition is held."]
    try:
        ends = await _ends(kafka)
        for partition, hold in wanted.items():
            group = GROUPS[partition.topic]
            if skip_until is None:
                await holds.permit_go_on(kafka, group, {partition: ends[partition]})
            elif hold.offset < skip_until <= ends[partition]:
                await holds.permit_skip(kafka, group, {partition: skip_until})
            else:
                raise ConfigurationError(
                    f"--skip-until must be above {hold.offset}, where the partition stands, "
                    f"and not above {ends[partition]}, where it ends."
                )
    except KafkaError as error:
        raise await unavailable(kafka, error) from None
    stand_still = await _still_held(kafka, wanted)
    sentences = []
    for partition, hold in sorted(wanted.items()):
        what = (
            f"invalid records before offset {ends[partition]} go to the dead letters"
            if skip_until is None
            else f"records from offset {hold.offset} up to {skip_until} are skipped"
        )
        when = "once a worker takes it up" if partition in stand_still else "from now on"
        sentences.append(f"{partition.topic}, partition {partition.partition}: {what}, {when}.")
    return sentences


async def _still_held(kafka: KafkaSettings, wanted: dict[TopicPartition, Hold]) -> set[TopicPartition]:
    """Those that no worker has moved from where they stood within a while."""
    try:
        async with asyncio.timeout(_SECONDS_TO_GO_ON):
            while True:
                found = await held_partitions(kafka)
                stand_still = {partition for partition, hold in wanted.items() if found.get(partition) == hold}
                if not stand_still:
                    return stand_still
                await asyncio.sleep(0.5)
    except TimeoutError:
        return stand_still


async def _ends(kafka: KafkaSettings) -> dict[TopicPartition, int]:
    """The next offset of each partition of the topics that consumers read."""
    async with TopicReader(kafka) as reader:
        spans = [await reader.span(topic) for topic in GROUPS]
    return {partition: end for span in spans for partition, (_, end) in span.items()}
