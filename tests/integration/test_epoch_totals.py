"""Sources' own totals of epochs, from the simulated trackers through ingest and PostgreSQL to the reconciliation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from services.cache.store import apply_source_status
from services.earnings.epoch_totals import Finding
from services.earnings.nightly import ask_for_missing
from services.earnings.reconciliation import Reconciliation, reconcile
from services.earnings.store import apply_reports
from services.ingest.polling import Poller
from services.ingest.trackers.adapters import tracker_for
from services.kernel.database import Database
from services.kernel.events import REFRESH_TOPIC, RefreshRequest
from services.kernel.publisher import KafkaPublisher
from services.kernel.wire import decoder_for
from services.simulator.app import Simulator, running
from services.simulator.faults import Fault
from services.simulator.world import WorldSettings
from tests.integration.pipeline import Pipeline, records_of, until
from tests.unit.ingest_fakes import KeptEvents, ManualClock, a_source

pytestmark = pytest.mark.integration

START = datetime(2026, 10, 9, 12, 0, tzinfo=UTC)
PLACES = {"gonka_api": "", "hyperfusion": "", "gonkascan": "/gonkascan"}
GNK = 10**9


@dataclass
class Network:
    """The simulated network, and ingest polling it at a moment that lasts."""

    simulator: Simulator
    clock: ManualClock
    cache: Database
    earnings: Database
    pollers: dict[str, Poller] = field(default_factory=dict)
    published: dict[str, KeptEvents] = field(default_factory=dict)

    @property
    def newest(self) -> int:
        """The newest epoch that has settled."""
        return self.simulator.world.at(self.clock.now()).settled_epoch

    async def poll(self, kind: str, stack: AsyncExitStack) -> None:
        """Start the source's poller, and wait until it has told of the newest epochs."""
        source = a_source(self.simulator.base_url + PLACES[kind], kind=kind)
        published = self.published[kind] = KeptEvents()
        poller = self.pollers[kind] = Poller(source, tracker_for(source, self.clock), published, self.clock)
        task = asyncio.create_task(poller.run())

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        stack.push_async_callback(stop)
        await until(lambda: self.told(kind, 7), f"{kind} has told of seven epochs")

    async def told(self, kind: str, attempts: int) -> bool:
        """Whether so many attempts at epochs succeeded."""
        statuses = self.published[kind].statuses
        return sum(s.published_epoch is not None or s.total_epoch is not None for s in statuses) >= attempts

    async def apply(self, kind: str, without: str | None = None, epoch: int | None = None) -> None:
        """Apply what the source's poller has published since the last time, but for one host's report of an epoch."""
        kept = self.published[kind]
        reports = [each for each in kept.reports if (each.identifier, each.period) != (without, epoch)]
        if kept.statuses:
            await apply_source_status(self.cache, kept.statuses)
        if reports:
            await apply_reports(self.earnings, reports)
        kept.events.clear()

    async def reconciled(self) -> Reconciliation:
        found = await reconcile(self.earnings, fix=False)
        assert found is not None
        assert (found.differences, found.sums) == ([], [])
        return found

    def fault(self, **fault: Any) -> None:
        self.simulator.faults.turn_on(Fault.model_validate(fault), self.clock.now())


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def network(cache: Database, earnings: Database, stack: AsyncExitStack) -> Network:
    clock = ManualClock(START)
    simulator = await stack.enter_async_context(running(WorldSettings(hosts=60, days=20), clock.now))
    return Network(simulator, clock, cache, earnings)


async def test_the_trackers_totals_are_the_ledgers_sums(
    network: Network, stack: AsyncExitStack, pipeline: Pipeline
) -> None:
    for kind in PLACES:
        await network.poll(kind, stack)
        await network.apply(kind)
    assert (await network.reconciled()).totals == []
    epochs = range(network.newest - 6, network.newest + 1)
    totals = {
        epoch: sum(row.reward_ngonka for row in network.simulator.world.payments(epoch)) // GNK * GNK
        for epoch in epochs
    }
    assert await pipeline.rows("SELECT source, epoch, total_ngonka FROM source_epoch_total ORDER BY 1, 2") == [
        (source, epoch, totals[epoch]) for source in ("gonkascan", "hyperfusion") for epoch in epochs
    ]
    # One request for each epoch, and one for the list.
    assert network.simulator.requests["/api/v1/inference/epochs/{epoch}"] == len(epochs)


