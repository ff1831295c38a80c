"""The batch consumer: the one way in which readings and earnings are consumed.

    poll → decode each record → handle the batch in one database transaction → dead letters confirmed → commit offsets

Two loops run side by side: one polls and decodes the next batch while the other waits for the database. What goes
wrong ends in one of three ways (`transient.classify`): what passes by itself is retried in place while polling goes on
with paused partitions; what a record is to blame for goes to the dead letters; anything else stops the service. Offsets
are committed explicitly, {partition: last handled + 1}, and only by the generation that polled them, so a record is
repeated after a fault, never skipped; that handlers are merges makes the repetition harmless.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from mode import Service

from services.kernel.dead_letters import DeadLetter, RecordSender, send_letters
from services.kernel.errors import InvalidRecordError, Reason
from services.kernel.events import E
from services.kernel.settings import ConsumerSettings, KafkaSettings
from services.kernel.telemetry import TopicMetrics
from services.kernel.transient import Fault, classify
from services.kernel.wire import WireRecord

T = TypeVar("T")

_POLL_MS = 500
_STOP_SECONDS = 8.0
_LOST_PARTITIONS = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


class Applied(NamedTuple):
    """What a handler did with a batch: events that changed rows, and events that newer ones (or repeats) superseded."""

    changed: int
    superseded: int


@dataclass(slots=True)
class _Batch(Generic[E]):
    """Polled records, decoded, of one assignment's generation."""

    generation: int
    oldest_ms: int
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    events: list[E] = field(default_factory=list)
    records: list[ConsumerRecord] = field(default_factory=list)  # records[i] carried events[i]
    letters: list[DeadLetter] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.events) + len(self.letters)


class _RevokedError(Exception):
    """The batch's partitions belong to somebody else, or the service stops: leave it, uncommitted."""


