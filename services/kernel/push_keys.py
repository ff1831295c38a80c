"""The keys of producers who publish over HTTP, in a compacted topic of Kafka.

Ingest has no database, and runs on several machines: a topic gives each of them every key, and every change, within a
second, with nothing to copy and no restart. Whoever may write to it may write to the topics of events as well, so that
it opens no door that was closed.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC
from services.kernel.kafka import client_arguments, unavailable
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import KafkaSettings
from services.kernel.topics import PUSH_KEYS_TOPIC
from services.kernel.wire import OutgoingRecord

Kind = Literal["readings", "earnings"]
KINDS: Final[dict[Kind, str]] = {"readings": READINGS_TOPIC, "earnings": EARNINGS_TOPIC}
"""What may be pushed, and the topic it goes to."""

_PARTITION: Final = TopicPartition(PUSH_KEYS_TOPIC, 0)
_READ_SECONDS: Final = 20

_log = structlog.get_logger(__name__)

Time = Annotated[datetime, msgspec.Meta(tz=True)]


class PushKey(msgspec.Struct, frozen=True, kw_only=True):
    """A producer's key: the one source whose events, and which kinds of them, its holder may publish."""

    id: UUID
    name: str
    source: str
    kinds: tuple[Kind, ...]
    secret_sha256: bytes
    created_at: Time
    expires_at: Time | None = None
    revoked_at: Time | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it is valid at this time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(PushKey).decode


async def write_keys(publisher: KafkaPublisher, keys: Sequence[PushKey]) -> None:
    """Let these keys hold as they are from now on; returns once Kafka has them, raises KafkaError."""
    records = [OutgoingRecord(PUSH_KEYS_TOPIC, str(key.id).encode(), _encode(key), []) for key in keys]
    await publisher.send(records, partition=_PARTITION.partition)


async def read_keys(kafka: KafkaSettings) -> dict[UUID, PushKey]:
    """All keys, as they were written last. Raises UnavailableError when Kafka cannot be reached."""
    keys: dict[UUID, PushKey] = {}
    try:
        async with asyncio.timeout(_READ_SECONDS), _reader(kafka) as consumer:
            end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
            while await consumer.position(_PARTITION) < end:
                _take(keys, await _next(consumer))
    except (KafkaError, TimeoutError) as error:
        raise await unavailable(kafka, error) from None
    return keys


class KeyRing(Service):
    """All keys, followed as they change. While Kafka is away, those that were known go on to hold."""

    mundane_level = "debug"

    def __init__(self, kafka: KafkaSettings) -> None:
        super().__init__()
        self._kafka = kafka
        self._keys: dict[UUID, PushKey] = {}
        self.complete = False
        """Whether every key that there was at the start has been read."""

    def get(self, key_id: UUID) -> PushKey | None:
        """The key with this id."""
        return self._keys.get(key_id)

    @Service.task
    async def _follow(self) -> None:
        while not self.should_stop:
            try:
                async with _reader(self._kafka) as consumer:
                    end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
                    while not self.should_stop:
                        self.complete = self.complete or await consumer.position(_PARTITION) >= end
                        _take(self._keys, await _next(consumer))
            except KafkaError as error:
                _log.warning("push_keys_unread", error=repr(error))
                await self.sleep(1.0)


@asynccontextmanager
async def _reader(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of no group, at the topic's beginning."""
    consumer = AIOKafkaConsumer(**client_arguments(kafka), enable_auto_commit=False, auto_offset_reset="earliest")
    consumer.assign([_PARTITION])
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def _next(consumer: AIOKafkaConsumer) -> "list[ConsumerRecord[bytes, bytes]]":
    found: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]] = await consumer.getmany(timeout_ms=500)
    return found.get(_PARTITION, [])


def _take(keys: dict[UUID, PushKey], records: Sequence["ConsumerRecord[bytes, bytes]"]) -> None:
    for record in records:
        try:
            key = _decode(record.value or b"")
        except msgspec.MsgspecError as error:  # ValidationError and DecodeError
            _log.warning("push_key_ignored", offset=record.offset, error=str(error))
            continue
        keys[key.id] = key
