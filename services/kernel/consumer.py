"""The batch consumer: the one way in which readings and earnings are consumed.

    poll → decode each record → handle the batch in the database → dead letters confirmed → commit offsets

Two loops run side by side: one polls and decodes the next batch while the other has some in hand. When there is a
backlog these are two: while PostgreSQL writes one, this process prepares the next. They are finished (dead letters,
commit) one after the other, as they were polled, so that nothing is committed before everything ahead of it is done.
What goes wrong ends in one of three ways (`transient.classify`): what passes by itself is retried in place while
polling goes on with paused partitions; what a record is to blame for goes to the dead letters; anything else stops the
service. Offsets are committed explicitly, {partition: last handled + 1}, and only of partitions that were held since
the poll, so a record is repeated after a fault, never skipped; that handlers are merges makes the repetition harmless.
A partition with too many invalid records is held (`holds`); a third loop looks whether an operator lets it go on.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from mode import Service

from services.kernel import holds
from services.kernel.backoff import pauses
from services.kernel.batches import Batch, Run, Waiting
from services.kernel.dead_letters import DeadLetter, RecordSender, send_letters
from services.kernel.errors import InvalidRecordError, Reason
from services.kernel.events import E
from services.kernel.halving import Applied, Refused, apply_by_halves
from services.kernel.holds import Hold, InvalidLimit
from services.kernel.parsed import Part, Plain, whole, without_content
from services.kernel.polling import Polling, Records
from services.kernel.settings import ConsumerSettings, KafkaSettings
from services.kernel.spans import record_at
from services.kernel.telemetry import TopicMetrics
from services.kernel.transient import Fault, classify
from services.kernel.wire import Decoding

T = TypeVar("T")

_UNDER_WAY = 2  # batches at a time
_IDLE_SECONDS = 0.5
_TEND_SECONDS = 2.0
_HANDLE_SECONDS = 90.0  # of one attempt; each statement of it has its own, shorter limit
_COMMIT_SECONDS = 10.0  # aiokafka itself would try for ever
# A stop has 10 seconds, these and those of the publisher and the database together.
_STOP_SECONDS = 3.0
_CANCEL_SECONDS = 0.3
_LEAVE_SECONDS = 0.7
_LOST_PARTITIONS = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


class _UnderWay(NamedTuple, Generic[E]):
    """A batch that is being handled, and what will come of that."""

    batch: Batch[E]
    handling: asyncio.Task[tuple[Applied, list[Refused]]]


class _LeftError(Exception):
    """The batch's partitions belong to somebody else, or the service stops: leave it, uncommitted."""


