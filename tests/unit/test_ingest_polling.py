"""The loop of one source, on a clock that tests move."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from services.ingest.epochs import CAPACITY, MAX_TRIES, TOTAL_TRIES, EpochQueue
from services.ingest.polling import Poller, PollerStuckError
from services.ingest.telemetry import PollMetrics
from services.ingest.trackers.base import Poll, Settlement
from services.kernel.errors import SourceError
from services.kernel.events import EarningsReport, NodeReading, RefreshRequest
from tests.unit.ingest_fakes import ALICE, START, KeptEvents, ManualClock, a_source, settle


def a_poll(seconds: float = 0, **more: object) -> Poll:
    observed_at = START + timedelta(seconds=seconds)
    reading = NodeReading(identifier=ALICE, identifier_type="wallet", source="s", observed_at=observed_at)
    return replace(Poll(readings=(reading,), data_at=observed_at, epoch=7, height=70), **more)  # type: ignore[arg-type]


def a_settlement(epoch: int, *, complete: bool = True) -> Settlement:
    report = EarningsReport(
        identifier=ALICE,
        identifier_type="wallet",
        source="s",
        kind="epoch",
        period=epoch,
        amount_ngonka=1,
        observed_at=START,
    )
    return Settlement(epoch=epoch, reports=(report,), complete=complete)


@dataclass
class ListTracker:
    """Answers with what it is given: a poll, an error to raise, or None to hang for ever."""

    answer: Poll | Exception | None = field(default_factory=a_poll)
    asked: int = 0
    closed: bool = False

    async def poll(self) -> Poll:
        self.asked += 1
        if self.answer is None:
            await asyncio.Event().wait()
            raise AssertionError
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class EpochTracker(ListTracker):
    """Knows epochs too; one that is in `outcomes` is answered with what is there."""

    outcomes: dict[int, Settlement | Exception | None] = field(default_factory=dict)
    settlements: list[int] = field(default_factory=list)

    async def settled(self, epoch: int) -> Settlement | None:
        self.settlements.append(epoch)
        outcome = self.outcomes.get(epoch, a_settlement(epoch))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@dataclass
class TotalTracker(ListTracker):
    """States what epochs paid in all; None of one that is in `unknown`."""

    unknown: set[int] = field(default_factory=set)
    totals: list[int] = field(default_factory=list)

    async def total(self, epoch: int) -> int | None:
        self.totals.append(epoch)
        return None if epoch in self.unknown else 1000 + epoch


@dataclass
class Running:
    poller: Poller
    clock: ManualClock
    published: KeptEvents
    task: "asyncio.Task[None]"
    registry: CollectorRegistry

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"minegnk_source_{name}", {"source": "s", **labels})


@asynccontextmanager
async def running(tracker: ListTracker, published: KeptEvents | None = None) -> AsyncIterator[Running]:
    clock, published = ManualClock(), published or KeptEvents()
    source = a_source(kind="gonka_api", name="s", preference=30, earnings_order=4)
    registry = CollectorRegistry()
    poller = Poller(source, tracker, published, clock, metrics=PollMetrics(registry), jitter=lambda: 0.5)
    task = asyncio.create_task(poller.run())
    await settle()
    try:
        yield Running(poller, clock, published, task, registry)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def refresh(epoch: int | None = None) -> RefreshRequest:
    return RefreshRequest(source="s", requested_at=START, requested_by="test", epoch=epoch)


async def test_the_source_is_announced_before_its_first_poll() -> None:
    async with running(ListTracker()) as run:
        first = run.published.events[0]
    assert first is run.published.statuses[0]
    assert run.published.statuses[0].last_attempt_at is None
    assert run.published.statuses[0].preference_seconds == 30
    assert run.published.statuses[0].earnings_order == 4
    assert run.published.statuses[0].poll_interval_seconds == 60
    assert run.published.statuses[0].probes_health is False


async def test_a_poll_is_published_with_how_the_source_does() -> None:
    async with running(ListTracker()) as run:
        assert len(run.published.readings) == 1
        status = run.published.statuses[-1]
    assert (status.last_attempt_at, status.last_success_at, status.data_at) == (START, START, START)
    assert (status.epoch, status.height, status.last_error) == (7, 70, None)


async def test_metrics_tell_how_the_source_does_for_as_long_as_it_is_polled_here() -> None:
    tracker = ListTracker(SourceError("down"))
    async with running(tracker) as run:
        assert run.metric("last_success_timestamp_seconds") == 0, "never yet"
        assert run.metric("data_timestamp_seconds") is None
        tracker.answer = a_poll(-30)
        await run.clock.advance(60)
        tracker.answer = SourceError("down")
        await run.clock.advance(60)
        assert run.metric("last_success_timestamp_seconds") == (START + timedelta(seconds=60)).timestamp()
        assert run.metric("data_timestamp_seconds") == (START - timedelta(seconds=30)).timestamp()
        assert run.metric("poll_interval_seconds") == 60
        assert run.metric("poll_seconds_count") == 1
        polls = [run.metric("polls_total", outcome=outcome) for outcome in ("succeeded", "failed")]
        assert polls == [1, 2]
    assert run.metric("last_success_timestamp_seconds") is None
    assert run.metric("polls_total", outcome="failed") == 2


async def test_a_source_is_polled_at_its_interval() -> None:
    tracker = ListTracker()
    async with running(tracker) as run:
        await run.clock.advance(59)
        assert tracker.asked == 1
        await run.clock.advance(1)
        assert tracker.asked == 2
        await run.clock.advance(180)
        assert tracker.asked == 5


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 57), (1.0, 63)])
async def test_the_interval_is_shaken_a_little(drawn: float, seconds: float) -> None:
    clock, tracker = ManualClock(), ListTracker()
    poller = Poller(a_source(), tracker, KeptEvents(), clock, jitter=lambda: drawn)
    task = asyncio.create_task(poller.run())
    await clock.advance(seconds - 0.1)
    assert tracker.asked == 1
    await clock.advance(0.2)
    assert tracker.asked == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_data_that_is_no_newer_is_not_published_again() -> None:
    tracker = ListTracker(a_poll(10))
    async with running(tracker) as run:
        await run.clock.advance(60)
        tracker.answer = a_poll(5)
        await run.clock.advance(60)
        assert len(run.published.readings) == 1
        tracker.answer = a_poll(11)
        await run.clock.advance(60)
        assert len(run.published.readings) == 2


async def test_stale_data_is_a_success_with_an_old_time() -> None:
    async with running(ListTracker(a_poll(0))) as run:
        await run.clock.advance(600)
        status = run.published.statuses[-1]
    assert status.last_success_at == START + timedelta(seconds=600)
    assert status.data_at == START


async def test_a_failure_is_told_and_the_next_poll_comes_as_usual() -> None:
    tracker = ListTracker(SourceError("node1: HTTP 500"))
    async with running(tracker) as run:
        status = run.published.statuses[-1]
        assert (status.last_error, status.last_error_at, status.last_success_at) == ("node1: HTTP 500", START, None)
        tracker.answer = a_poll()
        await run.clock.advance(60)
        status = run.published.statuses[-1]
        assert status.last_success_at == START + timedelta(seconds=60)
        assert status.last_error_at == START


async def test_an_error_that_nobody_foresaw_fails_the_poll_and_not_the_service() -> None:
    tracker = ListTracker(KeyError("secret"))
    async with running(tracker) as run:
        assert run.published.statuses[-1].last_error == "unexpected KeyError"
        await run.clock.advance(60)
        assert tracker.asked == 2


async def test_every_poll_has_a_deadline() -> None:
    tracker = ListTracker(None)
    async with running(tracker) as run:
        await run.clock.advance(75)
        assert run.published.statuses[-1].last_error == "no answer within 75 s"
        assert tracker.asked == 2
        await run.clock.advance(600)
        assert not run.task.done()


async def test_what_was_not_acknowledged_is_published_again() -> None:
    published, tracker = KeptEvents(), ListTracker(SourceError("not yet"))
    async with running(tracker, published) as run:
        published.failing = True
        tracker.answer = a_poll(10)
        await run.clock.advance(60)
        assert published.readings == []
        published.failing = False
        await run.clock.advance(60)
        assert len(published.readings) == 1


async def test_a_broker_that_is_away_at_the_start_is_waited_for() -> None:
    published, tracker = KeptEvents(), ListTracker()
    published.failing = True
    async with running(tracker, published) as run:
        await run.clock.advance(1000)
        assert tracker.asked == 0
        assert not run.task.done()
        published.failing = False
        await run.clock.advance(5)
        assert tracker.asked == 1


async def test_a_source_without_a_finished_poll_for_three_intervals_ends_the_poller() -> None:
    class Deaf(ListTracker):
        """Does not even listen to being cancelled, until the watch has spoken."""

        async def poll(self) -> Poll:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.asked += 1
                    if self.asked > 1:
                        raise

    tracker = Deaf()
    async with running(tracker) as run:
        await run.clock.advance(179)
        assert not run.task.done()
        await run.clock.advance(46)
        with pytest.raises(PollerStuckError, match="s: no finished poll for 180 s"):
            await run.task


async def test_a_stopped_poller_closes_its_tracker() -> None:
    tracker = ListTracker()
    async with running(tracker):
        pass
    assert tracker.closed


async def test_a_refresh_within_the_interval_polls_nothing() -> None:
    tracker = ListTracker()
    async with running(tracker) as run:
        await run.clock.advance(59)
        assert not run.poller.request(refresh())
        await settle()
        assert tracker.asked == 1


async def test_a_refresh_while_a_poll_is_under_way_polls_nothing() -> None:
    async with running(ListTracker(None)) as run:
        await run.clock.advance(70)
        assert not run.poller.request(refresh())


async def test_a_refresh_of_a_source_that_is_late_polls_at_once() -> None:
    clock, tracker = ManualClock(), ListTracker()
    poller = Poller(a_source(), tracker, KeptEvents(), clock, jitter=lambda: 1.0)
    task = asyncio.create_task(poller.run())
    await clock.advance(61)
    assert poller.request(refresh())
    await settle()
    assert tracker.asked == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_newly_settled_epoch_is_published_with_the_six_before_it() -> None:
    tracker = EpochTracker(a_poll(newest_settled=50))
    async with running(tracker) as run:
        assert tracker.settlements == [50, 49, 48, 47, 46, 45, 44]
        assert {report.period for report in run.published.reports} == set(range(44, 51))
        await run.clock.advance(600)
        assert len(tracker.settlements) == 7
        tracker.answer = a_poll(newest_settled=51)
        await run.clock.advance(60)
        assert tracker.settlements[7:] == [51, 50, 49, 48, 47, 46, 45]


async def test_epochs_that_settled_unnoticed_are_published_too() -> None:
    tracker = EpochTracker(a_poll(newest_settled=50))
    async with running(tracker) as run:
        tracker.settlements.clear()
        tracker.answer = a_poll(newest_settled=53)
        await run.clock.advance(60)
        assert tracker.settlements == list(range(53, 44, -1))


async def test_there_are_no_epochs_below_zero() -> None:
    tracker = EpochTracker(a_poll(newest_settled=1))
    async with running(tracker):
        assert tracker.settlements == [1, 0]


async def test_an_epoch_that_is_not_known_yet_is_asked_for_again_ever_more_rarely() -> None:
    tracker = EpochTracker(a_poll(newest_settled=0), outcomes={0: None})
    async with running(tracker) as run:
        await run.clock.advance(60 + 120 + 240)
        assert tracker.settlements == [0] * 4
        tracker.outcomes[0] = a_settlement(0)
        await run.clock.advance(480)
        assert len(run.published.reports) == 1
        await run.clock.advance(3600)
        assert len(tracker.settlements) == 5


async def test_an_incomplete_epoch_is_published_and_asked_for_again() -> None:
    tracker = EpochTracker(a_poll(newest_settled=0), outcomes={0: a_settlement(0, complete=False)})
    async with running(tracker) as run:
        assert len(run.published.reports) == 1
        tracker.outcomes.clear()
        await run.clock.advance(60)
        assert len(run.published.reports) == 2
        await run.clock.advance(3600)
        assert len(tracker.settlements) == 2


@pytest.mark.parametrize("failure", [SourceError("HTTP 500"), ValueError("unforeseen")])
async def test_an_epoch_that_fails_is_given_up_after_a_number_of_tries(failure: Exception) -> None:
    tracker = EpochTracker(a_poll(newest_settled=0), outcomes={0: failure})
    async with running(tracker) as run:
        await run.clock.advance(60 * 600)
        assert len(tracker.settlements) == MAX_TRIES


async def test_an_epoch_that_was_not_acknowledged_is_published_again() -> None:
    published, tracker = KeptEvents(), EpochTracker(a_poll(newest_settled=None))
    async with running(tracker, published) as run:
        published.failing = True
        assert run.poller.request(refresh(epoch=3))
        await settle()
        assert published.reports == []
        published.failing = False
        await run.clock.advance(60)
        assert [report.period for report in published.reports] == [3]


async def test_a_requested_epoch_is_published_once_however_often_it_is_asked_for() -> None:
    tracker = EpochTracker(a_poll(newest_settled=None))
    async with running(tracker) as run:
        assert run.poller.request(refresh(epoch=30))
        assert not run.poller.request(refresh(epoch=30))
        await settle()
        assert [report.period for report in run.published.reports] == [30]


async def test_an_epoch_that_has_not_settled_or_a_source_without_epochs_takes_no_request() -> None:
    async with running(EpochTracker(a_poll(newest_settled=50))) as run:
        assert not run.poller.request(refresh(epoch=51))
    async with running(ListTracker()) as run:
        assert not run.poller.request(refresh(epoch=3))


def attempts(published: KeptEvents) -> list[tuple[int | None, int | None, str | None]]:
    """What was told of attempts at epochs, and not of polls."""
    told = [(each.published_epoch, each.unpublished_epoch, each.unpublished_reason) for each in published.statuses]
    return [each for each in told if each != (None, None, None)]


async def test_an_epoch_is_told_to_be_published_after_its_reports() -> None:
    async with running(EpochTracker(a_poll(newest_settled=0))) as run:
        assert attempts(run.published) == [(0, None, None)]
        events = run.published.events
        told = next(each for each in run.published.statuses if each.published_epoch == 0)
        assert events.index(run.published.reports[0]) < events.index(told)


async def test_an_epoch_whose_reports_were_not_acknowledged_is_not_told_to_be_published() -> None:
    published, tracker = KeptEvents(), EpochTracker(a_poll(newest_settled=None))
    async with running(tracker, published) as run:
        published.failing = True
        run.poller.request(refresh(epoch=3))
        await settle()
        published.failing = False
        assert attempts(published) == []
        await run.clock.advance(60)
        assert attempts(published) == [(3, None, None)]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (SourceError("node2: HTTP 500"), "node2: HTTP 500"),
        (a_settlement(0, complete=False), "incomplete (1 reported)"),
        (None, "not known yet"),
        (KeyError("secret"), "unexpected KeyError"),
    ],
)
async def test_an_attempt_that_did_not_complete_an_epoch_is_told_with_its_reason(
    outcome: Settlement | Exception | None, reason: str
) -> None:
    async with running(EpochTracker(a_poll(newest_settled=0), outcomes={0: outcome})) as run:
        assert attempts(run.published) == [(None, 0, reason)]
        assert {status.last_error for status in run.published.statuses} == {None}


async def test_a_source_tells_the_newest_epoch_that_has_settled() -> None:
    async with running(EpochTracker(a_poll(newest_settled=50))) as run:
        assert run.published.statuses[0].newest_settled is None
        assert run.published.statuses[-1].newest_settled == 50


async def test_a_requested_epoch_under_way_gives_way_to_one_that_settles() -> None:
    class Slow(EpochTracker):
        """Never comes to the end of epoch 3."""

        async def settled(self, epoch: int) -> Settlement | None:
            settlement = await super().settled(epoch)
            if epoch == 3:
                await asyncio.Event().wait()
            return settlement

    tracker = Slow(a_poll(newest_settled=50))
    async with running(tracker) as run:
        assert run.poller.request(refresh(epoch=3))
        await settle()
        tracker.settlements.clear()
        tracker.answer = a_poll(newest_settled=51)
        await run.clock.advance(60)
        assert tracker.settlements == [51, 50, 49, 48, 47, 46, 45, 3]


async def test_a_late_settlement_is_asked_for_again_amid_a_flood_of_requests() -> None:
    class Slow(EpochTracker):
        """Takes 50 s for each requested epoch."""

        async def settled(self, epoch: int) -> Settlement | None:
            if epoch < 40:
                await run.clock.sleep(50)
            return await super().settled(epoch)

    tracker = Slow(a_poll(newest_settled=50), outcomes={50: None})
    async with running(tracker) as run:
        for epoch in range(30):
            assert run.poller.request(refresh(epoch=epoch))
        tracker.settlements.clear()
        await run.clock.advance(60)
        tracker.outcomes.clear()
        assert tracker.settlements == [29, 50]
        await run.clock.advance(120)
        assert tracker.settlements[:4] == [29, 50, 28, 27]
        assert {report.period for report in run.published.reports} >= {50, 29, 28}


def test_the_queue_of_epochs_is_bounded() -> None:
    queue = EpochQueue(60)
    assert all(queue.add(epoch, 0) for epoch in range(CAPACITY))
    assert not queue.add(CAPACITY, 0)
    assert len(queue) == CAPACITY


def test_a_queue_full_of_requests_takes_what_has_just_settled() -> None:
    queue = EpochQueue(60)
    assert all(queue.add(epoch, 0) for epoch in range(CAPACITY))
    assert queue.add(CAPACITY, 0, live=True)
    assert queue.next(0) == CAPACITY


def test_what_has_settled_goes_before_requests_however_often_it_was_tried() -> None:
    queue = EpochQueue(60)
    queue.add(50, 0, live=True)
    queue.add(60, 0)
    queue.later(50, 0)
    assert queue.next(0) == 60
    assert queue.next(60) == 50
    assert queue.next(59, live=True) is None
    assert queue.pause(0, live=True) == 60


def test_a_requested_epoch_that_settles_begins_anew() -> None:
    queue = EpochQueue(60)
    queue.add(50, 0)
    queue.later(50, 0)
    assert not queue.add(50, 1)
    assert queue.next(1) is None
    assert queue.add(50, 1, live=True)
    assert queue.next(1, live=True) == 50
    assert not queue.add(50, 1, live=True)


def test_an_epoch_that_was_tried_waits_behind_those_that_were_not() -> None:
    queue = EpochQueue(60)
    queue.add(9, 0)
    queue.later(9, 0)
    queue.add(3, 60)
    assert queue.next(60) == 3
    assert queue.pause(0) == 60
    queue.done(3)
    assert queue.next(60) == 9


def told_totals(published: KeptEvents) -> dict[int | None, int | str | None]:
    """What was told of epochs' totals."""
    return {each.total_epoch: each.total_ngonka for each in published.statuses if each.total_epoch is not None}


