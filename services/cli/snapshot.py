"""How the pipeline does, at a glance: counts and freshness from PostgreSQL, lag and dead letters from Kafka."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError, UnknownTopicOrPartitionError

from services.cli.log_dirs import LogDir, log_dirs
from services.kernel.database import OwnConnection
from services.kernel.errors import ConfigurationError
from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, SOURCE_STATUS_TOPIC
from services.kernel.kafka import client_arguments, unavailable
from services.kernel.letters import Letter, Mark, Place, letter_or_mark
from services.kernel.settings import KafkaSettings
from services.kernel.spans import records_in
from services.kernel.topics import DATA_TOPICS, dead_letter_topic

GROUPS: Final = {
    READINGS_TOPIC: "minegnk.cache",
    SOURCE_STATUS_TOPIC: "minegnk.cache.sources",
    EARNINGS_TOPIC: "minegnk.earnings",
}

_LETTERS_SECONDS = 5

COUNTS: Final = """
SELECT (SELECT count(*) FROM nodes) AS nodes,
    (SELECT count(*) FROM node_stats_cache WHERE status IS NOT NULL) AS cached,
    (SELECT count(*) FROM earnings_ledger) AS ledger,
    (SELECT count(*) FROM earnings_history) AS history,
    (SELECT count(*) FROM epoch_settlement) AS epochs,
    (SELECT max(epoch) FROM epoch_settlement) AS last_epoch,
    (SELECT max(settled_at) FROM epoch_settlement) AS last_settlement
"""
SOURCES: Final = """
SELECT name, kind, poll_interval_seconds, last_success_at, last_error_at, last_error, data_at FROM tracker_sources
ORDER BY name
"""
NEWEST: Final = """
SELECT identifier, status, voting_weight, jobs_day, earnings_day, source, fetched_at
FROM node_stats_cache JOIN nodes ON id = node_id WHERE fetched_at IS NOT NULL ORDER BY fetched_at DESC LIMIT $1
"""


@dataclass(frozen=True)
class Source:
    """A tracker, as its own status events describe it."""

    name: str
    kind: str
    poll_interval_seconds: int | None
    last_success_at: datetime | None
    last_error_at: datetime | None
    last_error: str | None
    data_at: datetime | None


@dataclass(frozen=True)
class NodeRow:
    """A node's row in the cache."""

    identifier: str
    status: str | None
    voting_weight: Decimal | None
    jobs_day: int | None
    earnings_day: Decimal | None
    source: str | None
    fetched_at: datetime


@dataclass(frozen=True)
class Tables:
    """What PostgreSQL holds."""

    nodes: int
    cached: int
    ledger: int
    history: int
    epochs: int
    last_epoch: int | None
    last_settlement: datetime | None
    sources: tuple[Source, ...]
    newest: tuple[NodeRow, ...]


@dataclass(frozen=True)
class TopicState:
    """A topic's records so far, those not yet handled by its group, and its open dead letters."""

    topic: str
    records: int
    lag: int
    dead_letters: int


class Position(NamedTuple):
    """A partition's next offset to be handled by its group, and the next to be written."""

    handled: int
    end: int

    @property
    def lag(self) -> int:
        """Records not yet handled."""
        return self.end - self.handled


async def read_tables(connection: OwnConnection, *, newest: int = 8) -> Tables:
    """Read counts, sources and the newest rows."""
    counts = await connection.fetchrow(COUNTS)
    assert counts is not None, "a row of counts has no FROM"
    return Tables(
        **dict(counts),
        sources=tuple(Source(**dict(row)) for row in await connection.fetch(SOURCES)),
        newest=tuple(NodeRow(**dict(row)) for row in await connection.fetch(NEWEST, newest)),
    )


