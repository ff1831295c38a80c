"""`minegnk exporter`: metrics of the whole, which no single worker knows, read from PostgreSQL and Kafka now and then.

What it tells stays true when every worker is down. One process is enough; it changes nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final

import asyncpg
import structlog
import typer
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from services.cli.log_dirs import LogDir
from services.cli.snapshot import Position, TopicReader
from services.cli.terminal import until_told_to_stop
from services.kernel.app import metrics_port
from services.kernel.database import Database
from services.kernel.errors import UserError
from services.kernel.settings import DatabaseSettings, KafkaSettings, ServiceSettings
from services.kernel.telemetry import configure_logging
from services.kernel.topics import DATA_TOPICS, TOPICS

EVERY_SECONDS: Final = 15.0
_SHARE: Final = 0.1
"""Of the time at most is spent reading: large tables are read more rarely."""
_LIMIT_SECONDS: Final = 60.0

# Nodes by the age of their readings: within the TTL, within a day, older (they have left the network, mostly).
FRESHNESS: Final = """
SELECT count(*) FILTER (WHERE fetched_at >= now() - $1::interval) AS fresh,
    count(*) FILTER (WHERE fetched_at < now() - $1::interval
        AND fetched_at >= now() - greatest($1::interval, interval '1 day')) AS stale,
    count(*) FILTER (WHERE fetched_at < now() - greatest($1::interval, interval '1 day')) AS gone,
    max(fetched_at) AS newest,
    (SELECT max(epoch) FROM epoch_settlement) AS epoch,
    (SELECT max(settled_at) FROM epoch_settlement) AS settled_at,
    pg_database_size(current_database()) AS size
FROM node_stats_cache
"""

_log = structlog.get_logger(__name__)


class PipelineMetrics:
    """What stands in PostgreSQL and Kafka."""

    def __init__(self, registry: CollectorRegistry, ttl: timedelta) -> None:
        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(f"minegnk_{name}", meaning, labels, registry=registry)

        self._read = gauge(
            "exporter_last_success_timestamp_seconds",
            "When the server was last read, postgres or kafka; 0: not yet. Its other gauges are as old.",
            "server",
        )
        for server in ("postgres", "kafka"):
            self._read.labels(server).set(0)
        self._lag = gauge(
            "group_lag_records", "Records that the topic's group has not committed yet.", "topic", "partition"
        )
        self._offset = gauge(
            "group_offset", "Where the topic's group reads on. Moves while it handles records.", "topic", "partition"
        )
        self._letters = gauge("open_dead_letters", "Dead letters neither retried nor dropped.", "topic")
        self._topic_size = gauge("kafka_topic_size_bytes", "What the topic's copies take on disk.", "topic")
        self._disk_size = gauge(
            "kafka_disk_size_bytes", "Of the file system in which the broker keeps topics.", "broker", "log_dir"
        )
        self._disk_free = gauge(
            "kafka_disk_free_bytes",
            "What is left of the file system in which the broker keeps topics.",
            "broker",
            "log_dir",
        )
        gauge("cache_ttl_seconds", "The age at which a reading is stale (MINEGNK_API_TTL).").set(ttl.total_seconds())
        self._nodes = gauge(
            "cache_nodes",
            "Nodes by the age of their newest reading: fresh (within the TTL), stale (within a day), gone (older).",
            "age",
        )
        self._newest = gauge(
            "cache_newest_timestamp_seconds", "As of when the newest reading of any node is; 0: there is none."
        )
        self._epoch = gauge("settlement_newest_epoch", "The newest epoch that has settled.")
        self._settled = gauge(
            "settlement_newest_timestamp_seconds", "When the newest epoch settled; 0: none has been reported."
        )
        self._database_size = gauge("database_size_bytes", "What the database takes on disk.")

    def read(self, server: str) -> None:
        """The server has been read."""
        self._read.labels(server).set_to_current_time()

    def tables(self, row: Mapping[str, Any]) -> None:
        """Take what FRESHNESS gives."""
        for age in ("fresh", "stale", "gone"):
            self._nodes.labels(age).set(row[age])
        self._newest.set(_timestamp(row["newest"]))
        self._epoch.set(row["epoch"] or 0)
        self._settled.set(_timestamp(row["settled_at"]))
        self._database_size.set(row["size"])

    def topic(self, topic: str, positions: Mapping[TopicPartition, Position], dead_letters: int) -> None:
        """Take where the topic's group is, and its open dead letters."""
        for partition, position in positions.items():
            labels = topic, str(partition.partition)
            self._lag.labels(*labels).set(position.lag)
            self._offset.labels(*labels).set(position.handled)
        self._letters.labels(topic).set(dead_letters)

    def disks(self, folders: Iterable[LogDir]) -> None:
        """Take what the brokers keep, and their room."""
        sizes: Counter[str] = Counter()
        self._disk_size.clear()  # brokers come and go
        self._disk_free.clear()
        for folder in folders:
            sizes.update(folder.topics)
            labels = str(folder.broker), folder.path
            self._disk_size.labels(*labels).set(folder.size_bytes)
            self._disk_free.labels(*labels).set(folder.free_bytes)
        for topic in TOPICS:
            self._topic_size.labels(topic.name).set(sizes[topic.name])


def run(database_settings: DatabaseSettings, kafka: KafkaSettings, service: ServiceSettings, ttl: timedelta) -> None:
    """Serve the metrics until SIGTERM or SIGINT. A server that is away is waited for."""
    configure_logging(service)
    registry = CollectorRegistry()
    metrics = PipelineMetrics(registry, ttl)
    if port := metrics_port("exporter", service):
        start_http_server(port, service.metrics_host, registry)
    with suppress(typer.Exit):  # it ended in order, as it was told: exit code 0, like the other services
        until_told_to_stop(_watch(database_settings, kafka, ttl, metrics))


async def _watch(
    database_settings: DatabaseSettings, kafka: KafkaSettings, ttl: timedelta, metrics: PipelineMetrics
) -> None:
    database = Database(database_settings, application="minegnk.exporter", role="minegnk_api", size=1)
    async with database, AsyncExitStack() as open_readers, asyncio.TaskGroup() as tasks:
        reader: TopicReader | None = None

        async def read_tables() -> None:
            async with database.connection() as connection:
                row = await connection.fetchrow(FRESHNESS, ttl)
            assert row is not None, "an aggregate has a row"
            metrics.tables(dict(row))

        async def read_topics() -> None:
            nonlocal reader
            if reader is None:
                reader = await open_readers.enter_async_context(TopicReader(kafka))
            for topic in DATA_TOPICS:
                positions = await reader.positions(topic.name)
                metrics.topic(topic.name, positions, await reader.open_letters(topic.name))
            metrics.disks(await reader.log_dirs())

        tasks.create_task(_repeat("postgres", read_tables, metrics))
        tasks.create_task(_repeat("kafka", read_topics, metrics))


async def _repeat(server: str, read: Callable[[], Awaitable[None]], metrics: PipelineMetrics) -> None:
    while True:
        began = monotonic()
        pause = EVERY_SECONDS
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                await read()
        except (
            UserError,
            KafkaError,
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ) as error:
            _log.warning("server_not_read", server=server, error=repr(error))
        else:
            metrics.read(server)
            took = monotonic() - began
            pause = max(EVERY_SECONDS - took, took * (1 / _SHARE - 1))
        await asyncio.sleep(pause)


def _timestamp(moment: datetime | None) -> float:
    return 0 if moment is None else moment.timestamp()