async def test_a_host_that_the_ledger_lacks_is_noticed_asked_for_and_there_in_the_end(
    network: Network, stack: AsyncExitStack, pipeline: Pipeline
) -> None:
    await network.poll("gonka_api", stack)
    await network.poll("hyperfusion", stack)
    epoch = network.newest - 2
    lost = max(network.simulator.world.payments(epoch), key=lambda row: row.reward_ngonka)
    await network.apply("gonka_api", without=lost.address, epoch=epoch)
    await network.apply("hyperfusion")

    found = await network.reconciled()
    (total,) = found.totals
    assert (total.epoch, total.source, total.finding) == (epoch, "hyperfusion", Finding.MISSING)
    assert total.total - GNK < total.ledger + lost.reward_ngonka < total.total + GNK
    assert (found.short_epochs, found.open) == ([epoch], 1)

    publisher = KafkaPublisher(pipeline.kafka)
    async with publisher:
        assert await ask_for_missing(publisher, found) == [epoch]
    decode = decoder_for(RefreshRequest)
    asked = [decode(record) for record in await records_of(pipeline.kafka, REFRESH_TOPIC)]
    assert sorted((request.source, request.epoch) for request in asked) == [
        ("gonka_api", epoch),
        ("hyperfusion", epoch),
    ]
    for request in asked:
        assert network.pollers[request.source].request(request)
        await until(lambda kind=request.source: network.told(kind, 1), f"{request.source} has told of it")  # type: ignore[misc]
        await network.apply(request.source)
    assert (await network.reconciled()).totals == []


async def test_a_wrong_total_is_told_apart_by_another_source_and_alone_it_counts_until_it_is_mended(
    network: Network, stack: AsyncExitStack
) -> None:
    await network.poll("gonka_api", stack)
    await network.apply("gonka_api")
    epoch = network.newest - 1
    network.fault(kind="wrong_total", path=f"/api/v1/inference/epochs/{epoch}", off_by_gnk=1)
    await network.poll("hyperfusion", stack)
    await network.apply("hyperfusion")
    found = await network.reconciled()
    assert [(total.epoch, total.finding) for total in found.totals] == [(epoch, Finding.MISSING)]
    assert found.open == 1

    await network.poll("gonkascan", stack)
    await network.apply("gonkascan")
    found = await network.reconciled()
    assert [(total.source, total.finding) for total in found.totals] == [("hyperfusion", Finding.CONTRADICTED)]
    assert (found.short_epochs, found.open) == ([], 0)

    network.simulator.faults.clear()
    await network.clock.advance(1)  # what a source says later is what it says
    request = RefreshRequest(source="hyperfusion", requested_at=START, requested_by="test", epoch=epoch)
    assert network.pollers["hyperfusion"].request(request)
    await until(lambda: network.told("hyperfusion", 1), "the total was asked for again")
    await network.apply("hyperfusion")
    assert (await network.reconciled()).totals == []


async def test_a_total_below_the_ledger_is_the_sources_own_gap(network: Network, stack: AsyncExitStack) -> None:
    await network.poll("gonka_api", stack)
    await network.apply("gonka_api")
    epoch = network.newest
    network.fault(kind="wrong_total", path=f"*/inference/epochs/{epoch}", off_by_gnk=-5_000)
    await network.poll("hyperfusion", stack)
    await network.apply("hyperfusion")
    found = await network.reconciled()
    assert [(total.epoch, total.finding) for total in found.totals] == [(epoch, Finding.LOW)]
    assert found.open == 0