class BatchConsumer(Service, ConsumerRebalanceListener, Generic[E]):  # type: ignore[misc]
    """Consumes one topic in a consumer group and hands decoded batches to `handle`.

    `handle` writes all events in one transaction and raises otherwise; it must be a merge (repetition and any order are
    harmless). `decoding` raises InvalidRecordError for a record that can never be applied.
    """

    def __init__(
        self,
        *,
        topic: str,
        group: str,
        decoding: Decoding[E],
        handle: Callable[[Sequence[E]], Awaitable[Applied]],
        dead_letters: RecordSender,
        kafka: KafkaSettings,
        settings: ConsumerSettings,
        metrics: TopicMetrics,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self._group = group
        self._decoding: Decoding[E] = decoding
        self._handle: Callable[[Sequence[E]], Awaitable[Applied]] = handle
        self._dead_letters = dead_letters
        self._kafka = kafka
        self._settings = settings
        self._metrics = metrics
        self._limit = InvalidLimit(settings.invalid_limit, settings.invalid_window)
        self._handled: dict[TopicPartition, int] = {}  # the next offset to handle, once something was
        self._waiting: Waiting[E] = Waiting(settings.max_batch)
        self._stopping = asyncio.Event()
        self._tending: asyncio.Task[None]
        self._working: list[asyncio.Task[None]] = []
        self._polling: Polling
        self._log = structlog.get_logger(__name__).bind(topic=topic)
        self.assigned = False  # whether a first assignment has come: the service is ready
        self.held: dict[TopicPartition, Hold] = {}  # partitions above the limit on invalid records
        self.fetch_beats = 0  # move while the polling loop lives
        self.apply_beats = 0  # move while the handling loop makes progress, or tries to

    async def on_start(self) -> None:
        """Join the group and start the loops."""
        self._polling = Polling(
            self.topic,
            self._group,
            self._kafka,
            self._settings,
            listener=self,
            plain=self._decoding.plain.headers if self._decoding.plain else None,
        )
        await self._polling.start()
        self._tending, *self._working = [
            asyncio.create_task(self._crash_on_error(loop()), name=f"{loop.__name__} {self.topic}")
            for loop in (self._tend, self._fetch, self._apply)
        ]

    async def on_stop(self) -> None:
        """Let the batches in hand finish and be committed, then leave the group."""
        self._stopping.set()
        if self._working:
            self._tending.cancel()
            _, late = await asyncio.wait(self._working, timeout=_STOP_SECONDS)
            for task in late:  # the database does not answer: the transaction is rolled back, the offsets stay
                task.cancel()
            # Not for ever: a cancelled transaction still wants to tell a silent server that it is rolled back.
            await asyncio.wait([self._tending, *late], timeout=_CANCEL_SECONDS)
            # In a task of its own: while Kafka is away, the client lets the cancellation of its own requests out.
            leaving = asyncio.create_task(self._polling.stop())
            await asyncio.wait([leaving], timeout=_LEAVE_SECONDS)
            if not leaving.done():  # Kafka does not answer: the session's time-out frees the partitions
                self._log.warning("left_without_goodbye")
                leaving.cancel()
                await asyncio.wait([leaving], timeout=_CANCEL_SECONDS)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Disown what was polled: whoever gets the partitions reads them again from the committed offsets."""
        self._polling.disown(revoked)
        for partition in revoked:
            self._limit.forget(partition)
            self.held.pop(partition, None)
            self._handled.pop(partition, None)
        self._metrics.forget_partitions()
        self._log.info("partitions_revoked", partitions=sorted(tp.partition for tp in revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Note the new assignment. Only a revocation disowns: records polled from here on are this assignment's."""
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
            try:
                with self._metrics.stage("poll"):
                    batch = await self._poll()
            except OffsetOutOfRangeError:
                raise  # records were deleted before they were handled: an alarm, not a skip
            except KafkaError as error:
                if not classify(error).passes:
                    raise
                self._log.warning("poll_failed", error=repr(error))
                self._metrics.retry("poll")
                await self._pause(self._settings.retry_first.total_seconds())
            else:
                if batch is not None:
                    await self._hand_over(batch)
            self.fetch_beats += 1

    async def _poll(self) -> Batch[E] | None:
        try:
            records = await self._polling.poll()
        except UnicodeDecodeError as error:
            unreadable = await self._polling.unreadable()
            if unreadable is None:
                return None
            partition = TopicPartition(unreadable.topic, unreadable.partition)
            letter = DeadLetter(
                unreadable, Reason.UNDECODABLE, f"the record cannot be read: {error}", content_known=False
            )
            offsets = {partition: unreadable.offset + 1}
            return Batch(self._polling.number, self._polling.ownership, unreadable.timestamp, offsets, letters=[letter])
        self._metrics.polled(sum(map(len, records.values())))
        with self._metrics.stage("decode"):
            return self._decoded(records) if records else None

    def _decoded(self, polled: Records) -> Batch[E]:
        oldest_ms = min(records.timestamp for records in polled.values())
        batch: Batch[E] = Batch(self._polling.number, self._polling.ownership, oldest_ms)
        for partition, records in polled.items():
            batch.offsets[partition] = records.next_offset
            run: Run[E] = Run(partition)
            for part in records.parts:
                self._decode(part, run, batch.letters)
            batch.runs.append(run)
        return batch

    def _decode(self, part: Part, run: Run[E], letters: list[DeadLetter]) -> None:
        """Add a part's good records to the run; the others become letters."""
        decode, plain = self._decoding
        if isinstance(part, Plain):
            events = plain.decode(part.values, part.timestamp) if plain else None
            if events is not None:  # nearly always all are good
                run.events += events
                run.offsets.extend(part.offsets)
                return
            part = part.records()
        for record in part:
            try:
                run.events.append(decode(record))
                run.offsets.append(record.offset)
            except InvalidRecordError as error:
                letters.append(DeadLetter(whole(run.partition, record), error.reason, error.detail))

    async def _hand_over(self, batch: Batch[E]) -> None:
        """Let the batch wait for the other loop.

        When it does not fit, polling goes on with paused partitions: no rebalance, however long it takes.
        """
        try:
            while not self._stopping.is_set() and not self._waiting.put(batch):
                try:
                    await asyncio.wait_for(self._waiting.room.wait(), timeout=1.0)
                except TimeoutError:
                    with suppress(KafkaError):  # it will be told again in a moment
                        await self._polling.poll_nothing()
                    self.fetch_beats += 1
        finally:
            self._polling.read_on()

    # Handling.

    async def _apply(self) -> None:
        under_way: deque[_UnderWay[E]] = deque()
        try:
            while under_way or not self._stopping.is_set():
                self._begin(under_way)
                if under_way and under_way[0].handling.done():
                    if not await self._finish(under_way.popleft()) and self._stopping.is_set():
                        break  # what is left for good is left with everything behind it
                elif not await self._change() and not under_way:
                    self.apply_beats += 1  # there is nothing to do; otherwise progress moves it
        finally:
            left = [handling for _, handling in under_way]
            for handling in left:
                handling.cancel()
            if left:  # not for ever (see on_stop)
                await asyncio.wait(left, timeout=_CANCEL_SECONDS)

    def _begin(self, under_way: deque[_UnderWay[E]]) -> None:
        """Begin to handle the batch that waits: one at a time, a second one when it is large."""
        while self._waiting and not self._stopping.is_set():
            if under_way and (len(under_way) == _UNDER_WAY or not self._waiting.is_large):
                break
            batch = self._held(self._waiting.take())
            if not batch.offsets:
                continue
            handling = asyncio.create_task(self._handle_batch(batch), name=f"_handle_batch {self.topic}")
            handling.add_done_callback(lambda _: self._waiting.changed.set())
            under_way.append(_UnderWay(batch, handling))

    async def _change(self) -> bool:
        """Wait until a batch waits or has been handled; False after half a second without."""
        try:
            await asyncio.wait_for(self._waiting.changed.wait(), timeout=_IDLE_SECONDS)
        except TimeoutError:
            return False
        self._waiting.changed.clear()
        return True

    def _held(self, batch: Batch[E]) -> Batch[E]:
        """The batch without what was revoked or held since it was polled."""
        disowned = self._polling.disowned(batch.poll, batch.offsets)
        return batch.without(disowned) if disowned else batch

    async def _handle_batch(self, batch: Batch[E]) -> tuple[Applied, list[Refused]]:
        with self._metrics.stage("handle"):
            return await apply_by_halves(batch.events(), lambda events: self._handle_some(batch, events))

    async def _finish(self, handled: _UnderWay[E]) -> bool:
        """Send the letters of the batch that was handled, and commit it. False when it is left uncommitted."""
        batch = handled.batch
        try:
            applied, refused = await handled.handling
            for place, error in refused:
                batch.letters.append(await self._refused(batch, *batch.offset_of(place), error))
            batch = self._held(batch)
            if not batch.offsets:
                raise _LeftError
            await self._commit_batch(batch, applied)
        except _LeftError:
            self._log.info("batch_left_uncommitted", records=len(handled.batch))
            return False
        return True

    async def _refused(self, batch: Batch[E], partition: TopicPartition, offset: int, error: str) -> DeadLetter:
        """The letter of a record that the database refuses, which is read again for it."""
        record = await self._retrying(batch, "read_again", lambda: record_at(self._kafka, partition, offset))
        if record is None:
            error = f"{error} (the topic has deleted the record since it was read)"
            return DeadLetter(
                without_content(partition, offset), Reason.REFUSED_BY_DATABASE, error, content_known=False
            )
        return DeadLetter(record, Reason.REFUSED_BY_DATABASE, error)

    async def _commit_batch(self, batch: Batch[E], applied: Applied) -> None:
        with self._metrics.stage("dead_letters"):
            over = await self._judge(batch)
            if batch.letters:
                await self._retrying(batch, "dead_letters", lambda: send_letters(self._dead_letters, batch.letters))
        with self._metrics.stage("commit"):
            await self._retrying(batch, "commit", lambda: self._commit(batch.offsets, over))
        self._metrics.handled(applied, len(batch.letters), time.time() - batch.oldest_ms / 1000)
        for dead in batch.letters:
            self._metrics.dead_letter(dead.reason)
            self._log.warning(
                "dead_letter",
                partition=dead.record.partition,
                offset=dead.record.offset,
                reason=dead.reason,
                error=dead.error,
            )

    async def _handle_some(self, batch: Batch[E], events: Sequence[E]) -> Applied:
        async def attempt() -> Applied:
            async with asyncio.timeout(_HANDLE_SECONDS):
                return await self._handle(events)

        return await self._retrying(batch, "handle", attempt, divisible=len(events) > 1)

    async def _commit(self, offsets: dict[TopicPartition, int], over: dict[TopicPartition, Hold]) -> None:
        noted = {p: (offset, self._limit.note(p, over.get(p))) for p, offset in offsets.items()}
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                await self._polling.commit(noted)
        except _LOST_PARTITIONS as error:
            self._log.info("commit_refused", error=repr(error))
            raise _LeftError from None
        # Those that were revoked meanwhile are handled by whoever has them now.
        self._handled.update((p, offset) for p, offset in offsets.items() if p in self._polling.assignment)
        for partition, hold in over.items():
            self._hold(partition, hold)

    async def _retrying(
        self, batch: Batch[E], stage: str, attempt: Callable[[], Awaitable[T]], *, divisible: bool = False
    ) -> T:
        """Attempt until it succeeds, pausing longer each time; leave a batch whose partitions were revoked.

        What is divisible is not retried after a time limit: less of it at once may do.
        """
        for pause in pauses(self._settings):
            # A revocation takes all of its partitions: the group's protocol is an eager one. A hold takes one.
            if self._polling.disowned(batch.poll, batch.offsets) == batch.offsets.keys():
                break
            try:
                return await attempt()
            except Exception as error:
                fault = classify(error)
                if isinstance(error, _LeftError) or not fault.passes or (divisible and fault is Fault.SLOW):
                    raise
                self._log.warning("retrying", stage=stage, records=len(batch), pause_seconds=pause, error=repr(error))
                self._metrics.retry(stage)
            finally:
                self.apply_beats += 1
            await self._pause(pause)
            if self._stopping.is_set():
                break
        raise _LeftError

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not through a stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), timeout=seconds)

    # The limit on invalid records.

    async def _judge(self, batch: Batch[E]) -> dict[TopicPartition, Hold]:
        """Cut the batch's letters and offsets before each partition's first record above the limit; returns these.

        Good records behind the cut may have been applied. They will be again: a merge.
        """
        if unknown := self._limit.unknown(batch.offsets):
            await self._retrying(batch, "recall", lambda: self._recall(batch, unknown))
        batch.letters, over = self._limit.judge(batch.letters)
        batch.offsets.update((partition, hold.offset) for partition, hold in over.items())
        return over

    async def _recall(self, batch: Batch[E], partitions: Sequence[TopicPartition]) -> None:
        """Take up the counts that stand beside the committed offsets; leave a batch that was revoked meanwhile."""
        found = await holds.committed(self._kafka, self._group, partitions)
        if self._polling.disowned(batch.poll, batch.offsets):
            raise _LeftError  # a revocation forgets counts: none may be taken up or judged by after it
        for partition, held in found.items():
            self._limit.recall(partition, held.note)

    def _hold(self, partition: TopicPartition, hold: Hold) -> None:
        if partition not in self._polling.assignment:
            return  # revoked while its offset was committed: whoever has it now holds it
        self.held[partition] = hold
        self._polling.hold(partition)
        self._metrics.held(partition.partition, held=True)
        self._log.critical(
            "partition_held",
            partition=partition.partition,
            offset=hold.offset,
            reason=hold.reason,
            error=hold.error,
            limit=self._settings.invalid_limit,
            window_seconds=self._settings.invalid_window.total_seconds(),
            action="mend the producer, then run `minegnk consumer resume`",
        )

    # Tending: lag, and what an operator says about held partitions.

    async def _tend(self) -> None:
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(_COMMIT_SECONDS):
                    if self.held:
                        await self._release()
                    for partition, records in (await self._polling.lag(self._handled)).items():
                        self._metrics.lag(partition.partition, records)
            except (KafkaError, OSError, TimeoutError) as error:
                self._log.warning("tending_postponed", error=repr(error))
            await self._pause(_TEND_SECONDS)

    async def _release(self) -> None:
        """Let held partitions go on that an operator has spoken for."""
        found = await holds.permits(self._kafka, self._group, list(self.held))
        for partition, permits in found.items():
            hold = self.held.get(partition)  # it may have been revoked meanwhile
            if hold is None or max(permits) <= hold.offset:
                continue
            go_on = max(hold.offset, permits.skip_until)
            if go_on > hold.offset:
                with suppress(_LeftError):
                    await self._commit({partition: go_on}, {})
            if self.held.pop(partition, None) is None:
                continue
            self._limit.go_on(partition, permits.go_on_until)
            self._polling.release(partition, go_on)
            self._metrics.held(partition.partition, held=False)
            self._log.warning(
                "partition_resumed",
                partition=partition.partition,
                offset=hold.offset,
                skipped_until=go_on,
                invalid_allowed_until=permits.go_on_until,
            )
