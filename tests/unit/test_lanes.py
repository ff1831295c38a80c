import asyncio
from collections.abc import Sequence
from operator import attrgetter
from types import SimpleNamespace

import pytest

from services.kernel.halving import Applied
from services.kernel.lanes import LANES, LEAST_ROWS, apply_in_lanes

IDENTIFIER = attrgetter("identifier")


class Event(SimpleNamespace):
    """An event of a node."""

    identifier: str


def events(count: int, nodes: int = 500) -> list[Event]:
    return [Event(identifier=f"node{number % nodes}", number=number) for number in range(count)]


class Lanes:
    """Notes what each lane was given, and how many were at work at one time."""

    def __init__(self) -> None:
        self.given: list[list[Event]] = []
        self.at_work = self.most_at_work = 0

    async def apply(self, lane: Sequence[Event]) -> Applied:
        self.given.append(list(lane))
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        await asyncio.sleep(0)
        self.at_work -= 1
        return Applied(changed=len(lane), stale=1, duplicate=2)


async def test_a_large_batch_is_applied_side_by_side_each_node_in_one_lane_and_in_order() -> None:
    lanes = Lanes()
    batch = events(LANES * LEAST_ROWS)
    assert await apply_in_lanes(batch, lanes.apply, node_of=IDENTIFIER, rows=len(batch)) == Applied(
        len(batch), LANES, 2 * LANES
    )
    assert lanes.most_at_work == LANES
    homes: dict[str, set[int]] = {}
    for number, lane in enumerate(lanes.given):
        assert [event.number for event in lane] == sorted(event.number for event in lane)
        for event in lane:
            homes.setdefault(event.identifier, set()).add(number)
    assert all(len(home) == 1 for home in homes.values())
    assert sorted(event.number for lane in lanes.given for event in lane) == list(range(len(batch)))


@pytest.mark.parametrize("count", [0, 1, 2 * LEAST_ROWS - 1])
async def test_a_batch_of_few_rows_is_applied_as_it_is(count: int) -> None:
    lanes = Lanes()
    await apply_in_lanes(events(LANES * LEAST_ROWS), lanes.apply, node_of=IDENTIFIER, rows=count)
    assert [len(lane) for lane in lanes.given] == [LANES * LEAST_ROWS]


async def test_a_batch_of_one_node_is_one_lane() -> None:
    lanes = Lanes()
    await apply_in_lanes(events(LANES * LEAST_ROWS, nodes=1), lanes.apply, node_of=IDENTIFIER, rows=LANES * LEAST_ROWS)
    assert [len(lane) for lane in lanes.given] == [LANES * LEAST_ROWS]


async def test_the_error_of_a_lane_comes_out_when_the_others_have_ended() -> None:
    ended = 0

    async def apply(lane: Sequence[Event]) -> Applied:
        nonlocal ended
        if lane[0].number == 0:
            raise ConnectionError("away")
        await asyncio.sleep(0.01)
        ended += 1
        return Applied(len(lane))

    with pytest.raises(ConnectionError):
        await apply_in_lanes(events(LANES * LEAST_ROWS), apply, node_of=IDENTIFIER, rows=LANES * LEAST_ROWS)
    assert ended == LANES - 1


async def test_a_cancellation_ends_every_lane_before_it_comes_out() -> None:
    began, cancelled = asyncio.Event(), 0

    async def apply(lane: Sequence[Event]) -> Applied:
        nonlocal cancelled
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # the rollback
            cancelled += 1
            raise
        raise AssertionError("nothing ends the wait")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await apply_in_lanes(events(LANES * LEAST_ROWS), apply, node_of=IDENTIFIER, rows=LANES * LEAST_ROWS)
    assert cancelled == LANES
