"""Polls one source at its interval and publishes what it says and how it does."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING, Protocol

import structlog
from prometheus_client import CollectorRegistry

from services.ingest.clock import Clock, within
from services.ingest.facts import PublishedFacts
from services.ingest.settling import Attempt, NotPublishedError, Settling, asked_for_epochs
from services.ingest.sources import Source
from services.ingest.telemetry import PollMetrics
from services.ingest.trackers.base import Poll, Tracker
from services.kernel.errors import MineGNKError, SourceError
from services.kernel.events import Event, RefreshRequest, SourceStatus
from services.kernel.tracing import span

if TYPE_CHECKING:
    from services.kernel.traces import Tracing

_JITTER = 0.1
_POLL_LIMIT = (1.25, 10.0)
_PUBLISH_LIMIT = (0.5, 5.0)
"""Limits of a poll and of a publication, in intervals and, at least, seconds: together well below three intervals."""

_PUBLISH_RETRY_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class Publisher(Protocol):
    """Where events go."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Return once every event is acknowledged; raise otherwise."""
        ...


class PollerStuckError(MineGNKError):
    """A source without a finished attempt for three intervals: only a new process helps."""


@dataclass(frozen=True, slots=True)
class _Record:
    """What a source's attempts came to so far."""

    last_attempt_at: datetime | None = None
    last_success_at: datetime | None = None
    last_error_at: datetime | None = None
    last_error: str | None = None
    data_at: datetime | None = None
    epoch: int | None = None
    height: int | None = None


