"""Filling in past epochs of a source: ask ingest for them, and follow what it tells until each is published.

Ingest does the polling, so that the source's rate budget sits in one place and live polling goes on. What it tells on
source.status.v1 says which epochs are complete; nothing is guessed.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.cli.asking import Asking
from services.cli.backfill_state import Span, State
from services.kernel.errors import ConfigurationError, InvalidRecordError, UnavailableError
from services.kernel.events import SourceStatus
from services.kernel.kafka import client_arguments
from services.kernel.settings import KafkaSettings
from services.kernel.spans import Spans
from services.kernel.wire import decoder_for

_POLL_MS = 500
_ASK_AGAIN = (2.0, 10.0)
_QUIET = (1.5, 10.0)
_SILENT = (3.0, 60.0)
"""Limits in poll intervals and, at least, seconds. Another ingest takes over within half a minute."""


def silent_after(interval: timedelta) -> float:
    """Seconds after which a source of which nothing is heard is polled by nobody."""
    return _limit(_SILENT, interval)


class Heard(NamedTuple):
    """What ingest told about the source, and whether after this command's start."""

    status: SourceStatus
    new: bool


class Feed(Protocol):
    """Where a source's statuses come from."""

    async def heard(self) -> Sequence[Heard]:
        """The next ones, none after half a second without any. Raises KafkaError."""
        ...

    async def check(self) -> None:
        """Raise KafkaError when Kafka is away."""
        ...


class StatusFeed:
    """A source's statuses on Kafka, read outside of any group."""

    def __init__(self, consumer: AIOKafkaConsumer, source: str, ends: dict[TopicPartition, int]) -> None:
        self._consumer = consumer
        self._source = source
        self._ends = ends
        self._decode = decoder_for(SourceStatus)

    async def heard(self) -> Sequence[Heard]:
        """The next ones, none after half a second without any. Raises KafkaError."""
        try:
            polled = await self._consumer.getmany(timeout_ms=_POLL_MS)
        except UnicodeDecodeError:  # a header that the client cannot read: what is passed over is asked for again
            await self._consumer.seek_to_end()
            return ()
        found = []
        for partition, records in polled.items():
            for record in records:
                try:
                    status = self._decode(record)
                except InvalidRecordError:
                    continue  # the cache keeps it as a dead letter
                if status.source == self._source:
                    found.append(Heard(status, record.offset >= self._ends[partition]))
        return found

    async def check(self) -> None:
        """Raise KafkaError when Kafka is away: its client goes on trying, and says nothing."""
        await self._consumer.end_offsets(list(self._ends))


@asynccontextmanager
async def status_feed(
    kafka: KafkaSettings, source: str, held: Spans, lookback_seconds: float
) -> AsyncIterator[StatusFeed]:
    """The source's statuses of so long before now, then those that come. `held` spans source.status.v1.

    Raises KafkaError.
    """
    since = datetime.now(UTC) - timedelta(seconds=lookback_seconds)
    consumer = AIOKafkaConsumer(
        **client_arguments(kafka),
        enable_auto_commit=False,
        auto_offset_reset="latest",
        request_timeout_ms=10_000,
    )
    try:
        await consumer.start()
        begins = await consumer.offsets_for_times(dict.fromkeys(held, int(since.timestamp() * 1000)))
        consumer.assign(list(held))
        for partition, (_, end) in held.items():
            consumer.seek(partition, end if begins[partition] is None else min(end, begins[partition].offset))
        yield StatusFeed(consumer, source, {partition: end for partition, (_, end) in held.items()})
    finally:
        await consumer.stop()


class EpochBackfill:
    """One backfill of a source. `asking` tells how far it is, at every moment, also after an exception."""

    def __init__(
        self,
        source: str,
        interval: timedelta,
        wanted: Span,
        state: State,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._wanted = wanted
        self._state = state
        self._clock = clock
        self._ask_again, self._quiet_after = _limit(_ASK_AGAIN, interval), _limit(_QUIET, interval)
        self._silent_after = silent_after(interval)
        self._before = state.published(wanted)
        self.before = sum(span.size for span in self._before)
        """How many an earlier backfill has seen published."""
        self.total = wanted.size - self.before
        self.asking = Asking((), again_after=0)

    async def run(
        self, feed: Feed, ask: Callable[[list[int]], Awaitable[None]], show: Callable[[int, str], None]
    ) -> None:
        """Ask, and follow, until every epoch is published or given up.

        Raises ConfigurationError when the last one has not settled, UnavailableError when nobody polls the source or it
        does not answer, KafkaError.
        """
        began = heard_at = self._clock()
        settled, error = False, ""
        noted: set[int] = set()
        while self.total > 0 and not (settled and self.asking.finished):
            for status, new in await feed.heard():
                if new:
                    heard_at = self._clock()
                    error = status.last_error or ""
                    self.asking.hear(status, heard_at)
                if not settled and self._settled(status, new=new):
                    settled = True
                    self.asking = Asking(self._missing(), again_after=self._ask_again)
            now = self._clock()
            if due := self.asking.due(now):
                await ask(due)
            if news := self.asking.published - noted:
                self._state.add(news)
                noted |= news
            if now - heard_at > self._silent_after or (not settled and now - began > self._silent_after):
                await feed.check()
                raise UnavailableError(self._why_not(now - heard_at, error))
            quiet = f"nothing heard of {self._source} for {now - heard_at:.0f} s"
            show(len(self.asking.published), quiet if now - heard_at > self._quiet_after else self.asking.problem)

    def _missing(self) -> set[int]:
        found = set(range(self._wanted.first, self._wanted.last + 1))
        for span in self._before:
            found.difference_update(range(span.first, span.last + 1))
        return found

    def _settled(self, status: SourceStatus, *, new: bool) -> bool:
        """Whether the last epoch is known to have settled. Raises ConfigurationError when it has not."""
        newest = status.newest_settled
        if newest is None:
            return False
        if new and self._wanted.last > newest:
            raise ConfigurationError(
                f"Epoch {self._wanted.last} has not settled: the newest that {self._source} knows is {newest}; "
                f"give --to-epoch {newest} or less."
            )
        return self._wanted.last <= newest

    def _why_not(self, silent_seconds: float, error: str) -> str:
        if silent_seconds > self._silent_after:
            return f"Nobody polls {self._source}, for {silent_seconds:.0f} s now: see that `minegnk ingest` runs."
        return (
            f"{self._source} has not said in {self._silent_after:.0f} s which epochs have settled"
            f"{f' ({error})' if error else ''}: see to it."
        )


def _limit(limit: tuple[float, float], interval: timedelta) -> float:
    return max(limit[0] * interval.total_seconds(), limit[1])
