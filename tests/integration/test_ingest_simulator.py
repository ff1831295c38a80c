"""Every kind of source against the simulator over HTTP: readings and amounts against its truth, and its faults."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.ingest.sources import Source
from services.ingest.trackers.adapters import tracker_for
from services.ingest.trackers.base import Poll, Settlement, SettlingTracker, Tracker
from services.kernel.errors import SourceError
from services.simulator.app import Simulator, running
from services.simulator.clock import VirtualClock
from services.simulator.faults import Fault
from services.simulator.timeline import FIRST_EPOCH
from services.simulator.world import WorldSettings
from tests.unit.ingest_fakes import a_source

START = datetime(2026, 10, 9, 12, 0, tzinfo=UTC)
KINDS = {"hyperfusion": "", "gonkascan": "/gonkascan", "gonka_api": ""}


class SimulatedClock:
    """The simulator's clock, as ingest takes one; sleeping moves it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now

    def monotonic(self) -> float:
        return self._clock.now.timestamp()

    async def sleep(self, seconds: float) -> None:
        self._clock.advance(timedelta(seconds=seconds))


@dataclass
class Simulated:
    simulator: Simulator
    clock: VirtualClock
    trackers: list[Tracker]

    def tracker(self, kind: str, **more: Any) -> Tracker:
        source: Source = a_source(self.simulator.base_url + KINDS.get(kind, ""), kind=kind, **more)
        self.trackers.append(tracker_for(source, SimulatedClock(self.clock)))
        return self.trackers[-1]

    def chain(self) -> SettlingTracker:
        tracker = self.tracker("gonka_api")
        assert isinstance(tracker, SettlingTracker)
        return tracker

    def fault(self, **fault: Any) -> None:
        self.simulator.faults.turn_on(Fault.model_validate(fault), self.clock.now)


@pytest.fixture
async def simulated() -> AsyncIterator[Simulated]:
    clock = VirtualClock(START)
    async with running(WorldSettings(hosts=60, days=20), clock) as simulator:
        state = Simulated(simulator, clock, [])
        yield state
        for tracker in state.trackers:
            await tracker.aclose()


def by_address(poll: Poll) -> dict[str, Any]:
    return {reading.identifier: reading for reading in poll.readings}


@pytest.mark.parametrize("kind", ["hyperfusion", "gonkascan"])
async def test_a_tracker_gives_every_member_of_the_epoch(simulated: Simulated, kind: str) -> None:
    poll = await simulated.tracker(kind).poll()
    world = simulated.simulator.world
    moment = world.at(poll.data_at)
    members = world.epoch(moment.effective_epoch).members
    found = by_address(poll)
    assert found.keys() == members.keys()
    assert {address: reading.voting_weight for address, reading in found.items()} == {
        address: member.weight for address, member in members.items()
    }
    jailed = {address for address, member in members.items() if world.health(member.host, poll.data_at).jailed}
    # A tracker does not know the jail of everybody: null is not jailed.
    assert {address for address, reading in found.items() if reading.status == "jailed"} <= jailed
    assert (poll.epoch, poll.height, poll.skipped) == (moment.effective_epoch, moment.height, ())


async def test_gonkascan_knows_where_hosts_are(simulated: Simulated) -> None:
    assert any(reading.region for reading in (await simulated.tracker("gonkascan").poll()).readings)


async def test_the_network_gives_everybody_their_status(simulated: Simulated) -> None:
    poll = await simulated.tracker("gonka_api").poll()
    world = simulated.simulator.world
    moment = world.at(simulated.clock.now)
    members = world.epoch(moment.effective_epoch).members
    excluded = world.excluded(moment, moment.running_epoch)

    def expected(address: str) -> str:
        host = world.by_address[address]
        if world.health(host, moment.now).jailed:
            return "jailed"
        if address not in members:
            return "offline"
        bad = world.status(host, moment, excluded) in {"INACTIVE", "INVALID", "UNCONFIRMED"}
        return "unhealthy" if bad or address in excluded else "healthy"

    found = by_address(poll)
    assert {address: reading.status for address, reading in found.items()} == {
        host.address: expected(host.address) for host in world.listed(moment)
    }
    assert "offline" in {reading.status for reading in poll.readings}
    assert any(reading.gpu_type for reading in poll.readings)
    assert poll.data_at == world.timeline.block_time(moment.height)
    assert (poll.complete, poll.skipped, poll.newest_settled) == (True, (), moment.settled_epoch)


async def settled(tracker: SettlingTracker, epoch: int) -> Settlement:
    settlement = await tracker.settled(epoch)
    assert settlement is not None
    return settlement


def amounts(settlement: Settlement) -> dict[str, tuple[int, int]]:
    return {
        report.identifier: (int(report.work_ngonka or 0), int(report.reward_ngonka or 0))
        for report in settlement.reports
    }


def truth(simulated: Simulated, epoch: int) -> dict[str, tuple[int, int]]:
    payments = simulated.simulator.world.payments(epoch)
    return {payment.address: (payment.work_ngonka, payment.reward_ngonka) for payment in payments}


async def test_settled_epochs_are_what_the_network_paid_at_its_block_time(simulated: Simulated) -> None:
    tracker = simulated.chain()
    world = simulated.simulator.world
    newest = world.at(simulated.clock.now).settled_epoch
    for epoch in (newest, newest - 1, FIRST_EPOCH):
        settlement = await settled(tracker, epoch)
        assert amounts(settlement) == truth(simulated, epoch)
        assert settlement.complete
        assert {(r.settled_at, r.settled_exact) for r in settlement.reports} == {
            (world.timeline.settled_at(epoch), True)
        }


