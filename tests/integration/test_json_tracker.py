"""The worked example of a tracker that is read by configuration alone, and an adapter's contract."""

import tomllib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from services.ingest.trackers.base import Poll
from services.kernel.errors import SourceError
from services.kernel.events import NodeReading
from services.kernel.judging import judge_of
from services.kernel.wire import encode
from services.simulator.app import running
from services.simulator.clock import VirtualClock
from services.simulator.world import WorldSettings
from tests.captured import REPOSITORY
from tests.integration.test_ingest_simulator import START, Simulated

EXAMPLE = REPOSITORY / "examples" / "json_tracker.toml"
judge = judge_of(NodeReading)


@pytest.fixture
async def simulated() -> AsyncIterator[Simulated]:
    clock = VirtualClock(START)
    async with running(WorldSettings(hosts=60, days=20), clock) as simulator:
        state = Simulated(simulator, clock, [])
        yield state
        for tracker in state.trackers:
            await tracker.aclose()


def example(simulated: Simulated, **changes: Any) -> Any:
    """The example's tracker, at the simulator's address."""
    (entry,) = tomllib.loads(EXAMPLE.read_text())["sources"]
    return simulated.tracker("json", name="hyperfusion", json=entry["json"] | changes)


def rows(poll: Poll) -> list[NodeReading]:
    return sorted(poll.readings, key=lambda reading: reading.identifier)


@pytest.mark.parametrize("hours", [0, 7, 23.5, 24.2])
async def test_the_example_gives_the_readings_of_the_built_in_adapter(simulated: Simulated, hours: float) -> None:
    simulated.clock.advance(timedelta(hours=hours))
    expected = await simulated.tracker("hyperfusion").poll()
    poll = await example(simulated).poll()
    assert rows(poll) == rows(expected)
    assert (poll.data_at, poll.epoch, poll.height) == (expected.data_at, expected.epoch, expected.height)
    assert len({reading.status for reading in poll.readings}) > 1


async def test_right_after_a_settlement_counts_of_zero_are_unknown_to_both(simulated: Simulated) -> None:
    world, clock = simulated.simulator.world, simulated.clock
    height = world.timeline.settlement_height(world.at(clock.now).effective_epoch)
    clock.advance(world.timeline.block_time(height) - clock.now + timedelta(seconds=30))
    expected = await simulated.tracker("hyperfusion").poll()
    assert rows(await example(simulated).poll()) == rows(expected)


async def test_what_it_reads_is_what_consumers_take(simulated: Simulated) -> None:
    for reading in (await example(simulated).poll()).readings:
        record = encode(reading)
        assert judge(record.value or b"", record.headers) == reading


@pytest.mark.parametrize("kind", ["500", "truncated_body", "empty_list", "redirect"])
async def test_a_fault_of_the_tracker_is_a_source_error(simulated: Simulated, kind: str) -> None:
    simulated.fault(kind=kind, path="/api/v1/inference/*")
    with pytest.raises(SourceError):
        await example(simulated).poll()


async def test_rows_that_cannot_be_used_are_left_out_and_named(simulated: Simulated) -> None:
    (entry,) = tomllib.loads(EXAMPLE.read_text())["sources"]
    poll = await example(
        simulated, node=entry["json"]["node"] | {"status": "node_healthy == `false` && 'odd' || 'healthy'"}
    ).poll()
    assert not poll.complete
    assert all("status is one of healthy, unhealthy, jailed, offline, not 'odd'" in why for why in poll.skipped)
    assert {reading.status for reading in poll.readings} == {"healthy"}


async def test_numbers_are_brought_to_our_units(simulated: Simulated) -> None:
    expected = {reading.identifier: reading for reading in (await example(simulated).poll()).readings}
    scaled = await example(simulated, scale={"voting_weight": "0.001"}).poll()
    for reading in scaled.readings:
        weight = expected[reading.identifier].voting_weight
        assert reading.voting_weight == (None if weight is None else weight / 1000)
    assert msgspec.json.encode(scaled.readings[0])