async def test_a_source_that_only_states_totals_tells_those_of_settled_epochs_once_an_epoch() -> None:
    tracker = TotalTracker(a_poll(newest_settled=50))
    async with running(tracker) as run:
        assert told_totals(run.published) == {epoch: 1000 + epoch for epoch in range(44, 51)}
        assert run.published.reports == []
        assert attempts(run.published) == [], "no report of it is published"
        await run.clock.advance(3600)
        assert len(tracker.totals) == 7
        tracker.answer = a_poll(newest_settled=51)
        await run.clock.advance(60)
        assert tracker.totals[7:] == [51, 50, 49, 48, 47, 46, 45]


async def test_a_total_that_is_not_known_yet_is_asked_for_again_but_not_all_day() -> None:
    tracker = TotalTracker(a_poll(newest_settled=0), unknown={0})
    async with running(tracker) as run:
        assert attempts(run.published) == [(None, 0, "not known yet")]
        await run.clock.advance(60 * 600)
        assert len(tracker.totals) == TOTAL_TRIES
        assert told_totals(run.published) == {}


async def test_a_total_that_was_not_acknowledged_is_told_again() -> None:
    published, tracker = KeptEvents(), TotalTracker(a_poll(newest_settled=None))
    async with running(tracker, published) as run:
        published.failing = True
        assert run.poller.request(refresh(epoch=3))
        await settle()
        published.failing = False
        assert told_totals(published) == {}
        await run.clock.advance(60)
        assert told_totals(published) == {3: 1003}
        await run.clock.advance(3600)
        assert tracker.totals == [3, 3]
