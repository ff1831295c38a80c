"""Publishes what one source says that epochs paid: those that settle, and those that are requested."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from services.ingest.clock import Clock, within
from services.ingest.epochs import CAPACITY, MAX_TRIES, TOTAL_TRIES, EpochQueue
from services.ingest.trackers.base import Settlement, SettlingTracker, TotallingTracker, Tracker
from services.kernel.errors import MineGNKError, SourceError
from services.kernel.events import Event

RESTATED_EPOCHS = 6
"""The chain restates: with each settlement so many epochs before it are published again."""


class NotPublishedError(MineGNKError):
    """The publisher failed; its error is the cause."""


class Attempt(NamedTuple):
    """What came of asking for an epoch: `problem` None says that Kafka has acknowledged every one of its reports.

    `total_ngonka` is what a source stated instead of reports.
    """

    epoch: int
    problem: str | None
    total_ngonka: int | None = None


class Asked(NamedTuple):
    """How to ask a source for an epoch, and how often before giving up."""

    settled: Callable[[int], Awaitable[Settlement | None]]
    max_tries: int


def asked_for_epochs(tracker: Tracker) -> Asked | None:
    """How to ask this tracker for epochs; None when it knows nothing of them."""
    if isinstance(tracker, SettlingTracker):
        return Asked(tracker.settled, MAX_TRIES)
    if isinstance(tracker, TotallingTracker):
        return Asked(partial(_total, tracker), TOTAL_TRIES)
    return None


async def _total(tracker: TotallingTracker, epoch: int) -> Settlement | None:
    total_ngonka = await tracker.total(epoch)
    return None if total_ngonka is None else Settlement(epoch, (), complete=True, total_ngonka=total_ngonka)


class Settling:
    """One source's epochs. Keep `run` running.

    `publish` returns once Kafka has acknowledged the events and raises NotPublishedError otherwise; `tell` makes an
    attempt known, and says whether Kafka has acknowledged that.
    """

    def __init__(
        self,
        asked: Asked,
        clock: Clock,
        *,
        interval_seconds: float,
        publish: Callable[[Sequence[Event]], Awaitable[None]],
        tell: Callable[[Attempt], Awaitable[bool]],
        log: Any,
    ) -> None:
        self._settled = asked.settled
        self._clock = clock
        self._publish = publish
        self._tell = tell
        self._log = log
        self._epochs = EpochQueue(interval_seconds, max_tries=asked.max_tries)
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
        try:
            attempt = await self._attempt(epoch)
        except SourceError as error:
            attempt = Attempt(epoch, str(error))
        except NotPublishedError as error:
            attempt = Attempt(epoch, repr(error.__cause__))
        except Exception as error:  # a payload that an adapter did not foresee must not end the other sources
            self._log.exception("unexpected_error", epoch=epoch)
            attempt = Attempt(epoch, f"unexpected {type(error).__name__}")
        told = await self._tell(attempt)
        problem = attempt.problem
        if problem is None and attempt.total_ngonka is not None and not told:
            problem = "its total was not acknowledged"  # it travels in what is told, and nowhere else
        if problem is None:
            self._epochs.done(epoch)
        else:
            again = self._epochs.later(epoch, self._clock.monotonic())
            self._log.warning("epoch_not_done", epoch=epoch, problem=problem, asked_again=again)

    async def _attempt(self, epoch: int) -> Attempt:
        """Publish what the epoch paid. Raises SourceError, NotPublishedError."""
        settlement = await self._settled(epoch)
        if settlement is None:
            return Attempt(epoch, "not known yet")
        if settlement.total_ngonka is not None:
            self._log.info("epoch_total", epoch=epoch, total_ngonka=settlement.total_ngonka)
            return Attempt(epoch, None, settlement.total_ngonka)
        await self._publish(settlement.reports)
        self._log.info("epoch_published", epoch=epoch, hosts=len(settlement.reports), complete=settlement.complete)
        if settlement.skipped:
            self._log.warning("rows_skipped", rows=len(settlement.skipped), reasons=settlement.skipped[:3])
        return Attempt(epoch, None if settlement.complete else f"incomplete ({len(settlement.reports)} reported)")
