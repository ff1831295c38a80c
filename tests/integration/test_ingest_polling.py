"""A source polled for real, on the machine's clock, while the simulator's epochs settle."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from services.ingest.clock import SystemClock
from services.ingest.duty import Duty
from services.ingest.polling import Poller
from services.ingest.sources import Source
from services.ingest.trackers.adapters import tracker_for
from services.kernel.events import EarningsReport, Event
from services.simulator.app import running
from services.simulator.faults import Fault
from services.simulator.world import WorldSettings
from tests.unit.ingest_fakes import KeptEvents, a_source


class Watched(KeptEvents):
    """Keeps events and tells when there are new ones."""

    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Condition()

    async def publish(self, events: Sequence[Event]) -> None:
        await super().publish(events)
        async with self.news:
            self.news.notify_all()

    def paid(self, epoch: int) -> dict[str, int]:
        reports = [event for event in self.events if isinstance(event, EarningsReport) and event.period == epoch]
        return {report.identifier: report.amount for report in reports}


async def test_every_epoch_that_settles_is_published_exactly_in_spite_of_faults() -> None:
    published, clock = Watched(), SystemClock()

    def poller(source: Source) -> Poller:
        return Poller(source, tracker_for(source, clock), published, clock)

    settings = WorldSettings(hosts=40, days=3, epoch_seconds=2.0, restated_share=0)
    async with running(settings) as simulator, asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for fault in ({"kind": "500", "probability": 0.1}, {"kind": "truncated_body", "probability": 0.05}):
            simulator.faults.turn_on(Fault.model_validate(fault), clock.now())
        world = simulator.world
        first = world.at(clock.now()).running_epoch
        duty = Duty([a_source(simulator.base_url, poll_interval=0.2, requests_per_minute=6000)], poller)
        run = tasks.create_task(duty.run())
        await duty.assign({0}, 1)
        truths = [{row.address: row.amount_ngonka for row in world.payments(first + number)} for number in range(2)]
        async with published.news:
            await published.news.wait_for(lambda: [published.paid(first), published.paid(first + 1)] == truths)
        settled_at = {report.period: report.settled_at for report in published.reports}
        assert settled_at[first] == world.timeline.settled_at(first)
        run.cancel()
    assert max(reading.observed_at for reading in published.readings) <= clock.now() + timedelta(seconds=1)
