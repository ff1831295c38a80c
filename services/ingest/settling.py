"""Publishes what epochs paid, of one source: those that settle, and those that are requested."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from services.ingest.clock import Clock, within
from services.ingest.epochs import CAPACITY, EpochQueue
from services.ingest.trackers.base import Settlement, SettlingTracker
from services.kernel.errors import MineGNKError, SourceError
from services.kernel.events import Event

RESTATED_EPOCHS = 6
"""The chain restates: with each settlement so many epochs before it are published again."""


class NotPublishedError(MineGNKError):
    """The publisher failed; its error is the cause."""


class Attempt(NamedTuple):
    """What came of asking for an epoch: `problem` None says that Kafka has acknowledged every one of its reports."""

    epoch: int
    problem: str | None


class Settling:
    """One source's epochs. Keep `run` running.

    `publish` returns once Kafka has acknowledged the events and raises NotPublishedError otherwise; `tell` makes an
    attempt known.
    """

    def __init__(
        self,
        tracker: SettlingTracker,
        clock: Clock,
        *,
        interval_seconds: float,
        publish: Callable[[Sequence[Event]], Awaitable[None]],
        tell: Callable[[Attempt], Awaitable[object]],
        log: Any,
    ) -> None:
        self._tracker = tracker
        self._clock = clock
        self._publish = publish
        self._tell = tell
        self._log = log
        self._epochs = EpochQueue(interval_seconds)
        self._changed = asyncio.Event()
        self.newest: int | None = None
        """The newest epoch that is known to have settled."""

    def note(self, newest: int | None) -> None:
        """Take note of the newest epoch that has settled: queue those that are new, and some before them again."""
        before = self.newest
        if newest is None or (before is not None and newest <= before):
            return
        self.newest = newest
        oldest = (newest if before is None else before + 1) - RESTATED_EPOCHS
        for epoch in range(max(oldest, newest - CAPACITY, 0), newest + 1):
            self._epochs.add(epoch, self._clock.monotonic(), live=True)
        self._changed.set()

    def request(self, epoch: int) -> bool:
        """Publish the epoch, soon. False when it is queued already or has not settled, or too many wait."""
        unsettled = self.newest is not None and epoch > self.newest
        if unsettled or not self._epochs.add(epoch, self._clock.monotonic()):
            return False
        self._changed.set()
        return True

    async def run(self) -> None:
        """Publish epochs until cancelled."""
        while True:
            self._changed.clear()
            epoch = self._epochs.next(self._clock.monotonic())
            if epoch is None:
                await self._until_due()
            elif self._epochs.is_live(epoch):
                await self._settle(epoch)
            else:
                await self._settle_meanwhile(epoch)

    async def _settle_meanwhile(self, epoch: int) -> None:
        """Settle an epoch that was only requested. It is left as soon as a live one is due, and stays due itself.

        Read host by host, one epoch can take an hour of a source's budget; the tracker keeps what it has read so far.
        """
        work, live = asyncio.create_task(self._settle(epoch)), asyncio.create_task(self._until_live_is_due())
        try:
            await asyncio.wait({work, live}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            live.cancel()
            await asyncio.gather(work, live, return_exceptions=True)

    async def _until_live_is_due(self) -> None:
        while self._epochs.next(self._clock.monotonic(), live=True) is None:
            self._changed.clear()
            await self._until_due(live=True)

    async def _until_due(self, *, live: bool = False) -> None:
        """Wait until an epoch is due, or a live one, but no longer than the queue stays as it is."""
        pause = self._epochs.pause(self._clock.monotonic(), live=live)
        if pause is None:
            await self._changed.wait()
        else:
            with suppress(TimeoutError):
                await within(self._clock, pause, self._changed.wait())

    async def _settle(self, epoch: int) -> None:
        problem: str | None
        try:
            problem = await self._attempt(epoch)
        except SourceError as error:
            problem = str(error)
        except NotPublishedError as error:
            problem = repr(error.__cause__)
        except Exception as error:  # a payload that an adapter did not foresee must not end the other sources
            self._log.exception("unexpected_error", epoch=epoch)
            problem = f"unexpected {type(error).__name__}"
        if problem is None:
            self._epochs.done(epoch)
        else:
            again = self._epochs.later(epoch, self._clock.monotonic())
            self._log.warning("epoch_not_done", epoch=epoch, problem=problem, asked_again=again)
        await self._tell(Attempt(epoch, problem))

    async def _attempt(self, epoch: int) -> str | None:
        """Publish what the epoch paid; returns why it is not complete. Raises SourceError, NotPublishedError."""
        settlement: Settlement | None = await self._tracker.settled(epoch)
        if settlement is None:
            return "not known yet"
        await self._publish(settlement.reports)
        self._log.info("epoch_published", epoch=epoch, hosts=len(settlement.reports), complete=settlement.complete)
        if settlement.skipped:
            self._log.warning("rows_skipped", rows=len(settlement.skipped), reasons=settlement.skipped[:3])
        return None if settlement.complete else f"incomplete ({len(settlement.reports)} reported)"