class Poller:
    """One source's duty. `run` lives until it is cancelled; it owns and closes the tracker.

    What was published is remembered here only after the publisher returned, so a new Poller starts from nothing.
    """

    def __init__(
        self,
        source: Source,
        tracker: Tracker,
        publisher: Publisher,
        clock: Clock,
        *,
        metrics: PollMetrics | None = None,
        tracing: "Tracing | None" = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._tracker = tracker
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics or PollMetrics(CollectorRegistry())
        self._tracing = tracing
        self._jitter = jitter
        self._interval = source.poll_interval.total_seconds()
        self._deadline = max(_POLL_LIMIT[0] * self._interval, _POLL_LIMIT[1])
        self._publish_deadline = max(_PUBLISH_LIMIT[0] * self._interval, _PUBLISH_LIMIT[1])
        self._stuck_after = max(3 * self._interval, 1.1 * self._interval + self._deadline + self._publish_deadline + 2)
        self._record = _Record()
        self._published_data_at: datetime | None = None
        self._facts = PublishedFacts()
        self._poll_wanted = asyncio.Event()
        self._attempting = False
        self._started_at: float | None = None
        self._finished_at = clock.monotonic()
        self._log = _log.bind(source=source.name)
        self._settling: Settling | None = None
        if asked := asked_for_epochs(tracker):
            self._settling = Settling(
                asked,
                clock,
                interval_seconds=self._interval,
                publish=self._publish,
                tell=self._publish_status,
                log=self._log,
            )

    async def run(self) -> None:
        """Poll until cancelled. Raises PollerStuckError when no attempt finishes for three intervals."""
        self._finished_at = self._clock.monotonic()
        self._metrics.begin(self._source.name, self._interval)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._poll_for_ever())
                tasks.create_task(self._watch())
                if self._settling is not None:
                    tasks.create_task(self._settling.run())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._metrics.end(self._source.name)
            await self._tracker.aclose()

    def request(self, request: RefreshRequest) -> bool:
        """Do as asked, soon. False when there is no need or no way.

        A poll is not wanted while one is under way or within the interval since the last one began. An epoch is
        queued once, for sources that know epochs.
        """
        if request.epoch is not None:
            return self._settling is not None and self._settling.request(request.epoch)
        now = self._clock.monotonic()
        if self._attempting or (self._started_at is not None and now - self._started_at < self._interval):
            return False
        self._poll_wanted.set()
        return True

    async def _poll_for_ever(self) -> None:
        await self._announce()
        while True:
            self._poll_wanted.clear()
            self._started_at, self._attempting = self._clock.monotonic(), True
            with span(self._tracing, f"poll {self._source.name}", source=self._source.name):
                await self._attempt()
            self._finished_at, self._attempting = self._clock.monotonic(), False
            interval = self._interval * (1 + _JITTER * (self._jitter() - 0.5))
            with suppress(TimeoutError):
                await within(
                    self._clock, max(self._started_at + interval - self._finished_at, 0), self._poll_wanted.wait()
                )

    async def _announce(self) -> None:
        """The source's preferences have to be known before its first reading."""
        while True:
            with suppress(TimeoutError):
                if await within(self._clock, self._publish_deadline, self._publish_status()):
                    return
            self._finished_at = self._clock.monotonic()  # Kafka is away; a new process would not help
            await self._clock.sleep(_PUBLISH_RETRY_SECONDS)

    async def _attempt(self) -> None:
        self._record = replace(self._record, last_attempt_at=self._clock.now())
        poll: Poll | None = None
        began = self._clock.monotonic()
        try:
            poll = await within(self._clock, self._deadline, self._tracker.poll())
        except TimeoutError:
            self._failed(f"no answer within {self._deadline:g} s")
        except SourceError as error:
            self._failed(str(error))
        except Exception as error:  # a payload that an adapter did not foresee must not end the other sources
            self._log.exception("unexpected_error")
            self._failed(f"unexpected {type(error).__name__}")
        if poll is not None:
            self._succeeded(poll, self._clock.monotonic() - began)
        try:
            await within(self._clock, self._publish_deadline, self._deliver(poll))
        except TimeoutError:
            self._log.warning("not_published", error=f"no acknowledgement within {self._publish_deadline:g} s")

    def _failed(self, reason: str) -> None:
        self._record = replace(self._record, last_error_at=self._clock.now(), last_error=reason)
        self._metrics.failed(self._source.name)
        self._log.warning("source_poll_failed", error=reason)

    def _succeeded(self, poll: Poll, seconds: float) -> None:
        now = self._clock.now()
        self._metrics.succeeded(self._source.name, seconds, now, poll.data_at)
        self._record = replace(
            self._record,
            last_success_at=now,
            data_at=poll.data_at,
            epoch=poll.epoch,
            height=poll.height,
        )
        if poll.skipped:
            self._log.warning("rows_skipped", rows=len(poll.skipped), reasons=poll.skipped[:3])
        if self._settling is not None:
            self._settling.note(poll.newest_settled)

    async def _deliver(self, poll: Poll | None) -> None:
        """Publish the poll's readings, unless they are no newer than those published, and how the source does."""
        if poll is not None and (self._published_data_at is None or poll.data_at > self._published_data_at):
            readings = self._facts.unsaid(poll.readings)
            try:
                await self._publish([*readings, *poll.estimates])
                self._facts.note(readings)
                self._published_data_at = poll.data_at
            except NotPublishedError as error:
                self._log.warning("not_published", error=repr(error.__cause__))
        await self._publish_status()

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(self._stuck_after / 4)
            if self._clock.monotonic() - self._finished_at > self._stuck_after:
                raise PollerStuckError(f"{self._source.name}: no finished poll for {self._stuck_after:g} s")

    async def _publish_status(self, attempt: Attempt | None = None) -> bool:
        """Tell how the source does and, after an attempt at an epoch, what came of it. False without Kafka."""
        source, record = self._source, self._record
        total_ngonka = attempt.total_ngonka if attempt else None
        published = attempt is not None and attempt.problem is None and total_ngonka is None
        status = SourceStatus(
            source=source.name,
            kind=source.kind.value,
            reported_at=self._clock.now(),
            preference_seconds=ceil(source.preference.total_seconds()),
            earnings_order=source.earnings_order,
            probes_health=source.probes_health,
            poll_interval_seconds=ceil(self._interval),
            last_attempt_at=record.last_attempt_at,
            last_success_at=record.last_success_at,
            last_error_at=record.last_error_at,
            last_error=record.last_error,
            data_at=record.data_at,
            epoch=record.epoch,
            height=record.height,
            newest_settled=self._settling.newest if self._settling else None,
            published_epoch=attempt.epoch if attempt and published else None,
            unpublished_epoch=attempt.epoch if attempt and attempt.problem is not None else None,
            unpublished_reason=attempt.problem if attempt else None,
            total_epoch=attempt.epoch if attempt and total_ngonka is not None else None,
            total_ngonka=total_ngonka,
        )
        try:
            await self._publish([status])
        except NotPublishedError as error:
            self._log.warning("not_published", error=repr(error.__cause__))
            return False
        return True

    async def _publish(self, events: Sequence[Event]) -> None:
        if not events:
            return
        try:
            await self._publisher.publish(events)
        except Exception as error:  # whatever stops it, the events are not delivered and are sent again later
            raise NotPublishedError from error