@dataclass
class _OpenLetters:
    """Counts a topic's open dead letters, reading on where it stopped."""

    begins: dict[TopicPartition, int] = field(default_factory=dict)
    read_to: dict[TopicPartition, int] = field(default_factory=dict)
    letters: set[Place] = field(default_factory=set)
    marked: set[Place] = field(default_factory=set)

    async def count(self, kafka: KafkaSettings, spans: Mapping[TopicPartition, tuple[int, int]]) -> int:
        """The open letters; of a topic too large to be read in some seconds, each record left over counts as one."""
        begins = {partition: start for partition, (start, _) in spans.items()}
        if begins != self.begins:  # some have expired
            self.begins, self.read_to, self.letters, self.marked = begins, dict(begins), set(), set()
        unread = {partition: (self.read_to[partition], end) for partition, (_, end) in spans.items()}
        with suppress(TimeoutError):
            async with asyncio.timeout(_LETTERS_SECONDS), aclosing(records_in(kafka, unread)) as records:
                async for record in records:
                    self.read_to[TopicPartition(record.topic, record.partition)] = record.offset + 1
                    match letter_or_mark(record):
                        case Mark(identity=identity):
                            self.marked.add(identity)
                        case Letter(identity=identity):
                            self.letters.add(identity)
        return len(self.letters - self.marked) + sum(end - self.read_to[at] for at, (_, end) in spans.items())


class TopicReader:
    """Reads offsets of topics and groups; keeps its connections, and what it has counted, between reads."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._admin = AIOKafkaAdminClient(**client_arguments(settings), request_timeout_ms=10_000)
        self._open_letters = {topic.name: _OpenLetters() for topic in DATA_TOPICS}
        self._consumer = AIOKafkaConsumer(**client_arguments(settings), request_timeout_ms=10_000)

    async def __aenter__(self) -> "TopicReader":
        try:
            await self._admin.start()
            await self._consumer.start()
        except KafkaError as error:
            await self.__aexit__()
            raise await unavailable(self._settings, error) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()
        await self._admin.close()

    async def read(self) -> list[TopicState]:
        """The state of each data topic. Raises UnavailableError without Kafka, ConfigurationError without topics."""
        try:
            return [await self._read(topic.name) for topic in DATA_TOPICS]
        except KafkaError as error:
            raise await unavailable(self._settings, error) from None

    async def _read(self, topic: str) -> TopicState:
        at = (await self.positions(topic)).values()
        return TopicState(topic, sum(p.end for p in at), sum(p.lag for p in at), await self.open_letters(topic))

    async def positions(self, topic: str) -> dict[TopicPartition, Position]:
        """Where the topic's group reads on, by partition: at the beginning where it has committed nothing."""
        spans = await self.span(topic)
        try:
            committed = await self._admin.list_consumer_group_offsets(GROUPS[topic])
        except GroupCoordinatorNotAvailableError:  # no group has ever committed on this broker
            committed = {}
        found = {}
        for partition, (start, end) in spans.items():
            held = committed.get(partition)
            found[partition] = Position(held.offset if held is not None and held.offset >= 0 else start, end)
        return found

    async def open_letters(self, topic: str) -> int:
        """How many dead letters of the topic are neither retried nor dropped."""
        return await self._open_letters[topic].count(self._settings, await self.span(dead_letter_topic(topic)))

    async def log_dirs(self) -> list[LogDir]:
        """What the brokers keep on their disks. Raises KafkaError."""
        return await log_dirs(self._admin)

    async def cluster_id(self) -> str:
        """The name that this Kafka was given when it was made. Raises KafkaError."""
        return str((await self._admin.describe_cluster())["cluster_id"])

    async def span(self, topic: str) -> dict[TopicPartition, tuple[int, int]]:
        """The first and the next offset of each partition."""
        (description,) = await self._admin.describe_topics([topic])
        if description["error_code"] == UnknownTopicOrPartitionError.errno:
            raise ConfigurationError(f"Kafka has no topic {topic}: run `minegnk topics`.")
        partitions = [TopicPartition(topic, partition["partition"]) for partition in description["partitions"]]
        starts = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        return {partition: (starts[partition], ends[partition]) for partition in partitions}