class BatchConsumer(Service, ConsumerRebalanceListener, Generic[E]):  # type: ignore[misc]
    """Consumes one topic in a consumer group and hands decoded batches to `handle`.

    `handle` writes all events in one transaction and raises otherwise; it must be a merge (repetition and any order are
    harmless). `decode` raises InvalidRecordError for a record that can never be applied.
    """

    def __init__(
        self,
        *,
        topic: str,
        group: str,
        decode: Callable[[WireRecord], E],
        handle: Callable[[Sequence[E]], Awaitable[Applied]],
        dead_letters: RecordSender,
        kafka: KafkaSettings,
        settings: ConsumerSettings,
        metrics: TopicMetrics,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._topic = topic
        self._group = group
        self._decode: Callable[[WireRecord], E] = decode
        self._handle: Callable[[Sequence[E]], Awaitable[Applied]] = handle
        self._dead_letters = dead_letters
        self._kafka = kafka
        self._settings = settings
        self._metrics = metrics
        self._generation = 0
        self._ready: asyncio.Queue[_Batch[E]] = asyncio.Queue(maxsize=1)
        self._stopping = asyncio.Event()
        self._applying: asyncio.Task[None] | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._consumer: AIOKafkaConsumer
        self._log = structlog.get_logger(__name__).bind(topic=topic)
        self.assigned = False  # whether a first assignment has come: the service is ready

    async def on_start(self) -> None:
        """Join the group and start both loops."""
        session = self._kafka.session_timeout
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka.bootstrap_servers,
            group_id=self._group,
            enable_auto_commit=False,
            # A first start reads from the beginning (see _poll); an offset out of range stops with an alarm.
            auto_offset_reset="none",
            session_timeout_ms=int(session.total_seconds() * 1000),
            heartbeat_interval_ms=int(session.total_seconds() * 1000 / 4),
            max_poll_interval_ms=int(self._settings.max_poll_interval.total_seconds() * 1000),
            max_partition_fetch_bytes=4 * 1024 * 1024,
            fetch_max_wait_ms=100,
        )
        self._consumer.subscribe([self._topic], listener=self)
        await self._consumer.start()
        self._fetching = asyncio.create_task(self._crash_on_error(self._fetch()), name=f"fetch {self._topic}")
        self._applying = asyncio.create_task(self._crash_on_error(self._apply()), name=f"apply {self._topic}")

    async def on_stop(self) -> None:
        """Let the batch in hand finish and be committed, then leave the group."""
        self._stopping.set()
        tasks = [task for task in (self._applying, self._fetching) if task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
            for task in late:  # the database does not answer: the transaction is rolled back, the offsets stay
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Disown what was polled: whoever gets the partitions reads them again from the committed offsets."""
        self._generation += 1
        self._metrics.forget_lag()
        self._log.info("partitions_revoked", partitions=sorted(tp.partition for tp in revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Note the new assignment. Only a revocation ends a generation: records polled from here on are this one's."""
        self.assigned = True
        self._log.info("partitions_assigned", partitions=sorted(tp.partition for tp in assigned))

    async def _crash_on_error(self, loop: Awaitable[None]) -> None:
        try:
            await loop
        except Exception as error:
            self._log.critical("consumer_failed", exc_info=error)
            self._stopping.set()
            await self.crash(error)

    # Polling and decoding.

    async def _fetch(self) -> None:
        while not self._stopping.is_set():
            with self._metrics.stage("poll"):
                polled = await self._poll(self._settings.max_batch)
            if polled:
                # Read after the poll: getmany returns what it drains without a pause in between, so these records
                # belong to the assignment that holds now. Each new assignment starts at the committed offsets again.
                generation = self._generation
                with self._metrics.stage("decode"):
                    batch = self._decoded(generation, polled)
                await self._hand_over(batch)

    async def _poll(self, max_records: int | None) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Poll once. A partition that this group never committed is read from its beginning."""
        try:
            polled: dict[TopicPartition, list[ConsumerRecord]] = await self._consumer.getmany(
                timeout_ms=_POLL_MS, max_records=max_records
            )
        except NoOffsetForPartitionError as error:
            await self._consumer.seek_to_beginning(*error.args)
            return {}
        except OffsetOutOfRangeError:
            raise  # records were deleted before they were handled: an alarm, not a skip
        except KafkaError as error:
            if classify(error) is not Fault.TRANSIENT:
                raise
            self._log.warning("poll_failed", error=repr(error))
            self._metrics.retry("poll")
            await self._pause(self._settings.retry_first.total_seconds())
            return {}
        return polled

    def _decoded(self, generation: int, polled: dict[TopicPartition, list[ConsumerRecord]]) -> _Batch[E]:
        batch: _Batch[E] = _Batch(generation, min(records[0].timestamp for records in polled.values()))
        decode, events, kept = self._decode, batch.events, batch.records
        for partition, records in polled.items():
            batch.offsets[partition] = records[-1].offset + 1
            for record in records:
                try:
                    events.append(decode(record))
                    kept.append(record)
                except InvalidRecordError as error:
                    batch.letters.append(DeadLetter(record, error.reason, error.detail))
        return batch

    async def _hand_over(self, batch: _Batch[E]) -> None:
        """Wait until the other loop takes the batch, polling on with paused partitions: no rebalance, however long."""
        waiting = asyncio.ensure_future(self._ready.put(batch))
        try:
            while not waiting.done() and not self._stopping.is_set():
                await asyncio.wait({waiting}, timeout=1.0)
                if waiting.done():
                    break
                self._consumer.pause(*self._consumer.assignment())
                for partition, records in (await self._poll(1)).items():
                    # Assigned after the pause: give the records back by moving the position to them again.
                    self._consumer.seek(partition, records[0].offset)
        finally:
            waiting.cancel()
            self._consumer.resume(*self._consumer.paused())

    # Handling.

    async def _apply(self) -> None:
        while not self._stopping.is_set():
            try:
                batch = await asyncio.wait_for(self._ready.get(), timeout=_POLL_MS / 1000)
            except TimeoutError:
                continue
            try:
                await self._apply_batch(batch)
            except _RevokedError:
                self._log.info("batch_left_uncommitted", records=len(batch))

    async def _apply_batch(self, batch: _Batch[E]) -> None:
        with self._metrics.stage("handle"):
            applied = await self._handled(batch, batch.events, batch.records)
        if batch.letters:
            with self._metrics.stage("dead_letters"):
                await self._retrying(batch, "dead_letters", lambda: send_letters(self._dead_letters, batch.letters))
        with self._metrics.stage("commit"):
            await self._retrying(batch, "commit", lambda: self._commit(batch))
        self._metrics.batch(len(batch), time.time() - batch.oldest_ms / 1000)
        self._metrics.outcome("applied", applied.changed)
        self._metrics.outcome("superseded", applied.superseded)
        self._metrics.outcome("dead_lettered", len(batch.letters))
        for dead in batch.letters:
            self._metrics.dead_letter(dead.reason)
            self._log.warning(
                "dead_letter",
                partition=dead.record.partition,
                offset=dead.record.offset,
                reason=dead.reason,
                error=dead.error,
            )
        for partition, offset in batch.offsets.items():
            self._metrics.lag(partition.partition, max(0, (self._consumer.highwater(partition) or offset) - offset))

    async def _handled(self, batch: _Batch[E], events: Sequence[E], records: Sequence[ConsumerRecord]) -> Applied:
        """Handle the events; those that the database refuses are found by halving and become dead letters."""
        if not events:
            return Applied(0, 0)
        try:
            return await self._retrying(batch, "handle", lambda: self._handle(events))
        except Exception as error:
            if classify(error) is not Fault.REFUSED:
                raise
            if len(events) == 1:
                batch.letters.append(DeadLetter(records[0], Reason.REFUSED_BY_DATABASE, str(error)))
                return Applied(0, 0)
        middle = len(events) // 2
        first = await self._handled(batch, events[:middle], records[:middle])
        second = await self._handled(batch, events[middle:], records[middle:])
        return Applied(first.changed + second.changed, first.superseded + second.superseded)

    async def _commit(self, batch: _Batch[E]) -> None:
        try:
            await self._consumer.commit(batch.offsets)
        except _LOST_PARTITIONS as error:
            self._log.info("commit_refused", error=repr(error))
            raise _RevokedError from None

    async def _retrying(self, batch: _Batch[E], stage: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Attempt until it succeeds, pausing longer each time; leave a batch whose partitions were revoked."""
        pause = self._settings.retry_first.total_seconds()
        while True:
            self._check_owned(batch)
            try:
                result = await attempt()
            except Exception as error:
                if isinstance(error, _RevokedError) or classify(error) is not Fault.TRANSIENT:
                    raise
                self._log.warning("retrying", stage=stage, records=len(batch), pause_seconds=pause, error=repr(error))
                self._metrics.retry(stage)
                await self._pause(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, self._settings.retry_cap.total_seconds())
                if self._stopping.is_set():
                    raise _RevokedError from None
            else:
                return result

    def _check_owned(self, batch: _Batch[E]) -> None:
        if batch.generation != self._generation:
            raise _RevokedError

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not through a stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), timeout=seconds)
