"""The topics, and how they are made: by `minegnk topics`, never by accident."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from zlib import crc32

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, REFRESH_TOPIC, SOURCE_STATUS_TOPIC
from services.kernel.kafka import client_arguments, unavailable
from services.kernel.settings import KafkaSettings

FOR_EVER = timedelta(milliseconds=-1)
PUSH_KEYS_TOPIC = "push.keys.v1"
"""The keys of those who publish over HTTP: one partition, so that what was written last is what holds."""

RECORD_LIMIT_BYTES = 1_048_588
"""Kafka's default limit of one record batch, headers and framing included."""


@dataclass(frozen=True)
class Topic:
    """A topic's name, partitions and retention; of a compacted one the newest record of each key is kept for ever.

    Times are the broker's (LogAppendTime), since verdicts on a record must not depend on its producer's clock.
    """

    name: str
    partitions: int
    retention: timedelta
    record_limit_bytes: int = RECORD_LIMIT_BYTES
    compacted: bool = False

    def settings(self) -> dict[str, str]:
        """The topic's configuration as Kafka takes it."""
        return {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": str(int(self.retention / timedelta(milliseconds=1))),
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(self.record_limit_bytes),
        }


def dead_letter_topic(topic: str) -> str:
    """The topic that takes the dead letters of `topic`."""
    return f"{topic}.dlq"


DATA_TOPICS = (
    Topic(READINGS_TOPIC, 12, timedelta(days=7)),
    Topic(EARNINGS_TOPIC, 12, FOR_EVER),
    Topic(SOURCE_STATUS_TOPIC, 3, timedelta(days=7)),
)
TOPICS = (
    *DATA_TOPICS,
    Topic(REFRESH_TOPIC, 12, timedelta(days=1)),
    Topic(PUSH_KEYS_TOPIC, 1, FOR_EVER, compacted=True),
    # A letter is its record and some headers: it must fit whatever its source took.
    *(Topic(dead_letter_topic(t.name), 3, timedelta(days=30), 2 * RECORD_LIMIT_BYTES) for t in DATA_TOPICS),
)


def refresh_partition(source: str, total: int | None = None) -> int:
    """The partition of node.refresh.v1 at which a source's requests arrive, of `total` (those of TOPICS by default).

    Whoever holds it polls the source.
    """
    if total is None:
        total = next(topic.partitions for topic in TOPICS if topic.name == REFRESH_TOPIC)
    return crc32(source.encode()) % total


async def ensure_topics(settings: KafkaSettings, *, replication_factor: int = 1) -> list[tuple[str, str]]:
    """Make every topic that is missing, and add partitions where there are too few; safe to repeat and to race.

    Returns (topic, "created" | "partitions added" | "exists") in the order of TOPICS. A topic's own settings, once it
    exists, are the operator's. Raises UnavailableError when Kafka cannot be reached.
    """
    admin = AIOKafkaAdminClient(**client_arguments(settings), request_timeout_ms=15_000)
    try:
        await admin.start()
    except KafkaError as error:
        raise await unavailable(settings, error) from None
    try:
        outcome = [(topic.name, await _ensure(admin, topic, replication_factor)) for topic in TOPICS]
        while not await _all_lead(admin):  # noqa: ASYNC110 - Kafka has no event for it
            await asyncio.sleep(0.05)
        return outcome
    except KafkaError as error:
        raise await unavailable(settings, error) from None
    finally:
        await admin.close()


async def _all_lead(admin: AIOKafkaAdminClient) -> bool:
    """Whether every partition has a leader: a producer that comes right after a topic was made finds it."""
    described = await admin.describe_topics([topic.name for topic in TOPICS])
    return all(
        topic["error_code"] == 0 and topic["partitions"] and all(p["leader"] >= 0 for p in topic["partitions"])
        for topic in described
    )


async def _ensure(admin: AIOKafkaAdminClient, topic: Topic, replication_factor: int) -> str:
    new = NewTopic(topic.name, topic.partitions, replication_factor, topic_configs=topic.settings())
    reply = await admin.create_topics([new])
    error = for_code(reply.topic_errors[0][1])
    if error is TopicAlreadyExistsError:
        (description,) = await admin.describe_topics([topic.name])
        if len(description["partitions"]) >= topic.partitions:
            return "exists"
        await admin.create_partitions({topic.name: NewPartitions(topic.partitions)})
        return "partitions added"
    if reply.topic_errors[0][1] != 0:
        raise error(reply.topic_errors[0][2])
    return "created"
