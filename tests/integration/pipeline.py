"""What the tests of the whole pipeline share: clean topics, worker processes, publishing, waiting for the outcome."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from services.cli.snapshot import TopicReader, TopicState
from services.kernel.database import connect_arguments
from services.kernel.errors import UnavailableError
from services.kernel.events import Event
from services.kernel.kafka import client_arguments
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import DatabaseSettings, KafkaSettings
from services.kernel.topics import TOPICS, ensure_topics
from services.kernel.wire import OutgoingRecord

REPOSITORY = Path(__file__).parents[2]

_STOP_SECONDS = 20
_LOG_TAIL_CHARACTERS = 3000


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def until(condition: Callable[[], Awaitable[object]], what: str, seconds: float = 25) -> None:
    """Return as soon as the condition holds; fail, saying `what` was waited for, when it does not in time."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.02)


@dataclass
class Worker:
    """A process `python -m services …` of the code in a folder, whose log goes to a file. Stop or kill it."""

    arguments: Sequence[str]
    environment: dict[str, str]
    log: Path
    code: Path = REPOSITORY
    process: "subprocess.Popen[bytes]" = field(init=False)
    ended: bool = False  # on purpose, by `kill` or `stop`

    def __post_init__(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.code,
            )

    def kill(self) -> None:
        """End it with SIGKILL, in the middle of whatever it does."""
        self.ended = True
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end, and wait; returns its exit code. One that does not end is killed, and the test fails."""
        self.ended = True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self} did not end within {_STOP_SECONDS} s of SIGTERM") from None

    def __str__(self) -> str:
        tail = self.log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:]
        return f"{self.arguments[0]} (exit code {self.process.poll()}), its log's end:\n{tail}"


@dataclass
class Pipeline:
    """A database and the session's Kafka with empty topics; workers are started as a test needs them."""

    database: DatabaseSettings
    kafka: KafkaSettings
    logs: Path
    workers: list[Worker] = field(default_factory=list)

    def environment(self, **changes: str) -> dict[str, str]:
        """The variables of a process that works here."""
        return {
            **os.environ,
            "DB_HOST": self.database.host,
            "DB_PORT": str(self.database.port),
            "DB_USERNAME": self.database.username,
            "DB_PASSWORD": self.database.password.get_secret_value(),
            "DB_DATABASE": self.database.database,
            "MINEGNK_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            # The shortest that the broker allows: a killed worker's partitions are free again after it.
            "MINEGNK_KAFKA_SESSION_TIMEOUT": "6",
            "MINEGNK_METRICS_PORT": "0",
            "MINEGNK_PUSH_PORT": "0",
            **changes,
        }

    def start(self, service: str, **environment: str) -> Worker:
        """Start a service's process."""
        return self.start_of(REPOSITORY, service, **environment)

    def start_of(self, code: Path, service: str, **environment: str) -> Worker:
        """Start a service's process of the code in another folder."""
        log = self.logs / f"{len(self.workers)}-{service}.log"
        worker = Worker([service], self.environment(**environment), log, code)
        self.workers.append(worker)
        return worker

    def stop_all(self) -> None:
        """Stop every worker that still runs, all at the same time."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        for worker in self.workers:
            worker.stop()
        self.workers.clear()

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish through the services' own publisher; returns once Kafka has everything."""
        publisher = KafkaPublisher(self.kafka)
        async with publisher:
            await publisher.publish(events)

    async def send(self, records: Iterable[OutgoingRecord], *, partition: int | None = None) -> None:
        """Publish records as they are."""
        publisher = KafkaPublisher(self.kafka)
        async with publisher:
            await publisher.send(records, partition=partition)

    async def drained(self, *topics: str, seconds: float = 25) -> None:
        """Return when the groups of these topics have committed everything that was published."""
        async with TopicReader(self.kafka) as reader:

            async def without_lag() -> bool:
                for worker in self.workers:
                    assert worker.ended or worker.process.poll() is None, f"ended by itself: {worker}"
                try:
                    return not any(state.lag for state in await reader.read() if state.topic in topics)
                except UnavailableError:  # a busy machine: Kafka did not answer in time
                    return False

            try:
                await until(without_lag, f"no lag on {', '.join(topics)}", seconds)
            except AssertionError as error:
                raise AssertionError("\n".join([str(error), *map(str, self.workers)])) from None

    async def state(self, topic: str) -> TopicState:
        """The topic's records, lag and dead letters."""
        async with TopicReader(self.kafka) as reader:
            return next(state for state in await reader.read() if state.topic == topic)

    async def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query, as the superuser."""
        connection = await asyncpg.connect(**connect_arguments(self.database))
        try:
            return [tuple(row) for row in await connection.fetch(query, *parameters)]
        finally:
            await connection.close()

    async def execute(self, statement: str) -> None:
        """Run statements, as the superuser."""
        connection = await asyncpg.connect(**connect_arguments(self.database))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def empty_tables(self) -> None:
        """Forget every row. Workers hold nothing per node, so that they may go on when they have no lag."""
        await self.execute(
            "TRUNCATE nodes, epoch_settlement, tracker_sources, source_uptime, source_epoch_total, "
            "earnings_source_order CASCADE"
        )


async def recreate_topics(kafka: KafkaSettings) -> None:
    """Make every topic anew, empty; with a topic its groups' offsets go too. Nobody may be consuming.

    Much quicker than another Kafka (half a second), and unlike groups, which services name themselves, it separates
    the modules whatever one of them left behind.
    """
    admin = AIOKafkaAdminClient(**client_arguments(kafka))
    await admin.start()
    try:
        ours = {topic.name for topic in TOPICS}

        async def existing() -> list[str]:
            return sorted(ours & set(await admin.list_topics()))

        async def gone() -> bool:
            return not await existing()

        if found := await existing():
            await admin.delete_topics(found)
        await until(gone, "topics deleted")
    finally:
        await admin.close()
    await ensure_topics(kafka)


async def records_of(kafka: KafkaSettings, topic: str) -> list[ConsumerRecord]:
    """Every record of the topic, by partition and offset."""
    consumer = AIOKafkaConsumer(**client_arguments(kafka), enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in await _partitions_of(kafka, topic)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[ConsumerRecord] = []

        async def complete() -> bool:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found.extend(records)
            positions = [await consumer.position(partition) for partition in partitions]
            return all(position >= ends[at] for at, position in zip(partitions, positions, strict=True))

        await until(complete, f"{topic} read to its end")
    finally:
        await consumer.stop()
    return sorted(found, key=lambda record: (record.partition, record.offset))


async def _partitions_of(kafka: KafkaSettings, topic: str) -> list[int]:
    admin = AIOKafkaAdminClient(**client_arguments(kafka))
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
        return sorted(partition["partition"] for partition in described["partitions"])
    finally:
        await admin.close()


async def publish_unreadable(kafka: KafkaSettings, topic: str, *, partition: int) -> None:
    """Publish a record with a header whose name is not UTF-8, as other clients can: aiokafka fails to read it."""
    program = f"""
import asyncio, os
os.environ["AIOKAFKA_NO_EXTENSIONS"] = "1"  # the builder in Python takes any kind of str
from aiokafka import AIOKafkaProducer

class NotUtf8(str):
    def encode(self, *_):
        return b"\\xff\\xfe"

async def main():
    producer = AIOKafkaProducer(bootstrap_servers={kafka.bootstrap_servers!r})
    await producer.start()
    await producer.send_and_wait({topic!r}, b"{{}}", partition={partition}, headers=[(NotUtf8("x"), b"y")])
    await producer.stop()

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await process.wait() == 0
