"""Ingest on a virtual clock: the real poller, adapter, HTTP client and publisher of a source."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from services.ingest.polling import Poller
from services.ingest.sources import Source
from services.ingest.trackers.adapters import tracker_for
from services.ingest.trackers.base import Poll, Settlement, SettlingTracker
from services.kernel.events import EarningsReport, Event, RefreshRequest, SourceStatus
from services.kernel.publisher import KafkaPublisher
from tests.year.clock import YearClock

_DIGITS = re.compile(r"gonka1\w+|\d[\d.:]*")


class _HoldsTime:
    """A tracker during whose requests no time passes."""

    def __init__(self, tracker: SettlingTracker, clock: YearClock) -> None:
        self._tracker = tracker
        self._clock = clock

    async def poll(self) -> Poll:
        with self._clock.working():
            return await self._tracker.poll()

    async def settled(self, epoch: int) -> Settlement | None:
        with self._clock.working():
            return await self._tracker.settled(epoch)

    async def aclose(self) -> None:
        await self._tracker.aclose()


class CountingPublisher:
    """Kafka's publisher, during whose publications no time passes; counts reports, and why epochs were not."""

    def __init__(self, publisher: KafkaPublisher, clock: YearClock) -> None:
        self._publisher = publisher
        self._clock = clock
        self.reports = 0
        self.unpublished: Counter[str] = Counter()

    async def publish(self, events: Sequence[Event]) -> None:
        with self._clock.working():
            await self._publisher.publish(events)
        self.reports += sum(isinstance(event, EarningsReport) for event in events)
        reasons = (event.unpublished_reason for event in events if isinstance(event, SourceStatus))
        self.unpublished.update(_DIGITS.sub("…", reason.split("; ")[0]) for reason in reasons if reason)


class Ingest:
    """One instance that polls the source, as an async context manager; entering it again starts from nothing."""

    def __init__(self, source: Source, clock: YearClock, publisher: CountingPublisher) -> None:
        self._source = source
        self._clock = clock
        self._publisher = publisher

    async def __aenter__(self) -> "Ingest":
        tracker = tracker_for(self._source, self._clock)
        assert isinstance(tracker, SettlingTracker)
        self._poller = Poller(self._source, _HoldsTime(tracker, self._clock), self._publisher, self._clock)
        self._task = asyncio.create_task(self._poller.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def until(self, moment: datetime) -> None:
        """Live up to the moment. Raises what ended the poller."""
        await self._clock.until(moment)
        if self._task.done():
            await self._task
            raise AssertionError("the poller ended")

    def ask_for(self, epochs: Iterable[int]) -> None:
        """Ask for epochs as `minegnk backfill` does."""
        now = self._clock.now()
        for epoch in epochs:
            request = RefreshRequest(source=self._source.name, requested_at=now, requested_by="backfill", epoch=epoch)
            assert self._poller.request(request), f"epoch {epoch} was not taken"