async def test_an_epoch_is_not_known_before_it_settles_nor_while_it_shows_zeros(simulated: Simulated) -> None:
    tracker = simulated.chain()
    world = simulated.simulator.world
    epoch = world.at(simulated.clock.now).running_epoch
    assert await tracker.settled(epoch) is None
    simulated.clock.now = world.timeline.settled_at(epoch) + timedelta(milliseconds=10)
    assert await tracker.settled(epoch) is None
    simulated.clock.now = world.published_at(epoch) + timedelta(milliseconds=10)
    assert any(report.amount for report in (await settled(tracker, epoch)).reports)


async def test_without_the_list_every_host_is_asked_and_the_amounts_are_the_same(simulated: Simulated) -> None:
    epoch = simulated.simulator.world.at(simulated.clock.now).settled_epoch
    simulated.fault(kind="500", path=f"*/epoch_performance_summary/{epoch}")
    settlement = await settled(simulated.chain(), epoch)
    members = simulated.simulator.world.epoch(epoch).members
    assert amounts(settlement) == {
        address: paid for address, paid in truth(simulated, epoch).items() if address in members
    }


async def test_pruned_blocks_are_dated_within_a_minute(simulated: Simulated) -> None:
    simulated.fault(kind="pruned")
    settlement = await settled(simulated.chain(), FIRST_EPOCH + 3)
    report = settlement.reports[0]
    assert report.settled_exact is False
    assert report.settled_at is not None
    really = simulated.simulator.world.timeline.settled_at(FIRST_EPOCH + 3)
    assert abs(report.settled_at - really) < timedelta(minutes=1)


async def test_a_truncated_list_of_summaries_is_incomplete(simulated: Simulated) -> None:
    epoch = simulated.simulator.world.at(simulated.clock.now).settled_epoch
    simulated.fault(kind="truncated_list", path=f"*/epoch_performance_summary/{epoch}", keep=3)
    settlement = await settled(simulated.chain(), epoch)
    assert len(settlement.reports) == 3
    assert not settlement.complete


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"kind": "429", "retry_after": "30"}, "HTTP 429"),
        ({"kind": "503"}, "HTTP 503"),
        ({"kind": "500"}, "HTTP 500"),
        ({"kind": "truncated_body"}, "connection failed|cut short"),
        ({"kind": "timeout"}, "timed out"),
        ({"kind": "redirect"}, "redirects to another host"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
async def test_a_fault_fails_the_poll_with_its_reason_and_passes(
    simulated: Simulated, kind: str, fault: dict[str, Any], said: str
) -> None:
    tracker = simulated.tracker(kind, timeout=0.3)
    simulated.fault(**fault)
    with pytest.raises(SourceError, match=said):
        await tracker.poll()
    simulated.simulator.faults.clear()
    simulated.clock.advance(timedelta(seconds=31))
    assert (await tracker.poll()).readings


@pytest.mark.parametrize("kind", KINDS)
async def test_empty_lists_change_nobody(simulated: Simulated, kind: str) -> None:
    simulated.fault(kind="empty_list")
    with pytest.raises(SourceError, match="empty list"):
        await simulated.tracker(kind).poll()


async def test_a_refusal_with_retry_after_keeps_requests_away(simulated: Simulated) -> None:
    tracker = simulated.tracker("hyperfusion")
    simulated.fault(kind="429", retry_after="30", count=1)
    for _ in range(3):
        with pytest.raises(SourceError):
            await tracker.poll()
    assert sum(simulated.simulator.requests.values()) == 1


async def test_a_truncated_list_of_participants_marks_nobody_offline(simulated: Simulated) -> None:
    tracker = simulated.tracker("gonka_api")
    whole = await tracker.poll()
    simulated.clock.advance(timedelta(seconds=5))
    simulated.fault(kind="truncated_list", path="/v1/epochs/current/participants", keep=3)
    cut = await tracker.poll()
    assert len(cut.readings) == 3
    before = by_address(whole)
    assert not [r for r in cut.readings if r.status == "offline" and before[r.identifier].status != "offline"]


@pytest.mark.parametrize("kind", KINDS)
async def test_stale_data_keeps_its_time(simulated: Simulated, kind: str) -> None:
    tracker = simulated.tracker(kind)
    simulated.fault(kind="stale")
    first = await tracker.poll()
    simulated.clock.advance(timedelta(seconds=120))
    assert (await tracker.poll()).data_at == first.data_at


@pytest.mark.parametrize(
    ("fault", "said"), [("catching_up", "is catching up"), ("older_height", "below .* seen before")]
)
async def test_a_node_that_is_behind_is_not_believed(simulated: Simulated, fault: str, said: str) -> None:
    tracker = simulated.tracker("gonka_api")
    await tracker.poll()
    simulated.clock.advance(timedelta(seconds=5))
    simulated.fault(kind=fault)
    with pytest.raises(SourceError, match=said):
        await tracker.poll()


async def test_around_a_settlement_jobs_are_never_the_other_epochs(simulated: Simulated) -> None:
    tracker = simulated.tracker("gonka_api")
    world = simulated.simulator.world
    running_epoch = world.at(simulated.clock.now).running_epoch
    settlement = world.timeline.settled_at(running_epoch)
    for milliseconds in range(-400, 4000, 200):
        simulated.clock.now = settlement + timedelta(milliseconds=milliseconds)
        poll = await tracker.poll()
        counted = world.live_stats(world.at(simulated.clock.now))
        epoch = world.at(simulated.clock.now).running_epoch
        for reading in poll.readings:
            if reading.jobs_day is not None:
                assert reading.epoch == epoch
                stats = counted.get(reading.identifier)
                assert reading.jobs_day == (stats.work.inferences if stats else 0)
